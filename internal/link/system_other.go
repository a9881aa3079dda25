//go:build !linux

package link

import (
	"net"
	"syscall"
)

// tune leaves the system's defaults, which differ.
func tune(_, _ string, _ syscall.RawConn) error { return nil }

// unsent is not known here.
func unsent(net.Conn) func() (int, error) { return nil }

// prompt leaves connections as they are.
func prompt(c net.Conn) net.Conn { return c }
