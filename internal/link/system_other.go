//go:build !linux

package link

import "syscall"

// tune leaves the system's defaults, which differ.
func tune(_, _ string, _ syscall.RawConn) error { return nil }
