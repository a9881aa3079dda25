package link_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/kithtest/memnet"
)

const clusterID = "00112233445566778899aabbccddeeff"

var route = link.Route{Tag: link.TagOf(clusterID), From: 1, To: 2}

// events notes what a pipe tells, in order.
type events struct {
	mu   sync.Mutex
	all  []error // nil for up
	at   []time.Time
	news chan struct{}
}

func newEvents() *events { return &events{news: make(chan struct{}, 1)} }

func (e *events) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all, e.at = append(e.all, err), append(e.at, time.Now())
	select {
	case e.news <- struct{}{}:
	default:
	}
}

func (e *events) up() { e.note(nil) }

// wait waits for the n-th event.
func (e *events) wait(n int) (at time.Time, err error) {
	for {
		e.mu.Lock()
		if len(e.all) >= n {
			defer e.mu.Unlock()
			return e.at[n-1], e.all[n-1]
		}
		e.mu.Unlock()
		<-e.news
	}
}

// waitUp waits for the first connection among the events from the n-th on, and returns
// which one it is.
func (e *events) waitUp(n int) int {
	for _, err := e.wait(n); err != nil; _, err = e.wait(n) {
		n++
	}
	return n
}

func (e *events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

// numbered is a body that says its place and its own length.
func numbered(i, size int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(i))
	return b
}

func number(t *testing.T, body []byte) int {
	t.Helper()
	i := int(binary.BigEndian.Uint64(body))
	if !bytes.Equal(body, numbered(i, len(body))) {
		t.Errorf("frame %d of %d bytes is damaged", i, len(body))
	}
	return i
}

// TestPipe: over the system's network, with and without TLS, frames of all sizes arrive
// in order, and again after the other side was gone.
func TestPipe(t *testing.T) {
	for mode, key := range map[string]secret.Key{"plain": {}, "key": secret.NewKey()} {
		t.Run(mode, func(t *testing.T) {
			type frame struct {
				kind link.Kind
				n    int
				size int
			}
			got := make(chan frame, 1024)
			serve := func(c net.Conn, h link.Hello) {
				defer c.Close()
				r := link.NewFrameReader(c, h.Route())
				for {
					kind, body, err := r.Read()
					if err != nil {
						return
					}
					got <- frame{kind, number(t, body), len(body)}
				}
			}
			start := func(name, bind string, id uint64) *link.Link {
				l, err := link.Listen(t.Context(), link.Config{
					Network: link.System{}, Bind: bind, Cluster: "test", Name: name, Key: key, OnStream: serve,
				})
				if err != nil {
					t.Fatal(err)
				}
				l.Bind(clusterID, id)
				t.Cleanup(func() { l.Close() })
				return l
			}
			alpha, bravo := start("alpha", "127.0.0.1:0", 1), start("bravo", "127.0.0.1:0", 2)
			e := newEvents()
			p := link.NewPipe(link.PipeConfig{
				Route: route, OnUp: e.up, OnDown: e.note,
				Dial: func(ctx context.Context) (net.Conn, error) {
					conn, _, err := alpha.Dial(ctx, link.Call{Name: "bravo", Addr: bravo.Addr().String(), Purpose: link.Raft, RaftID: 2})
					return conn, err
				},
			})
			defer p.Close()
			sizes := []int{8, 100, 16 << 10, 64<<10 - 20, 64 << 10, 100 << 10, 3 << 20, 8}
			exchange := func() {
				t.Helper()
				for i := range 200 {
					body := numbered(i, sizes[i%len(sizes)])
					if !p.Send(link.Kind(i%4), body[:i%8], body[i%8:]) {
						t.Fatal("not taken")
					}
					if i%16 == 15 { // stay within the limit
						for p.Stats().Queued > 32<<20 {
							time.Sleep(time.Millisecond)
						}
					}
				}
				for i := range 200 {
					if f := <-got; f != (frame{link.Kind(i % 4), i, sizes[i%len(sizes)]}) {
						t.Fatalf("frame %d arrived as %+v", i, f)
					}
				}
			}
			if _, err := e.wait(1); err != nil {
				t.Fatal(err)
			}
			exchange()
			at := bravo.Addr().String()
			bravo.Close()
			if _, err := e.wait(2); err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the end of the other side: %v", err)
			}
			if _, err := e.wait(3); !link.Refused(err) {
				t.Errorf("a dead port: %v", err)
			}
			if p.Send(link.KindRaft, []byte("x")) || p.Up() {
				t.Error("a frame was taken without a connection")
			}
			bravo = start("bravo", at, 2)
			for n := 4; ; n++ {
				p.Nudge()
				if _, err := e.wait(n); err == nil {
					break
				}
			}
			exchange()
			if s := p.Stats(); s.Frames != 400 || s.Dropped != 1 || s.Queued != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// piped runs f in virtual time, with a pipe from alpha to bravo's port 9, where
// nothing listens yet.
func piped(t *testing.T, edit func(*link.PipeConfig), f func(n *memnet.Network, p *link.Pipe, e *events)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		e := newEvents()
		cfg := link.PipeConfig{
			Route: route, OnUp: e.up, OnDown: e.note,
			Dial: func(ctx context.Context) (net.Conn, error) { return n.Host(alphaAddr).Dial(ctx, "10.0.0.2:9") },
		}
		if edit != nil {
			edit(&cfg)
		}
		p := link.NewPipe(cfg)
		defer p.Close()
		f(n, p, e)
	})
}

func listenAt(t *testing.T, n *memnet.Network) net.Listener {
	t.Helper()
	l, err := n.Host(bravoAddr).Listen(t.Context(), ":9")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPipeBacksOff: a dead peer is called quickly at first, then once a second; a
// nudge calls it at once, and quickly again.
func TestPipeBacksOff(t *testing.T) {
	piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
		time.Sleep(time.Second)
		early := e.count()
		if early < 5 || early > 12 {
			t.Errorf("%d dials in the first second", early)
		}
		time.Sleep(time.Minute)
		if late := e.count() - early; late < 50 || late > 90 {
			t.Errorf("%d dials in a minute", late)
		}
		l := listenAt(t, n)
		start := time.Now()
		before := e.count()
		p.Nudge()
		if at, err := e.wait(before + 1); err != nil || !at.Equal(start) {
			t.Errorf("%v, %v after a nudge", err, at.Sub(start))
		}
		if !p.Up() {
			t.Error("not up")
		}
		// A connection that is lost is made again at once, one that is lost always is not.
		accept(t, l).Close()
		lost, err := e.wait(before + 2)
		if err == nil {
			t.Fatal("the loss was not told")
		}
		if at, err := e.wait(before + 3); err != nil || at.Sub(lost) > 60*time.Millisecond {
			t.Errorf("%v after %v", err, at.Sub(lost))
		}
		before = e.count()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		time.Sleep(time.Minute)
		if flaps := e.count() - before; flaps > 200 {
			t.Errorf("%d ups and downs in a minute", flaps)
		}
		l.Close()
	})
}

// TestPipeNoticesDeath: a process that dies is noticed although nothing is sent.
func TestPipeNoticesDeath(t *testing.T) {
	piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
		n.SetDefault(memnet.Conditions{Delay: 3 * time.Millisecond})
		l := listenAt(t, n)
		p.Nudge()
		up := e.waitUp(1)
		accept(t, l)
		time.Sleep(time.Hour)
		if e.count() != up {
			t.Fatal("the connection did not last")
		}
		died := time.Now()
		n.Host(bravoAddr).Kill()
		if at, err := e.wait(up + 1); !errors.Is(err, syscall.ECONNRESET) || at.Sub(died) > 10*time.Millisecond {
			t.Errorf("%v, %v after the death", err, at.Sub(died))
		}
		if at, err := e.wait(up + 2); !link.Refused(err) || at.Sub(died) > 10*time.Millisecond {
			t.Errorf("%v, %v after the death; want a refusal", err, at.Sub(died))
		}
	})
}

// TestPipeIsBounded: to a peer that reads nothing, a flood stays within the limit, and
// after a while the connection is given up and the memory with it.
func TestPipeIsBounded(t *testing.T) {
	const limit = 8 << 20
	piped(t, func(c *link.PipeConfig) { c.MaxQueue = limit }, func(n *memnet.Network, p *link.Pipe, e *events) {
		l := listenAt(t, n)
		p.Nudge()
		up := e.waitUp(1)
		c := accept(t, l)
		defer c.Close()
		if p.Send(link.KindRaft, make([]byte, link.MaxBody+1)) {
			t.Error("a body over the limit of all bodies was taken")
		}
		start := time.Now()
		taken := 0
		body := make([]byte, 1<<20)
		for range 100 {
			if p.Send(link.KindRaft, body) {
				taken++
			}
			synctest.Wait()
			if q := p.Stats().Queued; q > limit {
				t.Fatalf("%d bytes are queued", q)
			}
		}
		if taken < 7 || taken > 8 {
			t.Errorf("%d frames of 1 MiB were taken", taken)
		}
		at, err := e.wait(up + 1)
		if took := at.Sub(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < 10*time.Second || took > 11*time.Second {
			t.Errorf("given up after %v: %v", took, err)
		}
		s := p.Stats()
		if s.Queued != 0 || s.Frames != 0 || s.Dropped != 101 {
			t.Errorf("%+v", s)
		}
		// The next connection has room again, even for one frame over the limit.
		e.waitUp(up + 2)
		c = accept(t, l)
		defer c.Close()
		big := numbered(1, limit+limit)
		if !p.Send(link.KindRaft, big) {
			t.Fatal("a large frame alone was not taken")
		}
		if p.Send(link.KindRaft, []byte("x")) {
			t.Error("one beside it was")
		}
		r := link.NewFrameReader(c, route)
		if _, body, err := r.Read(); err != nil || !bytes.Equal(body, big) {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		l.Close()
	})
}

// TestSlowPeerIsNotGivenUp: who takes little is not who takes nothing.
func TestSlowPeerIsNotGivenUp(t *testing.T) {
	piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
		l := listenAt(t, n)
		defer l.Close()
		p.Nudge()
		up := e.waitUp(1)
		c := accept(t, l)
		defer c.Close()
		const size = 4 << 20
		p.Send(link.KindRaft, numbered(7, size))
		start, got := time.Now(), 0
		buf := make([]byte, 32<<10)
		for got < size {
			m, err := io.ReadFull(c, buf[:min(len(buf), size-got)])
			if err != nil {
				t.Fatal(err)
			}
			got += m
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took < 100*time.Second || e.count() != up {
			t.Errorf("took %v, %d events", took, e.count()-up)
		}
	})
}

// TestPipeEnds: Close returns at once, whatever the pipe does.
func TestPipeEnds(t *testing.T) {
	closes := func(p *link.Pipe) {
		t.Helper()
		start := time.Now()
		p.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if p.Up() || p.Send(link.KindRaft, nil) {
			t.Error("it goes on")
		}
		p.Close()
	}
	t.Run("dialling", func(t *testing.T) {
		piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
			n.Cut(alphaAddr, bravoAddr)
			l := listenAt(t, n)
			defer l.Close()
			time.Sleep(time.Minute)
			closes(p)
		})
	})
	t.Run("waiting", func(t *testing.T) {
		piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
			time.Sleep(time.Minute)
			closes(p)
			count := e.count()
			time.Sleep(time.Minute)
			if e.count() != count {
				t.Error("it told of something afterwards")
			}
		})
	})
	for _, stuck := range []bool{false, true} {
		t.Run(map[bool]string{false: "idle", true: "writing"}[stuck], func(t *testing.T) {
			piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
				l := listenAt(t, n)
				defer l.Close()
				time.Sleep(2 * time.Second)
				c := accept(t, l)
				defer c.Close()
				if !p.Up() {
					t.Fatal("not up")
				}
				if stuck {
					p.Send(link.KindRaft, make([]byte, 1<<20))
				}
				synctest.Wait()
				closes(p)
				if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the other side: %v", err)
				}
			})
		})
	}
}

// TestTalkativePeer: nothing is received on a pipe; who sends has not understood.
func TestTalkativePeer(t *testing.T) {
	piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
		l := listenAt(t, n)
		defer l.Close()
		up := e.waitUp(1)
		c := accept(t, l)
		defer c.Close()
		c.Write([]byte("hello"))
		if _, err := e.wait(up + 1); err == nil {
			t.Error("the connection stayed")
		}
	})
}

// TestManySenders: frames of one sender keep their order, all are whole, and coalesce.
func TestManySenders(t *testing.T) {
	const senders, each = 8, 500
	piped(t, nil, func(n *memnet.Network, p *link.Pipe, e *events) {
		l := listenAt(t, n)
		defer l.Close()
		time.Sleep(2 * time.Second)
		c := accept(t, l)
		defer c.Close()
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if !p.Send(link.Kind(s), numbered(i, 20+i)) {
						t.Error("not taken")
					}
				}
			})
		}
		r := link.NewFrameReader(c, route)
		next := make([]int, senders)
		for range senders * each {
			kind, body, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			if i := number(t, body); i != next[kind] {
				t.Fatalf("sender %d: frame %d after %d", kind, i, next[kind]-1)
			}
			next[kind]++
		}
		wg.Wait()
	})
}

// BenchmarkPipe sends over loopback to a reader of its own.
func BenchmarkPipe(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 256 << 10} {
		b.Run(map[int]string{128: "128B", 4 << 10: "4KiB", 256 << 10: "256KiB"}[size], func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			read := make(chan int, 1)
			go func() {
				defer close(read)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				r := link.NewFrameReader(c, route)
				frames := 0
				for {
					_, body, err := r.Read()
					if err != nil {
						return
					}
					if frames++; len(body) == 0 {
						read <- frames
						frames = 0
					}
				}
			}()
			e := newEvents()
			p := link.NewPipe(link.PipeConfig{
				Route: route, OnUp: e.up, OnDown: e.note,
				Dial: func(ctx context.Context) (net.Conn, error) { return link.System{}.Dial(ctx, l.Addr().String()) },
			})
			e.wait(1)
			body := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for !p.Send(link.KindRaft, body) {
					time.Sleep(20 * time.Microsecond) // the queue is full
				}
			}
			for !p.Send(link.KindRaft) {
				time.Sleep(20 * time.Microsecond)
			}
			<-read
			p.Close()
			l.Close()
			<-read
		})
	}
}
