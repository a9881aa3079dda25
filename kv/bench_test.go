package kv_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// silent encodes proposals and answers at once, so that what is measured is kv
// itself.
type silent struct {
	*node
	result statepb.Result
	buffer [1024]byte
}

func (s *silent) Propose(_ context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	_, err := cmd.MarshalToSizedBufferVT(s.buffer[:])
	return &s.result, err
}

func BenchmarkGetStale(b *testing.B) {
	s, _ := newStore(b)
	ctx := b.Context()
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("some/key/%05d", i)
		must(s.Set(ctx, keys[i], make([]byte, 128)))
	}
	local := s.Stale()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := local.Get(ctx, keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
		i += 7919
	}
}

func BenchmarkSet(b *testing.B) {
	value, rev := make([]byte, 128), kv.Revision(1)
	for name, options := range map[string][]kv.SetOption{
		"plain":    nil,
		"revision": {kv.IfRevision(rev)},
	} {
		b.Run(name, func(b *testing.B) {
			n := &silent{node: newNode()}
			defer n.Close()
			s := kv.New(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Set(b.Context(), "some/key/00001", value, options...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWatch(b *testing.B) {
	s, _ := newStore(b)
	ctx := b.Context()
	b.ReportAllocs()
	from := must(s.Set(ctx, "some/key", nil))
	for b.Loop() {
		b.StopTimer()
		for range 1000 {
			must(s.Set(ctx, "some/key", make([]byte, 128)))
		}
		b.StartTimer()
		told := 0
		for c := range s.Watch(ctx, "some/", from) {
			if told++; told == 1000 {
				from = c.Revision
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/change")
}
