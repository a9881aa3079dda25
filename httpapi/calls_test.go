package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/transport"
)

// speaking starts two nodes and returns them, a client of alpha's API, and its address.
func speaking(t *testing.T) (alpha, bravo *kith.Node, c *Client, url string) {
	t.Helper()
	cluster := kithtest.Start(t, 2, kithtest.Options{})
	alpha, bravo = cluster.Node("alpha"), cluster.Node("bravo")
	if _, err := alpha.Request(t.Context(), "alpha", transport.SubjectPing, nil); errors.Is(err, kith.ErrNoMessages) {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err := errors.Join(alpha.Peer("bravo").Await(t.Context()), bravo.Peer("alpha").Await(t.Context())); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(New(alpha, Options{}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	c, err := NewClient(srv.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return alpha, bravo, c, srv.URL
}

func TestCall(t *testing.T) {
	_, bravo, c, _ := speaking(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	handle := func(subject string, fn transport.Handler) {
		t.Helper()
		if err := bravo.Handle(subject, fn); err != nil {
			t.Fatal(err)
		}
	}
	handle("a/b c", func(_ context.Context, m transport.Message) (transport.Message, error) {
		return transport.Message{
			Header: transport.Header{transport.ContentType: "text/plain", "mine": m.Header["yours"], "not http": "a\nb"},
			Body:   fmt.Appendf(nil, "%s %s %s", m.Peer, m.Header[transport.ContentType], m.Body),
		}, nil
	})
	reply, err := c.Call(ctx, "bravo", "a/b c", []byte("\x00?"), CallOptions{Header: transport.Header{transport.ContentType: "image/x", "yours": "1"}})
	if err != nil || string(reply.Body) != "alpha image/x \x00?" || reply.RoundTrip <= 0 {
		t.Errorf("the reply is %q after %v, %v", reply.Body, reply.RoundTrip, err)
	}
	if h := reply.Header; h[transport.ContentType] != "text/plain" || h["mine"] != "1" || len(h) != 2 {
		t.Errorf("its headers are %v", h)
	}

	handle("fails", func(context.Context, transport.Message) (transport.Message, error) {
		return transport.Message{}, transport.Coded("no-money", errors.New("the purse is empty"))
	})
	handle("panics", func(context.Context, transport.Message) (transport.Message, error) { panic("ouch") })
	handle("hangs", func(ctx context.Context, _ transport.Message) (transport.Message, error) {
		<-ctx.Done()
		return transport.Message{}, ctx.Err()
	})
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for _, tt := range []struct {
		peer, subject string
		ctx           context.Context
		body          []byte
		is            error
		outcome       outcome.Outcome
		says          string
	}{
		{"zulu", "s", ctx, nil, transport.ErrNoPeer, outcome.NotDone, "404"},
		{"bravo", "s", ctx, nil, transport.ErrNoHandler, outcome.NotDone, "404"},
		{"bravo", "fails", ctx, nil, nil, outcome.Done, "no-money: the purse is empty"},
		{"bravo", "panics", ctx, nil, nil, outcome.Unknown, "ouch"},
		{"bravo", "hangs", short(), nil, transport.ErrTimedOut, outcome.Unknown, "504"},
		{"bravo", "bad\x01", ctx, nil, transport.ErrSubject, outcome.NotDone, "control characters"},
		{"bravo", "", ctx, nil, transport.ErrSubject, outcome.NotDone, "empty"},
		{"", "s", ctx, nil, transport.ErrNoPeer, outcome.NotDone, ""},
		{"bravo", "s", ctx, make([]byte, MaxMessage+1), transport.ErrTooLarge, outcome.NotDone, "limit"},
	} {
		_, err := c.Call(tt.ctx, tt.peer, tt.subject, tt.body, CallOptions{})
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || outcome.Of(err) != tt.outcome || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %q: %v (%v), want %v (%v)", tt.peer, tt.subject, err, outcome.Of(err), tt.is, tt.outcome)
		}
	}
	_, err = c.Call(ctx, "bravo", "fails", nil, CallOptions{})
	if remote, ok := errors.AsType[*transport.RemoteError](err); !ok || remote.Code != "no-money" || remote.Text != "the purse is empty" {
		t.Errorf("the handler's error: %#v", remote)
	}

	got := make(chan string, 1)
	handle("note", func(_ context.Context, m transport.Message) (transport.Message, error) {
		got <- string(m.Body)
		return transport.Message{}, nil
	})
	if _, err := c.Call(ctx, "bravo", "note", []byte("psst"), CallOptions{OneWay: true}); err != nil {
		t.Error(err)
	}
	if note := <-got; note != "psst" {
		t.Errorf("the note is %q", note)
	}

	bravo.Close()
	began := time.Now()
	_, err = c.Call(ctx, "bravo", "note", nil, CallOptions{FailFast: true})
	if !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("a peer that is gone, after %v: %v", time.Since(began), err)
	}
}

func TestPublishAndSubscribe(t *testing.T) {
	_, bravo, c, url := speaking(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begun := false
	for event, err := range c.Subscribe(ctx, "news/") {
		if err != nil {
			t.Fatal(err)
		}
		switch event.Kind {
		case PublicationReady:
			begun = true
			if _, err := bravo.Publish(ctx, "newsless", nil); err != nil { // not asked for
				t.Fatal(err)
			}
			if _, err := bravo.Publish(ctx, "news/today", []byte("\xff"), transport.WithHeader(transport.Header{"k": "v"})); err != nil {
				t.Fatal(err)
			}
			continue
		case PublicationMessage:
			if !begun || event.Peer != "bravo" || event.Topic != "news/today" || !bytes.Equal(*event.Body, []byte("\xff")) || event.Header["k"] != "v" {
				t.Errorf("the event is %+v", event)
			}
		default:
			t.Errorf("the event is %+v", event)
		}
		break
	}
	sub, err := bravo.Subscribe("")
	if err == nil {
		err = sub.Ready(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Publish(ctx, "a/b", []byte("hello"), transport.Header{transport.ContentType: "text/plain"}); err != nil || n != 1 {
		t.Errorf("published to %d, %v", n, err)
	}
	m, err := sub.Next(ctx)
	if err != nil || m.Peer != "alpha" || m.Subject != "a/b" || string(m.Body) != "hello" || m.Header[transport.ContentType] != "text/plain" {
		t.Errorf("published: %+v, %v", m, err)
	}
	if _, err := c.Publish(ctx, "", nil, nil); !errors.Is(err, transport.ErrSubject) {
		t.Errorf("no topic: %v", err)
	}
	resp, err := http.Get(url + "/subscribe")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotAcceptable {
		t.Errorf("a stream without asking for one: %s", resp.Status)
	}
}

// TestMessageRefusals: each kind of error has a status of its own, and comes out as itself at
// the client's.
func TestMessageRefusals(t *testing.T) {
	f := newFake(t)
	_, c := serve(t, New(f, Options{}), "")
	for _, tt := range []struct {
		err  error
		code int
	}{
		{transport.ErrNoPeer, 404},
		{transport.ErrNoHandler, 404},
		{transport.ErrUnreachable, 502},
		{transport.ErrPeerRestarted, 502},
		{transport.ErrTimedOut, 408},
		{transport.ErrSubject, 400},
		{transport.ErrTooLarge, 413},
		{transport.ErrOverloaded, 429},
		{kith.ErrNoMessages, 501},
		{kith.ErrClosed, 503},
		{fmt.Errorf("%w: %w", transport.ErrUnreachable, context.DeadlineExceeded), 502},
		{&outcome.Error{Err: transport.ErrPeerRestarted, Outcome: outcome.Unknown}, 504},
		{&outcome.Error{Err: transport.ErrTooLarge, Outcome: outcome.Done}, 413},
	} {
		f.mu.Lock()
		f.mute = tt.err
		f.mu.Unlock()
		want := outcome.NotDone
		if e, ok := errors.AsType[*outcome.Error](tt.err); ok {
			want = e.Outcome
		}
		for what, call := range map[string]func() error{
			"call":    func() error { _, err := c.Call(t.Context(), "bravo", "s", nil, CallOptions{}); return err },
			"one way": func() error { _, err := c.Call(t.Context(), "bravo", "s", nil, CallOptions{OneWay: true}); return err },
			"publish": func() error { _, err := c.Publish(t.Context(), "s", nil, nil); return err },
		} {
			err := call()
			reply, ok := errors.AsType[*ReplyError](err)
			if !ok || reply.Code != tt.code || outcome.Of(err) != want {
				t.Errorf("%s: %v comes out as %v (%v), want %d", what, tt.err, err, outcome.Of(err), tt.code)
			}
			for _, known := range messageRefusals {
				if errors.Is(tt.err, known.err) && !errors.Is(err, known.err) {
					t.Errorf("%s: %v comes out as %v", what, tt.err, err)
				}
			}
		}
		for _, err := range c.Subscribe(t.Context(), "s") {
			if reply, ok := errors.AsType[*ReplyError](err); !ok || reply.Code != tt.code {
				t.Errorf("subscribe: %v comes out as %v", tt.err, err)
			}
			break
		}
	}
	h := New(f, Options{})
	for _, target := range []string{"/call/bravo", "/call/bravo/", "/call/bravo/s?tiemout=1", "/publish/s?x=1"} {
		if resp := request(t, h, http.MethodPost, target); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("POST %s: %s", target, resp.Status)
		}
	}
	for _, target := range []string{"/call", "/publish"} {
		if resp := request(t, h, http.MethodPost, target); resp.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %s", target, resp.Status)
		}
	}
}
