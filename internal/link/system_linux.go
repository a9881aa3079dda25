package link

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unanswered is how long what was sent over TCP may stay unacknowledged. Without
// it the kernel tries for a quarter of an hour, ever more seldom: a connection
// over a path that was cut would stay dead for as long again after the path heals.
const unanswered = 5 * time.Second

// tune sets the options of a socket before it connects.
func tune(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Best effort: without it, failures are noticed later.
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered.Milliseconds()))
	})
}

// unsent returns a function that tells how many bytes the kernel holds that the other
// side's has not acknowledged; nil for what is not a socket. It is not safe for concurrent
// use.
func unsent(conn net.Conn) func() (int, error) {
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	var n int32
	var errno syscall.Errno
	ask := func(fd uintptr) { // raw: see socket
		_, _, errno = syscall.RawSyscall(syscall.SYS_IOCTL, fd, unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	}
	return func() (int, error) {
		if closed := raw.Control(ask); closed != nil {
			return 0, closed
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// rawConn returns the socket below conn, nil if there is none.
func rawConn(c net.Conn) syscall.RawConn {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if tracked, ok := c.(*conn); ok {
		c = tracked.Conn
	}
	switch c := c.(type) {
	case *socket:
		return c.raw
	case *net.TCPConn:
		if raw, err := c.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
