package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
)

// crowd runs a workload in virtual time on a store with the bug, with watchers, and
// returns what was recorded and what the store holds in the end.
func crowd(t *testing.T, w Workload, b bug, lost float64) (r Record, held []Entry) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		h, s := NewHistory(), newStore(w.Seed, b)
		var late, watchers sync.WaitGroup
		done := make(chan struct{})
		for i := range 3 {
			watchers.Go(func() { follow(h, s, fmt.Sprint(i), w.Prefix, rand.New(rand.NewPCG(w.Seed, uint64(1000+i))), done) })
		}
		w.Run(t.Context(), h, func(client int) Client {
			return &remote{s, rand.New(rand.NewPCG(w.Seed, uint64(100+client))), 3 * time.Millisecond, &late, lost}
		})
		late.Wait()
		close(done)
		watchers.Wait()
		r, held = h.Record(), s.entries()
	})
	return r, held
}

// follow reads changes every now and then, too late sometimes, and what is left when
// done closes.
func follow(h *History, s *store, name, prefix string, rng *rand.Rand, done <-chan struct{}) {
	watcher := &reader{store: s, feed: h.Watch(name, prefix, 0)}
	for open := true; open; {
		select {
		case <-done:
			open = false
		case <-time.After(time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))):
		}
		floor := uint64(0)
		if rng.IntN(5) == 0 {
			floor = watcher.cursor + 5
		}
		watcher.read(floor)
	}
}

func TestCrowdOnACorrectStore(t *testing.T) {
	for seed := range uint64(6) {
		for name, mix := range map[string]Mix{"single": SingleKey(), "multi": MultiKey()} {
			w := Workload{Seed: seed, Clients: 5, Ops: 40, Keys: 4, Prefix: "k/", Mix: mix, Think: time.Millisecond}
			r, held := crowd(t, w, noBug, 0.08)
			if err := Judge(r, Replica{"it", held}); err != nil {
				var b strings.Builder
				r.WriteTo(&b)
				t.Fatalf("seed %d, %s keys: %v\n%s", seed, name, err, b.String())
			}
		}
	}
}

// TestCrowdFindsBugs shows for each bug that the checkers notice, and which do.
func TestCrowdFindsBugs(t *testing.T) {
	for _, tt := range []struct {
		name string
		bug  bug
		rule string // one that must find it
	}{
		{"stale reads", staleReads, "linearizable"},
		{"stale reads, by revisions", staleReads, "revisions"},
		{"stale lists", staleLists, "linearizable"},
		{"lost updates", lostUpdates, "linearizable"},
		{"invented values", inventedValues, "revisions"},
		{"repeated writes", repeatedWrites, "revisions"},
		{"lost writes", lostWrites, "linearizable"},
		{"reused revisions", reusedRevisions, "revisions"},
		{"revisions backwards", revisionsBackwards, "revisions"},
		{"ignored conditions", ignoredConditions, "linearizable"},
		{"false conflicts", falseConflicts, "linearizable"},
		{"torn transactions", tornTransactions, "linearizable"},
		{"dropped events", droppedEvents, "watches"},
		{"swapped events", swappedEvents, "watches"},
		{"wrong previous revisions", wrongPrevious, "watches"},
		{"silent gaps", silentGaps, "watches"},
		{"torn states", tornStates, "watches"},
		{"failures that were done", lyingFailures, "revisions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const seeds = 4
			found := 0
			for seed := range uint64(seeds) {
				w := Workload{Seed: seed, Clients: 4, Ops: 40, Keys: 4, Prefix: "k/", Mix: MultiKey(), Think: time.Millisecond}
				lost := 0.05
				if tt.bug == lyingFailures { // it needs more occasions
					w.Mix, lost = SingleKey(), 0.2
				}
				r, held := crowd(t, w, tt.bug, lost)
				if slices.ContainsFunc(violations(Judge(r, Replica{"it", held})), func(v *Violation) bool { return v.Rule == tt.rule }) {
					found++
				}
			}
			if found < seeds/2 {
				t.Errorf("found with %d of %d seeds", found, seeds)
			}
		})
	}
}
