package kv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// must returns v, since err is nil.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// wantError checks that err is of a kind, tells its outcome, and names the operation.
func wantError(t *testing.T, err, kind error, what outcome.Outcome, op string) {
	t.Helper()
	e, ok := errors.AsType[*outcome.Error](err)
	if !ok {
		t.Fatalf("got %v, which tells no outcome; want %v", err, kind)
	}
	if !errors.Is(err, kind) || e.Outcome != what || e.Op != op {
		t.Fatalf("got %q, %v of %q; want %q, %v of %q", err, e.Outcome, e.Op, kind, what, op)
	}
}

func TestGetTellsWhatWasSet(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	v := []byte("one")
	first := must(s.Set(ctx, "a", v))
	v[0] = 'X' // Set has kept nothing
	if e := must(s.Get(ctx, "a")); string(e.Value) != "one" || e.Key != "a" || e.Revision != first || e.Created != first || e.TTL != 0 || e.Ephemeral {
		t.Fatalf("got %+v", e)
	}
	must(s.Get(ctx, "a")).Value[0] = 'X' // the value was the caller's
	second := must(s.Set(ctx, "a", nil))
	if e := must(s.Get(ctx, "a")); e.Value != nil || e.Revision != second || e.Created != first || second <= first {
		t.Fatalf("got %+v", e)
	}
	gone := must(s.Delete(ctx, "a"))
	if gone <= second {
		t.Fatalf("deleted at %d, after %d", gone, second)
	}
	for _, s := range []*kv.Store{s, s.Stale()} {
		_, err := s.Get(ctx, "a")
		wantError(t, err, kv.ErrNotFound, outcome.NotDone, "get")
	}
	if again := must(s.Delete(ctx, "a")); again != gone || uint64(gone) != n.Cluster().Revision() {
		t.Errorf("deleting what is not there: %d, want %d", again, gone)
	}
}

// TestReadsSeeWhatWasAcknowledged (S10): on a node that lags, Get, List, All and Watch
// wait for it to catch up; their stale versions tell what the node has.
func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	ctx := t.Context()
	keys := map[string]func(s *kv.Store) (string, error){
		"get": func(s *kv.Store) (string, error) {
			e, err := s.Get(ctx, "a")
			return string(e.Value), err
		},
		"list": func(s *kv.Store) (string, error) {
			p, err := s.List(ctx, "")
			return string(p.Entries[0].Value), err
		},
		"all": func(s *kv.Store) (string, error) {
			for e, err := range s.All(ctx, "") {
				return string(e.Value), err
			}
			return "", errors.New("nothing")
		},
		"watch": func(s *kv.Store) (string, error) {
			for c, err := range s.Watch(ctx, "", 0) {
				return string(c.Value), err
			}
			return "", errors.New("nothing")
		},
	}
	for name, read := range keys {
		t.Run(name, func(t *testing.T) {
			c := replicatest.New(nil)
			writer, lagging := c.Join(), c.Join()
			must(kv.New(writer).Set(ctx, "a", []byte("old")))
			lagging.Delay(true)
			must(kv.New(writer).Set(ctx, "a", []byte("new")))
			s := kv.New(lagging)
			if got := must(read(s.Stale())); got != "old" {
				t.Errorf("stale: %q", got)
			}
			if got := must(read(s)); got != "new" {
				t.Errorf("linearizable: %q", got)
			}
			if got := must(read(s.Stale())); got != "new" {
				t.Errorf("stale afterwards: %q", got)
			}
		})
	}
}

func TestTTLRunsByAgreedTime(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	n.Cluster().Advance(time.Hour) // agreed time is not this key's age
	must(s.Set(ctx, "a", nil, kv.TTL(1500*time.Microsecond)))
	if e := must(s.Get(ctx, "a")); e.TTL != 2*time.Millisecond {
		t.Errorf("1.5 ms, rounded up: %v", e.TTL)
	}
	must(s.Set(ctx, "a", nil, kv.TTL(3*time.Second)))
	n.Cluster().Advance(time.Second)
	if e := must(s.Get(ctx, "a")); e.TTL != 2*time.Second {
		t.Errorf("after one of three seconds: %v", e.TTL)
	}
	must(s.Set(ctx, "permanent", nil, kv.TTL(time.Second)))
	must(s.Set(ctx, "permanent", nil))
	n.Cluster().Advance(2 * time.Second)
	if p := must(s.List(ctx, "")); len(p.Entries) != 1 || p.Entries[0].Key != "permanent" || p.Entries[0].TTL != 0 {
		t.Errorf("got %+v", p)
	}
	must(s.Set(ctx, "a", nil, kv.TTL(1<<63-1))) // as long as there is
	if e := must(s.Get(ctx, "a")); e.TTL < (1<<63-1)-time.Second {
		t.Errorf("got %v", e.TTL)
	}
}

// TestDueKeyHasSomethingLeft: the sweep takes 1000 keys with each entry. A key that is due
// and still there must not look as if it had no end.
func TestDueKeyHasSomethingLeft(t *testing.T) {
	s, n := newStore(t)
	for i := range 1001 {
		must(s.Set(t.Context(), fmt.Sprintf("%04d", i), nil, kv.TTL(time.Second)))
	}
	n.Cluster().Advance(time.Minute)
	p := must(s.List(t.Context(), ""))
	if len(p.Entries) != 1 || p.Entries[0].TTL != time.Millisecond {
		t.Errorf("got %+v", p.Entries)
	}
}

func TestEphemeralKeyGoesWithTheSession(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	must(s.Set(ctx, "a", nil, kv.Ephemeral()))
	must(s.Set(ctx, "b", nil, kv.Ephemeral(), kv.TTL(time.Hour)))
	must(s.Commit(ctx, kv.Txn().Then(kv.Put("c", nil, kv.Ephemeral()), kv.Put("d", nil))))
	for key, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false} {
		if e := must(s.Get(ctx, key)); e.Ephemeral != want {
			t.Errorf("%s: %+v", key, e)
		}
	}
	n.Cluster().End(n.SessionID())
	if p := must(s.List(ctx, "")); len(p.Entries) != 1 || p.Entries[0].Key != "d" {
		t.Errorf("got %+v", p.Entries)
	}
	n.BeforePropose = func(_ context.Context, cmd *statepb.Command) error {
		if cmd.GetTxn() != nil { // it ends while the write is under way
			n.Cluster().End(n.SessionID())
		}
		return nil
	}
	_, err := s.Set(ctx, "a", nil, kv.Ephemeral())
	wantError(t, err, outcome.ErrSessionEnded, outcome.NotDone, "set")
	n.BeforePropose = func(_ context.Context, _ *statepb.Command) error { return errInjected }
	_, err = s.Set(ctx, "a", nil, kv.Ephemeral())
	wantError(t, err, errInjected, outcome.NotDone, "set")
	_, err = s.Commit(ctx, kv.Txn().Then(kv.Put("c", nil, kv.Ephemeral())))
	wantError(t, err, errInjected, outcome.NotDone, "txn")
}

func TestDeletePrefix(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	for _, key := range []string{"a", "a/1", "a/2", "b"} {
		must(s.Set(ctx, key, nil))
	}
	n, rev, err := s.DeletePrefix(ctx, "a/")
	if err != nil || n != 2 {
		t.Fatalf("%d gone, %v", n, err)
	}
	if p := must(s.List(ctx, "")); len(p.Entries) != 2 || p.Revision != rev {
		t.Errorf("got %+v after %d", p, rev)
	}
	if n, same, err := s.DeletePrefix(ctx, "a/"); n != 0 || same != rev || err != nil {
		t.Errorf("again: %d, %d, %v", n, same, err)
	}
	if n, _, err := s.DeletePrefix(ctx, ""); n != 2 || err != nil {
		t.Errorf("everything: %d, %v", n, err)
	}
}

// TestOutcomes: every error says what became of the request, whatever the reason.
func TestOutcomes(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errInjected)
	calls := map[string]func(context.Context, *kv.Store) error{
		"get":           func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "a"); return err },
		"list":          func(ctx context.Context, s *kv.Store) error { _, err := s.List(ctx, ""); return err },
		"set":           func(ctx context.Context, s *kv.Store) error { _, err := s.Set(ctx, "a", nil); return err },
		"delete":        func(ctx context.Context, s *kv.Store) error { _, err := s.Delete(ctx, "a"); return err },
		"delete prefix": func(ctx context.Context, s *kv.Store) error { _, _, err := s.DeletePrefix(ctx, "a"); return err },
		"txn": func(ctx context.Context, s *kv.Store) error {
			_, err := s.Commit(ctx, kv.Txn().Then(kv.Delete("a")))
			return err
		},
		"fire":  func(ctx context.Context, s *kv.Store) error { _, err := s.Fire(ctx, "a"); return err },
		"event": func(ctx context.Context, s *kv.Store) error { _, err := s.Event("a").Revision(ctx); return err },
		"wait":  func(ctx context.Context, s *kv.Store) error { _, err := s.WaitChange(ctx, "a", 0); return err },
		"wait for event": func(ctx context.Context, s *kv.Store) error {
			_, err := s.Event("a").Wait(ctx, 0)
			return err
		},
	}
	reads := []string{"get", "list", "event", "wait", "wait for event"}
	for op, call := range calls {
		t.Run(op, func(t *testing.T) {
			s, n := newStore(t)
			wantError(t, call(ended, s), errInjected, outcome.NotDone, op)
			read := slices.Contains(reads, op)
			if read {
				wantError(t, call(ended, s.Stale()), errInjected, outcome.NotDone, op)
				n.RefuseBarrier = errInjected
				err := call(t.Context(), s)
				wantError(t, err, errInjected, outcome.NotDone, op)
				if !strings.Contains(err.Error(), "bravo does not answer") {
					t.Errorf("the hint is lost: %v", err)
				}
				n.FailViews(errInjected)
				wantError(t, call(t.Context(), s.Stale()), errInjected, outcome.NotDone, op)
			} else {
				n.AfterPropose = func(_ context.Context, _ *statepb.Command) error { return errInjected }
				err := call(t.Context(), s)
				wantError(t, err, errInjected, outcome.Unknown, op)
				wantError(t, err, outcome.ErrUnknown, outcome.Unknown, op)
				n.AfterPropose = nil
				n.Answer = &statepb.Result{Code: statepb.Result_SPENT} // which Propose should not have let through
				wantError(t, call(t.Context(), s), outcome.ErrUnknown, outcome.Unknown, op)
			}
			n.Close()
			wantError(t, call(t.Context(), s), outcome.ErrClosed, outcome.NotDone, op)
		})
	}
}

// TestLimitsAreToldBeforeAnythingIsSent: with the size and the limit.
func TestLimitsAreToldBeforeAnythingIsSent(t *testing.T) {
	c := replicatest.New(&statepb.Limits{KeyBytes: 100, ValueBytes: 2000, TxnOps: 3})
	n := c.Join()
	n.BeforePropose = func(_ context.Context, _ *statepb.Command) error { return errInjected }
	s := kv.New(n)
	ctx := t.Context()
	key, value := strings.Repeat("k", 101), make([]byte, 2001)
	ops := make([]kv.Op, 4)
	for i := range ops {
		ops[i] = kv.Delete("a")
	}
	big := make([]kv.Op, 3)
	for i := range big {
		big[i] = kv.Put("a", make([]byte, 4<<20))
	}
	tests := []struct {
		name, want string
		call       func() error
	}{
		{"key", "101 bytes, the limit is 100", func() error { _, err := s.Set(ctx, key, nil); return err }},
		{"value", "2001 bytes, the limit is 2000", func() error { _, err := s.Set(ctx, "a", value); return err }},
		{"delete", "101 bytes, the limit is 100", func() error { _, err := s.Delete(ctx, key); return err }},
		{"put", "2001 bytes, the limit is 2000", func() error { _, err := s.Commit(ctx, kv.Txn().Then(kv.Put("a", value))); return err }},
		{"else", "101 bytes, the limit is 100", func() error { _, err := s.Commit(ctx, kv.Txn().Else(kv.Get(key))); return err }},
		{"operations", "4 conditions or operations, the limit is 3", func() error { _, err := s.Commit(ctx, kv.Txn().Then(ops...)); return err }},
	}
	for _, test := range tests {
		err := test.call()
		wantError(t, err, kv.ErrTooLarge, outcome.NotDone, err.(*outcome.Error).Op)
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
	}
	c = replicatest.New(&statepb.Limits{ValueBytes: 16 << 20})
	n = c.Join()
	n.BeforePropose = func(_ context.Context, _ *statepb.Command) error { return errInjected }
	_, err := kv.New(n).Commit(ctx, kv.Txn().Then(big...))
	wantError(t, err, kv.ErrTooLarge, outcome.NotDone, "txn")
}

// TestTheMachineHasTheLastWord: where this node cannot tell the limits, or they are lower
// by the time the write arrives, the machine refuses it.
func TestTheMachineHasTheLastWord(t *testing.T) {
	c := replicatest.New(&statepb.Limits{KeyBytes: 100, ValueBytes: 2000, StateBytes: 3000})
	n := c.Join()
	s := kv.New(n)
	ctx := t.Context()
	must(s.Set(ctx, "a", make([]byte, 2000)))
	_, err := s.Set(ctx, "b", make([]byte, 2000))
	wantError(t, err, kv.ErrQuota, outcome.NotDone, "set")
	must(s.Set(ctx, "a", nil)) // smaller is fine
	n.FailViews(errInjected)
	_, err = s.Set(ctx, "b", make([]byte, 2001))
	wantError(t, err, kv.ErrTooLarge, outcome.NotDone, "set")
	_, err = s.Commit(ctx, kv.Txn().Then(kv.Delete(strings.Repeat("k", 101)), kv.Delete("a")))
	wantError(t, err, kv.ErrTooLarge, outcome.NotDone, "txn")
}

// TestNoLimitIsLowerThanAssumed: Set does not look at limits for what is smaller than they can be.
func TestNoLimitIsLowerThanAssumed(t *testing.T) {
	for _, l := range []*statepb.Limits{{KeyBytes: kv.LeastKeyBytes - 1}, {ValueBytes: kv.LeastValueBytes - 1}} {
		if _, err := state.Found(&statepb.Cluster{Id: "c", Feature: 1, Limits: l}, 1, 1); err == nil {
			t.Errorf("%v is possible", l)
		}
	}
}

// TestNames: what can be the name of nothing is refused at once.
func TestNames(t *testing.T) {
	s, n := newStore(t)
	n.BeforePropose = func(_ context.Context, _ *statepb.Command) error { return errInjected }
	ctx := t.Context()
	for _, name := range []string{"", "a\xff"} {
		calls := map[string]func() error{
			"get":            func() error { _, err := s.Get(ctx, name); return err },
			"set":            func() error { _, err := s.Set(ctx, name, nil); return err },
			"delete":         func() error { _, err := s.Delete(ctx, name); return err },
			"txn":            func() error { _, err := s.Commit(ctx, kv.Txn().Then(kv.Delete(name))); return err },
			"fire":           func() error { _, err := s.Fire(ctx, name); return err },
			"event":          func() error { _, err := s.Event(name).Revision(ctx); return err },
			"wait for event": func() error { _, err := s.Event(name).Wait(ctx, 0); return err },
			"wait":           func() error { _, err := s.WaitChange(ctx, name, 0); return err },
			"watch": func() error {
				for _, err := range s.WatchKey(ctx, name, 0) {
					return err
				}
				return nil
			},
		}
		for op, call := range calls {
			wantError(t, call(), kv.ErrInvalid, outcome.NotDone, op)
		}
	}
	_, _, err := s.DeletePrefix(ctx, "a\xff")
	wantError(t, err, kv.ErrInvalid, outcome.NotDone, "delete prefix")
	_, err = s.Commit(ctx, kv.Txn().Then(kv.DeletePrefix("a\xff")))
	wantError(t, err, kv.ErrInvalid, outcome.NotDone, "txn")
}
