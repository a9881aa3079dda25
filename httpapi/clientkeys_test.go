package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
)

func TestClientKeys(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{Token: "sesame"}), "sesame")
	ctx := t.Context()
	if _, err := c.Get(ctx, "k"); !errors.Is(err, kv.ErrNotFound) || kith.OutcomeOf(err) != kith.NotDone {
		t.Errorf("an absent key: %v", err)
	}
	if revision, err := c.Set(ctx, "k", nil, WriteOptions{IfAbsent: true}); revision != 1 || err != nil {
		t.Errorf("Set: %d, %v", revision, err)
	}
	_, err := c.Set(ctx, "k", nil, WriteOptions{IfAbsent: true})
	conflict, ok := errors.AsType[*kv.ConflictError](err)
	if !ok || conflict.Key != "k" || conflict.Actual != 1 || conflict.Wanted.String() != kv.IfAbsent().String() || kith.OutcomeOf(err) != kith.NotDone {
		t.Errorf("a conflict: %#v, %v", conflict, err)
	}
	if revision, err := c.Set(ctx, "k", []byte("v"), WriteOptions{IfRevision: 1, TTL: 1500 * time.Millisecond}); revision != 2 || err != nil {
		t.Errorf("Set if: %d, %v", revision, err)
	}
	entry, err := c.Get(ctx, "k")
	if want, wantErr := f.store.Get(ctx, "k"); err != nil || wantErr != nil || fmt.Sprintf("%+v", entry) != fmt.Sprintf("%+v", want) {
		t.Errorf("Get: %+v, want %+v, %v", entry, want, err)
	}
	if _, err := c.Delete(ctx, "k", WriteOptions{IfRevision: 1}); err == nil || !strings.Contains(err.Error(), `delete "k": kv: conflict: wanted the key at revision 1, but it is at 2 (not done)`) {
		t.Errorf("Delete if: %v", err)
	}
	if revision, err := c.Delete(ctx, "k", WriteOptions{IfRevision: 2}); revision != 3 || err != nil {
		t.Errorf("Delete: %d, %v", revision, err)
	}
	if revision, err := c.Fire(ctx, "k", 0); revision != 4 || err != nil {
		t.Errorf("Fire: %d, %v", revision, err)
	}
	if _, err := c.Fire(ctx, "k", 3); err == nil || !strings.Contains(err.Error(), "at 4") {
		t.Errorf("Fire if: %v", err)
	}
}

// TestClientTooLarge: what cannot be taken is not sent, so that its outcome is no riddle.
func TestClientTooLarge(t *testing.T) {
	_, c := serve(t, New(newFake(t), Options{}), "")
	value := Value(bytes.Repeat([]byte{0xff}, MaxTxnBody*3/4)) // as base64
	_, setErr := c.Set(t.Context(), "k", value[:MaxValue+1], WriteOptions{})
	_, txnErr := c.Commit(t.Context(), Txn{Then: []TxnOp{{Put: new("k"), Value: &value}}})
	for _, err := range []error{setErr, txnErr} {
		if !errors.Is(err, kv.ErrTooLarge) || kith.OutcomeOf(err) != kith.NotDone || !strings.Contains(err.Error(), "the limit is") {
			t.Errorf("got %v", err)
		}
	}
	if revision, err := c.Set(t.Context(), "k", value[:MaxValue], WriteOptions{}); revision != 1 || err != nil {
		t.Errorf("what just fits: %d, %v", revision, err)
	}
}

// TestClientEmptyName: an empty name must not come to mean all keys.
func TestClientEmptyName(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	mustSet(t, f, "k", "v")
	calls := map[string]func() error{
		"Get":        func() error { _, err := c.Get(t.Context(), ""); return err },
		"Set":        func() error { _, err := c.Set(t.Context(), "", nil, WriteOptions{}); return err },
		"Delete":     func() error { _, err := c.Delete(t.Context(), "", WriteOptions{}); return err },
		"Fire":       func() error { _, err := c.Fire(t.Context(), "", 0); return err },
		"WaitChange": func() error { _, err := c.WaitChange(t.Context(), "", 0); return err },
		"WatchKey": func() error {
			for _, err := range c.WatchKey(t.Context(), "", 0) {
				return err
			}
			return nil
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, kv.ErrInvalid) || kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.replica.machine.Len() != 1 {
		t.Error("the key is gone")
	}
}

// TestClientOutcomes: what may have reached somebody is unknown, of a change; the rest
// was not done.
func TestClientOutcomes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	ln.Close()
	var status atomic.Int32
	srv, strange := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := int(status.Load()); code != 0 {
			w.WriteHeader(code)
			return
		}
		conn, _, _ := w.(http.Hijacker).Hijack() // the connection is lost
		conn.Close()
	}), "")
	away, err := NewClient(nobody, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name        string
		c           *Client
		code        int32
		write, read kith.Outcome
		unreachable bool
	}{
		{"nobody", away, 0, kith.NotDone, kith.NotDone, true},
		{"lost", strange, 0, kith.Unknown, kith.NotDone, true},
		{"an answer of somebody else's", strange, 200, kith.Unknown, kith.Unknown, false},
		{"a proxy's 502", strange, 502, kith.Unknown, kith.NotDone, false},
		{"a refusal", strange, 403, kith.NotDone, kith.NotDone, false},
	} {
		status.Store(tt.code)
		_, setErr := tt.c.Set(t.Context(), "k", []byte("v"), WriteOptions{})
		_, deleteErr := tt.c.Delete(t.Context(), "k", WriteOptions{})
		_, fireErr := tt.c.Fire(t.Context(), "k", 0)
		_, _, clearErr := tt.c.DeletePrefix(t.Context(), "")
		_, txnErr := tt.c.Commit(t.Context(), Txn{})
		for what, err := range map[string]error{"Set": setErr, "Delete": deleteErr, "Fire": fireErr, "DeletePrefix": clearErr, "Commit": txnErr} {
			_, unreachable := errors.AsType[*UnreachableError](err)
			if err == nil || kith.OutcomeOf(err) != tt.write || errors.Is(err, kith.ErrUnknown) != (tt.write == kith.Unknown) || unreachable != tt.unreachable {
				t.Errorf("%s, %s: %v", tt.name, what, err)
			}
		}
		if _, err := tt.c.Get(t.Context(), "k"); err == nil || kith.OutcomeOf(err) != tt.read {
			t.Errorf("%s, Get: %v", tt.name, err)
		}
	}
	srv.Close()
}

// TestClientDeadline: the agent learns how much time there is, and is the one to tell
// what stands in the way.
func TestClientDeadline(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	defer f.replica.hold()()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err := c.Set(ctx, "k", nil, WriteOptions{})
	if !errors.Is(err, kith.ErrNoQuorum) || !errors.Is(err, kith.ErrUnknown) || !strings.Contains(err.Error(), "bravo does not answer") {
		t.Errorf("no majority: %v", err)
	}
	// An agent that says nothing at all.
	_, mute := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "")
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = mute.Get(ctx, "k")
	if _, unreachable := errors.AsType[*UnreachableError](err); unreachable || !errors.Is(err, context.DeadlineExceeded) || kith.OutcomeOf(err) != kith.NotDone {
		t.Errorf("a mute agent: %v", err)
	}
}

func TestStale(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	mustSet(t, f, "k", "v")
	defer f.replica.hold()()
	if entry, err := c.Stale().Get(t.Context(), "k"); err != nil || string(entry.Value) != "v" {
		t.Errorf("Get: %+v, %v", entry, err)
	}
	if names, err := c.Stale().Names(t.Context(), "", "", 0); err != nil || len(names) != 1 {
		t.Errorf("Names: %q, %v", names, err)
	}
}

func TestAgreementJSON(t *testing.T) {
	f := newFake(t)
	f.status.Agreement = &kith.AgreementStatus{
		ClusterID: "c1", State: "leader", Term: 3, Leader: "alpha", RaftID: 1, Applied: 9, Committed: 9, Revision: 5, Keys: 2,
		StateBytes: 100, LogBytes: 200, SnapshotBytes: 50, SnapshotIndex: 4, SyncP50: 250 * time.Microsecond, SyncP99: time.Millisecond,
		Members: []kith.AgreementMember{
			{Name: "alpha", RaftID: 1, PID: 1, Voter: true, Connected: true, Match: 9, Active: true},
			{Name: "bravo", RaftID: 2, PID: 2, Connected: true, Match: 7, Lag: 2, SnapshotSent: 3, SnapshotTotal: 4},
		},
	}
	srv, c := serve(t, New(f, Options{}), "")
	got := compact(t, send(t, srv.URL, "GET", "/status", "").body)
	for _, part := range []string{
		`"cluster_id":"c1"`, `"sync_p50_ms":0.25`, `"lag":2`, `"active":false`, `"snapshot_total":4`, `"revision":5`, `"state":"leader"`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is missing in %s", part, got)
		}
	}
	f.status.Agreement.State = "follower"
	s, err := c.Status(t.Context())
	if err != nil || s.Agreement == nil || s.Agreement.Members[1].Lag != nil || s.Agreement.Members[0].Match != nil {
		t.Errorf("a follower tells what only the leader knows: %+v, %v", s.Agreement, err)
	}
	f.status.Agreement = nil
	if s, err = c.Status(t.Context()); err != nil || s.Agreement != nil {
		t.Errorf("without agreement: %+v, %v", s.Agreement, err)
	}
}

// TestRealNode: the whole way down, once, with a node of one.
func TestRealNode(t *testing.T) {
	node := kithtest.Start(t, 1, kithtest.Options{}).Nodes()[0]
	_, c := serve(t, New(node, Options{}), "")
	next := pullChanges(t, c.Watch(t.Context(), "", 0))
	if first := next(); first.Kind != kv.Synced {
		t.Errorf("a new cluster has %+v", first)
	}
	revision, err := c.Set(t.Context(), "k", []byte("v"), WriteOptions{IfAbsent: true, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if change := next(); change.Revision != revision || string(change.Value) != "v" || change.TTL <= 0 {
		t.Errorf("the watch shows %+v", change)
	}
	eventually(t, "the status tells of the key", func() bool { // it may be a moment old
		s, err := c.Status(t.Context())
		return err == nil && s.Healthy && s.Agreement != nil && s.Agreement.Leader == "alpha" && s.Agreement.Keys == 1
	})
}
