package peers

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const many = 10_000

func BenchmarkLoad(b *testing.B) {
	path := filepath.Join(b.TempDir(), "peers.json")
	must(b, some(many).Dump(path))
	b.ReportAllocs()
	for b.Loop() {
		if list, err := LoadFrom(path); err != nil || len(list.Peers) != many {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	list, err := decodePeers(encoded(b, some(many)), "")
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		must(b, list.Validate())
	}
}

func BenchmarkLoadAndValidate(b *testing.B) {
	path := filepath.Join(b.TempDir(), "peers.json")
	must(b, some(many).Dump(path))
	b.ReportAllocs()
	for b.Loop() {
		list, err := LoadFrom(path)
		must(b, err)
		must(b, list.Validate())
	}
}

func BenchmarkDiff(b *testing.B) {
	old, next := some(many), some(many+1)
	for b.Loop() {
		if d := old.Diff(next); len(d.Added) != 1 {
			b.Fatal(d)
		}
	}
}

func BenchmarkDump(b *testing.B) {
	list := some(many)
	path := filepath.Join(b.TempDir(), "peers.json")
	for b.Loop() {
		must(b, list.Dump(path))
	}
}

func BenchmarkAdd(b *testing.B) {
	peers := some(1000).Peers
	for b.Loop() {
		var list Peers
		for _, p := range peers {
			must(b, list.Add(p))
		}
	}
}

// BenchmarkWatch measures from the rename of a new file into place to the
// arrival of its list.
func BenchmarkWatch(b *testing.B) {
	path := filepath.Join(b.TempDir(), "peers.json")
	lists := [][]byte{encoded(b, some(5)), encoded(b, some(6))}
	write(b, path, lists[1])

	ctx, cancel := context.WithCancel(b.Context())
	arrived := make(chan time.Time)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, err := range Watch(ctx, path) {
			if err != nil {
				b.Error(err)
				break
			}
			arrived <- time.Now()
		}
	}()
	<-arrived

	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		write(b, path+".new", lists[i%2])
		start := time.Now()
		rename(b, path, lists[i%2])
		took = append(took, (<-arrived).Sub(start))
	}
	cancel()
	<-done
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}
