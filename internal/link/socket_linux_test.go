package link

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// sockets returns both ends of a connection of System's.
func sockets(t testing.TB) (dialled, accepted net.Conn) {
	t.Helper()
	l, err := System{}.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var dial sync.WaitGroup
	dial.Go(func() { dialled, err = System{}.Dial(t.Context(), l.Addr().String()) })
	accepted, failed := l.Accept()
	dial.Wait()
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

// TestSocketIsAConn: a socket keeps to the contract of package net.
func TestSocketIsAConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = sockets(t)
		if _, ok := c1.(*socket); !ok {
			t.Fatalf("a %T", c1)
		}
		if _, ok := c2.(*socket); !ok {
			t.Fatalf("accepted a %T", c2)
		}
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

// TestSocketWaitsForRoom: a write that the kernel takes only in parts is whole.
func TestSocketWaitsForRoom(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secured], func(t *testing.T) {
			from, to := sockets(t)
			if secured {
				certificate := selfSigned(t)
				from = tls.Client(from, &tls.Config{InsecureSkipVerify: true})
				to = tls.Server(to, &tls.Config{Certificates: []tls.Certificate{certificate}})
			}
			sent := make([]byte, 32<<20)
			for i := range sent {
				sent[i] = byte(i >> 8 * i)
			}
			var sender sync.WaitGroup
			sender.Go(func() {
				defer from.Close()
				if n, err := from.Write(sent); n != len(sent) || err != nil {
					t.Errorf("%d of %d bytes were written: %v", n, len(sent), err)
				}
			})
			got, err := io.ReadAll(to)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes of %d came, or others: %v", len(got), len(sent), err)
			}
			to.Close()
			sender.Wait()
		})
	}
}

// TestSocketErrors are those of package net.
func TestSocketErrors(t *testing.T) {
	read := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 8))
		return err
	}
	a, b := sockets(t)
	a.SetReadDeadline(time.Now())
	if err := read(a); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	a.SetReadDeadline(time.Time{})
	if n, err := a.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing read: %d, %v", n, err)
	}
	a.(*socket).CloseWrite()
	if err := read(b); err != io.EOF {
		t.Errorf("the other side has said all: %v", err)
	}
	b.(*socket).SetLinger(0)
	b.Close() // resets
	err := read(a)
	if op, ok := errors.AsType[*net.OpError](err); !errors.Is(err, syscall.ECONNRESET) || !ok || op.Op != "read" || op.Source == nil || op.Addr == nil {
		t.Errorf("reset: %v", err)
	}
	_, err = a.Write([]byte("x"))
	if op, ok := errors.AsType[*net.OpError](err); !errors.Is(err, syscall.EPIPE) || !ok || op.Op != "write" {
		t.Errorf("written after a reset: %v", err)
	}
	a.Close()
	if err := read(a); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// BenchmarkSocket sends a small frame there and back.
func BenchmarkSocket(b *testing.B) {
	for _, kind := range []string{"socket", "net"} {
		b.Run(kind, func(b *testing.B) {
			here, there := sockets(b)
			if kind == "net" {
				here, there = here.(*socket).TCPConn, there.(*socket).TCPConn
			}
			var echo sync.WaitGroup
			echo.Go(func() { io.Copy(struct{ io.Writer }{there}, struct{ io.Reader }{there}) })
			frame := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := here.Write(frame); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(here, frame); err != nil {
					b.Fatal(err)
				}
			}
			here.Close()
			echo.Wait()
			there.Close()
		})
	}
}
