package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// pull reads a stream one event at a time.
func pull[T any](t *testing.T, seq iter.Seq2[T, error]) (next func() (T, error)) {
	t.Helper()
	n, stop := iter.Pull2(seq)
	t.Cleanup(stop)
	return func() (T, error) {
		t.Helper()
		event, err, ok := n()
		if !ok {
			t.Fatal("the stream is over")
		}
		return event, err
	}
}

func TestStream(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	_, c := serve(t, h, "")
	next := pull(t, c.WatchNodes(t.Context()))

	first, err := next()
	if err != nil || len(first.Nodes.Nodes) != 3 || first.Self != "alpha" || len(first.Changes) != 0 {
		t.Fatalf("the first event is %+v, %v", first, err)
	}

	members := slices.Clone(f.members)
	members[1].Status = membership.StatusFailed
	f.happen(members, membership.Change{Kind: membership.Failed, Member: members[1], Previous: f.members[1]})
	event, err := next()
	if err != nil || len(event.Changes) != 1 || event.Nodes.Nodes[1].Status != "failed" {
		t.Fatalf("the failure is %+v, %v", event, err)
	}
	if at := event.Changes[0].Time; time.Since(at) < 0 || time.Since(at) > time.Hour {
		t.Errorf("the change has the time %v, not that of now", at)
	}
	want := NodeChange{Kind: "failed", Name: "bravo", PID: 2, Address: "127.0.0.1:9002", Status: "failed", Previous: "alive", Since: members[1].Since}
	if got := event.Changes[0]; got.Kind != want.Kind || got.Name != want.Name || got.Previous != want.Previous || !got.Since.Equal(want.Since) {
		t.Errorf("the change is %+v, want %+v", got, want)
	}

	list := f.Peers()
	if err := errors.Join(list.Remove("charlie"),
		list.Add(&peers.Peer{PID: 4, Name: "delta", IPAddr: "127.0.0.1", Port: 6004}),
		list.Update("bravo", func(p *peers.Peer) { p.PID = 9 })); err != nil {
		t.Fatal(err)
	}
	f.setPeers(list)
	event, err = next()
	if err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for _, c := range event.Changes {
		if c.Time.IsZero() {
			t.Errorf("%s %s has no time", c.Kind, c.Name)
		}
		kinds += c.Kind + " " + c.Name + strings.Join(c.Fields, ",") + "; "
	}
	if kinds != "added delta; removed charlie; changed bravopid; " {
		t.Errorf("the edit is told as %s", kinds)
	}
	if n := event.Nodes.Nodes; len(n) != 3 || n[2].Name != "delta" || n[2].Status != StatusAbsent || n[1].FilePID != 9 {
		t.Errorf("the nodes after the edit are %+v", n)
	}

	// Content that is refused changes the list not, and is told all the same.
	for _, refusal := range []error{errors.New("line 3 is odd"), nil} {
		f.refuse(refusal)
		event, err = next()
		if err != nil || len(event.Changes) != 0 || len(event.Nodes.Nodes) != 3 || (event.PeersError == "") != (refusal == nil) {
			t.Errorf("after the refusal %v comes %+v, %v", refusal, event, err)
		}
	}

	f.stop(errors.New("somebody pulled the plug"))
	if _, err = next(); !errors.Is(err, ErrStreamEnded) || !strings.Contains(err.Error(), "plug") {
		t.Errorf("the end is %v", err)
	}
	eventually(t, "the stream's place is free again", func() bool { return len(h.streams) == 0 && f.running() == 0 })
}

// TestStreamRaw asserts what is on the wire: the names of the events and the
// heartbeats.
func TestStreamRaw(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.heartbeat = time.Millisecond
	srv, c := serve(t, h, "")
	req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/nodes", nil)
	req.Header.Add("Accept", "text/html")
	req.Header.Add("Accept", "application/json;q=0.5, Text/Event-Stream;q=0.9")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("the type is %q", kind)
	}
	lines := bufio.NewScanner(resp.Body)
	await := func(prefix string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), prefix) {
				return
			}
		}
		t.Fatalf("no line begins with %q: %v", prefix, lines.Err())
	}
	await("event: view")
	await(`data: {"cluster":"test","self":"alpha","nodes":[`)
	await(": heartbeat")
	f.happen(f.members, membership.Change{Kind: membership.Updated, Member: f.members[0], Previous: f.members[0]})
	await("event: change")
	await("data: ")
	await(": heartbeat")
	f.stop(errFakeClosed)
	await("event: end")
	await(`data: {"reason":"fake: closed"}`)
	if lines.Scan() && lines.Text() != "" {
		t.Errorf("after the end comes %q", lines.Text())
	}
}

func TestStreamHeadIsNoStream(t *testing.T) {
	resp := request(t, New(newFake(t), Options{}), "HEAD", "/nodes", "Accept", "text/event-stream")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD is answered %d with Content-Length %q", resp.StatusCode, resp.Header.Get("Content-Length"))
	}
}

func TestStreamsAreCounted(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.streams = make(chan struct{}, 2)
	_, c := serve(t, h, "")
	for range 2 {
		if _, err := pull(t, c.WatchNodes(t.Context()))(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := pull(t, c.WatchNodes(t.Context()))()
	if e, ok := errors.AsType[*ReplyError](err); !ok || e.Code != http.StatusServiceUnavailable {
		t.Errorf("the third stream gets %v", err)
	}
	if _, err := c.Nodes(t.Context()); err != nil {
		t.Errorf("full streams are in the way of requests: %v", err)
	}
}

// TestStreamNobodyReads: a client that never reads is cut off, and meanwhile
// neither holds up the node nor other clients.
func TestStreamNobodyReads(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.patience = 200 * time.Millisecond
	srv, c := serve(t, h, "")
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprint(conn, "GET /nodes HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	eventually(t, "the stream runs", func() bool { return f.running() == 1 })

	// More than the kernel's buffers take, again and again, until it is cut off.
	members := crowd(5000)
	eventually(t, "the client is cut off", func() bool {
		f.happen(members)
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatalf("another client is held up: %v", err)
		}
		return f.running() == 0 && len(h.streams) == 0
	})
}

func TestStreamClientGoes(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	_, c := serve(t, h, "")
	for range c.WatchNodes(t.Context()) {
		break
	}
	eventually(t, "the server notices", func() bool { return f.running() == 0 && len(h.streams) == 0 })

	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	reason := errors.New("enough")
	var last error
	for _, err := range c.WatchNodes(ctx) {
		last = err
		cancel(reason)
	}
	if !errors.Is(last, reason) {
		t.Errorf("the stream ended with %v, want the cause of its context", last)
	}
}

// TestStreamSlowReader: what a slow reader missed is counted, and the state it
// gets is whole.
func TestStreamSlowReader(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	next := pull(t, c.WatchNodes(t.Context()))
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	// Written while nobody reads: the first fills the connection's buffers.
	const rounds = 50
	for i := range rounds {
		f.happen(append(crowd(3000), membership.Member{Name: "last", PID: 9999, Addr: f.members[0].Addr, Status: membership.StatusAlive, Version: fmt.Sprint(i)}))
	}
	missed := 0
	for {
		event, err := next()
		if err != nil {
			t.Fatal(err)
		}
		missed += event.Skipped
		if n := event.Nodes.Nodes; n[len(n)-1].Version == fmt.Sprint(rounds-1) {
			break
		}
	}
	t.Logf("%d of %d rounds were missed", missed, rounds)
}

// TestStreamSkipped: the count of what a watcher missed reaches the client.
func TestStreamSkipped(t *testing.T) {
	f := newFake(t)
	var state nodesState
	view := func(skipped int) news {
		return news{view: &membership.View{Members: f.members, Skipped: skipped}}
	}
	for _, step := range []struct {
		news    news
		skipped int
	}{{view(0), 0}, {view(3), 3}, {view(0), 0}} {
		if name, event := state.take(step.news, f, t0); name == "" || event.Skipped != step.skipped {
			t.Errorf("%q tells of %d missed changes, want %d", name, event.Skipped, step.skipped)
		}
	}
	_, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s := &eventStream{w: w, rc: http.NewResponseController(w), patience: time.Second}
		if err := errors.Join(s.open(), s.send(eventChange, NodesEvent{Skipped: 3})); err != nil {
			t.Error(err)
		}
	}), "")
	if event, err := pull(t, c.WatchNodes(t.Context()))(); err != nil || event.Skipped != 3 {
		t.Errorf("%d changes were missed, want 3; %v", event.Skipped, err)
	}
}

// TestEventReaderLimit: neither one long line nor many short ones fill the memory.
func TestEventReaderLimit(t *testing.T) {
	for name, tt := range map[string]struct {
		in string
		ok bool
	}{
		"fits":       {"data: " + strings.Repeat("x", 100) + "\n\n", true},
		"long line":  {"data: " + strings.Repeat("x", 1000) + "\n\n", false},
		"endless":    {strings.Repeat("x", 1000), false},
		"many lines": {strings.Repeat("data: xxxxxxxx\n", 20) + "\n", false},
	} {
		r := &eventReader{r: bufio.NewReaderSize(strings.NewReader(tt.in), 16), heard: func() {}, limit: 128}
		_, _, err := r.next()
		if tt.ok != (err == nil) || err != nil && (!errors.Is(err, errStranger) || !strings.Contains(err.Error(), "128 bytes")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventReader(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"plain":         {"event: a\ndata: 1\n\n", "a=1;"},
		"crlf":          {"event: a\r\ndata: 1\r\n\r\n", "a=1;"},
		"no space":      {"event:a\ndata:1\n\n", "a=1;"},
		"two lines":     {"event: a\ndata: 1\ndata: 2\n\n", "a=1\n2;"},
		"comment":       {": hello\n\n: again\nevent: a\ndata: 1\n\n", "a=1;"},
		"unknown field": {"id: 7\nretry: 1\nevent: a\nfoo\ndata: 1\n\n", "a=1;"},
		"no name":       {"data: 1\n\n", "=1;"},
		"cut off":       {"event: a\ndata: 1\n", ""},
		"two events":    {"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", "a=1;b=2;"},
		"long line":     {"event: a\ndata: " + strings.Repeat("x", 70_000) + "\n\n", "a=" + strings.Repeat("x", 70_000) + ";"},
	} {
		r := &eventReader{r: bufio.NewReader(strings.NewReader(tt.in)), heard: func() {}, limit: maxReply}
		got := ""
		for {
			event, data, err := r.next()
			if err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			got += event + "=" + data + ";"
		}
		if got != tt.want {
			t.Errorf("%s: got %.80q, want %.80q", name, got, tt.want)
		}
	}
}

// FuzzEventReader: whatever a server sends, the reader ends and does not panic.
func FuzzEventReader(f *testing.F) {
	f.Add([]byte("event: view\ndata: {\"nodes\":[]}\n\n"))
	f.Add([]byte(": heartbeat\n\nevent: end\ndata: {\"reason\":\"x\"}\n\n"))
	f.Add([]byte("event: change\ndata: {\"nodes\":\ndata: []}\r\n\r\n"))
	f.Add([]byte("data\n\n\n:\n"))
	f.Add([]byte("id: 7\nevent: written\ndata: {\"kind\":\"written\",\"key\":\"a\",\"value\":{\"base64\":\"/w==\"}}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		heard := 0
		read := func() *eventReader {
			heard = 0
			return &eventReader{r: bufio.NewReaderSize(strings.NewReader(string(data)), 16), heard: func() { heard++ }, limit: maxReply}
		}
		for r := read(); ; {
			if _, err := nextKnown(r, decodeChange); err != nil {
				break
			}
		}
		for r := read(); ; {
			if _, err := nextKnown(r, decodeNodes); err != nil {
				break
			}
		}
		if heard > strings.Count(string(data), "\n") {
			t.Errorf("%d lines were heard in %q", heard, data)
		}
	})
}
