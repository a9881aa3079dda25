package check

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/outcome"
)

// TestGeneratedHistories: whatever a correct store answers to operations whose calls,
// effects and returns interleave in any order is accepted.
func TestGeneratedHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, held := interleave(t)
		if err := Judge(r, Replica{"it", held}); err != nil {
			var b strings.Builder
			r.WriteTo(&b)
			t.Fatalf("%v\n%s", err, b.String())
		}
	})
}

// interleave lets clients take turns: an idle one calls, one that called has its
// effect or loses the answer, one that had its effect returns. Lost operations have
// their effect later, or never.
func interleave(t *rapid.T) (Record, []Entry) {
	h, s := NewHistory(), newStore(0, noBug)
	clients := make([]struct {
		call   *Call
		result *Result
	}, 4)
	var lost []Op
	watcher := &reader{store: s, feed: h.Watch("w", rapid.SampledFrom([]string{"", "a"}).Draw(t, "prefix"), 0)}
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		i := rapid.IntRange(0, len(clients)+1).Draw(t, "turn")
		switch {
		case i == len(clients):
			watcher.read(rapid.SampledFrom([]uint64{0, watcher.cursor + 3}).Draw(t, "floor"))
			continue
		case i > len(clients):
			if len(lost) > 0 {
				k := rapid.IntRange(0, len(lost)-1).Draw(t, "late")
				s.do(lost[k])
				lost = slices.Delete(lost, k, k+1)
			}
			continue
		}
		switch c := &clients[i]; {
		case c.call == nil:
			c.call = h.Call(i, drawOp(t, s.revision))
		case c.result != nil:
			c.call.Return(*c.result)
			c.call, c.result = nil, nil
		default:
			switch rapid.SampledFrom([]string{"done", "done", "done", "lost", "failed"}).Draw(t, "fate") {
			case "done":
				c.result = new(s.do(c.call.op.Op))
			case "lost":
				c.call.Return(unknown)
				lost = append(lost, c.call.op.Op)
				c.call = nil
			case "failed":
				c.call.Return(notDone)
				c.call = nil
			}
		}
	}
	watcher.read(0)
	return h.Record(), s.entries()
}

func drawOp(t *rapid.T, revision uint64) Op {
	kind := rapid.SampledFrom([]Kind{Get, Get, Get, Set, Set, Set, Delete, List, DeletePrefix, Txn}).Draw(t, "kind")
	op := Op{Kind: Txn}
	if kind == Txn {
		op.Then, op.Else = drawBranch(t, "then"), drawBranch(t, "else")
	} else {
		op = drawSingle(t, kind, genKey().Draw(t, "key"))
	}
	if op.writes() && rapid.Bool().Draw(t, "conditional") {
		key := op.Key
		if kind == Txn || kind == DeletePrefix {
			key = genKey().Draw(t, "condition")
		}
		op.If = []Condition{{Key: key, Test: rapid.SampledFrom([]Test{AtRevision, AtRevision, Exists, HasValue}).Draw(t, "test"),
			Revision: rapid.Uint64Range(0, revision).Draw(t, "revision"), Value: genValue().Draw(t, "value")}}
	}
	return op
}

func genKey() *rapid.Generator[string]   { return rapid.SampledFrom([]string{"a", "ab", "b"}) }
func genValue() *rapid.Generator[string] { return rapid.SampledFrom([]string{"1", "2", "3", "4"}) }

func drawSingle(t *rapid.T, kind Kind, key string) Op {
	op := Op{Kind: kind, Key: key}
	switch kind {
	case Set:
		op.Value = genValue().Draw(t, "value")
	case List:
		op.Key = rapid.SampledFrom([]string{"", "a", "x"}).Draw(t, "prefix")
		op.After = rapid.SampledFrom([]string{"", "a"}).Draw(t, "after")
		op.Limit = rapid.IntRange(0, 2).Draw(t, "limit")
	case DeletePrefix:
		op.Key = rapid.SampledFrom([]string{"", "a", "x"}).Draw(t, "prefix")
	}
	return op
}

func drawBranch(t *rapid.T, name string) []Op {
	var ops []Op
	for _, key := range rapid.SliceOfNDistinct(genKey(), 0, 3, rapid.ID).Draw(t, name) {
		ops = append(ops, drawSingle(t, rapid.SampledFrom([]Kind{Get, Set, Delete}).Draw(t, "kind"), key))
	}
	return ops
}

// mutation makes a lie of one answer or event of a record. It reports false if it
// found none that suits.
type mutation struct {
	name string
	lie  func(r *Record, rng *rand.Rand) bool
}

var mutations = []mutation{
	{"a read of an older version", func(r *Record, rng *rand.Rand) bool {
		return pick(r, rng, func(o *Operation) bool { return o.Op.Kind == Get && o.Result.Found }, func(o *Operation) bool {
			for _, w := range r.Operations {
				if w.Op.Kind == Set && w.Op.Key == o.Op.Key && w.done() && !w.Result.Conflict && w.Result.Revision < o.Result.Revision &&
					w.returned.seq < o.called.seq && replaced(r, w, o) {
					o.Result.Value, o.Result.Revision = w.Op.Value, w.Result.Revision
					return true
				}
			}
			return false
		})
	}},
	{"a read at another revision", func(r *Record, rng *rand.Rand) bool {
		return pick(r, rng, func(o *Operation) bool { return o.Op.Kind == Get && o.Result.Found }, func(o *Operation) bool {
			o.Result.Revision++
			return true
		})
	}},
	{"a read of nothing", func(r *Record, rng *rand.Rand) bool {
		return pick(r, rng, func(o *Operation) bool { return o.Op.Kind == Get && o.Result.Found }, func(o *Operation) bool {
			o.Result = none
			return true
		})
	}},
	{"a write that failed although it was seen", func(r *Record, rng *rand.Rand) bool {
		return pick(r, rng, func(o *Operation) bool { return o.Op.Kind == Set && o.done() && !o.Result.Conflict }, func(o *Operation) bool {
			o.Result = notDone
			return true
		})
	}},
	{"a conflict that was none", func(r *Record, rng *rand.Rand) bool {
		return pick(r, rng, func(o *Operation) bool { return o.Op.Kind == Set && o.done() && o.Result.Conflict }, func(o *Operation) bool {
			o.Result = at(o.Result.Revision + 1)
			return true
		})
	}},
	{"a removal of nothing", func(r *Record, rng *rand.Rand) bool {
		return pick(r, rng, func(o *Operation) bool {
			return o.Op.Kind == Delete && o.done() && !o.Result.Conflict && !o.Result.Untold
		}, func(o *Operation) bool {
			o.Result.Found = !o.Result.Found
			return true
		})
	}},
	{"an event dropped", func(r *Record, rng *rand.Rand) bool {
		return pickEvent(r, rng, func(s *Stream, i int) bool {
			s.Events, s.seen = slices.Delete(s.Events, i, i+1), slices.Delete(s.seen, i, i+1)
			return true
		})
	}},
	{"two events swapped", func(r *Record, rng *rand.Rand) bool {
		return pickEvent(r, rng, func(s *Stream, i int) bool {
			s.Events[i], s.Events[i+1] = s.Events[i+1], s.Events[i]
			return s.Events[i].Revision != s.Events[i+1].Revision
		})
	}},
	{"an event with another value", func(r *Record, rng *rand.Rand) bool {
		return pickEvent(r, rng, func(s *Stream, i int) bool {
			s.Events[i].Value += "0"
			return true
		})
	}},
}

// replaced reports whether a write later than w had returned when o was called.
func replaced(r *Record, w Operation, o *Operation) bool {
	return slices.ContainsFunc(r.Operations, func(x Operation) bool {
		return x.Op.Kind == Set && x.Op.Key == w.Op.Key && x.done() && !x.Result.Conflict &&
			x.Result.Revision > w.Result.Revision && x.returned.seq < o.called.seq
	})
}

// pick applies lie to random operations that suit until it succeeds.
func pick(r *Record, rng *rand.Rand, suits, lie func(*Operation) bool) bool {
	for _, i := range rng.Perm(len(r.Operations)) {
		if o := &r.Operations[i]; suits(o) && lie(o) {
			return true
		}
	}
	return false
}

// pickEvent applies lie to a random change in a stream that is not the last event.
func pickEvent(r *Record, rng *rand.Rand, lie func(s *Stream, i int) bool) bool {
	s := &r.Streams[rng.IntN(len(r.Streams))]
	for _, i := range rng.Perm(max(0, len(s.Events)-1)) {
		if s.Events[i].Kind <= Deleted && s.Events[i+1].Kind <= Deleted && s.Events[i].Kind == Put {
			return lie(s, i)
		}
	}
	return false
}

// TestLiesAreFound: one lie in a true history is noticed nearly always. (Not always:
// beside answers that were lost some lies could be true.)
func TestLiesAreFound(t *testing.T) {
	const seeds = 12
	for _, m := range mutations {
		lies, found := 0, 0
		for seed := range uint64(seeds) {
			w := Workload{Seed: seed, Clients: 4, Ops: 25, Keys: 3, Prefix: "k/", Mix: SingleKey()}
			r, _ := crowd(t, w, noBug, 0.03)
			if m.lie(&r, rand.New(rand.NewPCG(seed, 7))) {
				lies++
				if Judge(r) != nil {
					found++
				}
			}
		}
		if lies < seeds/2 || found < lies-1 {
			t.Errorf("%s: %d of %d found", m.name, found, lies)
		}
	}
}

// TestRecordOfWhatGoesOn: a record does not change when the history does.
func TestRecordOfWhatGoesOn(t *testing.T) {
	s := script{NewHistory()}
	call, feed := s.Call(1, set("a", "1")), s.Watch("w", "", 0)
	r := s.Record()
	call.Return(at(1))
	feed.Saw(synced(1))
	if got := r.Operations[0].Result.Outcome; got != outcome.Unknown || len(r.Streams[0].Events) > 0 {
		t.Errorf("the record went on: %v, %v", got, r.Streams[0].Events)
	}
}
