package kv_test

import (
	"reflect"
	"testing"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

func TestTxnIsOneChange(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	a := must(s.Set(ctx, "a", []byte("1")))
	must(s.Set(ctx, "p/1", nil))
	must(s.Set(ctx, "p/2", nil))
	txn := kv.Txn().Then(
		kv.Put("a", []byte("2")), kv.Get("a"), kv.Delete("a"), kv.Get("a"),
		kv.DeletePrefix("p/"), kv.Put("b", []byte("3")), kv.Delete("gone"),
	)
	r := must(s.Commit(ctx, txn))
	want := kv.TxnResult{Succeeded: true, Revision: a + 3, Results: []kv.OpResult{
		{Previous: a},
		{Found: true, Value: []byte("2"), Revision: a + 3, Created: a},
		{Previous: a + 3, Deleted: 1},
		{},
		{Deleted: 2},
		{},
		{},
	}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
	if p := must(s.List(ctx, "")); len(p.Entries) != 1 || p.Entries[0].Revision != r.Revision || p.Revision != r.Revision {
		t.Errorf("got %+v", p)
	}
	// It is a description, and can be committed again.
	if again := must(s.Commit(ctx, txn)); again.Revision != r.Revision+1 || again.Results[5].Previous != r.Revision {
		t.Errorf("again: %+v", again)
	}
	if nothing := must(s.Commit(ctx, kv.Txn())); !nothing.Succeeded || nothing.Revision != r.Revision+1 {
		t.Errorf("nothing: %+v", nothing)
	}
}

func TestTxnValuesAreTheCallers(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	must(s.Set(ctx, "a", []byte("value")))
	read := kv.Txn().Then(kv.Get("a"))
	must(s.Commit(ctx, read)).Results[0].Value[0] = 'X'
	if got := must(s.Commit(ctx, read)).Results[0].Value; string(got) != "value" {
		t.Errorf("got %q", got)
	}
}

func TestTxnConditions(t *testing.T) {
	lock := place{"lock", "held", 3, 0}
	tests := []struct {
		name       string
		conditions []kv.Condition
		succeeds   bool
	}{
		{"none", nil, true},
		{"revision", []kv.Condition{kv.IfRevision(1).Of("there")}, true},
		{"other revision", []kv.Condition{kv.IfRevision(2).Of("there")}, false},
		{"absent", []kv.Condition{kv.IfAbsent().Of("there")}, false},
		{"two keys", []kv.Condition{kv.IfRevision(1).Of("there"), kv.IfAbsent().Of("gone")}, true},
		{"two keys, one not", []kv.Condition{kv.IfRevision(1).Of("there"), kv.IfExists().Of("gone")}, false},
		{"two on one key", []kv.Condition{kv.IfRevision(1).Of("there"), kv.IfValue([]byte("v")).Of("there")}, true},
		{"value", []kv.Condition{kv.IfValue([]byte("w")).Of("there")}, false},
		{"held", []kv.Condition{kv.IfHeld(lock), kv.IfExists().Of("there")}, true},
		{"not held", []kv.Condition{kv.IfHeld(place{"lock", "held", 4, 0})}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, n := newStore(t)
			must(s.Set(t.Context(), "there", []byte("v")))
			enter(n, 0, "held", "m", 1)
			before := n.Cluster().Revision()
			r := must(s.Commit(t.Context(), kv.Txn().If(test.conditions...).Then(kv.Put("then", nil)).Else(kv.Get("there"))))
			if r.Succeeded != test.succeeds || len(r.Results) != 1 || r.Results[0].Found == test.succeeds {
				t.Errorf("got %+v", r)
			}
			if changed := n.Cluster().Revision() > before; changed != test.succeeds || uint64(r.Revision) != n.Cluster().Revision() {
				t.Errorf("changed: %v; %+v", changed, r)
			}
		})
	}
}

func TestTxnThatMakesNoSense(t *testing.T) {
	s, _ := newStore(t)
	for name, txn := range map[string]*kv.Transaction{
		"condition without a key": kv.Txn().If(kv.IfAbsent()),
		"empty condition":         kv.Txn().If(kv.Condition{}),
		"empty operation":         kv.Txn().Then(kv.Op{}),
		"empty operation in else": kv.Txn().Else(kv.Op{}),
	} {
		_, err := s.Commit(t.Context(), txn)
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantError(t, err, kv.ErrInvalid, outcome.NotDone, "txn")
	}
}
