package lock

import (
	"context"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
)

// Held is a lock that is held, or was. Its methods are safe for concurrent use.
type Held struct {
	lock  *Lock
	place *queue.Place
	ctx   context.Context
}

// Token returns the fencing token: greater than that of everybody who held the lock
// before, for as long as the cluster exists. It is never 0.
func (h *Held) Token() uint64 { return h.place.Token() }

// Context ends when the lock cannot be relied on any more, and before anybody else
// can hold it (S11). What is done under the lock is done with this context. The cause
// is ErrReleased, ErrBroken, ErrLost, kith.ErrSessionEnded, kith.ErrClosed, or what
// halted agreement on the node. It has the values of Acquire's context.
func (h *Held) Context() context.Context { return h.ctx }

// Release ends the context and gives the lock up, to the next in line. It blocks until
// that is in force, until ctx ends, or the node.
//
// The first call decides, and later ones return what it led to. If it could not be
// done in time the outcome is Unknown, and it goes on in the background until it is
// done or the session has ended: nobody waits for this holder for ever. If the lock was
// lost before the error is the cause, kith.ErrSessionEnded or ErrLost, and NotDone. A
// lock that was broken, with Break, is released like any other.
func (h *Held) Release(ctx context.Context) error {
	return outcome.With("release", h.lock.name, h.place.Leave(ctx), outcome.Unknown)
}

// Fence lets kv.IfHeld make writes depend on this lock's being held when they take
// their place in the log.
func (h *Held) Fence() (kind, name string, token, first uint64) {
	return "lock", h.lock.name, h.place.Token(), 0
}
