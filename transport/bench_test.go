package transport_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/inproc"
)

// pair returns two messengers that are connected.
func pair(tb testing.TB, o inproc.Options) (alpha, bravo *transport.Messenger) {
	tb.Helper()
	network := inproc.New(o)
	var both []*transport.Messenger
	list := []transport.Address{{Name: "alpha", Endpoint: "mem:alpha"}, {Name: "bravo", Endpoint: "mem:bravo"}}
	for _, a := range list {
		m, err := transport.New(transport.Config{Name: a.Name, Engine: network.Engine(a.Endpoint)})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = m.Close() })
		both = append(both, m)
	}
	for _, m := range both {
		m.SetPeers(list)
	}
	for i, m := range both {
		if err := m.Peer(list[1-i].Name).Await(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	return both[0], both[1]
}

func BenchmarkRequest(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			alpha, bravo := pair(b, inproc.Options{})
			if err := bravo.Handle("echo", echo, transport.Concurrency(1024)); err != nil {
				b.Fatal(err)
			}
			body := make([]byte, 128)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var work sync.WaitGroup
			for range callers {
				work.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := alpha.Request(b.Context(), "bravo", "echo", body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	alpha, bravo := pair(b, inproc.Options{})
	s, err := bravo.Subscribe("t", transport.Buffer(1<<20))
	if err == nil {
		err = s.Ready(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for i := 0; i < b.N; i++ {
			if _, err := alpha.Publish(b.Context(), "topic", body); err != nil {
				b.Error(err)
			}
		}
	}()
	for got := uint64(0); got < uint64(b.N); {
		_, err := s.Next(b.Context())
		if lag, ok := err.(*transport.LagError); ok {
			got += lag.Lost
		} else {
			got++
		}
	}
}

func BenchmarkStream(b *testing.B) {
	alpha, bravo := pair(b, inproc.Options{})
	err := bravo.HandleStream("sink", func(_ context.Context, s *transport.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	s, err := alpha.OpenStream(b.Context(), "bravo", "sink")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := s.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = s.Close()
}
