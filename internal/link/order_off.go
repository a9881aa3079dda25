//go:build linux && !race

package link

// ordered is for the race detector.
func ordered() {}
