package transporttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

// serve adds a stream handler or fails the test.
func (c *cluster) serve(n *node, subject string, h transport.StreamHandler, opts ...transport.HandleOption) {
	c.Helper()
	if err := n.HandleStream(subject, h, opts...); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) open(n *node, peer, subject string) *transport.Stream {
	c.Helper()
	s, err := n.OpenStream(c.ctx(), peer, subject)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = s.Close() })
	return s
}

var streams = []test{
	{"Echo", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.serve(n[1], "echo", func(_ context.Context, s *transport.Stream) error {
			_, err := io.Copy(s, s)
			return err
		})
		for _, to := range []string{"bravo", "alpha"} {
			if to == "alpha" {
				c.serve(n[0], "echo", func(_ context.Context, s *transport.Stream) error {
					_, err := io.Copy(s, s)
					return err
				})
			}
			s := c.open(n[0], to, "echo")
			const size = 3 << 20
			r := rand.New(rand.NewPCG(1, 2))
			sent, got := sha256.New(), sha256.New()
			var writing sync.WaitGroup
			writing.Go(func() {
				buf := make([]byte, 200_000)
				for left := size; left > 0; {
					k := min(1+r.IntN(len(buf)), left)
					for i := range buf[:k] {
						buf[i] = byte(i * k)
					}
					sent.Write(buf[:k])
					if _, err := s.Write(buf[:k]); err != nil {
						c.Error(err)
						return
					}
					left -= k
				}
				if err := s.CloseWrite(); err != nil {
					c.Error(err)
				}
			})
			count, err := io.Copy(got, s)
			writing.Wait()
			if err != nil || count != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				c.Errorf("%d bytes came back from %s, %v", count, to, err)
			}
			if _, err := s.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				c.Errorf("after CloseWrite: %v", err)
			}
			if err := s.Close(); err != nil {
				c.Error(err)
			}
		}
	}},
	{"TinyWrites", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.serve(n[1], "count", func(_ context.Context, s *transport.Stream) error {
			all, err := io.ReadAll(s)
			if err == nil {
				_, err = s.Write(all)
			}
			return err
		})
		s := c.open(n[0], "bravo", "count")
		var want []byte
		for i := range 3000 {
			want = append(want, byte(i))
			if _, err := s.Write(want[i:]); err != nil {
				c.Fatal(err)
			}
		}
		if err := s.CloseWrite(); err != nil {
			c.Fatal(err)
		}
		if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
			c.Errorf("%d of %d bytes came back, %v", len(got), len(want), err)
		}
	}},
	{"WriterWaitsForReader", func(c *cluster) {
		c.names = []string{"alpha", "bravo"}
		small := transport.Config{Limits: transport.Limits{StreamWindow: 100_000}}
		alpha, bravo := c.run("alpha", small), c.run("bravo", small)
		c.settle()
		read := make(chan struct{})
		c.serve(bravo, "slow", func(_ context.Context, s *transport.Stream) error {
			<-read
			_, err := io.Copy(io.Discard, s)
			return err
		})
		s := c.open(alpha, "bravo", "slow")
		if err := s.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			c.Fatal(err)
		}
		written, err := s.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || written != 100_000 {
			c.Errorf("wrote %d to one who does not read, %v", written, err)
		}
		close(read)
		_ = s.SetWriteDeadline(time.Time{})
		if n, err := s.Write(make([]byte, 1<<20)); err != nil || n != 1<<20 {
			c.Errorf("then wrote %d, %v", n, err)
		}
	}},
	{"Refused", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.handle(n[1], "request", echo)
		c.serve(n[1], "one", func(ctx context.Context, s *transport.Stream) error {
			<-ctx.Done()
			return nil
		}, transport.Concurrency(1))
		c.open(n[0], "bravo", "one")
		for _, tc := range []struct {
			peer, subject string
			want          error
		}{
			{"bravo", "nothing", transport.ErrNoHandler},
			{"bravo", "request", transport.ErrNoHandler},
			{"bravo", "one", transport.ErrOverloaded},
			{"zulu", "one", transport.ErrNoPeer},
			{"bravo", "", transport.ErrSubject},
		} {
			_, err := n[0].OpenStream(c.ctx(), tc.peer, tc.subject)
			if !errors.Is(err, tc.want) || outcome.Of(err) != outcome.NotDone {
				c.Errorf("%s %q: %v", tc.peer, tc.subject, err)
			}
		}
		if _, err := n[0].Request(c.ctx(), "bravo", "one", nil); !errors.Is(err, transport.ErrNoHandler) {
			c.Errorf("a request of a stream's subject: %v", err)
		}
	}},
	{"HandlerFails", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.serve(n[1], "fail", func(_ context.Context, s *transport.Stream) error {
			_, _ = io.WriteString(s, "so far")
			return transport.Coded("full", errors.New("disk full"))
		})
		c.serve(n[1], "panic", func(context.Context, *transport.Stream) error { panic("on purpose") })
		for subject, want := range map[string]transport.RemoteError{
			"fail":  {Code: "full", Text: "disk full"},
			"panic": {Code: "panic", Text: "the handler panicked: on purpose"},
		} {
			s, err := n[0].OpenStream(c.ctx(), "bravo", subject)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(s)
			}
			e, ok := errors.AsType[*transport.RemoteError](err)
			if !ok || *e != want || (subject == "fail" && string(got) != "so far") {
				c.Errorf("%s: read %q, %v", subject, got, err)
			}
		}
	}},
	{"CloseStopsTheWriter", func(c *cluster) {
		n := c.start("alpha", "bravo")
		wrote := make(chan error, 1)
		c.serve(n[1], "endless", func(_ context.Context, s *transport.Stream) error {
			for {
				if _, err := s.Write(make([]byte, 10_000)); err != nil {
					wrote <- err
					_, err = io.Copy(io.Discard, s)
					wrote <- err
					return nil
				}
			}
		})
		s := c.open(n[0], "bravo", "endless")
		if _, err := io.ReadFull(s, make([]byte, 50_000)); err != nil {
			c.Fatal(err)
		}
		if err := s.Close(); err != nil {
			c.Fatal(err)
		}
		if err := <-wrote; !errors.Is(err, transport.ErrStopped) {
			c.Errorf("the writer got %v", err)
		}
		if err := <-wrote; err != nil {
			c.Errorf("the reader got %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
			c.Errorf("after Close: %v", err)
		}
	}},
	{"Deadlines", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.serve(n[1], "quiet", func(ctx context.Context, s *transport.Stream) error {
			_, err := io.Copy(s, s)
			return err
		})
		s := c.open(n[0], "bravo", "quiet")
		_ = s.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			c.Errorf("got %v", err)
		}
		_ = s.SetDeadline(time.Now().Add(-time.Second))
		if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			c.Errorf("got %v", err)
		}
		_ = s.SetDeadline(time.Time{})
		if _, err := s.Write([]byte("x")); err != nil {
			c.Error(err)
		}
		if k, err := s.Read(make([]byte, 9)); k != 1 || err != nil {
			c.Errorf("read %d, %v", k, err)
		}
		reading := make(chan error)
		go func() {
			_, err := s.Read(make([]byte, 1))
			reading <- err
		}()
		_ = s.SetReadDeadline(time.Now().Add(-time.Second)) // also for the Read under way
		if err := <-reading; !errors.Is(err, os.ErrDeadlineExceeded) {
			c.Errorf("got %v", err)
		}
	}},
	{"OpeningIsCancelled", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.serve(n[1], "busy", func(ctx context.Context, s *transport.Stream) error {
			h.begun <- s.Peer()
			<-ctx.Done()
			h.ended <- ctx.Err()
			return nil
		})
		ctx, cancel := context.WithCancel(c.Context())
		s, err := n[0].OpenStream(ctx, "bravo", "busy")
		if err != nil {
			c.Fatal(err)
		}
		<-h.begun
		cancel() // does not matter any more
		if _, err := s.Write([]byte("x")); err != nil {
			c.Error(err)
		}
		_ = s.CloseWithError(errors.New("enough"))
		if err := <-h.ended; err == nil {
			c.Error("the handler's context did not end")
		}
		if _, err := n[0].OpenStream(ctx, "bravo", "busy"); !errors.Is(err, context.Canceled) {
			c.Errorf("with a context that is over: %v", err)
		}
	}},
}
