//go:build unix

package proof

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
)

const (
	// waitingReads are sent to a stopped leader in each round, so that they are what it
	// finds when it wakes. They must fit into a pipe.
	waitingReads = 300
	// leastReads are answered by it in each round: 10,000 in the twenty of a run.
	leastReads = 500
)

// TestStaleReadHunt stops the leader, waits until another one has acknowledged a
// write, and wakes the old one: it may believe for a moment that it leads on. It is
// asked, then and while writes go on elsewhere, what the key is, and must not answer
// with less than was acknowledged before the question.
func TestStaleReadHunt(t *testing.T) {
	c := found(t, "alpha", "bravo", "charlie")
	hunt := &hunt{c: c}
	for round := range *rounds {
		hunt.round(round)
	}
	t.Logf("%d reads on deposed leaders, %d of them sent while it was stopped; %d not answered",
		hunt.answered.Load(), hunt.early.Load(), hunt.failed.Load())
	if n := hunt.stale.Load(); n > 0 {
		t.Errorf("%d of them were stale", n)
	}
	if got, want := hunt.answered.Load(), int64(leastReads**rounds); got < want {
		t.Errorf("%d reads were answered; %d are the least that proves anything", got, want)
	}
}

// hunt looks for reads that are older than what was acknowledged before them.
type hunt struct {
	c                       *cluster
	acknowledged            atomic.Uint64 // the highest revision of the key
	answered, early, failed atomic.Int64
	stale                   atomic.Int64
}

func (h *hunt) round(round int) {
	old := h.c.leader()
	p := h.c.at(old)
	left := h.c.others(old)
	writing, stop := context.WithTimeout(h.c.t.Context(), patience)
	defer stop()
	var reads, writes sync.WaitGroup
	defer writes.Wait()
	defer stop()

	p.pause()
	defer p.resume()
	// This is not acknowledged before there is a new leader.
	if r := h.write(writing, left[0], fmt.Sprint(round)); r.Outcome != outcome.Done {
		h.c.t.Fatalf("round %d: no write without %s: %v", round, old, r.Err)
	}
	for i, name := range left {
		writes.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				h.write(writing, name, fmt.Sprint(round, i, n))
			}
		})
	}
	sent, before := p.written.Load(), h.answered.Load()
	for range waitingReads {
		reads.Go(func() {
			if h.read(round, old) {
				h.early.Add(1)
			}
		})
	}
	h.c.await("reads to be waiting in the stopped leader", func() bool { return p.written.Load()-sent >= waitingReads })
	p.resume()
	for range 8 {
		reads.Go(func() {
			for h.answered.Load()-before < leastReads && writing.Err() == nil {
				h.read(round, old)
			}
		})
	}
	reads.Wait()
}

func (h *hunt) write(ctx context.Context, name, value string) check.Result {
	r := h.c.client(name).Do(ctx, check.Op{Kind: check.Set, Key: "quarry", Value: value})
	for r.Outcome == outcome.Done {
		known := h.acknowledged.Load()
		if r.Revision <= known || h.acknowledged.CompareAndSwap(known, r.Revision) {
			break
		}
	}
	return r
}

// read reports whether there was an answer.
func (h *hunt) read(round int, name string) bool {
	ctx, cancel := context.WithTimeout(h.c.t.Context(), patience/2)
	defer cancel()
	floor := h.acknowledged.Load()
	r := h.c.client(name).Do(ctx, check.Op{Kind: check.Get, Key: "quarry"})
	if r.Outcome != outcome.Done {
		h.failed.Add(1)
		return false
	}
	h.answered.Add(1)
	if r.Revision < floor && h.stale.Add(1) <= 10 {
		h.c.t.Errorf("round %d: %s read revision %d after %d was acknowledged", round, name, r.Revision, floor)
	}
	return true
}
