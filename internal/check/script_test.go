package check

import (
	"slices"
	"testing"

	"github.com/kith-go/kith/internal/outcome"
)

// script writes histories by hand.
type script struct{ *History }

func set(key, value string) Op { return Op{Kind: Set, Key: key, Value: value} }
func get(key string) Op        { return Op{Kind: Get, Key: key} }
func del(key string) Op        { return Op{Kind: Delete, Key: key} }
func sweep(prefix string) Op   { return Op{Kind: DeletePrefix, Key: prefix} }
func list(prefix string) Op    { return Op{Kind: List, Key: prefix} }

func (o Op) at(revision uint64) Op {
	o.If = []Condition{{Key: o.Key, Revision: revision}}
	return o
}

func at(revision uint64) Result { return Result{Outcome: outcome.Done, Revision: revision} }
func found(value string, revision uint64) Result {
	return Result{Outcome: outcome.Done, Found: true, Value: value, Revision: revision}
}
func conflict(revision uint64) Result {
	return Result{Outcome: outcome.Done, Conflict: true, Found: revision > 0, Revision: revision}
}
func listed(revision uint64, entries ...Entry) Result {
	return Result{Outcome: outcome.Done, Revision: revision, Entries: entries}
}

var (
	none    = Result{Outcome: outcome.Done}
	notDone = Result{Outcome: outcome.NotDone}
	unknown = Result{Outcome: outcome.Unknown}
)

// did records an operation that nothing overlaps.
func (s script) did(op Op, r Result) { s.Call(0, op).Return(r) }

// episode is a history with the rules that it breaks; none for a good one.
type episode struct {
	name   string
	breaks []string
	write  func(s script)
}

var scripts = []episode{
	{"stale read", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("a", "2"), at(2))
		s.did(get("a"), found("1", 1))
	}},
	{"a read of either version during the write", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		w := s.Call(1, set("a", "2"))
		s.did(get("a"), found("1", 1))
		s.did(get("a"), found("2", 2))
		w.Return(at(2))
	}},
	{"a read back in time during the write", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		w := s.Call(1, set("a", "2"))
		s.did(get("a"), found("2", 2))
		s.did(get("a"), found("1", 1))
		w.Return(at(2))
	}},
	{"a stale read that only another key's revision betrays", []string{"revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		w := s.Call(1, set("a", "2"))
		s.did(set("b", "3"), at(3)) // so that a's write, at 2, was in force
		s.did(get("a"), found("1", 1))
		w.Return(at(2))
	}},
	{"nothing found after a write", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(get("a"), none)
	}},
	{"found after the removal", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(del("a"), Result{Outcome: outcome.Done, Found: true, Revision: 2})
		s.did(get("a"), found("1", 1))
	}},
	{"lost update", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		x, y := s.Call(1, set("a", "2").at(1)), s.Call(2, set("a", "3").at(1))
		x.Return(at(2))
		y.Return(at(3))
	}},
	{"one of two conditional writes", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		x, y := s.Call(1, set("a", "2").at(1)), s.Call(2, set("a", "3").at(1))
		x.Return(conflict(2))
		y.Return(at(2))
	}},
	{"a conflict although the condition held", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("a", "2").at(1), conflict(1))
	}},
	{"created twice", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1").at(0), at(1))
		s.did(set("a", "2").at(0), at(2))
	}},
	{"a value out of thin air", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(get("a"), found("7", 2))
	}},
	{"another key's value", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(2))
		s.did(get("b"), found("1", 1))
	}},
	{"a value before it was written", []string{"linearizable", "revisions"}, func(s script) {
		s.did(get("a"), found("1", 1))
		s.did(set("a", "1"), at(1))
	}},
	{"applied again after a later one", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("a", "2"), at(2))
		s.did(get("a"), found("1", 3))
	}},
	{"an acknowledged write lost", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("a", "2"), at(2))
		s.did(set("a", "3").at(1), at(3))
		s.did(get("a"), found("3", 3))
		s.did(get("a"), found("2", 2))
	}},
	{"a revision given twice", []string{"revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(1))
	}},
	{"revisions against real time, on one key", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(2))
		s.did(set("a", "2"), at(1))
	}},
	{"revisions against real time, on two keys", []string{"revisions"}, func(s script) {
		s.did(set("a", "1"), at(2))
		s.did(set("b", "2"), at(1))
	}},
	{"a revision given twice, to writes at the same time", []string{"revisions"}, func(s script) {
		x, y := s.Call(1, set("a", "1")), s.Call(2, set("b", "2"))
		x.Return(at(1))
		y.Return(at(1))
	}},
	{"revisions against real time, not by the latest answer", []string{"revisions"}, func(s script) {
		x, y := s.Call(1, set("a", "1")), s.Call(2, set("b", "2"))
		x.Return(at(5))
		y.Return(at(3))
		s.did(set("c", "3"), at(4))
	}},
	{"revisions with gaps", nil, func(s script) {
		s.did(set("a", "1"), at(5))
		s.did(del("b"), at(7)) // there is none: the store's revision
		s.did(set("b", "2"), at(9))
		s.did(list(""), listed(11, Entry{"a", "1", 5}, Entry{"b", "2", 9}))
	}},
	{"removed, or was not there", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(2))
		s.did(del("a"), Result{Outcome: outcome.Done, Untold: true, Revision: 3})
		s.did(del("a"), Result{Outcome: outcome.Done, Untold: true, Revision: 3})
		s.did(del("c"), Result{Outcome: outcome.Done, Untold: true, Revision: 3})
		s.did(get("a"), none)
	}},
	{"removed without a revision of its own", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(del("a"), Result{Outcome: outcome.Done, Untold: true, Revision: 1})
	}},
	{"removed, it is not told, and still there", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(del("a"), Result{Outcome: outcome.Done, Untold: true, Revision: 2})
		s.did(get("a"), found("1", 1))
	}},
	{"removed twice", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(del("a"), Result{Outcome: outcome.Done, Found: true, Revision: 2})
		s.did(del("a"), Result{Outcome: outcome.Done, Found: true, Revision: 3})
	}},

	// Outcomes.
	{"failed and seen", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), notDone)
		s.did(get("a"), found("1", 1))
	}},
	{"failed and not seen", nil, func(s script) {
		s.did(set("a", "1"), notDone)
		s.did(get("a"), none)
	}},
	{"unknown, seen late", nil, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(get("a"), none)
		s.did(set("b", "2"), at(1))
		s.did(get("a"), found("1", 2))
	}},
	{"unknown, never seen", nil, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(set("a", "2").at(0), at(1))
		s.did(get("a"), found("2", 1))
	}},
	{"never returned, seen", nil, func(s script) {
		s.Call(1, set("a", "1"))
		s.did(get("a"), found("1", 1))
	}},
	{"unknown, in force before a conflict", nil, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(set("a", "2").at(0), conflict(1))
		s.did(get("a"), found("1", 1))
	}},
	{"unknown, in force twice", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(get("a"), found("1", 1))
		s.did(set("a", "2"), at(2))
		s.did(get("a"), found("1", 3))
	}},
	{"unknown twice, in force twice", nil, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(set("a", "1"), unknown)
		s.did(get("a"), found("1", 1))
		s.did(set("a", "2"), at(2))
		s.did(get("a"), found("1", 3))
	}},
	{"unknown, and gone again", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(get("a"), found("1", 1))
		s.did(get("a"), none)
	}},
	{"unknown, at a revision given to another", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "0"), at(1))
		s.did(set("a", "1"), unknown)
		s.did(set("a", "2"), at(2))
		s.did(get("a"), found("1", 2))
	}},
	{"unknown, between two writes, at a revision after both", []string{"linearizable"}, func(s script) {
		s.did(set("a", "0"), at(1))
		s.did(set("a", "1"), unknown)
		s.did(list(""), listed(5, Entry{"a", "1", 9}))
	}},
	{"unknown, seen before it was asked for", []string{"linearizable", "revisions"}, func(s script) {
		s.did(get("a"), found("1", 1))
		s.did(set("a", "1"), unknown)
	}},
	{"unknown, seen before a write, at a revision after it", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(get("a"), found("1", 0))
		s.did(set("b", "2"), at(3))
		s.did(list(""), listed(6, Entry{"a", "1", 5}, Entry{"b", "2", 3}))
	}},
	{"unknown, seen between two revisions that leave no room", []string{"linearizable"}, func(s script) {
		s.did(set("b", "0"), at(1))
		s.did(set("a", "1"), unknown)
		s.did(get("a"), found("1", 0))
		s.did(set("b", "2"), at(2))
		s.did(list("c"), listed(2))
		s.did(Op{Kind: Txn, If: []Condition{{Key: "a"}, {Key: "b"}}}, Result{Outcome: outcome.Done, Conflict: true})
	}},
	{"unknown, on conditions that cannot both hold", nil, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "1"), set("b", "2")}}, unknown)
		s.did(get("a"), found("1", 0))
		s.did(Op{Kind: Set, Key: "a", Value: "3", If: []Condition{{Key: "a", Revision: 2}, {Key: "b", Revision: 3}}}, unknown)
	}},
	{"unknown, one of two that may have done either", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(Op{Kind: Txn, If: []Condition{{Key: "a"}}, Then: []Op{set("a", "2")}, Else: []Op{del("a")}}, unknown)
		s.did(del("a"), unknown)
		s.saw("", 0, synced(0), put("a", "1", 1, 0), deleted("a", 2, 1), put("a", "2", 3, 0))
	}},
	{"unknown, conditional, in force although it cannot be", []string{"linearizable"}, func(s script) {
		s.did(set("a", "0"), at(1))
		s.did(set("a", "1"), at(2))
		s.did(set("a", "2").at(1), unknown)
		s.did(get("a"), found("2", 3))
	}},
	{"an unknown removal", nil, func(s script) {
		s.did(set("a", "0"), at(1))
		s.did(del("a"), unknown)
		s.did(get("a"), found("0", 1))
		s.did(get("a"), none)
	}},
	{"done, without a revision", nil, func(s script) {
		s.did(set("a", "0"), at(1))
		s.did(set("a", "1"), none)
		s.did(get("a"), found("1", 4))
	}},
	{"done, without a revision, and not seen", []string{"linearizable"}, func(s script) {
		s.did(set("a", "0"), at(1))
		s.did(set("a", "1"), none)
		s.did(get("a"), found("0", 1))
	}},

	// Many keys at once.
	{"a transaction half done", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(2))
		s.did(Op{Kind: Txn, Then: []Op{set("a", "3"), set("b", "4")}}, at(3))
		s.did(list(""), listed(3, Entry{"a", "3", 3}, Entry{"b", "2", 2}))
	}},
	{"an unknown transaction half done", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(2))
		s.did(Op{Kind: Txn, Then: []Op{set("a", "3"), set("b", "4")}}, unknown)
		s.did(list(""), listed(3, Entry{"a", "3", 3}, Entry{"b", "2", 2}))
	}},
	{"an unknown transaction with two revisions", []string{"linearizable"}, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "3"), set("b", "4")}}, unknown)
		s.did(list(""), listed(4, Entry{"a", "3", 3}, Entry{"b", "4", 4}))
	}},
	{"an unknown transaction", nil, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "3"), set("b", "4")}}, unknown)
		s.did(list(""), listed(4, Entry{"a", "3", 3}, Entry{"b", "4", 3}))
	}},
	{"the wrong branch", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(Op{Kind: Txn, If: []Condition{{Key: "a", Test: HasValue, Value: "1"}, {Key: "b", Test: Exists}},
			Then: []Op{set("b", "2")}}, at(2))
	}},
	{"the other branch", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(Op{Kind: Txn, If: []Condition{{Key: "a", Test: HasValue, Value: "1"}, {Key: "b", Test: Exists}},
			Then: []Op{set("b", "2")}, Else: []Op{set("b", "3"), get("b"), sweep("a")}},
			Result{Outcome: outcome.Done, Conflict: true, Revision: 2, Ops: []Result{at(2), found("3", 2), {Outcome: outcome.Done, Count: 1}}})
		s.did(list(""), listed(2, Entry{"b", "3", 2}))
	}},
	{"a removal by prefix in the branch not taken", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("x", "2"), at(2))
		s.did(Op{Kind: Txn, Then: []Op{sweep("x")}, Else: []Op{sweep("")}},
			Result{Outcome: outcome.Done, Revision: 3, Ops: []Result{{Outcome: outcome.Done, Count: 1}}})
		s.did(get("a"), found("1", 1))
		s.saw("", 0, existing("a", "1", 1), existing("x", "2", 2), synced(2), deleted("x", 3, 2))
	}},
	{"a removal by prefix in a transaction, not obeyed", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(Op{Kind: Txn, Then: []Op{sweep("a")}}, Result{Outcome: outcome.Done, Revision: 2, Ops: []Result{{Outcome: outcome.Done, Count: 1}}})
		s.did(get("a"), found("1", 1))
	}},
	{"an entry missing", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(2))
		s.did(list(""), listed(2, Entry{"b", "2", 2}))
	}},
	{"a page", nil, func(s script) {
		for i, k := range []string{"a", "p/1", "p/2", "p/3", "q"} {
			s.did(set(k, k), at(uint64(i+1)))
		}
		s.did(Op{Kind: List, Key: "p/", After: "p/1", Limit: 1}, listed(5, Entry{"p/2", "p/2", 3}))
		s.did(Op{Kind: List, Key: "p/", After: "p/2", Limit: 9}, listed(5, Entry{"p/3", "p/3", 4}))
	}},
	{"a page too long", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("b", "2"), at(2))
		s.did(Op{Kind: List, Limit: 1}, listed(2, Entry{"a", "1", 1}, Entry{"b", "2", 2}))
	}},
	{"a list of nothing while something was there", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(list("a"), listed(1))
	}},
	{"a list at an old revision", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("a", "2"), at(2))
		s.did(list("x"), listed(2))
		s.did(list("a"), listed(1, Entry{"a", "1", 1}))
	}},
	{"two lists, at falling revisions", []string{"revisions"}, func(s script) {
		s.did(list("x"), listed(2))
		s.did(list("y"), listed(1))
	}},
	{"a list without what its revision includes", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		w := s.Call(1, set("a", "2"))
		s.did(list(""), listed(3, Entry{"a", "1", 1}))
		w.Return(at(2))
	}},
	{"more swept than there was", []string{"linearizable"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(sweep(""), Result{Outcome: outcome.Done, Count: 2, Revision: 2})
	}},
	{"swept where nothing ever was", []string{"linearizable"}, func(s script) {
		s.did(sweep("x"), Result{Outcome: outcome.Done, Count: 1, Revision: 1})
	}},
	{"found after a sweep", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(sweep(""), Result{Outcome: outcome.Done, Count: 1, Revision: 2})
		s.did(get("a"), found("1", 1))
	}},
}

func TestScripts(t *testing.T) { testScripts(t, scripts) }

// testScripts runs all checkers over hand-written histories.
func testScripts(t *testing.T, scripts []episode) {
	for _, tt := range scripts {
		t.Run(tt.name, func(t *testing.T) {
			s := script{NewHistory()}
			tt.write(s)
			err := Judge(s.Record())
			var broken []string
			for _, v := range violations(err) {
				broken = append(broken, v.Rule)
			}
			slices.Sort(broken)
			if broken = slices.Compact(broken); !slices.Equal(broken, tt.breaks) {
				t.Errorf("breaks %v, not %v: %v", broken, tt.breaks, err)
			}
		})
	}
}
