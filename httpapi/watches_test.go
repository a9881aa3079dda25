package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

func mustSet(t *testing.T, f *fakeNode, key, value string) kv.Revision {
	t.Helper()
	revision, err := f.store.Set(t.Context(), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// TestLongPoll: a poll waits for the next change of its name and of no other.
func TestLongPoll(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	srv, c := serve(t, h, "")
	mustSet(t, f, "k", "v")
	answer := make(chan reply, 1)
	for _, tt := range []struct {
		target string
		change func()
		want   string
	}{
		{"/watches/k?rev=1", func() { mustSet(t, f, "kk", ""); mustSet(t, f, "k", "w") }, "3"},
		{"/watches/k?rev=0&timeout=0", func() { f.store.Delete(t.Context(), "k") }, "4"},
		{"/watches/e", func() { f.store.Fire(t.Context(), "e") }, "5"},
		{"/watches/e?timeout=1h", func() { mustSet(t, f, "e", "") }, "6"}, // a key of that name
	} {
		waits := f.replica.waiting(1)
		go func() { answer <- send(t, srv.URL, "GET", tt.target, "") }()
		eventually(t, "the poll waits", waits)
		tt.change()
		(<-answer).want(t, tt.target, 200, tt.want)
		eventually(t, "it is over", func() bool { return f.replica.listening() == 0 })
	}
	send(t, srv.URL, "GET", "/watches/k?rev=3&timeout=1h", "").want(t, "one that is over", 200, "4")
	r := send(t, srv.URL, "GET", "/watches/e?rev=6&timeout=20", "")
	r.refused(t, "time is up", 408, "timeout", outcome.NotDone)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.WaitChange(ctx, "e", 6); !errors.Is(err, context.DeadlineExceeded) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("the client's time is up: %v", err)
	}
	if revision, err := c.WaitChange(t.Context(), "e", 4); revision != 6 || err != nil {
		t.Errorf("WaitChange: %d, %v", revision, err)
	}
	eventually(t, "no poll is left", func() bool { return f.replica.listening() == 0 && len(h.polls) == 0 })
}

// TestLongPollLeaves: a client that hangs up leaves nothing, and there is a bound.
func TestLongPollLeaves(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.polls = make(chan struct{}, 2)
	srv, c := serve(t, h, "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	waits := f.replica.waiting(2)
	for range 2 {
		go func() {
			_, err := c.WaitChange(ctx, "k", 0)
			done <- err
		}()
	}
	eventually(t, "both wait", waits)
	r := send(t, srv.URL, "GET", "/watches/k", "")
	r.refused(t, "a third", 503, "overloaded", outcome.NotDone)
	if r.Get("Retry-After") == "" {
		t.Error("it is not said when to come back")
	}
	send(t, srv.URL, "POST", "/data/other", "v").want(t, "polls are in nobody's way", 200, "1")
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("hanging up: %v", err)
		}
	}
	eventually(t, "nothing is left", func() bool { return f.replica.listening() == 0 && len(h.polls) == 0 })
}

// TestLongPollOutlivesTimeouts: the time-outs of the server are for ordinary requests;
// its end is told, and so is the node's.
func TestLongPollOutlivesTimeouts(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.timeout = 30 * time.Millisecond
	addr, stop := serving(t, h)
	answer := make(chan reply, 1)
	poll := func() { answer <- send(t, "http://"+addr, "GET", "/watches/k?rev=0", "") }
	waits := f.replica.waiting(1)
	go poll()
	eventually(t, "it waits", waits)
	time.Sleep(4 * h.timeout) // the time-out itself is what is waited for
	mustSet(t, f, "k", "v")
	(<-answer).want(t, "after the time-out", 200, "1")
	eventually(t, "it is over", func() bool { return f.replica.listening() == 0 })
	waits = f.replica.waiting(1)
	go poll()
	eventually(t, "it waits again", waits)
	if err := stop(); err != nil {
		t.Error(err)
	}
	(<-answer).refused(t, "at the server's end", 503, "closed", outcome.NotDone)
}

// rawEvents reads a stream as it is on the wire.
func rawEvents(t *testing.T, base, target string, header ...string) (next func() (id, name, data string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", base+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%s: %s", target, resp.Status)
	}
	lines := bufio.NewReader(resp.Body)
	return func() (id, name, data string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch field {
			case "id":
				id = value
			case "event":
				name = value
			case "data":
				data = value
			case "":
				if name != "" {
					return id, name, data
				}
			}
		}
	}
}

// TestChangesOnTheWire: the stream begins with the state, and an ID is where a client
// may go on, so never in the middle of a transaction.
func TestChangesOnTheWire(t *testing.T) {
	f := newFake(t)
	srv, _ := serve(t, New(f, Options{}), "")
	mustSet(t, f, "a/x", "old")
	mustSet(t, f, "b", "other")
	next := rawEvents(t, srv.URL, "/watches?prefix=a/")
	expect := func(wantID, wantName, wantData string) {
		t.Helper()
		id, name, data := next()
		if id != wantID || name != wantName || data != wantData {
			t.Errorf("got  %q %s %s\nwant %q %s %s", id, name, data, wantID, wantName, wantData)
		}
	}
	expect("", "written", `{"kind":"written","key":"a/x","value":"old","revision":1,"created":1,"existing":true}`)
	expect("2", "synced", `{"kind":"synced","revision":2,"last":true}`)
	_, err := f.store.Commit(t.Context(), kv.Txn().Then(
		kv.Put("a/x", []byte{0xff}, kv.TTL(time.Second)), kv.Put("a/y", nil), kv.Delete("b")))
	if err != nil {
		t.Fatal(err)
	}
	expect("", "written", `{"kind":"written","key":"a/x","value":{"base64":"/w=="},"revision":3,"created":1,"previous":1,"ttl_ms":1000}`)
	expect("3", "written", `{"kind":"written","key":"a/y","value":"","revision":3,"created":3,"last":true}`)
	f.replica.advance(2 * time.Second)
	expect("4", "expired", `{"kind":"expired","key":"a/x","revision":4,"previous":3,"last":true}`)

	// Going on, by query and by the header, which is the newer of the two.
	for target, header := range map[string][]string{"/watches?prefix=a/&after=3": nil, "/watches?prefix=a/&after=0": {"Last-Event-ID", "3"}} {
		next = rawEvents(t, srv.URL, target, header...)
		expect("4", "expired", `{"kind":"expired","key":"a/x","revision":4,"previous":3,"last":true}`)
	}
	// One key alone.
	next = rawEvents(t, srv.URL, "/watches/a/y?after=1")
	expect("3", "written", `{"kind":"written","key":"a/y","value":"","revision":3,"created":3,"last":true}`)
	f.stop(errFakeClosed)
	if _, name, data := next(); name != "end" || !strings.Contains(data, "closed") {
		t.Errorf("the end is told as %s %s", name, data)
	}
}

func TestChangesRefused(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	srv, _ := serve(t, h, "")
	events := []string{"Accept", "text/event-stream"}
	for target, says := range map[string]string{
		"/watches?after=x": "whole number", "/watches?rev=1": "no parameter", "/watches/k?prefix=a": "no parameter",
		"/watches?stale=x": "true or false", "/watches/k?timeout=5": "no parameter",
	} {
		if p := send(t, srv.URL, "GET", target, "", events...).refused(t, target, 400, "invalid", outcome.NotDone); !strings.Contains(p.Error, says) {
			t.Errorf("%s says %q", target, p.Error)
		}
	}
	send(t, srv.URL, "GET", "/watches", "", append(events, "Last-Event-ID", "x")...).refused(t, "a bad ID", 400, "invalid", outcome.NotDone)
	if r := send(t, srv.URL, "GET", "/watches", ""); r.code != 406 || !strings.Contains(r.body, "text/event-stream") {
		t.Errorf("no stream asked for: %d %s", r.code, r.body)
	}
	for _, target := range []string{"/watches/k", "/watches?after=1"} {
		r := send(t, srv.URL, "GET", target, "a body", events...)
		r.refused(t, target+" with a body", 400, "invalid", outcome.NotDone)
	}
	send(t, srv.URL, "GET", "/watches/k", "a body").refused(t, "a poll with a body", 400, "invalid", outcome.NotDone)
	h.streams = make(chan struct{})
	send(t, srv.URL, "GET", "/watches", "", events...).refused(t, "one too many", 503, "overloaded", outcome.NotDone)
}

// pullChanges reads a stream one change at a time.
func pullChanges(t *testing.T, seq iter.Seq2[kv.Change, error]) (next func() kv.Change) {
	t.Helper()
	n, stop := iter.Pull2(seq)
	t.Cleanup(stop)
	return func() kv.Change {
		t.Helper()
		change, err, ok := n()
		if !ok || err != nil {
			t.Fatalf("the stream ends: %v", err)
		}
		return change
	}
}

// TestClientWatch: a client's stream is the store's own, change by change, for a reader
// that is slow, too.
func TestClientWatch(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	mustSet(t, f, "k/0", "v")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	here, there := pullChanges(t, f.store.Watch(ctx, "k/", 0)), pullChanges(t, c.Watch(ctx, "k/", 0))
	for range 2 {
		here()
		there()
	}
	for i := range 300 {
		switch i % 4 {
		case 0:
			f.store.Delete(t.Context(), fmt.Sprintf("k/%d", i%7))
		case 1:
			mustSet(t, f, "other", "v")
		case 2:
			if _, err := f.store.Commit(t.Context(), kv.Txn().Then(kv.Put("k/a", []byte{byte(i), 0xfe}), kv.Put("k/b", nil), kv.Delete("k/0"))); err != nil {
				t.Fatal(err)
			}
		default:
			mustSet(t, f, fmt.Sprintf("k/%d", i%7), strings.Repeat("v", i*20))
		}
	}
	last := mustSet(t, f, "k/last", "v")
	for n := 0; ; n++ {
		want, got := here(), there()
		if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", got) {
			t.Fatalf("change %d is\n%+v, want\n%+v", n, got, want)
		}
		if want.Revision == last {
			break
		}
	}
	one := pullChanges(t, c.Stale().WatchKey(ctx, "k/last", 0))
	if got := one(); got.Kind != kv.Written || got.Key != "k/last" || !got.Existing {
		t.Errorf("WatchKey: %+v", got)
	}
	cancel()
	eventually(t, "no subscription is left", func() bool { return f.replica.listening() <= 1 }) // the store's own
}

// TestClientWatchResync: what is forgotten is told, and then everything as it is.
func TestClientWatchResync(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	for range 16<<10 + 100 { // more than history keeps
		mustSet(t, f, "k", "v")
	}
	next := pullChanges(t, c.Watch(t.Context(), "k", 5))
	var kinds []kv.Kind
	for range 3 {
		kinds = append(kinds, next().Kind)
	}
	if !slices.Equal(kinds, []kv.Kind{kv.Resync, kv.Written, kv.Synced}) {
		t.Errorf("got %v", kinds)
	}
}

func TestKeyChangeUnknownKind(t *testing.T) {
	if _, known, err := decodeChange("", `{"kind":"moved","key":"k","revision":3}`); known || err != nil {
		t.Errorf("a newer agent's kind: %v, %v", known, err)
	}
	text, err := json.Marshal(NewKeyChange(kv.Change{Kind: kv.Deleted, Entry: kv.Entry{Key: "k", Revision: 3}, Previous: 2, Last: true}))
	if want := `{"kind":"deleted","key":"k","revision":3,"previous":2,"last":true}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v", text, err)
	}
}
