package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestNewClient(t *testing.T) {
	for base, want := range map[string]string{
		"127.0.0.1:2033":             "http://127.0.0.1:2033",
		"127.0.0.1":                  "http://127.0.0.1:2033",
		"bravo":                      "http://bravo:2033",
		":9000":                      "http://127.0.0.1:9000",
		"[::1]:9000":                 "http://[::1]:9000",
		"[::1]":                      "http://[::1]:2033",
		"::1":                        "http://[::1]:2033",
		"http://bravo":               "http://bravo",
		"https://kith.example/api/":  "https://kith.example/api",
		"https://kith.example:1/a/b": "https://kith.example:1/a/b",
	} {
		c, err := NewClient(base, "")
		if err != nil || c.URL() != want {
			t.Errorf("NewClient(%q): %v, %v; want %s", base, c, err, want)
		}
	}
	for _, base := range []string{"", "ftp://bravo", "http://", "http://user:secret@bravo", "http://bravo/?a=secret", "http://bravo/#f", "http://[::1", "http://bravo:port", "a b"} {
		_, err := NewClient(base, "")
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("NewClient(%q): %v", base, err)
		}
	}
	for _, token := range []string{"two words", "line\nbreak", "ümlaut"} {
		if _, err := NewClient("bravo", token); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("the token %q: %v", token, err)
		}
	}
}

func TestClient(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{Token: "sesame"}), "sesame")
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes.Nodes) != 3 || nodes.Nodes[1].RTT != Millis(1500*time.Microsecond) || nodes.Nodes[1].Incarnation != 0x5678 {
		t.Errorf("Nodes: %+v, %v", nodes, err)
	}
	list, err := c.Peers(t.Context())
	if err != nil || len(list.List.Peers) != 3 || list.Path != f.status.PeersPath {
		t.Errorf("Peers: %+v, %v", list, err)
	}
	status, err := c.Status(t.Context())
	if err != nil || !status.Healthy || status.ControlAddr != f.status.ControlAddr {
		t.Errorf("Status: %+v, %v", status, err)
	}
	for event, err := range c.WatchNodes(t.Context()) {
		if err != nil || len(event.Nodes.Nodes) != 3 {
			t.Errorf("WatchNodes: %+v, %v", event, err)
		}
		break
	}
}

func TestClientRefused(t *testing.T) {
	srv, c := serve(t, New(newFake(t), Options{Token: "sesame"}), "wrong")
	_, err := c.Nodes(t.Context())
	e, ok := errors.AsType[*ReplyError](err)
	if !ok || e.Code != 401 || !strings.Contains(err.Error(), srv.URL+"/nodes") || !strings.Contains(err.Error(), "token is wrong") {
		t.Errorf("a wrong token: %v", err)
	}
}

func TestClientUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	c, err := NewClient(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	e, ok := errors.AsType[*UnreachableError](err)
	if !ok || e.URL != "http://"+addr {
		t.Fatalf("nobody there: %v", err)
	}
	for _, part := range []string{addr, "connection refused", "kith agent", "--api", "$KITH_API"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
	for _, err := range c.WatchNodes(t.Context()) {
		if _, ok := errors.AsType[*UnreachableError](err); !ok {
			t.Errorf("nobody there to watch: %v", err)
		}
	}
}

// TestClientOtherServers: servers that are none of ours give clear errors.
func TestClientOtherServers(t *testing.T) {
	var elsewhere int
	other, _ := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }), "")
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		says  string
	}{
		"html":     {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }, "did not answer as a kith agent"},
		"empty":    {func(http.ResponseWriter, *http.Request) {}, "did not answer as a kith agent"},
		"array":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "[]") }, "did not answer as a kith agent"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, "302"},
		"error":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order\nstack trace", 500) }, "500 Internal Server Error: out of order"},
		"half": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"cluster":`)
		}, "unexpected EOF"},
	} {
		_, c := serve(t, tt.serve, "secret")
		for _, err := range c.WatchNodes(t.Context()) {
			if err == nil {
				t.Errorf("%s: a stream without an error", name)
			}
		}
		_, err := c.Nodes(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), c.URL()) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
	if elsewhere > 0 {
		t.Error("a redirect was followed, token and all")
	}
}

// TestClientStreamBreaks: a connection that is lost is told from an end that the
// server announced.
func TestClientStreamBreaks(t *testing.T) {
	srv, c := serve(t, New(newFake(t), Options{}), "")
	next := pull(t, c.WatchNodes(t.Context()))
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	srv.CloseClientConnections()
	_, err := next()
	if _, ok := errors.AsType[*UnreachableError](err); !ok || errors.Is(err, ErrStreamEnded) || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("a lost connection: %v", err)
	}

	_, c = serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: view\ndata: {]\n\n")
	}), "")
	if _, err := pull(t, c.WatchNodes(t.Context()))(); !errors.Is(err, errStranger) {
		t.Errorf("an event that is no JSON: %v", err)
	}
}

// TestClientDeadStream: a server that falls silent is given up.
func TestClientDeadStream(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "") // its heartbeats are 15 s apart
	c.silence = 50 * time.Millisecond
	var last error
	events := 0
	for _, err := range c.WatchNodes(t.Context()) {
		if err == nil {
			events++
		}
		last = err
	}
	if _, ok := errors.AsType[*UnreachableError](last); events != 1 || !ok || !strings.Contains(last.Error(), "nothing was heard") {
		t.Errorf("%d events, then %v", events, last)
	}
	// And one with heartbeats is not.
	h := New(f, Options{})
	h.heartbeat = time.Millisecond
	_, c = serve(t, h, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := pull(t, c.WatchNodes(ctx))
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
}

// TestClientSlowReader: the silence of a server is counted, not the time that the
// caller spends on an event.
func TestClientSlowReader(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.heartbeat = 10 * time.Millisecond
	_, c := serve(t, h, "")
	c.silence = 100 * time.Millisecond
	events := 0
	for _, err := range c.WatchNodes(t.Context()) {
		if err != nil {
			t.Fatalf("after %d events: %v", events, err)
		}
		events++
		if events == 2 {
			time.Sleep(3 * c.silence)
		}
		if events == 5 {
			return
		}
		f.happen(f.Members())
	}
}

type strangeTransport struct{}

func (strangeTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody should ask this one")
}

// TestNewClientStrangeTransport: a program may have replaced the default transport.
func TestNewClientStrangeTransport(t *testing.T) {
	usual := http.DefaultTransport
	defer func() { http.DefaultTransport = usual }()
	http.DefaultTransport = strangeTransport{}
	_, c := serve(t, New(newFake(t), Options{}), "")
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}
