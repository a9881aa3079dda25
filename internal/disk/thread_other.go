//go:build !linux || !cgo

package disk

import "os"

// thread exists on Linux only, and where there is cgo.
type thread struct{}

func startThread() *thread { return nil }

func (*thread) write(*os.File, []byte, int64) error { panic("disk: there is no thread") }

func (*thread) close() {}
