package transport

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of a handler. It costs nothing until somebody waits
// for its end: most handlers never look.
type callContext struct {
	owner    *call
	deadline time.Time // zero: none
	size     int64     // of the request's body

	mu     sync.Mutex
	err    error
	done   chan struct{} // made by the first Done
	timer  *time.Timer   // runs from the first Done or AfterFunc
	afters map[*after]struct{}
}

type after struct{ f func() }

// callKey finds the call that a context belongs to.
type callKey struct{}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

func (c *callContext) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c.owner
	}
	return nil
}

func (c *callContext) Err() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.end(context.DeadlineExceeded)
		return context.DeadlineExceeded
	}
	return err
}

func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
		c.armLocked()
	}
	return c.done
}

// AfterFunc lets package context derive contexts from this one without a goroutine
// for each.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	a := &after{f}
	if c.afters == nil {
		c.afters = map[*after]struct{}{}
	}
	c.afters[a] = struct{}{}
	c.armLocked()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.afters[a]
		delete(c.afters, a)
		return waiting
	}
}

func (c *callContext) armLocked() {
	if c.err == nil && c.timer == nil && !c.deadline.IsZero() {
		c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.end(context.DeadlineExceeded) })
	}
}

// end ends the context, if it has not ended before.
func (c *callContext) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	afters := c.afters
	c.afters = nil
	c.mu.Unlock()
	for a := range afters {
		go a.f() // as package context does: f may take its time
	}
}
