package link

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnansweredConnectionsEnd: the kernel does not hold on to a dead connection for a
// quarter of an hour.
func TestUnansweredConnectionsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := System{}.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || ms != int(unanswered.Milliseconds()) {
			t.Errorf("%d ms, %v", ms, err)
		}
	})
}
