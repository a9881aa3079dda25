package link

import (
	"syscall"
	"time"

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
