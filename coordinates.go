package kith

import (
	"cmp"
	"context"
	"errors"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// coordinates lets package kv and its like reach agreement: each call waits for the
// node's birth first.
type coordinates struct{ *agreement }

func (c coordinates) Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	r, err := c.replica(ctx)
	if err != nil {
		return nil, err
	}
	return r.Propose(ctx, cmd)
}

// Submit is Propose for who asks for the answer later.
func (c coordinates) Submit(ctx, lasting context.Context, cmd *statepb.Command) (queue.Proposal, error) {
	r := c.born()
	if r == nil {
		waiting, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		defer context.AfterFunc(lasting, func() { stop(context.Cause(lasting)) })()
		var err error
		if r, err = c.replica(waiting); err != nil {
			return nil, err
		}
	}
	p, err := r.Submit(lasting, cmd)
	if err != nil {
		return nil, err // not p: a nil pointer in an interface is not nil
	}
	return p, nil
}

func (c coordinates) Barrier(ctx context.Context) error {
	r, err := c.replica(ctx)
	if err != nil {
		return err
	}
	return r.Barrier(ctx)
}

func (c coordinates) View(fn func(*state.Machine)) error {
	if c.node.ctx.Err() != nil {
		return &outcome.Error{Op: "agreement", Err: c.node.cause()}
	}
	if r := c.born(); r != nil {
		r.View(fn)
		return nil
	}
	err := errors.New("kith: no state yet")
	l := c.now()
	if l != nil {
		c.mu.Lock()
		err = cmp.Or(l.err, err)
		c.mu.Unlock()
	}
	return &outcome.Error{Op: "agreement", Err: err, Hint: c.waiting(l)}
}

func (c coordinates) Subscribe(prefix string) (<-chan uint64, func()) {
	return c.hub.Subscribe(prefix)
}

func (c coordinates) Listen(name string, fn func()) (cancel func()) {
	return c.hub.Listen(name, fn)
}

func (c coordinates) Session(ctx context.Context) (uint64, error) {
	r, err := c.replica(ctx)
	if err != nil {
		return 0, err
	}
	s, err := r.Session(ctx)
	if err != nil {
		return 0, err
	}
	return s.ID, nil
}

// Hold is Session for those who must know when it ends.
func (c coordinates) Hold(ctx context.Context) (queue.Session, error) {
	r, err := c.replica(ctx)
	if err != nil {
		return nil, err
	}
	s, err := r.Session(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c coordinates) Context() context.Context { return c.ctx }
