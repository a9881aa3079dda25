//go:build !linux

package disk

// Sync leaves it to package os, which asks for a full flush where fsync alone is
// none (F_FULLFSYNC on Darwin).
func (f file) Sync() error { return f.File.Sync() }
