package state

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/state/statepb"
)

// load makes entries of 64 puts each of 128-byte values to keys in random order.
type load struct {
	f       *feed
	keys    []string
	value   []byte
	random  *rand.Rand
	entries [][]byte
	next    int
}

const perEntry = 64

func newLoad(b testing.TB, keys int) *load {
	l := &load{f: newFeed(b), value: make([]byte, 128), random: rand.New(rand.NewPCG(1, 2))}
	for i := range keys {
		l.keys = append(l.keys, fmt.Sprintf("key/%012d", i))
	}
	for from := 0; from < keys; from += perEntry {
		l.entry(l.keys[from:min(from+perEntry, keys)])
		l.apply()
	}
	return l
}

// entry encodes puts to the keys.
func (l *load) entry(keys []string) {
	batch := &statepb.Batch{Proposer: l.f.proposer, Low: l.f.seq + 1}
	for _, key := range keys {
		l.f.seq++
		c := txn(&statepb.Op{Do: &statepb.Op_Put{Put: &statepb.Put{Key: key, Value: l.value}}})
		c.Seq = l.f.seq
		batch.Commands = append(batch.Commands, c)
	}
	encoded, err := batch.MarshalVT()
	if err != nil {
		l.f.t.Fatal(err)
	}
	l.entries = append(l.entries, AppendBatch(AppendEntryHeader(nil, l.f.term, 0, nil), encoded))
}

// prepare encodes n entries of puts to random keys.
func (l *load) prepare(n int) {
	l.entries, l.next = l.entries[:0], 0
	keys := make([]string, perEntry)
	for range n {
		for i := range keys {
			keys[i] = l.keys[l.random.IntN(len(l.keys))]
		}
		l.entry(keys)
	}
}

func (l *load) apply() {
	if _, err := l.f.m.Apply(l.f.m.Index()+1, l.f.term, l.entries[l.next]); err != nil {
		l.f.t.Fatal(err)
	}
	l.next++
}

func (l *load) bench(b *testing.B) {
	b.ReportAllocs()
	var allocs uint64
	var before, after runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		l.prepare(256)
		runtime.ReadMemStats(&before)
		b.StartTimer()
		for range 256 {
			l.apply()
		}
		b.StopTimer()
		runtime.ReadMemStats(&after)
		allocs += after.Mallocs - before.Mallocs
		b.StartTimer()
	}
	puts := float64(b.N * 256 * perEntry)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/puts, "ns/put")
	b.ReportMetric(float64(allocs)/puts, "allocs/put")
}

// BenchmarkApply measures puts in entries of 64, over ten thousand and a million keys.
func BenchmarkApply(b *testing.B) {
	for _, keys := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) { newLoad(b, keys).bench(b) })
	}
}

// BenchmarkApplyDuringSnapshot applies entries to a million keys while snapshots of them
// are written one after the other, and reports the slowest entry of each: nothing may stall.
func BenchmarkApplyDuringSnapshot(b *testing.B) {
	l := newLoad(b, 1_000_000)
	var slowest, take, total time.Duration
	entries := 0
	for b.Loop() {
		b.StopTimer()
		l.prepare(2000)
		b.StartTimer()
		began := time.Now()
		s := l.f.m.Snapshot()
		take = max(take, time.Since(began))
		written := make(chan error, 1)
		go func() {
			_, err := s.WriteTo(io.Discard)
			written <- err
		}()
		for range l.entries {
			began := time.Now()
			l.apply()
			took := time.Since(began)
			slowest, total, entries = max(slowest, took), total+took, entries+1
		}
		if err := <-written; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(slowest.Microseconds()), "µs/slowest-entry")
	b.ReportMetric(float64(total.Microseconds())/float64(entries), "µs/entry")
	b.ReportMetric(float64(take.Microseconds()), "µs/take")
}

// BenchmarkCheckBatch measures what a leader pays for a batch of 64 puts.
func BenchmarkCheckBatch(b *testing.B) {
	l := newLoad(b, perEntry)
	l.prepare(1)
	f := fields{rest: l.entries[0]}
	for f.next() && f.tag != 3<<3|length {
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckBatch(f.bytes); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet measures reads of random keys among a million.
func BenchmarkGet(b *testing.B) {
	l := newLoad(b, 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := l.f.m.Get(l.keys[l.random.IntN(len(l.keys))]); !ok {
			b.Fatal("not there")
		}
	}
}

// BenchmarkSnapshot measures writing and restoring a million keys, and what one costs in memory.
func BenchmarkSnapshot(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		var before, after runtime.MemStats
		for b.Loop() {
			runtime.GC()
			runtime.ReadMemStats(&before)
			l := newLoad(b, 1_000_000)
			l.keys, l.entries = nil, nil
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "bytes/key")
			runtime.KeepAlive(l)
		}
	})
	l := newLoad(b, 1_000_000)
	b.Run("take", func(b *testing.B) {
		for b.Loop() {
			l.f.m.Snapshot()
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.f.m.Snapshot().WriteTo(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			r, w := io.Pipe()
			go func() {
				_, err := l.f.m.Snapshot().WriteTo(w)
				w.CloseWithError(err)
			}()
			if _, err := Restore(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
