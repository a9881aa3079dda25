package consensus

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// What the agenda finds is what a look at every deadline would find, and nothing is in it
// that has ended or is ending.
func TestLeasesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ls := leases{byID: make(map[uint64]*lease)}
		model := make(map[uint64]time.Duration)
		ending := make(map[uint64]bool)
		var now time.Duration
		some := func() uint64 {
			if len(model) == 0 {
				return 0
			}
			return rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(t, "session")
		}
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				ttl := rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, time.Hour}).Draw(t, "ttl")
				id := ls.seen + 1
				ls.add(id, ttl, now+ttl)
				model[id] = now + ttl
			},
			"renew": func(t *rapid.T) {
				if l := ls.byID[some()]; l != nil && !l.ending() {
					l.deadline = max(l.deadline, now+l.ttl)
					model[l.session] = max(model[l.session], now+l.ttl)
				}
			},
			"end": func(t *rapid.T) {
				id := some()
				ls.end([]uint64{id, id + 1000})
				delete(model, id)
				delete(ending, id)
			},
			"crash": func(t *rapid.T) {
				if l := ls.byID[some()]; l != nil {
					ls.giveUp(l)
					ending[l.session] = true
				}
			},
			"expire": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
				want := make(map[uint64]bool)
				for id, deadline := range model {
					if now > deadline && !ending[id] {
						want[id] = true
					}
				}
				got := make(map[uint64]bool)
				for l := ls.overdue(now); l != nil; l = ls.overdue(now) {
					got[l.session], ending[l.session] = true, true
					ls.giveUp(l)
				}
				if !maps.Equal(got, want) {
					t.Fatalf("overdue at %v: %v, want %v", now, got, want)
				}
			},
			"": func(t *rapid.T) {
				if len(ls.byID) != len(model) || len(ls.due) != len(model)-len(ending) {
					t.Fatalf("%d leases, %d in the agenda; %d sessions, %d of them ending", len(ls.byID), len(ls.due), len(model), len(ending))
				}
				for i, l := range ls.due {
					if l.index != i || l.lookAt > l.deadline || l.deadline != model[l.session] {
						t.Fatalf("lease %+v at %d, its deadline is %v", l, i, model[l.session])
					}
				}
				if proposed := len(slices.Compact(slices.Sorted(slices.Values(ls.proposed)))); proposed != len(ls.proposed) {
					t.Fatalf("proposed twice: %v", ls.proposed)
				}
			},
		})
	})
}

// A tick of a leader costs the same however many sessions there are.
func BenchmarkIdleSessions(b *testing.B) {
	for _, n := range []int{0, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := &Replica{id: 1, lead: 1, settled: true, inbox: newInbox(), machine: crowded(b, n), clock: func() time.Duration { return time.Minute }}
			r.settle()
			if len(r.leases.byID) != n {
				b.Fatalf("%d leases", len(r.leases.byID))
			}
			b.ReportAllocs()
			for b.Loop() {
				r.expire()
			}
		})
	}
}

// crowded returns a machine with n clients' sessions.
func crowded(b *testing.B, n int) *state.Machine {
	m, err := state.Found(&statepb.Cluster{Id: testCluster, Feature: 1, Limits: &statepb.Limits{Sessions: 1 << 20}, Members: []*statepb.Member{{RaftId: 1, Name: "a"}}}, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	apply := func(batch *statepb.Batch) {
		data, err := (&statepb.Entry{Term: 1, Batches: []*statepb.Batch{batch}}).MarshalVT()
		if err == nil {
			_, err = m.Apply(m.Index()+1, 1, data)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	apply(&statepb.Batch{Registration: &statepb.Registration{Member: 1, Incarnation: 1}})
	proposer := m.Index()
	for seq := range uint64(n) {
		apply(&statepb.Batch{Proposer: proposer, Low: seq, Commands: []*statepb.Command{{Seq: seq, Op: &statepb.Command_OpenSession{
			OpenSession: &statepb.OpenSession{Member: 1, Client: fmt.Sprint(seq), TtlMs: 24 * 3600 * 1000},
		}}}})
	}
	return m
}
