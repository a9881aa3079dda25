package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/inproc"
)

func TestConfig(t *testing.T) {
	engine := func() transport.Engine { return inproc.New(inproc.Options{}).Engine("here") }
	for want, c := range map[string]transport.Config{
		"name":      {Engine: engine()},
		"no engine": {Name: "alpha"},
		"Message":   {Name: "alpha", Engine: engine(), Limits: transport.Limits{Message: -1}},
		"InFlight":  {Name: "alpha", Engine: engine(), Limits: transport.Limits{InFlight: 1 << 30}},
	} {
		if m, err := transport.New(c); err == nil || !strings.Contains(err.Error(), want) || m != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
	network := inproc.New(inproc.Options{})
	m, err := transport.New(transport.Config{Name: "alpha", Engine: network.Engine("here")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := transport.New(transport.Config{Name: "bravo", Engine: network.Engine("here")}); err == nil {
		t.Error("two engines at one endpoint")
	}
	if self := m.Self(); self.Name != "alpha" || self.Incarnation == 0 {
		t.Errorf("it is %+v", self)
	}
}

// TestMiddleware: both sides are wrapped, the first outermost, and may change what they
// pass on or answer themselves.
func TestMiddleware(t *testing.T) {
	var mu sync.Mutex
	var trail []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		trail = append(trail, s)
	}
	serving := func(name string) transport.Middleware {
		return func(next transport.Handler) transport.Handler {
			return func(ctx context.Context, r transport.Message) (transport.Message, error) {
				note(name)
				if r.Header["deny"] == name {
					return transport.Message{}, transport.Coded("denied", errors.New("by "+name))
				}
				return next(ctx, r)
			}
		}
	}
	calling := func(name string) transport.CallerMiddleware {
		return func(next transport.Caller) transport.Caller {
			return func(ctx context.Context, peer string, r transport.Message) (transport.Message, error) {
				note(name)
				r.Body = append(r.Body, name...)
				reply, err := next(ctx, peer, r)
				if err != nil && outcome.Of(err) == outcome.NotDone {
					note("not done")
				}
				return reply, err
			}
		}
	}
	m, err := transport.New(transport.Config{
		Name: "alpha", Engine: inproc.New(inproc.Options{}).Engine("here"),
		Handlers: []transport.Middleware{serving("h1"), serving("h2")},
		Callers:  []transport.CallerMiddleware{calling("c1"), calling("c2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Handle("echo", echo); err != nil {
		t.Fatal(err)
	}
	got, err := m.Request(t.Context(), "alpha", "echo", nil)
	if err != nil || string(got.Body) != "c1c2" || !slices.Equal(trail, []string{"c1", "c2", "h1", "h2"}) {
		t.Errorf("%q, %v, %v", got.Body, trail, err)
	}
	trail = nil
	_, err = m.Request(t.Context(), "alpha", "echo", nil, transport.WithHeader(transport.Header{"deny": "h1"}))
	if e, ok := errors.AsType[*transport.RemoteError](err); !ok || e.Code != "denied" || !slices.Equal(trail, []string{"c1", "c2", "h1"}) {
		t.Errorf("%v, %v", trail, err)
	}
	trail = nil
	_, err = m.Request(t.Context(), "zulu", "echo", nil)
	if !errors.Is(err, transport.ErrNoPeer) || !slices.Equal(trail, []string{"c1", "c2", "not done", "not done"}) ||
		strings.Count(err.Error(), "zulu") != 1 {
		t.Errorf("%v, %v", trail, err)
	}
}

// TestTraceContextIsPassedOn: what a handler asks of others belongs to the trace that it
// was asked in, unless it says otherwise.
func TestTraceContextIsPassedOn(t *testing.T) {
	alpha, bravo := pair(t, inproc.Options{})
	if err := alpha.Handle("inner", echo); err != nil {
		t.Fatal(err)
	}
	err := bravo.Handle("outer", func(ctx context.Context, r transport.Message) (transport.Message, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var opts []transport.CallOption
		if len(r.Body) > 0 {
			opts = append(opts, transport.WithHeader(transport.Header{transport.Traceparent: string(r.Body), "own": "1"}))
		}
		return bravo.Request(ctx, "alpha", "inner", nil, opts...)
	})
	if err != nil {
		t.Fatal(err)
	}
	header := transport.Header{transport.Traceparent: "00-trace", transport.Tracestate: "k=v", "other": "x"}
	for body, want := range map[string]transport.Header{
		"":       {transport.Traceparent: "00-trace", transport.Tracestate: "k=v"},
		"00-new": {transport.Traceparent: "00-new", "own": "1"},
	} {
		reply, err := alpha.Request(t.Context(), "bravo", "outer", []byte(body), transport.WithHeader(header))
		if err != nil || fmt.Sprint(reply.Header) != fmt.Sprint(want) {
			t.Errorf("%q: %v, %v", body, reply.Header, err)
		}
	}
}

// TestHandlerEndsItsGoroutine: as t.FailNow does in users' tests. The caller is told,
// and the handler's place is free again.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	alpha, bravo := pair(t, inproc.Options{})
	err := errors.Join(
		bravo.Handle("exit", func(context.Context, transport.Message) (transport.Message, error) {
			runtime.Goexit()
			return transport.Message{}, nil
		}, transport.Concurrency(1)),
		bravo.HandleStream("exit/stream", func(context.Context, *transport.Stream) error {
			runtime.Goexit()
			return nil
		}, transport.Concurrency(1)),
	)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for range 10 {
		work.Go(func() {
			_, err := alpha.Request(t.Context(), "bravo", "exit", nil)
			if e, ok := errors.AsType[*transport.RemoteError](err); !ok || e.Code != "panic" || outcome.Of(err) != outcome.Unknown {
				t.Errorf("got %v", err)
			}
		})
	}
	work.Wait()
	s, err := alpha.OpenStream(t.Context(), "bravo", "exit/stream")
	if err == nil {
		_, err = io.ReadAll(s)
	}
	if e, ok := errors.AsType[*transport.RemoteError](err); !ok || e.Code != "panic" {
		t.Errorf("the stream: %v", err)
	}
	if s := bravo.Stats().Subjects[0]; s.Running != 0 || s.Failed != 10 {
		t.Errorf("%+v", s)
	}
}

func TestStats(t *testing.T) {
	alpha, bravo := pair(t, inproc.Options{})
	fail := func(_ context.Context, r transport.Message) (transport.Message, error) {
		if len(r.Body) == 0 {
			return transport.Message{}, errors.New("empty")
		}
		return r, nil
	}
	if err := bravo.Handle("a", fail); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		_, _ = alpha.Request(t.Context(), "bravo", "a", make([]byte, i/2))
	}
	s := bravo.Stats().Subjects[0]
	if s.Subject != "a" || s.Handled != 5 || s.Failed != 2 || s.Latency.Max == 0 || s.Running != 0 {
		t.Errorf("bravo: %+v", s)
	}
	p := alpha.Stats().Peers
	if len(p) != 2 || p[1].Name != "bravo" || p[1].Requests != 3 || p[1].Failed != 2 || p[1].PacketsOut != 5 || p[1].PacketsIn != 5 ||
		p[1].BytesOut != 5*17+4 || p[1].InFlight != 0 || p[1].Latency.P99 > p[1].Latency.Max || p[1].State != transport.Up {
		t.Errorf("alpha: %+v", p)
	}
}

// TestManySubjects: a hundred thousand handlers and as many subscriptions are ordinary.
func TestManySubjects(t *testing.T) {
	const many = 100_000 / slowdown
	alpha, bravo := pair(t, inproc.Options{})
	var last *transport.Subscription
	for i := range many {
		s, err := bravo.Subscribe(fmt.Sprintf("topic/%d/", i))
		if err == nil {
			err = bravo.Handle(fmt.Sprintf("subject/%d", i), echo)
		}
		if err != nil {
			t.Fatal(err)
		}
		last = s
	}
	if err := last.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"subject/0", fmt.Sprint("subject/", many-1)} {
		if _, err := alpha.Request(t.Context(), "bravo", subject, nil); err != nil {
			t.Error(err)
		}
	}
	topic := fmt.Sprintf("topic/%d/x", many-1)
	if n, err := alpha.Publish(t.Context(), topic, nil); n != 1 || err != nil {
		t.Errorf("published to %d, %v", n, err)
	}
	if m, err := last.Next(t.Context()); err != nil || m.Subject != topic {
		t.Errorf("got %+v, %v", m, err)
	}
	reply, err := alpha.Request(t.Context(), "bravo", transport.SubjectInfo, nil)
	var info transport.Info
	if err == nil {
		err = json.Unmarshal(reply.Body, &info)
	}
	if err != nil || len(info.Subjects) != many+2 {
		t.Errorf("info tells of %d subjects, %v", len(info.Subjects), err)
	}
	if n := len(alpha.Peers()); n != 1 {
		t.Errorf("%d peers", n)
	}
}
