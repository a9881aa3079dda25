//go:build unix

package proof

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// holdings is what a replica's process has acquired, by label.
type holdings struct {
	node *kith.Node

	mu  sync.Mutex // guards all
	all map[string]holding
}

// holding is a lock that is held, or a seat among the first.
type holding interface {
	kv.Holder
	Context() context.Context
	Token() uint64
}

func (h *holdings) acquire(ctx context.Context, w wish) (token uint64, err error) {
	got, err := h.enter(ctx, w)
	if taken, ok := errors.AsType[*lock.HeldError](err); ok {
		return taken.Owner.Token, err
	}
	if err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[w.Label] = got
	return got.Token(), nil
}

func (h *holdings) enter(ctx context.Context, w wish) (holding, error) {
	if w.Group {
		seat, err := h.node.Group(w.Line).Join(ctx, group.Name(w.Label), group.Data([]byte(w.Label)))
		if err != nil {
			return nil, err
		}
		if err := seat.Wait(ctx, w.Limit); err != nil {
			seat.Leave(ctx) // in the background: ctx has ended, or the seat
			return nil, err
		}
		return seat, nil
	}
	l := h.node.Lock(w.Line, lock.Limit(w.Limit))
	acquire := l.Acquire
	if w.Try {
		acquire = l.TryAcquire
	}
	held, err := acquire(ctx, lock.Data([]byte(w.Label)))
	if err != nil {
		return nil, err
	}
	return held, nil
}

func (h *holdings) get(label string) (holding, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.all[label]
	if got == nil { // of a former process
		return nil, fmt.Errorf("nothing is held as %s: %w", label, kv.ErrNotHeld)
	}
	return got, nil
}

func (h *holdings) await(ctx context.Context, label string) error {
	got, err := h.get(label)
	if err != nil {
		return err
	}
	select {
	case <-got.Context().Done():
		return context.Cause(got.Context())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *holdings) release(ctx context.Context, label string) error {
	got, err := h.get(label)
	if err != nil {
		return err
	}
	if seat, ok := got.(*group.Seat); ok {
		return seat.Leave(ctx)
	}
	return got.(*lock.Held).Release(ctx)
}

// write does op, a Set, if the place is held when it comes into the log.
func (h *holdings) write(ctx context.Context, label string, op check.Op) (check.Result, error) {
	got, err := h.get(label)
	if err != nil {
		return check.Result{}, err
	}
	rev, err := h.node.KV().Set(ctx, op.Key, []byte(op.Value), kv.IfHeld(got))
	switch {
	case err == nil:
		return check.Result{Outcome: outcome.Done, Revision: uint64(rev)}, nil
	case errors.Is(err, kv.ErrNotHeld):
		return check.Result{NotHeld: true}, err
	}
	r := check.Failed(err)
	r.Err = nil // it travels apart
	return r, err
}

func (h *holdings) look(ctx context.Context, w wish) (*seen, error) {
	s := &seen{}
	if w.Group {
		e, err := h.node.Group(w.Line).Explain(ctx)
		for _, m := range e.Members {
			s.Places = append(s.Places, check.Standing{Token: m.Token, Label: string(m.Data)})
		}
		s.Revision = e.Revision
		return s, err
	}
	e, err := h.node.Lock(w.Line).Explain(ctx)
	for _, c := range append(e.Holders, e.Waiters...) {
		s.Places = append(s.Places, check.Standing{Token: c.Token, Label: string(c.Data)})
	}
	s.Revision = e.Revision
	return s, err
}
