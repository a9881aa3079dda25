package link

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// socket is a TCP connection whose reads and writes are raw system calls. They do not wait,
// for package net has sockets that do not, and waits in their place; but the runtime takes
// every system call for one that might, unless it is raw, and wakes its monitor, which then
// looks after the program every 20 µs for as long as anything runs (docs/performance.md has
// what that cost).
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
}

// prompt makes a socket of a TCP connection, and leaves others as they are.
func prompt(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			return &socket{tcp, raw}
		}
	}
	return c
}

// transfer is one read or write.
type transfer struct {
	b           []byte
	n           int // bytes that were moved
	errno       syscall.Errno
	read, write func(fd uintptr) (done bool) // made once
}

var transfers = sync.Pool{New: func() any {
	t := new(transfer)
	t.read, t.write = t.tryRead, t.tryWrite
	return t
}}

func (t *transfer) tryRead(fd uintptr) bool {
	return !t.try(syscall.SYS_READ, fd)
}

func (t *transfer) tryWrite(fd uintptr) bool {
	for t.n < len(t.b) && t.errno == 0 {
		before := t.n
		if t.try(syscall.SYS_WRITE, fd) {
			return false
		}
		if t.n == before {
			return true
		}
	}
	return true
}

// try moves what can be moved of the rest of b, which is not empty, and reports whether
// that has to wait.
func (t *transfer) try(call, fd uintptr) (wait bool) {
	rest := t.b[t.n:]
	ordered()
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)))
		switch errno {
		case 0:
			t.n += int(n)
			ordered()
			return false
		case syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			t.errno = errno
			return false
		}
	}
}

// Read is the connection's.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.transfer("read", s.raw.Read, b)
	if n == 0 && err == nil && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

// Write is the connection's.
func (s *socket) Write(b []byte) (int, error) {
	n, err := s.transfer("write", s.raw.Write, b)
	if n < len(b) && err == nil {
		err = io.ErrUnexpectedEOF // as in package net; no kernel does so
	}
	return n, err
}

// transfer does what when the socket is ready, until it is done, the deadline has passed, or
// the connection is closed.
func (s *socket) transfer(what string, when func(func(uintptr) bool) error, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := transfers.Get().(*transfer)
	t.b, t.n, t.errno = b, 0, 0
	try := t.read
	if what == "write" {
		try = t.write
	}
	err := when(try)
	n, errno := t.n, t.errno
	t.b = nil
	transfers.Put(t)
	if err == nil && errno != 0 {
		err = &net.OpError{Op: what, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(what, errno)}
	}
	return n, err
}
