package memnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestStreamCarriesBytesBothWays(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		r.write(near, "ping")
		r.read(far, "ping")
		r.write(far, "pong")
		r.read(near, "pong")
		if near.LocalAddr().String() != far.RemoteAddr().String() || far.LocalAddr().String() != near.RemoteAddr().String() {
			r.Errorf("addresses differ: %v-%v, %v-%v", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
		}
		if _, ok := near.RemoteAddr().(*net.TCPAddr); !ok {
			r.Errorf("%T is not a *net.TCPAddr", near.RemoteAddr())
		}
	})
}

// Nettest's basic IO: far more than the window, echoed.
func TestStreamCarriesMuch(t *testing.T) {
	for _, conditions := range []Conditions{{}, {Delay: 5 * time.Millisecond}, {Delay: time.Millisecond, Jitter: 9 * time.Millisecond, Loss: 0.1}} {
		t.Run(fmt.Sprint(conditions), func(t *testing.T) {
			virtually(t, func(r *rig) {
				r.SetDefault(conditions)
				near, far := r.connect()
				want := make([]byte, 3<<20)
				for i := range want {
					want[i] = byte(rand.Uint32())
				}
				go func() {
					io.Copy(far, far)
					far.Close()
				}()
				go func() {
					near.Write(want)
					near.(interface{ CloseWrite() error }).CloseWrite()
				}()
				if got, err := io.ReadAll(near); err != nil || !bytes.Equal(got, want) {
					r.Errorf("%d bytes came back, %v", len(got), err)
				}
			})
		})
	}
}

func TestHalfClose(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		r.write(near, "last words")
		if err := near.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			r.Fatal(err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			r.Errorf("Write after CloseWrite: %v", err)
		}
		if got, err := io.ReadAll(far); string(got) != "last words" || err != nil {
			r.Errorf("read %q, %v", got, err)
		}
		r.write(far, "answer")
		r.read(near, "answer")
		far.Close()
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			r.Errorf("Read after the peer's Close: %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	one := make([]byte, 1)
	t.Run("what was written arrives", func(t *testing.T) {
		virtually(t, func(r *rig) {
			r.SetDefault(Conditions{Delay: time.Second})
			near, far := r.connect()
			r.write(near, "last words")
			near.Close()
			if got, err := io.ReadAll(far); string(got) != "last words" || err != nil {
				r.Errorf("read %q, %v", got, err)
			}
		})
	})
	t.Run("twice", func(t *testing.T) {
		virtually(t, func(r *rig) {
			near, _ := r.connect()
			if err := near.Close(); err != nil {
				r.Error(err)
			}
			for op, err := range map[string]error{
				"Close":       near.Close(),
				"CloseWrite":  near.(*conn).CloseWrite(),
				"SetDeadline": near.SetDeadline(time.Now()),
				"Read":        second(near.Read(one)),
				"Write":       second(near.Write(one)),
			} {
				if !errors.Is(err, net.ErrClosed) {
					r.Errorf("%s after Close: %v", op, err)
				}
			}
		})
	})
	t.Run("with unread bytes resets", func(t *testing.T) {
		virtually(t, func(r *rig) {
			near, far := r.connect()
			r.write(far, "answer")
			r.write(near, "unread")
			far.Close()
			r.read(near, "answer")
			if _, err := near.Read(one); !errors.Is(err, syscall.ECONNRESET) {
				r.Errorf("Read: %v", err)
			}
			if _, err := near.Write(one); !errors.Is(err, syscall.ECONNRESET) {
				r.Errorf("Write: %v", err)
			}
		})
	})
	t.Run("then bytes arrive", func(t *testing.T) {
		virtually(t, func(r *rig) {
			near, far := r.connect()
			far.Close()
			r.write(near, "late")
			if _, err := near.Write(one); !errors.Is(err, syscall.EPIPE) {
				r.Errorf("Write: %v", err)
			}
			if _, err := near.Read(one); err != io.EOF {
				r.Errorf("Read: %v", err)
			}
		})
	})
	t.Run("ends calls that wait", func(t *testing.T) {
		virtually(t, func(r *rig) {
			near, _ := r.connect()
			errs := make(chan error, 3)
			go func() { errs <- second(near.Read(one)) }()
			for range 2 {
				go func() { errs <- second(near.Write(make([]byte, 2*window))) }()
			}
			synctest.Wait()
			near.Close()
			for range 3 {
				if err := <-errs; !errors.Is(err, net.ErrClosed) {
					r.Error(err)
				}
			}
		})
	})
}

func second[A any](_ A, err error) error { return err }

func TestBackPressure(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		near.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := near.Write(make([]byte, 2*window))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
			r.Fatalf("Write = %d, %v; want %d bytes and a timeout", n, err, window)
		}
		near.SetWriteDeadline(time.Time{})
		if _, err := io.CopyN(io.Discard, far, window/2); err != nil {
			r.Fatal(err)
		}
		if n, err := near.Write(make([]byte, window/2)); n != window/2 || err != nil {
			r.Fatalf("Write = %d, %v once there is room", n, err)
		}
	})
}

func TestWritesDoNotMix(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		const writers, size = 4, 3 * window
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() { near.Write(bytes.Repeat([]byte{byte(i)}, size)) })
		}
		for range writers {
			b := make([]byte, size)
			if _, err := io.ReadFull(far, b); err != nil {
				r.Fatal(err)
			}
			if !bytes.Equal(b, bytes.Repeat(b[:1], size)) {
				r.Fatal("two writes were mixed")
			}
		}
		wg.Wait()
	})
}

func TestDeadlines(t *testing.T) {
	calls := map[string]struct {
		call func(net.Conn) error
		set  func(net.Conn, time.Time) error
	}{
		"Read":  {func(c net.Conn) error { return second(c.Read(make([]byte, 1))) }, net.Conn.SetReadDeadline},
		"Write": {func(c net.Conn) error { return second(c.Write(make([]byte, 2*window))) }, net.Conn.SetWriteDeadline},
		"both":  {func(c net.Conn) error { return second(c.Read(make([]byte, 1))) }, net.Conn.SetDeadline},
	}
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(r *rig) {
				near, far := r.connect()
				expire := func(when string) {
					r.Helper()
					if err := c.call(near); !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
						r.Errorf("%s: %v", when, err)
					}
				}
				begin := time.Now()
				c.set(near, begin.Add(time.Second))
				expire("future")
				if since := time.Since(begin); since != time.Second {
					r.Errorf("it took %v", since)
				}
				expire("past")
				c.set(near, time.Now())
				expire("present")

				c.set(near, begin.Add(time.Hour))
				time.AfterFunc(time.Second, func() { c.set(near, time.Now().Add(time.Second)) })
				expire("brought forward")
				time.AfterFunc(time.Second, func() { c.set(near, time.Now().Add(5*time.Second)) })
				c.set(near, time.Now().Add(2*time.Second))
				begin = time.Now()
				expire("put off")
				if since := time.Since(begin); since != 6*time.Second {
					r.Errorf("put off: it took %v", since)
				}

				c.set(near, time.Time{})
				r.write(far, "x")
				r.read(near, "x")
			})
		})
	}
}

// A past deadline wins over bytes that are there, as in package net.
func TestDeadlineBeforeData(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		r.write(far, "x")
		near.SetReadDeadline(time.Now().Add(-time.Second))
		if _, err := near.Read(make([]byte, 1)); !isTimeout(err) {
			r.Errorf("Read: %v", err)
		}
		near.SetReadDeadline(time.Time{})
		r.read(near, "x")
	})
}

// Everything at once, for the race detector.
func TestRacyUse(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Jitter: time.Millisecond, Loss: 0.05})
		near, far := r.connect()
		var wg sync.WaitGroup
		for _, c := range []net.Conn{near, far} {
			for i := range 4 {
				wg.Go(func() {
					b := make([]byte, 1000)
					for range 50 {
						c.SetDeadline(time.Now().Add(time.Duration(i) * time.Millisecond))
						c.Read(b)
						c.Write(b)
						c.LocalAddr()
					}
					if i == 0 {
						c.Close()
					}
				})
			}
		}
		wg.Go(func() {
			for range 50 {
				r.Cut(alphaAddr, bravoAddr)
				r.bravo.Pause()
				time.Sleep(time.Millisecond)
				r.Heal()
				r.bravo.Resume()
			}
		})
		wg.Wait()
	})
}

func TestListen(t *testing.T) {
	virtually(t, func(r *rig) {
		r.AddName("alpha", alphaAddr)
		taken := r.listen(r.alpha, "10.0.0.1:7000")
		loopback := r.listen(r.alpha, "127.0.0.1:7000")
		for address, want := range map[string]error{
			"10.0.0.1:7000":  syscall.EADDRINUSE,
			":7000":          syscall.EADDRINUSE,
			"0.0.0.0:7000":   syscall.EADDRINUSE,
			"10.0.0.2:7000":  syscall.EADDRNOTAVAIL,
			"[fe80::1]:7000": syscall.EADDRNOTAVAIL,
		} {
			_, err := r.alpha.Listen(r.Context(), address)
			if op := new(net.OpError); !errors.Is(err, want) || !errors.As(err, &op) || op.Op != "listen" || op.Net != "tcp" {
				r.Errorf("Listen(%q): %v, want %v", address, err, want)
			}
		}
		for _, address := range []string{"10.0.0.1", "10.0.0.1:http", "10.0.0.1:70000", "nobody:1"} {
			if _, err := r.alpha.Listen(r.Context(), address); err == nil {
				r.Errorf("Listen(%q) succeeded", address)
			}
		}
		r.listenPacket(r.alpha, ":7000") // UDP's ports are others
		taken.Close()
		r.listen(r.alpha, "alpha:7000")
		loopback.Close()
		first, other := r.listen(r.alpha, ":0"), r.listen(r.alpha, "[::]:0")
		if port(first.Addr()) == port(other.Addr()) || port(first.Addr()) == "0" {
			r.Errorf("free ports: %v, %v", first.Addr(), other.Addr())
		}
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		if _, err := r.alpha.Listen(ctx, ":0"); !errors.Is(err, context.Canceled) {
			r.Errorf("Listen with an ended context: %v", err)
		}
	})
}

func TestListenerClose(t *testing.T) {
	virtually(t, func(r *rig) {
		l := r.listen(r.bravo, ":7000")
		queued, err := r.dial(r.alpha, "10.0.0.2:7000")
		if err != nil {
			r.Fatal(err)
		}
		accepted := r.listen(r.bravo, ":7001")
		time.AfterFunc(time.Second, func() { accepted.Close() })
		if _, err := accepted.Accept(); !errors.Is(err, net.ErrClosed) {
			r.Errorf("Accept: %v", err)
		}
		l.Close()
		if _, err := queued.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read of a connection never accepted: %v", err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			r.Errorf("second Close: %v", err)
		}
		timed := r.listen(r.bravo, ":7000").(interface {
			net.Listener
			SetDeadline(time.Time) error
		})
		timed.SetDeadline(time.Now().Add(time.Second))
		if _, err := timed.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			r.Errorf("Accept: %v", err)
		}
	})
}

func TestDial(t *testing.T) {
	virtually(t, func(r *rig) {
		r.listen(r.bravo, "10.0.0.2:7000")
		r.listen(r.bravo, "127.0.0.1:7001")
		r.listen(r.alpha, "127.0.0.1:7002")
		r.listen(r.alpha, ":7003")
		r.AddName("Bravo.", bravoAddr)
		r.AddName("several", netip.MustParseAddr("10.9.9.9"), bravoAddr)
		for address, want := range map[string]error{
			"10.0.0.2:7000":          nil,
			"[::ffff:10.0.0.2]:7000": nil,
			"bravo:7000":             nil,
			"several:7000":           nil,
			"several:7999":           syscall.EHOSTUNREACH,
			"10.0.0.2:7001":          syscall.ECONNREFUSED, // listens on its loopback only
			"127.0.0.1:7001":         syscall.ECONNREFUSED, // on bravo, not here
			"127.0.0.1:7002":         nil,
			"127.0.0.1:7003":         nil,
			"localhost:7003":         nil,
			":7003":                  nil,
			"0.0.0.0:7003":           nil,
			"10.0.0.1:7002":          syscall.ECONNREFUSED,
			"10.0.0.1:7003":          nil,
			"10.9.9.9:7000":          syscall.EHOSTUNREACH,
		} {
			c, err := r.dial(r.alpha, address)
			if !errors.Is(err, want) {
				r.Errorf("Dial(%q): %v, want %v", address, err, want)
			}
			if op := new(net.OpError); err != nil && (!errors.As(err, &op) || op.Op != "dial" || op.Net != "tcp") {
				r.Errorf("Dial(%q): %#v", address, err)
			}
			if err == nil {
				c.Close()
			}
		}
		_, err := r.dial(r.alpha, "nobody:7000")
		if dns := new(net.DNSError); !errors.As(err, &dns) || !dns.IsNotFound {
			r.Errorf("Dial of an unknown name: %v", err)
		}
		if _, err := r.dial(r.alpha, "10.0.0.2"); err == nil {
			r.Error("Dial without a port succeeded")
		}
	})
}

func TestDialTakesARoundTrip(t *testing.T) {
	virtually(t, func(r *rig) {
		r.listen(r.bravo, ":7000")
		r.SetPath(alphaAddr, bravoAddr, Conditions{Delay: 20 * time.Millisecond})
		r.SetPath(bravoAddr, alphaAddr, Conditions{Delay: 30 * time.Millisecond})
		for _, address := range []string{"10.0.0.2:7000", "10.0.0.2:7001"} {
			begin := time.Now()
			r.dial(r.alpha, address)
			if since := time.Since(begin); since != 50*time.Millisecond {
				r.Errorf("Dial(%q) took %v", address, since)
			}
		}
	})
}

func TestDialHonoursItsContext(t *testing.T) {
	virtually(t, func(r *rig) {
		l := r.listen(r.bravo, ":7000")
		r.AddName("several", alphaAddr, bravoAddr)
		for _, cut := range []func(){
			func() { r.Cut(alphaAddr, bravoAddr) },
			func() { r.Cut(bravoAddr, alphaAddr) },
			func() { r.SetDefault(Conditions{Loss: 1}) },
			r.bravo.PowerOff,
		} {
			cut()
			if _, err := r.dial(r.alpha, "10.0.0.2:7000"); !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err) {
				r.Errorf("Dial: %v", err)
			}
			ctx, cancel := context.WithCancel(r.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := r.alpha.Dial(ctx, "10.0.0.2:7000"); !errors.Is(err, context.Canceled) {
				r.Errorf("Dial: %v", err)
			}
			if _, err := r.alpha.Dial(ctx, "10.0.0.2:7000"); !errors.Is(err, context.Canceled) {
				r.Errorf("Dial with an ended context: %v", err)
			}
			r.Heal()
			r.SetDefault(Conditions{})
		}
		if got := len(r.conns); got != 0 {
			// The accepted ends of abandoned dials were never taken up, and closed with the machine.
			r.Errorf("%d connections are left", got)
		}
		l.Close()
	})
}

// A name's second address gets its share of the time though the first never answers.
func TestDialSharesItsTime(t *testing.T) {
	virtually(t, func(r *rig) {
		r.Host(delta).PowerOff()
		r.listen(r.bravo, ":7000")
		r.AddName("several", delta, bravoAddr)
		begin := time.Now()
		if _, err := r.dial(r.alpha, "several:7000"); err != nil || time.Since(begin) != 30*time.Second {
			r.Errorf("Dial: %v after %v", err, time.Since(begin))
		}
	})
}

func TestDialSurvivesACut(t *testing.T) {
	virtually(t, func(r *rig) {
		r.listen(r.bravo, ":7000")
		r.Cut(bravoAddr, alphaAddr)
		time.AfterFunc(10*time.Second, r.Heal)
		begin := time.Now()
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); err != nil || time.Since(begin) != 10*time.Second {
			r.Errorf("Dial: %v after %v", err, time.Since(begin))
		}
	})
}

func TestBacklog(t *testing.T) {
	virtually(t, func(r *rig) {
		l := r.listen(r.bravo, ":7000")
		for range backlog {
			if _, err := r.dial(r.alpha, "10.0.0.2:7000"); err != nil {
				r.Fatal(err)
			}
		}
		time.AfterFunc(5500*time.Millisecond, func() { l.Accept() })
		begin := time.Now()
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); err != nil || time.Since(begin) != 6*time.Second {
			r.Errorf("Dial: %v after %v", err, time.Since(begin))
		}
	})
}

func TestResolve(t *testing.T) {
	virtually(t, func(r *rig) {
		v6 := netip.MustParseAddr("fd00::1")
		r.AddName("bravo", bravoAddr)
		r.AddName("Both", bravoAddr, v6)
		r.AddName("bravo", delta)
		r.AddName("gone", bravoAddr)
		r.AddName("gone")
		for host, want := range map[string]string{
			"10.0.0.9":  "[10.0.0.9]",
			"fd00::9":   "[fd00::9]",
			"bravo":     "[10.0.0.4]",
			"both.":     "[10.0.0.2 fd00::1]",
			"localhost": "[127.0.0.1]",
		} {
			if got, err := r.alpha.Resolve(r.Context(), host); err != nil || fmt.Sprint(got) != want {
				r.Errorf("Resolve(%q) = %v, %v; want %s", host, got, err, want)
			}
		}
		if got, _ := r.Host(v6).Resolve(r.Context(), "localhost"); fmt.Sprint(got) != "[::1]" {
			r.Errorf("localhost is %v", got)
		}
		for _, host := range []string{"nobody", "gone", ""} {
			_, err := r.alpha.Resolve(r.Context(), host)
			if dns := new(net.DNSError); !errors.As(err, &dns) || !dns.IsNotFound || dns.Name != host {
				r.Errorf("Resolve(%q): %#v", host, err)
			}
		}
	})
}
