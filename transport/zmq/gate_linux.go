//go:build cgo && !kith_nozmq

package zmq

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// addGate lets callers stand in for the receiver of a socket that nobody uses yet.
func (s *socket) addGate() error {
	own, err := duplicate(s.z)
	if err != nil {
		return err
	}
	raw, err := own.SyscallConn()
	if err != nil {
		own.Close()
		return fmt.Errorf("zmq: %w", err)
	}
	// The receiver parks at an epoll instance in Go's poller, which is one too: epoll(7),
	// "Questions and answers", Q3.
	at, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		own.Close()
		return fmt.Errorf("zmq: %w", err)
	}
	set := func(how int, open bool) (err error) {
		event := unix.EpollEvent{Events: unix.EPOLLET}
		if open {
			event.Events |= unix.EPOLLIN
		}
		controlled := raw.Control(func(fd uintptr) { err = unix.EpollCtl(at, how, int(fd), &event) })
		return errors.Join(controlled, err)
	}
	if err := errors.Join(unix.SetNonblock(at, true), set(unix.EPOLL_CTL_ADD, true)); err != nil {
		own.Close()
		unix.Close(at)
		return fmt.Errorf("zmq: %w", err)
	}
	s.wake.Close()
	s.wake = os.NewFile(uintptr(at), "zmq")
	s.gate = &gate{wake: own, raw: raw, set: func(open bool) error { return set(unix.EPOLL_CTL_MOD, open) }}
	return nil
}
