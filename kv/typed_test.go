package kv_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

type server struct {
	Addr string
	Port int
}

func TestTyped(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	servers := kv.Typed[server](s, "servers/", nil)
	alpha := server{"10.0.0.1", 80}
	rev := must(servers.Set(ctx, "alpha", alpha, kv.IfAbsent(), kv.TTL(time.Minute)))
	if e := must(s.Get(ctx, "servers/alpha")); string(e.Value) != `{"Addr":"10.0.0.1","Port":80}` {
		t.Errorf("stored as %s", e.Value)
	}
	want := kv.Item[server]{Key: "alpha", Value: alpha, Revision: rev, Created: rev, TTL: time.Minute}
	if i := must(servers.Get(ctx, "alpha")); i != want {
		t.Errorf("got %+v", i)
	}
	_, err := servers.Set(ctx, "alpha", alpha, kv.IfAbsent())
	if conflict, ok := errors.AsType[*kv.ConflictError](err); !ok || conflict.Key != "servers/alpha" {
		t.Errorf("got %v", err)
	}
	_, err = servers.Get(ctx, "bravo")
	wantError(t, err, kv.ErrNotFound, outcome.NotDone, "get")
	must(servers.Delete(ctx, "alpha", kv.IfRevision(rev)))
	_, err = s.Get(ctx, "servers/alpha")
	wantError(t, err, kv.ErrNotFound, outcome.NotDone, "get")
}

// TestTypedGoesOnAfterWhatItCannotDecode, if the caller does.
func TestTypedGoesOnAfterWhatItCannotDecode(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	v := kv.Typed[server](s, "s/", kv.JSON[server]())
	must(v.Set(ctx, "a", server{Port: 1}))
	bad := must(s.Set(ctx, "s/b", []byte("{")))
	must(v.Set(ctx, "c", server{Port: 3}))
	must(s.Set(ctx, "x", []byte("{"))) // not in the view

	wantBad := func(err error, op string) {
		t.Helper()
		d, ok := errors.AsType[*kv.DecodeError](err)
		if !ok || d.Key != "b" || d.Revision != bad || !strings.Contains(err.Error(), "s/b") {
			t.Fatalf("got %v", err)
		}
		if _, ok := errors.AsType[*json.SyntaxError](err); !ok {
			t.Errorf("the codec's error is lost: %v", err)
		}
		wantError(t, err, err, outcome.NotDone, op)
	}
	_, err := v.Get(ctx, "b")
	wantBad(err, "get")

	keys := ""
	for i, err := range v.All(ctx) {
		keys += i.Key
		if i.Key == "b" {
			wantBad(err, "list")
		} else if err != nil || i.Value.Port == 0 {
			t.Errorf("%+v, %v", i, err)
		}
	}
	if keys != "abc" {
		t.Errorf("keys %q", keys)
	}
	var told []string
	for c, err := range v.Watch(ctx, 0) {
		told = append(told, c.Kind.String()+" "+c.Key)
		if c.Key == "b" && c.Kind == kv.Written {
			wantBad(err, "watch")
		} else if err != nil {
			t.Fatal(err)
		}
		if c.Kind == kv.Synced {
			must(s.Delete(ctx, "s/b"))
		}
		if c.Kind == kv.Deleted {
			if c.Previous != bad || !c.Last {
				t.Errorf("got %+v", c)
			}
			break
		}
	}
	if got := strings.Join(told, ", "); got != "written a, written b, written c, synced , deleted b" {
		t.Errorf("told %s", got)
	}
}

func TestTypedErrors(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	_, err := kv.Typed[func()](s, "", nil).Set(ctx, "a", nil)
	wantError(t, err, kv.ErrInvalid, outcome.NotDone, "set")
	v := kv.Typed[server](s, "s/", nil)
	n.RefuseBarrier = errInjected
	for _, err := range v.All(ctx) {
		wantError(t, err, errInjected, outcome.NotDone, "list")
	}
	for _, err := range v.Watch(ctx, 0) {
		wantError(t, err, errInjected, outcome.NotDone, "watch")
	}
}
