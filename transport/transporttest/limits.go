package transporttest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

var limits = []test{
	{"TooLarge", func(c *cluster) {
		c.names = []string{"alpha", "bravo"}
		small := transport.Config{Limits: transport.Limits{Message: 100_000}}
		alpha, bravo := c.run("alpha", small), c.run("bravo", small)
		c.settle()
		var ran atomic.Int32
		c.handle(bravo, "grow", func(_ context.Context, r transport.Message) (transport.Message, error) {
			ran.Add(1)
			return transport.Message{Body: append(r.Body, "!"...)}, nil
		})
		for _, tc := range []struct {
			size    int
			want    error
			outcome outcome.Outcome
		}{
			{99_999, nil, outcome.Done},
			{100_000, transport.ErrTooLarge, outcome.Done}, // it ran; the reply is too large
			{100_001, transport.ErrTooLarge, outcome.NotDone},
		} {
			_, err := alpha.Request(c.ctx(), "bravo", "grow", make([]byte, tc.size))
			if !errors.Is(err, tc.want) || outcome.Of(err) != tc.outcome {
				c.Errorf("%d bytes: %v", tc.size, err)
			}
		}
		if ran := ran.Load(); ran != 2 {
			c.Errorf("the handler ran %d times", ran)
		}
		header := transport.Header{"x": strings.Repeat("x", transport.MaxHead)}
		_, err := alpha.Request(c.ctx(), "bravo", "grow", nil, transport.WithHeader(header))
		if err == nil || outcome.Of(err) != outcome.NotDone || ran.Load() != 2 {
			c.Errorf("with a header too large: %v", err)
		}
		if err := alpha.Send(c.ctx(), "bravo", "grow", make([]byte, 100_001)); !errors.Is(err, transport.ErrTooLarge) {
			c.Errorf("sent one way: %v", err)
		}
		if _, err := alpha.Publish(c.ctx(), "t", make([]byte, 100_001)); !errors.Is(err, transport.ErrTooLarge) {
			c.Errorf("published: %v", err)
		}
	}},
	{"Concurrency", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle, transport.Concurrency(2), transport.Queue(3))
		results := make(chan error, 10)
		for i := range 5 {
			go func() {
				_, err := n[0].Request(c.ctx(), "bravo", "hold", nil)
				results <- err
			}()
			c.eventually("it runs, or waits its turn", func() bool {
				s := n[1].Stats().Subjects[0]
				return s.Subject == "hold" && s.Running == min(i+1, 2) && s.Waiting == max(0, i-1)
			})
		}
		<-h.begun
		<-h.begun
		_, err := n[0].Request(c.ctx(), "bravo", "hold", nil)
		if !errors.Is(err, transport.ErrOverloaded) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("one too many: %v", err)
		}
		select {
		case <-h.begun:
			c.Error("a third runs beside two")
		default:
		}
		close(h.release)
		for range 5 {
			if err := <-results; err != nil {
				c.Error(err)
			}
		}
	}},
	{"InFlight", func(c *cluster) {
		c.names = []string{"alpha", "bravo"}
		alpha := c.run("alpha", transport.Config{Limits: transport.Limits{InFlight: 3}})
		bravo := c.run("bravo", transport.Config{})
		c.settle()
		h := newHold()
		c.handle(bravo, "hold", h.handle)
		var work sync.WaitGroup
		for range 3 {
			work.Go(func() {
				if _, err := alpha.Request(c.ctx(), "bravo", "hold", nil); err != nil {
					c.Error(err)
				}
			})
		}
		for range 3 {
			<-h.begun
		}
		if _, err := alpha.Request(c.ctx(), "bravo", "hold", nil); !errors.Is(err, transport.ErrOverloaded) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("a fourth: %v", err)
		}
		close(h.release)
		work.Wait()
		if _, err := alpha.Request(c.ctx(), "bravo", "hold", nil); err != nil {
			c.Errorf("after those: %v", err)
		}
	}},
	{"Inbound", func(c *cluster) {
		c.names = []string{"alpha", "bravo"}
		alpha := c.run("alpha", transport.Config{})
		bravo := c.run("bravo", transport.Config{Limits: transport.Limits{Inbound: 10_000}})
		c.settle()
		h := newHold()
		c.handle(bravo, "hold", h.handle)
		done := make(chan error)
		go func() {
			_, err := alpha.Request(c.ctx(), "bravo", "hold", make([]byte, 6000))
			done <- err
		}()
		<-h.begun
		if _, err := alpha.Request(c.ctx(), "bravo", "hold", make([]byte, 6000)); !errors.Is(err, transport.ErrOverloaded) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("beyond the limit: %v", err)
		}
		close(h.release)
		if err := <-done; err != nil {
			c.Error(err)
		}
		if _, err := alpha.Request(c.ctx(), "bravo", "hold", make([]byte, 6000)); err != nil {
			c.Errorf("afterwards: %v", err)
		}
	}},
	{"SlowHandlerHoldsUpNobody", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle, transport.Concurrency(1))
		c.handle(n[1], "echo", echo)
		done := make(chan error)
		go func() {
			_, err := n[0].Request(c.ctx(), "bravo", "hold", nil)
			done <- err
		}()
		<-h.begun
		for range 100 {
			if _, err := n[0].Request(c.ctx(), "bravo", "echo", nil); err != nil {
				c.Fatal(err)
			}
		}
		close(h.release)
		if err := <-done; err != nil {
			c.Error(err)
		}
	}},
	{"Unhandle", func(c *cluster) {
		n := c.start("alpha", "bravo")
		c.handle(n[1], "echo", echo)
		if err := n[1].Handle("echo", echo); !errors.Is(err, transport.ErrHandled) {
			c.Errorf("a second handler: %v", err)
		}
		if _, err := n[0].Request(c.ctx(), "bravo", "echo", nil); err != nil {
			c.Error(err)
		}
		h := newHold()
		c.handle(n[1], "hold", h.handle, transport.Concurrency(1))
		running, waiting := make(chan error, 1), make(chan error, 1)
		for _, result := range []chan error{running, waiting} {
			go func() {
				_, err := n[0].Request(c.ctx(), "bravo", "hold", nil)
				result <- err
			}()
			if result == running {
				<-h.begun
			}
		}
		c.eventually("one waits for its turn", func() bool { return n[1].Stats().Subjects[1].Waiting == 1 })
		n[1].Unhandle("hold")
		if err := <-waiting; !errors.Is(err, transport.ErrNoHandler) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("the one that waited: %v", err)
		}
		close(h.release)
		if err := <-running; err != nil {
			c.Errorf("the one that ran: %v", err)
		}
		n[1].Unhandle("echo")
		if _, err := n[0].Request(c.ctx(), "bravo", "echo", nil); !errors.Is(err, transport.ErrNoHandler) {
			c.Errorf("without a handler: %v", err)
		}
		c.handle(n[1], "echo", echo)
		if _, err := n[0].Request(c.ctx(), "bravo", "echo", nil); err != nil {
			c.Error(err)
		}
	}},
	{"QueuedRequestsExpire", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle, transport.Concurrency(1))
		done := make(chan error)
		go func() {
			_, err := n[0].Request(c.ctx(), "bravo", "hold", nil)
			done <- err
		}()
		<-h.begun
		ctx, cancel := context.WithTimeout(c.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := n[0].Request(ctx, "bravo", "hold", nil); !errors.Is(err, transport.ErrTimedOut) {
			c.Errorf("got %v", err)
		}
		if _, err := n[0].Request(c.ctx(), "bravo", transport.SubjectPing, nil); err != nil { // it goes behind the cancellation
			c.Error(err)
		}
		close(h.release)
		if err := <-done; err != nil {
			c.Error(err)
		}
		if _, err := n[0].Request(c.ctx(), "bravo", "hold", nil); err != nil {
			c.Error(err)
		}
		if begun := 1 + len(h.begun); begun != 2 {
			c.Errorf("%d calls began; the one that had expired should not", begun)
		}
	}},
}
