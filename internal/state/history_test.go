package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/state/statepb"
)

func shown(changes []Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, fmt.Sprintf("%d:%v:%s", c.Revision, c.Kind, c.Name))
	}
	return strings.Join(all, " ")
}

// TestChanges: complete, in order, of keys alone, and no revision torn apart (S16).
func TestChanges(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")                                                                   // 1
	f.ok(txn(opPut("a/1", ""), opPut("b", ""), opPutFor("a/2", "", 9, s)))                  // 2
	f.ok(fireIf("a/event", 0))                                                              // 3
	f.ok(enter(&statepb.Enter{Queue: lockNamed("a/l"), Session: s, Member: "m", Limit: 1})) // 4
	f.ok(txn(opDeletePrefix("a/")))                                                         // 5
	f.ok(txn(opPutFor("a/3", "v", 5, s)))                                                   // 6
	f.at(10)                                                                                // 7
	f.ok(txn(opPut("b", "")))                                                               // 8
	for range 2 {
		for _, c := range []struct {
			prefix string
			after  uint64
			most   int
			want   string
			next   uint64
		}{
			{"", 0, 100, "2:PUT:a/1 2:PUT:b 2:PUT:a/2 5:DELETE:a/1 5:DELETE:a/2 6:PUT:a/3 7:EXPIRE:a/3 8:PUT:b", 8},
			{"a/", 0, 100, "2:PUT:a/1 2:PUT:a/2 5:DELETE:a/1 5:DELETE:a/2 6:PUT:a/3 7:EXPIRE:a/3", 8},
			{"a/", 0, 1, "2:PUT:a/1 2:PUT:a/2", 2},
			{"a/", 2, 2, "5:DELETE:a/1 5:DELETE:a/2", 5},
			{"a/", 2, 3, "5:DELETE:a/1 5:DELETE:a/2 6:PUT:a/3", 6},
			{"a/", 4, 3, "5:DELETE:a/1 5:DELETE:a/2 6:PUT:a/3", 6},
			{"b", 2, 1, "8:PUT:b", 8},
			{"c", 0, 1, "", 8},
			{"", 8, 1, "", 8},
		} {
			got, next, err := f.m.Changes(c.prefix, c.after, c.most)
			if err != nil || shown(got) != c.want || next != c.next {
				t.Errorf("Changes(%q, %d, %d) = %s, %d, %v\nwant %s, %d", c.prefix, c.after, c.most, shown(got), next, err, c.want, c.next)
			}
		}
		if _, _, err := f.m.Changes("", 9, 1); !errors.Is(err, ErrFuture) {
			t.Errorf("a revision not reached: %v", err)
		}
		got, _, _ := f.m.Changes("a/3", 5, 1)
		if item := got[0].Item; item == nil || string(item.Value) != "v" || item.Expires != 5 || item.Session != s || item.Created != 6 {
			t.Errorf("a put shows %+v", item)
		}
		f.reborn()
	}
}

// TestHistoryIsBounded: the oldest revisions go whole, who asks for them is told, and
// snapshots carry the floor (S16).
func TestHistoryIsBounded(t *testing.T) {
	t.Run("restored", func(t *testing.T) { historyIsBounded(t, (*feed).reborn) })
	t.Run("not restored", func(t *testing.T) { historyIsBounded(t, func(*feed) {}) })
}

func historyIsBounded(t *testing.T, between func(*feed)) {
	f := newFeed(t)
	f.ok(setLimits(&statepb.Limits{HistoryEvents: 5}))        // 1
	f.ok(txn(opPut("a", ""), opPut("b", ""), opPut("c", ""))) // 2
	f.ok(txn(opPut("a", "")))                                 // 3
	f.ok(txn(opPut("a", "")))                                 // 4
	for _, step := range []struct {
		do    *statepb.Command
		floor uint64
		left  string
	}{
		{txn(), 0, "2:PUT:a 2:PUT:b 2:PUT:c 3:PUT:a 4:PUT:a"},
		{txn(opPut("a", "")), 2, "3:PUT:a 4:PUT:a 5:PUT:a"},
		{txn(opPut("a", ""), opPut("b", ""), opPut("d", "")), 3, "4:PUT:a 5:PUT:a 6:PUT:a 6:PUT:b 6:PUT:d"},
		{txn(opPut("1", ""), opPut("2", ""), opPut("3", ""), opPut("4", ""), opPut("5", ""), opPut("6", "")), 7, ""},
		{txn(opPut("a", "")), 7, "8:PUT:a"},
		{setLimits(&statepb.Limits{HistoryBytes: 200}), 7, "8:PUT:a"},
		{txn(opPut("a", strings.Repeat("v", 71))), 8, "10:PUT:a"},
		{txn(opPut("a", strings.Repeat("v", 140))), 11, ""},
		{setLimits(&statepb.Limits{HistoryEvents: 2}), 11, ""},
		{txn(opPut("a", "")), 11, "13:PUT:a"},
		{txn(opPut("b", "")), 11, "13:PUT:a 14:PUT:b"},
		{txn(opPut("c", "")), 13, "14:PUT:b 15:PUT:c"},
	} {
		f.ok(step.do)
		if step.floor > 0 {
			_, _, err := f.m.Changes("", step.floor-1, 1)
			compacted, ok := errors.AsType[*CompactedError](err)
			if !ok || compacted.Floor != step.floor || compacted.Current != f.m.Revision() {
				t.Errorf("below floor %d: %v", step.floor, err)
			}
		}
		got, _, err := f.m.Changes("", step.floor, 100)
		if err != nil || shown(got) != step.left {
			t.Errorf("after %v: %s, %v; want %s", step.do, shown(got), err, step.left)
		}
		between(f)
	}
}

// TestHistoryOverManyChunks compares the history with a plain list.
func TestHistoryOverManyChunks(t *testing.T) {
	f := newFeed(t)
	f.ok(setLimits(&statepb.Limits{HistoryEvents: 1000}))
	var all []string
	value := strings.Repeat("v", 9000) // a chunk is full of these before it has its 256
	for i := range 1500 {
		key := fmt.Sprint("k", i%7)
		c := txn(opPut(key, value[:i%2*9000]))
		if i%5 == 0 {
			c = txn(opPut(key, ""), opDelete(fmt.Sprint("k", (i+1)%7)))
		}
		f.ok(c)
		for _, c := range f.last.Changes {
			all = append(all, shown([]Change{c}))
		}
		if i%400 == 0 {
			f.reborn()
		}
		if i%17 != 0 {
			continue
		}
		after := max(f.m.history.floor, f.m.Revision()-min(f.m.Revision(), uint64(i%999)))
		got, next, err := f.m.Changes("", after, 1<<20)
		if err != nil || next != f.m.Revision() || len(got) > len(all) {
			t.Fatal(len(got), next, err)
		}
		if want := strings.Join(all[len(all)-len(got):], " "); shown(got) != want {
			t.Fatalf("after %d: %s\nwant %s", after, shown(got), want)
		}
		if len(got) < len(all) {
			before := all[len(all)-len(got)-1]
			if revision, _, _ := strings.Cut(before, ":"); fmt.Sprint(after) < revision && len(fmt.Sprint(after)) <= len(revision) {
				t.Fatalf("after %d: %s is missing", after, before)
			}
		}
	}
	if n := f.m.history.events; n > 1000 || n < 990 {
		t.Errorf("%d changes are kept", n)
	}
}

// TestLastChange: of keys, queues and events alike, deleted ones too while history
// remembers them; forgetting only ever lowers it.
func TestLastChange(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")
	f.ok(setLimits(&statepb.Limits{HistoryEvents: 4}))
	put := f.ok(txn(opPut("n", ""))).Revision
	expect := func(want uint64) {
		t.Helper()
		for range 2 {
			if got := f.m.LastChange("n"); got != want {
				t.Errorf("the last change is %d, want %d", got, want)
			}
			f.reborn()
		}
	}
	expect(put)
	fired := f.ok(fireIf("n", 0)).Revision
	expect(fired)
	deleted := f.ok(txn(opDelete("n"))).Revision
	expect(deleted)
	entered := f.ok(enter(&statepb.Enter{Queue: groupNamed("n"), Session: s, Member: "m"})).Revision
	expect(entered)
	left := f.ok(leave(&statepb.Leave{Queue: groupNamed("n"), Token: entered})).Revision
	expect(left)
	for range 4 {
		f.ok(txn(opPut("other", "")))
	}
	expect(fired) // the event is remembered, what came later is not
	put = f.ok(txn(opPut("n", ""))).Revision
	expect(put)
	if f.m.LastChange("never") != 0 {
		t.Error("a name that never was has changed")
	}
}
