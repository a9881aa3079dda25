//go:build unix

package proof

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
)

// TestSnapshotJoins lets others write more than the log keeps while a replica is
// down: it comes back by snapshot, and a watcher on it goes on from where it was, and
// is told what it has missed.
func TestSnapshotJoins(t *testing.T) {
	const (
		writers = 4
		each    = 36
		size    = 512 << 10 // 72 MiB in all; every 64 of log call for a snapshot, and 16 are kept
	)
	c := found(t, "alpha", "bravo", "charlie")
	h := check.NewHistory()
	var watcher sync.WaitGroup
	watcher.Go(func() { c.watch(h, "charlie", "k", "k-end") })
	record := func(name string, op check.Op) {
		if r := h.Do(t.Context(), 0, c.client(name), op); r.Outcome != outcome.Done {
			t.Fatalf("%s on %s: %v", op, name, r.Err)
		}
	}
	for i := range 20 {
		record("charlie", check.Op{Kind: check.Set, Key: fmt.Sprint("k", i), Value: "old"})
	}
	s, _ := c.status("charlie")
	down := s.Agreement.Applied
	c.kill("charlie")

	var crowd sync.WaitGroup
	var last [writers]atomic.Uint64
	for w := range writers {
		crowd.Go(func() {
			filler := strings.Repeat("x", size)
			l := c.client([]string{"alpha", "bravo"}[w%2])
			for i := range each {
				r := l.Do(t.Context(), check.Op{Kind: check.Set, Key: fmt.Sprint("big", w), Value: fmt.Sprint(i, filler)})
				if r.Err != nil {
					t.Errorf("writer %d: %v", w, r.Err)
					return
				}
				last[w].Store(r.Revision)
			}
		})
	}
	crowd.Wait()
	if t.Failed() {
		return
	}
	for i := range 10 {
		record("alpha", check.Op{Kind: check.Set, Key: fmt.Sprint("k", i), Value: "new"})
	}
	record("bravo", check.Op{Kind: check.DeletePrefix, Key: "k1"})
	c.await("the others to have left behind what charlie lacks", func() bool {
		for _, name := range []string{"alpha", "bravo"} {
			if s, ok := c.status(name); !ok || s.Agreement.SnapshotIndex <= down {
				return false
			}
		}
		return true
	})

	c.start("charlie")
	c.ready()
	if s, ok := c.status("charlie"); !ok || s.Agreement.SnapshotIndex <= down {
		t.Errorf("charlie has a snapshot as of %d, went down at %d, and came back otherwise", s.Agreement.SnapshotIndex, down)
	}
	for w := range writers {
		r := c.must("charlie", check.Op{Kind: check.Get, Key: fmt.Sprint("big", w)})
		if r.Revision != last[w].Load() || !strings.HasPrefix(r.Value, fmt.Sprint(each-1)+"x") || len(r.Value) < size {
			t.Errorf("charlie holds %d bytes of big%d, %.4q…, as of %d; %d was the last", len(r.Value), w, r.Value, r.Revision, last[w].Load())
		}
	}
	record("charlie", check.Op{Kind: check.Set, Key: "k-end", Value: "end"})
	watcher.Wait()
	check.Verify(t, check.Origin{}, h, c.held("k")...)
}
