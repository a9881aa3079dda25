package transport

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
)

func newCall(left time.Duration) *call {
	c := &call{}
	c.owner = c
	if left != 0 {
		c.deadline = time.Now().Add(left)
	}
	return c
}

// TestCallContext: a handler's context, and those derived from it, end as others do.
func TestCallContext(t *testing.T) {
	type derived struct {
		name string
		make func(context.Context) (context.Context, context.CancelFunc)
	}
	for _, d := range []derived{
		{"itself", func(c context.Context) (context.Context, context.CancelFunc) { return c, func() {} }},
		{"cancel", context.WithCancel},
		{"value", func(c context.Context) (context.Context, context.CancelFunc) {
			return context.WithValue(c, callKey{}, 2), func() {}
		}},
		{"timeout", func(c context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(c, time.Hour)
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c := newCall(time.Second)
				ctx, stop := d.make(c)
				defer stop()
				if ctx.Err() != nil {
					t.Errorf("it began with %v", ctx.Err())
				}
				if at, ok := ctx.Deadline(); !ok || !at.Equal(c.deadline) {
					t.Errorf("its deadline is %v", at)
				}
				begun := time.Now()
				<-ctx.Done()
				if took := time.Since(begun); took != time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
					t.Errorf("after %v: %v", took, ctx.Err())
				}
			})
			bubble.Test(t, func(t *testing.T) {
				c := newCall(0)
				ctx, stop := d.make(c)
				defer stop()
				ran := make(chan bool, 1)
				defer context.AfterFunc(ctx, func() { ran <- true })()
				c.end(context.Canceled)
				c.end(context.DeadlineExceeded) // the first counts
				<-ctx.Done()
				<-ran
				if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(context.Cause(ctx), context.Canceled) {
					t.Errorf("got %v", ctx.Err())
				}
			})
		})
	}
}

// TestCallContextDetails: what only some look at.
func TestCallContextDetails(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCall(time.Second)
		time.Sleep(2 * time.Second)
		if !errors.Is(c.Err(), context.DeadlineExceeded) {
			t.Errorf("nobody waited, and Err is %v", c.Err())
		}
		<-c.Done()

		c = newCall(0)
		stop := c.AfterFunc(func() { t.Error("it was stopped") })
		if !stop() || stop() {
			t.Error("stop does not tell whether it stopped")
		}
		c.end(context.Canceled)
		ran := make(chan bool, 1)
		if stop := c.AfterFunc(func() { ran <- true }); stop() {
			t.Error("stopped what had begun")
		}
		<-ran
		if _, ok := c.Deadline(); ok {
			t.Error("a deadline from nowhere")
		}
		if c.Value(1) != nil || c.Value(callKey{}) != c {
			t.Error("wrong values")
		}

		c = newCall(time.Hour) // ended before anybody looks: no timer stays
		c.end(context.Canceled)
		<-c.Done()
		if c.timer != nil {
			t.Error("a timer runs for nobody")
		}
	})
}
