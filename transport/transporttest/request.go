package transporttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

var requests = []test{
	{"Reply", func(c *cluster) {
		n := c.start("alpha", "bravo")
		header := transport.Header{transport.ContentType: "text/plain", "ünï": "ço\nde"}
		for _, to := range n {
			c.handle(to, "sum", func(_ context.Context, r transport.Message) (transport.Message, error) {
				return transport.Message{Header: r.Header, Body: fmt.Appendf(nil, "%s:%s:%s", r.Peer, r.Subject, r.Body)}, nil
			})
			got, err := n[0].Request(c.ctx(), to.name, "sum", []byte("1+1"), transport.WithHeader(header))
			if err != nil || string(got.Body) != "alpha:sum:1+1" || got.Peer != to.name || got.Subject != "sum" ||
				!maps.Equal(got.Header, header) {
				c.Fatalf("%s answered %+v, %v", to.name, got, err)
			}
		}
		got, err := n[0].Peer("bravo").Request(c.ctx(), "sum", nil)
		if err != nil || string(got.Body) != "alpha:sum:" || got.Header != nil {
			c.Fatalf("an empty request: %+v, %v", got, err)
		}
	}},
	{"Sizes", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.handle(n[1], "echo", echo)
		for _, size := range []int{1, 127, 16<<10 - 1, 16 << 10, 64<<10 + 1, 1 << 20, 9<<20 + 3} {
			body := bytes.Repeat([]byte("kith-"), size/5+1)[:size]
			got, err := n[0].Request(c.ctx(), "bravo", "echo", body)
			if err != nil || !bytes.Equal(got.Body, body) {
				c.Fatalf("%d bytes came back as %d, %v", size, len(got.Body), err)
			}
		}
	}},
	{"ManyAtOnce", func(c *cluster) {
		n := c.start("alpha", "bravo")
		const callers, each = 64, 50
		var seen [callers * each]atomic.Int32
		c.handle(n[1], "once", func(_ context.Context, r transport.Message) (transport.Message, error) {
			var i int
			_, err := fmt.Sscanf(string(r.Body), "%d", &i)
			seen[i].Add(1)
			return transport.Message{Body: r.Body}, err
		})
		var work sync.WaitGroup
		for caller := range callers {
			work.Go(func() {
				for i := range each {
					body := fmt.Appendf(nil, "%d %s", caller*each+i, bytes.Repeat([]byte("x"), i*i))
					got, err := n[0].Request(c.ctx(), "bravo", "once", body)
					if err != nil || !bytes.Equal(got.Body, body) {
						c.Errorf("%.10q came back as %.10q, %v", body, got.Body, err)
					}
				}
			})
		}
		work.Wait()
		for i := range seen {
			if k := seen[i].Load(); k != 1 {
				c.Errorf("request %d ran %d times", i, k)
			}
		}
	}},
	{"Errors", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.handle(n[1], "plain", func(context.Context, transport.Message) (transport.Message, error) {
			return transport.Message{}, errors.New("does not add up")
		})
		c.handle(n[1], "coded", func(context.Context, transport.Message) (transport.Message, error) {
			return transport.Message{}, fmt.Errorf("sum: %w", transport.Coded("overflow", errors.New("too much")))
		})
		c.handle(n[1], "panic", func(context.Context, transport.Message) (transport.Message, error) {
			panic("on purpose")
		})
		for _, tc := range []struct {
			peer, subject string
			want          error
			remote        transport.RemoteError
			outcome       outcome.Outcome
		}{
			{peer: "zulu", subject: "x", want: transport.ErrNoPeer},
			{peer: "bravo", subject: "nothing", want: transport.ErrNoHandler},
			{peer: "bravo", subject: "", want: transport.ErrSubject},
			{peer: "bravo", subject: "a\x00b", want: transport.ErrSubject},
			{peer: "bravo", subject: "plain", remote: transport.RemoteError{Code: "error", Text: "does not add up"}, outcome: outcome.Done},
			{peer: "bravo", subject: "coded", remote: transport.RemoteError{Code: "overflow", Text: "sum: too much"}, outcome: outcome.Done},
			{peer: "bravo", subject: "panic", remote: transport.RemoteError{Code: "panic", Text: "the handler panicked: on purpose"}, outcome: outcome.Unknown},
		} {
			_, err := n[0].Request(c.ctx(), tc.peer, tc.subject, nil)
			remote, isRemote := errors.AsType[*transport.RemoteError](err)
			switch {
			case err == nil, tc.want != nil && !errors.Is(err, tc.want), outcome.Of(err) != tc.outcome,
				isRemote != (tc.want == nil), isRemote && *remote != tc.remote:
				c.Errorf("%s %q: %v (%v)", tc.peer, tc.subject, err, outcome.Of(err))
			}
		}
	}},
	{"DeadlineTravels", func(c *cluster) {
		n := c.start("alpha", "bravo")
		left := make(chan time.Duration, 1)
		c.handle(n[1], "left", func(ctx context.Context, _ transport.Message) (transport.Message, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				left <- 0
			} else {
				left <- time.Until(deadline)
			}
			return transport.Message{}, nil
		})
		ctx, cancel := context.WithTimeout(c.Context(), patience)
		defer cancel()
		if _, err := n[0].Request(ctx, "bravo", "left", nil); err != nil {
			c.Fatal(err)
		}
		if got := <-left; got <= 0 || got > patience+time.Second {
			c.Errorf("the handler had %v", got)
		}
		if _, err := n[0].Request(c.Context(), "bravo", "left", nil); err != nil {
			c.Fatal(err)
		}
		if got := <-left; got != 0 {
			c.Errorf("without a deadline the handler had %v", got)
		}
	}},
	{"TimedOut", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		ctx, cancel := context.WithTimeout(c.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := n[0].Request(ctx, "bravo", "hold", nil)
		if !errors.Is(err, transport.ErrTimedOut) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, outcome.ErrUnknown) {
			c.Errorf("got %v", err)
		}
		<-h.begun
		if err := <-h.ended; err == nil {
			c.Error("the handler's context did not end")
		}
		<-ctx.Done() // the handler's may have been first
		_, err = n[0].Request(ctx, "bravo", "hold", nil)
		if !errors.Is(err, transport.ErrTimedOut) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("with a context that is over: %v", err)
		}
	}},
	{"CancelReachesHandler", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		ctx, cancel := context.WithCancelCause(c.Context())
		why := errors.New("changed my mind")
		go func() {
			<-h.begun
			cancel(why)
		}()
		_, err := n[0].Request(ctx, "bravo", "hold", nil)
		if !errors.Is(err, why) || outcome.Of(err) != outcome.Unknown {
			c.Errorf("got %v", err)
		}
		if err := <-h.ended; !errors.Is(err, context.Canceled) {
			c.Errorf("the handler's context ended with %v", err)
		}
	}},
	{"Send", func(c *cluster) {
		n := c.start("alpha", "bravo")
		got := make(chan transport.Message, 10)
		c.handle(n[1], "note", func(_ context.Context, r transport.Message) (transport.Message, error) {
			got <- r
			return transport.Message{Body: []byte("nobody reads this")}, nil
		})
		if err := n[0].Send(c.ctx(), "bravo", "note", []byte("hello"), transport.WithHeader(transport.Header{"a": "b"})); err != nil {
			c.Fatal(err)
		}
		if m := <-got; string(m.Body) != "hello" || m.Peer != "alpha" || m.Header["a"] != "b" {
			c.Errorf("got %+v", m)
		}
		if err := n[0].Send(c.ctx(), "zulu", "note", nil); !errors.Is(err, transport.ErrNoPeer) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("to nobody: %v", err)
		}
		if err := n[0].Send(c.ctx(), "bravo", "nothing", nil); err != nil {
			c.Error(err)
		}
		c.eventually("what nobody takes is counted", func() bool { return n[1].Stats().Dropped == 1 })
	}},
	{"PingAndInfo", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.handle(n[1], "sum", echo)
		if _, err := n[0].Request(c.ctx(), "bravo", "sum", nil); err != nil {
			c.Fatal(err)
		}
		pong, err := n[0].Request(c.ctx(), "bravo", transport.SubjectPing, []byte("x"))
		if err != nil || string(pong.Body) != "x" {
			c.Errorf("ping: %q, %v", pong.Body, err)
		}
		reply, err := n[0].Request(c.ctx(), "bravo", transport.SubjectInfo, nil)
		var info transport.Info
		if err == nil {
			err = json.Unmarshal(reply.Body, &info)
		}
		if err != nil || info.Name != "bravo" || info.Incarnation == 0 || len(info.Subjects) != 3 || info.Subjects[2].Handled != 1 {
			c.Errorf("info: %+v, %v", info, err)
		}
	}},
}
