package check

import (
	"testing"

	"github.com/kith-go/kith/internal/outcome"
)

// saw records a whole stream.
func (s script) saw(prefix string, after uint64, events ...Event) {
	f := s.Watch("w", prefix, after)
	for _, e := range events {
		f.Saw(e)
	}
}

func put(key, value string, revision, prev uint64) Event {
	return Event{Kind: Put, Key: key, Value: value, Revision: revision, Prev: prev}
}
func deleted(key string, revision, prev uint64) Event {
	return Event{Kind: Deleted, Key: key, Revision: revision, Prev: prev}
}
func existing(key, value string, revision uint64) Event {
	return Event{Kind: Existing, Key: key, Value: value, Revision: revision}
}
func synced(revision uint64) Event { return Event{Kind: Synced, Revision: revision} }
func (e Event) more() Event        { e.More = true; return e }

// abc are three writes of one key and one of another.
func (s script) abc() {
	s.did(set("a", "1"), at(1))
	s.did(set("a", "2"), at(2))
	s.did(set("b", "3"), at(3))
	s.did(set("a", "4"), at(4))
}

var watchScripts = []episode{
	{"all told", nil, func(s script) {
		s.abc()
		s.did(sweep(""), Result{Outcome: outcome.Done, Count: 2, Revision: 6})
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("a", "2", 2, 1), put("b", "3", 3, 0), put("a", "4", 4, 2),
			deleted("a", 6, 4).more(), deleted("b", 6, 3))
		s.saw("a", 1, put("a", "2", 2, 1), put("a", "4", 4, 2))
		s.saw("", 0, existing("a", "2", 2), synced(2), put("b", "3", 3, 0))
		s.saw("", 2, put("b", "3", 3, 0), Event{Kind: Resync}, synced(6))
		s.saw("", 7)
	}},
	{"one event dropped", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("a", "2", 2, 1), put("a", "4", 4, 2))
	}},
	{"the first event dropped", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 1, put("b", "3", 3, 0))
	}},
	{"an event dropped that only another watcher was told", []string{"watches"}, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(set("b", "2"), at(2))
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("b", "2", 2, 0))
		s.saw("", 0, synced(0), put("b", "2", 2, 0))
	}},
	{"an event dropped that the next one betrays", []string{"watches"}, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(set("a", "2"), at(2))
		s.saw("", 0, synced(0), put("a", "2", 2, 1))
	}},
	{"a removal by prefix dropped", []string{"watches"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(sweep("a"), Result{Outcome: outcome.Done, Count: 1, Revision: 2})
		s.did(set("b", "2"), at(3))
		s.saw("", 0, existing("a", "1", 1), synced(1), put("b", "2", 3, 0))
	}},
	{"a removal by prefix dropped, the next event made to fit", []string{"watches"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(sweep("a"), Result{Outcome: outcome.Done, Count: 1, Revision: 2})
		s.did(set("a", "2"), at(3))
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("a", "2", 3, 1))
	}},
	{"backwards", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("b", "3", 3, 0), put("a", "2", 2, 1), put("a", "4", 4, 2))
	}},
	{"told again", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("a", "1", 1, 0))
	}},
	{"backwards after a resync", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 3, put("a", "4", 4, 2), Event{Kind: Resync}, existing("a", "2", 2), existing("b", "3", 3), synced(3))
	}},
	{"wrong previous revision", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("a", "2", 2, 0))
	}},
	{"a previous revision that was to be told", []string{"watches"}, func(s script) {
		s.did(set("a", "1"), unknown)
		s.did(set("a", "2"), at(5))
		s.saw("", 2, put("a", "2", 5, 4))
	}},
	{"an event out of thin air", []string{"revisions"}, func(s script) {
		s.abc()
		s.saw("", 4, put("c", "1", 5, 0))
	}},
	{"an event with another value", []string{"revisions"}, func(s script) {
		s.abc()
		s.saw("", 3, put("a", "9", 4, 2))
	}},
	{"an event before the write", []string{"revisions"}, func(s script) {
		s.saw("", 0, synced(0), put("a", "1", 1, 0))
		s.did(set("a", "1"), at(1))
	}},
	{"a removal that nobody asked for", []string{"revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		s.saw("", 0, synced(0), put("a", "1", 1, 0), deleted("a", 2, 1))
	}},
	{"a key that expires", nil, func(s script) {
		s.did(set("a", "1"), at(1))
		s.Call(9, del("a").at(1)) // may end from now on
		s.did(get("a"), found("1", 1))
		s.did(get("a"), none)
		s.saw("", 0, synced(0), put("a", "1", 1, 0), deleted("a", 2, 1))
		s.saw("", 0, synced(2))
	}},
	{"a read that is older than an event", []string{"linearizable", "revisions"}, func(s script) {
		s.did(set("a", "1"), at(1))
		w := s.Call(1, set("a", "2"))
		s.saw("", 1, put("a", "2", 2, 1))
		w.Return(at(2))
		s.did(get("a"), found("1", 1))
	}},
	{"half a transaction", []string{"watches"}, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "1"), set("b", "2")}}, at(1))
		s.did(set("c", "3"), at(2))
		s.saw("", 0, synced(0), put("a", "1", 1, 0).more(), put("c", "3", 2, 0))
	}},
	{"half a transaction, without saying so", []string{"watches"}, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "1"), set("b", "2")}}, at(1))
		s.saw("", 0, synced(0), put("a", "1", 1, 0))
	}},
	{"half a transaction of unknown outcome", []string{"watches"}, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "1"), set("b", "2")}}, unknown)
		s.did(set("c", "3"), at(2))
		s.saw("", 0, synced(0), put("a", "1", 1, 0).more(), put("c", "3", 2, 0))
	}},
	{"the other half after the end", []string{"watches"}, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "1"), set("b", "2")}}, at(1))
		s.saw("", 0, synced(0), put("a", "1", 1, 0), put("b", "2", 1, 0))
	}},
	{"half a transaction so far", nil, func(s script) {
		s.did(Op{Kind: Txn, Then: []Op{set("a", "1"), set("b", "2")}}, at(1))
		s.saw("", 0, synced(0), put("a", "1", 1, 0).more())
	}},
	{"an incomplete state", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, existing("a", "4", 4), synced(4))
	}},
	{"an old state", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, existing("a", "2", 2), existing("b", "3", 3), synced(4))
	}},
	{"a state that has more than it says", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, existing("a", "4", 4), existing("b", "3", 3), synced(3))
	}},
	{"a state with a key that is newer", []string{"watches"}, func(s script) {
		s.abc()
		s.did(set("c", "5"), at(5))
		s.saw("", 0, existing("a", "4", 4), existing("b", "3", 3), existing("c", "5", 5), synced(4))
	}},
	{"a state with a key twice", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, existing("a", "4", 4), existing("b", "3", 3), existing("b", "3", 3), synced(4))
	}},
	{"a state that changed while it was told", nil, func(s script) {
		s.abc()
		s.did(set("c", "5"), at(5))
		s.did(del("b"), Result{Outcome: outcome.Done, Untold: true, Revision: 6})
		s.saw("", 0, existing("a", "2", 2), existing("b", "3", 3), existing("a", "4", 4), deleted("b", 6, 3), existing("c", "5", 5), synced(6))
	}},
	{"a state that changed while it was told, into an older one", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, existing("a", "4", 4), existing("a", "2", 2), existing("b", "3", 3), synced(4))
	}},
	{"a resync that hides what it does not own up to", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 2, Event{Kind: Resync, Prev: 3}, existing("a", "4", 4), existing("b", "3", 3), synced(4))
	}},
	{"a previous revision that the state did not have", []string{"watches"}, func(s script) {
		s.abc()
		s.did(set("c", "5"), at(6))
		s.saw("", 3, Event{Kind: Resync}, existing("a", "4", 4), existing("b", "3", 3), synced(5), put("c", "5", 6, 2))
	}},
	{"a state amid changes", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 3, existing("a", "4", 4), existing("b", "3", 3), synced(4))
	}},
	{"changes before the state", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("", 0, put("a", "1", 1, 0))
	}},
	{"another prefix", []string{"watches"}, func(s script) {
		s.abc()
		s.saw("b", 2, put("b", "3", 3, 0), put("a", "4", 4, 2))
	}},
}

func TestWatchScripts(t *testing.T) { testScripts(t, watchScripts) }
