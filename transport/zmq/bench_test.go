//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

// pair starts two messengers that are each other's peer.
func pair(tb testing.TB, key secret.Key) (alpha, bravo *transport.Messenger) {
	engines := map[string]*Engine{}
	messenger := func(name string) *transport.Messenger {
		e := New(Config{Endpoint: "tcp://127.0.0.1:*", Key: key})
		m, err := transport.New(transport.Config{Name: name, Engine: e})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { m.Close() })
		engines[name] = e
		return m
	}
	alpha, bravo = messenger("alpha"), messenger("bravo")
	alpha.SetPeers([]transport.Address{{Name: "bravo", Endpoint: engines["bravo"].Endpoint()}})
	bravo.SetPeers([]transport.Address{{Name: "alpha", Endpoint: engines["alpha"].Endpoint()}})
	return alpha, bravo
}

func echo(_ context.Context, request transport.Message) (transport.Message, error) {
	return transport.Message{Body: request.Body}, nil
}

// loads are what is measured: callers at once, and bytes of each request and reply.
var loads = []struct{ size, callers int }{{128, 1}, {128, 64}, {128, 512}, {64 << 10, 1}, {64 << 10, 64}, {1 << 20, 1}}

// BenchmarkRequest measures requests between two nodes in one process.
func BenchmarkRequest(b *testing.B) {
	for _, secured := range []bool{false, true} {
		for _, load := range loads {
			b.Run(fmt.Sprintf("curve=%v/size=%d/callers=%d", secured, load.size, load.callers), func(b *testing.B) {
				var key secret.Key
				if secured {
					key = secret.NewKey()
				}
				alpha, bravo := pair(b, key)
				if err := bravo.Handle("echo", echo, transport.Concurrency(load.callers)); err != nil {
					b.Fatal(err)
				}
				ask(b, alpha, load.size, load.callers)
			})
		}
	}
}

// BenchmarkRequestProcesses measures them between two processes, with CURVE.
func BenchmarkRequestProcesses(b *testing.B) {
	key := secret.NewKey()
	e := New(Config{Endpoint: "tcp://127.0.0.1:*", Key: key})
	alpha, err := transport.New(transport.Config{Name: "alpha", Engine: e})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { alpha.Close() })
	there := freeEndpoint(b)
	peerProcess(b, there, 1, e.Endpoint(), key)
	alpha.SetPeers([]transport.Address{{Name: "bravo", Endpoint: there}})
	for _, load := range loads {
		b.Run(fmt.Sprintf("size=%d/callers=%d", load.size, load.callers), func(b *testing.B) {
			ask(b, alpha, load.size, load.callers)
		})
	}
}

// ask measures requests to bravo's echo.
func ask(b *testing.B, alpha *transport.Messenger, size, callers int) {
	ctx := b.Context()
	body := make([]byte, size)
	if _, err := alpha.Request(ctx, "bravo", "echo", body); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := alpha.Request(ctx, "bravo", "echo", body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
