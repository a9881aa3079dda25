package link

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/kith-go/kith/internal/secret"
)

// socketPipe returns a pipe over the system's network, and the other end of its connection.
func socketPipe(t *testing.T, cfg PipeConfig) (*Pipe, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	up := make(chan struct{})
	cfg.OnUp = sync.OnceFunc(func() { close(up) })
	cfg.Dial = func(ctx context.Context) (net.Conn, error) { return System{}.Dial(ctx, l.Addr().String()) }
	p := NewPipe(cfg)
	t.Cleanup(p.Close)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	<-up
	return p, conn
}

// TestSendersWrite: over sockets frames are written by who sends them and by the pipe's
// goroutine in turn, and none is lost, damaged or overtaken by one of the same sender.
func TestSendersWrite(t *testing.T) {
	const senders, each = 4, 3000
	p, conn := socketPipe(t, PipeConfig{})
	var wg sync.WaitGroup
	defer wg.Wait()
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				body := make([]byte, 8+i%9000)
				binary.BigEndian.PutUint64(body, uint64(i))
				if !p.Send(Kind(s), body) {
					t.Error("not taken")
				}
			}
		})
	}
	r := NewFrameReader(conn, Route{})
	var next [senders]int
	for range senders * each {
		kind, body, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if i := int(binary.BigEndian.Uint64(body)); i != next[kind] || len(body) != 8+i%9000 {
			t.Fatalf("sender %d: frame %d with %d bytes after %d", kind, i, len(body), next[kind]-1)
		}
		next[kind]++
	}
	wg.Wait()
	if s := p.Stats(); s.Dropped != 0 || s.AtOnce == 0 {
		t.Errorf("%+v", s)
	}
}

// TestStoppedReader: who sends to somebody who reads nothing is refused at some time, and
// never made to wait.
func TestStoppedReader(t *testing.T) {
	down := make(chan error, 1)
	p, _ := socketPipe(t, PipeConfig{MaxQueue: 1 << 20, OnDown: func(err error) {
		select {
		case down <- err:
		default:
		}
	}})
	for p.Send(KindRaft, make([]byte, 1000)) {
	}
	if !p.Up() { // a write that waits ends the connection after a while
		t.Errorf("the connection ended: %v", <-down)
	}
	if s := p.Stats(); s.Queued < 1<<19 || s.AtOnce == 0 {
		t.Errorf("refused before the queue was full: %+v", s)
	}
}

// TestKernelTellsWhatItHolds: through TLS and what the link adds to a connection.
func TestKernelTellsWhatItHolds(t *testing.T) {
	for mode, key := range map[string]secret.Key{"plain": {}, "key": secret.NewKey()} {
		t.Run(mode, func(t *testing.T) {
			accepted := make(chan struct{})
			var links [2]*Link
			for i, name := range []string{"alpha", "bravo"} {
				l, err := Listen(t.Context(), Config{
					Network: System{}, Bind: "127.0.0.1:0", Cluster: "test", Name: name, Key: key,
					OnStream: func(conn net.Conn, _ Hello) { <-accepted },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				l.Bind("00112233445566778899aabbccddeeff", uint64(i+1))
				links[i] = l
			}
			defer close(accepted)
			conn, _, err := links[0].Dial(t.Context(), Call{Name: "bravo", Addr: links[1].Addr().String(), Purpose: Raft, RaftID: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer hangUp(conn)
			ask := unsent(conn)
			if ask == nil {
				t.Fatal("no socket was found")
			}
			for n, err := ask(); n == 0; n, err = ask() { // nobody reads
				if err != nil {
					t.Fatal(err)
				}
				conn.Write(make([]byte, 1<<20))
			}
			hangUp(conn)
			if _, err := ask(); err == nil {
				t.Error("a closed socket still answers")
			}
		})
	}
}
