//go:build !planted

package planted

// Bug reports whether the deliberate bug is in force: never, in this build.
func Bug(Kind) bool { return false }
