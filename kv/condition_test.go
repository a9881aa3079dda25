package kv_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// place is a kv.Holder.
type place struct {
	kind, name   string
	token, first uint64
}

func (p place) Fence() (kind, name string, token, first uint64) {
	return p.kind, p.name, p.token, p.first
}

// enter takes a place in a queue for the node's session.
func enter(n *node, kind statepb.QueueName_Kind, name, member string, limit uint64) place {
	session := must(n.Session(context.Background()))
	r := n.Cluster().Propose(&statepb.Command{Op: &statepb.Command_Enter{Enter: &statepb.Enter{
		Queue: &statepb.QueueName{Kind: kind, Name: name}, Session: session, Member: member, Limit: limit,
	}}})
	if r.GetCode() != statepb.Result_OK {
		panic(r)
	}
	return place{map[statepb.QueueName_Kind]string{statepb.QueueName_LOCK: "lock", statepb.QueueName_GROUP: "group"}[kind], name, r.GetToken(), 0}
}

// leave gives it up.
func leave(n *node, kind statepb.QueueName_Kind, p place) {
	n.Cluster().Propose(&statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
		Queue: &statepb.QueueName{Kind: kind, Name: p.name}, Token: p.token,
	}}})
}

// conditionCase is a combination of conditions on the key "there", which is at
// revision 1 with the value "v", or on "gone", which is not there.
type conditionCase struct {
	key        string
	conditions []kv.Condition
	want       error // nil: done; errConflict: a *ConflictError
}

var errConflict = errors.New("conflict")

var conditionCases = []conditionCase{
	{"there", nil, nil},
	{"there", []kv.Condition{kv.IfRevision(1)}, nil},
	{"there", []kv.Condition{kv.IfRevision(2)}, errConflict},
	{"there", []kv.Condition{kv.IfRevision(0)}, errConflict},
	{"there", []kv.Condition{kv.IfAbsent()}, errConflict},
	{"there", []kv.Condition{kv.IfExists()}, nil},
	{"there", []kv.Condition{kv.IfValue([]byte("v"))}, nil},
	{"there", []kv.Condition{kv.IfValue([]byte("w"))}, errConflict},
	{"there", []kv.Condition{kv.IfValue(nil)}, errConflict},
	{"gone", []kv.Condition{kv.IfRevision(1)}, errConflict},
	{"gone", []kv.Condition{kv.IfRevision(0)}, nil},
	{"gone", []kv.Condition{kv.IfAbsent()}, nil},
	{"gone", []kv.Condition{kv.IfExists()}, errConflict},
	{"gone", []kv.Condition{kv.IfValue(nil)}, errConflict},
	{"there", []kv.Condition{kv.IfRevision(1).Of("there")}, nil},
	{"there", []kv.Condition{kv.IfRevision(1).Of("gone")}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfRevision(1).Of("\xff")}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfRevision(1), kv.IfRevision(1)}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfRevision(1), kv.IfAbsent()}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfExists(), kv.IfValue([]byte("v"))}, kv.ErrInvalid},
	{"there", []kv.Condition{{}}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfHeld(nil)}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfHeld(place{"door", "x", 1, 0})}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "", 1, 0})}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "x", 1, 0}).Of("there")}, kv.ErrInvalid},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "x", 1, 0})}, kv.ErrNotHeld},
	{"there", []kv.Condition{kv.IfRevision(1), kv.IfHeld(place{"lock", "x", 1, 0})}, kv.ErrNotHeld},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "x", 1, 0}), kv.IfRevision(2)}, errConflict},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "held", 3, 0})}, nil},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "held", 3, 0}), kv.IfExists()}, nil},
	{"there", []kv.Condition{kv.IfHeld(place{"lock", "held", 3, 0}), kv.IfHeld(place{"lock", "x", 1, 0})}, kv.ErrNotHeld},
}

// TestConditions: every combination, on Set and Delete.
func TestConditions(t *testing.T) {
	for i, test := range conditionCases {
		t.Run(fmt.Sprintf("%d %s %v", i, test.key, test.conditions), func(t *testing.T) {
			for _, op := range []string{"set", "delete"} {
				test.run(t, op)
			}
		})
	}
}

func (test conditionCase) run(t *testing.T, op string) {
	s, n := newStore(t)
	ctx := t.Context()
	must(s.Set(ctx, "there", []byte("v")))
	if p := enter(n, statepb.QueueName_LOCK, "held", "m", 1); p.token != 3 {
		t.Fatalf("token %d", p.token)
	}
	before := n.Cluster().Revision()
	var err error
	switch op {
	case "set":
		var options []kv.SetOption
		for _, c := range test.conditions {
			options = append(options, c)
		}
		_, err = s.Set(ctx, test.key, []byte("new"), options...)
	case "delete":
		_, err = s.Delete(ctx, test.key, test.conditions...)
	}
	switch {
	case test.want == errConflict:
		test.wantConflict(t, err, before)
	case test.want != nil:
		wantError(t, err, test.want, outcome.NotDone, op)
	case err != nil:
		t.Fatal(err)
	}
	deletesNothing := op == "delete" && test.key == "gone"
	if done := n.Cluster().Revision() > before; done != (test.want == nil && !deletesNothing) {
		t.Errorf("%s: done: %v, error: %v", op, done, err)
	}
}

func (test conditionCase) wantConflict(t *testing.T, err error, before uint64) {
	t.Helper()
	conflict, ok := errors.AsType[*kv.ConflictError](err)
	if !ok || outcome.Of(err) != outcome.NotDone {
		t.Fatalf("got %v, want a conflict", err)
	}
	actual := kv.Revision(1)
	if test.key == "gone" {
		actual = 0
	}
	if conflict.Key != test.key || conflict.Actual != actual {
		t.Errorf("got %+v", conflict)
	}
	if reflect.DeepEqual(conflict.Wanted, kv.IfValue([]byte("w"))) {
		t.Error("the error keeps the caller's value")
	}
}

// TestConflictTellsTheMomentOfTheDecision: not what became of the key until the caller
// was told.
func TestConflictTellsTheMomentOfTheDecision(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	first := must(s.Set(ctx, "a", nil))
	n.AfterPropose = func(_ context.Context, _ *statepb.Command) error {
		n.AfterPropose = nil
		must(s.Delete(ctx, "a"))
		return nil
	}
	_, err := s.Set(ctx, "a", nil, kv.IfAbsent())
	conflict, ok := errors.AsType[*kv.ConflictError](err)
	if !ok || conflict.Actual != first {
		t.Fatalf("got %v, want a conflict at %d", err, first)
	}
}

// TestConflictWithALargeValue: an answer has room for 1 MiB of values. A conflict with a
// larger one is a conflict nevertheless.
func TestConflictWithALargeValue(t *testing.T) {
	n := replicatest.New(&statepb.Limits{ValueBytes: 4 << 20}).Join()
	s := kv.New(n)
	ctx := t.Context()
	first := must(s.Set(ctx, "a", make([]byte, 2<<20)))
	for _, c := range []kv.Condition{kv.IfAbsent(), kv.IfRevision(first + 1), kv.IfValue(nil)} {
		_, err := s.Set(ctx, "a", nil, c)
		if conflict, ok := errors.AsType[*kv.ConflictError](err); !ok || conflict.Actual != first {
			t.Errorf("got %v, want a conflict at %d", err, first)
		}
	}
	must(s.Set(ctx, "a", nil, kv.IfRevision(first)))
}

// TestIfHeldFollowsTheQueue: the same write is done and refused as the place comes and goes.
func TestIfHeldFollowsTheQueue(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	first, second := enter(n, statepb.QueueName_LOCK, "l", "m1", 1), enter(n, statepb.QueueName_LOCK, "l", "m2", 1)
	must(s.Set(ctx, "a", nil, kv.IfHeld(first)))
	_, err := s.Set(ctx, "a", nil, kv.IfHeld(second))
	wantError(t, err, kv.ErrNotHeld, outcome.NotDone, "set")
	leave(n, statepb.QueueName_LOCK, first)
	must(s.Set(ctx, "a", nil, kv.IfHeld(second)))
	_, err = s.Delete(ctx, "a", kv.IfHeld(first))
	wantError(t, err, kv.ErrNotHeld, outcome.NotDone, "delete")
	_, _, err = s.DeletePrefix(ctx, "a", kv.IfHeld(first))
	wantError(t, err, kv.ErrNotHeld, outcome.NotDone, "delete prefix")
	if deleted, _, err := s.DeletePrefix(ctx, "a", kv.IfHeld(second)); deleted != 1 || err != nil {
		t.Errorf("%d deleted, %v", deleted, err)
	}
	_, _, err = s.DeletePrefix(ctx, "a", kv.IfExists())
	wantError(t, err, kv.ErrInvalid, outcome.NotDone, "delete prefix")

	// In a group it is the caller who says how many lead.
	for i, want := range []bool{true, true, false} {
		seat := enter(n, statepb.QueueName_GROUP, "g", fmt.Sprint("m", i), 0)
		seat.first = 2
		r := must(s.Commit(ctx, kv.Txn().If(kv.IfHeld(seat)).Then(kv.Put("b", nil))))
		if r.Succeeded != want {
			t.Errorf("member %d: %v", i, r.Succeeded)
		}
	}
}

func TestLifetimes(t *testing.T) {
	tests := []struct {
		options []kv.SetOption
		valid   bool
	}{
		{[]kv.SetOption{kv.TTL(time.Second)}, true},
		{[]kv.SetOption{kv.Ephemeral()}, true},
		{[]kv.SetOption{kv.Ephemeral(), kv.TTL(time.Second), kv.IfAbsent()}, true},
		{[]kv.SetOption{kv.TTL(0)}, false},
		{[]kv.SetOption{kv.TTL(-1)}, false},
		{[]kv.SetOption{kv.Ephemeral(), kv.TTL(0)}, false},
		{[]kv.SetOption{kv.TTL(time.Second), kv.TTL(time.Second)}, false},
		{[]kv.SetOption{kv.Ephemeral(), kv.Ephemeral()}, false},
		{[]kv.SetOption{kv.Lifetime{}}, false},
		{[]kv.SetOption{nil}, false},
	}
	for i, test := range tests {
		s, _ := newStore(t)
		_, err := s.Set(t.Context(), "a", nil, test.options...)
		if test.valid != (err == nil) || err != nil && !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("%d: %v", i, err)
		}
		var lifetimes []kv.Lifetime
		for _, o := range test.options {
			if l, ok := o.(kv.Lifetime); ok {
				lifetimes = append(lifetimes, l)
			}
		}
		if len(lifetimes) == 0 {
			continue
		}
		_, err = s.Commit(t.Context(), kv.Txn().Then(kv.Put("a", nil, lifetimes...)))
		if test.valid != (err == nil) || err != nil && !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("%d in a transaction: %v", i, err)
		}
	}
}
