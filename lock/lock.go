package lock

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Lock is a lock, or a semaphore, that all nodes of the cluster share. Use New, or
// kith's Node.Lock, to get one. Having one is not holding it: Acquire does that. It is
// safe for concurrent use and needs no closing; two with the same name are the same
// lock.
type Lock struct {
	places  *queue.Places
	name    string
	limit   uint64
	member  string
	invalid error // what is wrong with the options
}

// Option is what New accepts.
type Option func(*Lock)

// Limit lets n hold the lock at a time, from 1, which is the default. All who use the
// lock at the same time must agree: the first one decides, and whoever asks for
// another limit while the lock is in use gets a *LimitError.
func Limit(n int) Option {
	return func(l *Lock) {
		if n < 1 || int64(n) > math.MaxInt32 {
			l.invalid = invalid("a limit of %d", n)
			return
		}
		l.limit = uint64(n)
	}
}

// As makes member the name under which this Lock stands in the queue. Without it every
// Acquire is a contender of its own. With it there is one in each session: acquiring
// again continues what an earlier call, on whichever node, has begun. That is for
// programs that act for others and may have to ask again; while this node has the one
// place, a second Acquire is refused with ErrTaken.
func As(member string) Option {
	return func(l *Lock) {
		l.member = member
		if member == "" || queue.Name(member) != member {
			l.invalid = invalid("the member's name %q: it is empty or ends like a number", member)
		}
	}
}

// New returns the lock of that name, for the holder of places. What is wrong with the
// name or the options comes as an error of the calls.
func New(places *queue.Places, name string, options ...Option) *Lock {
	l := &Lock{places: places, name: name, limit: 1}
	for _, o := range options {
		if o == nil {
			l.invalid = invalid("an option that is nil")
			continue
		}
		o(l)
	}
	return l
}

// Name returns the lock's name.
func (l *Lock) Name() string { return l.name }

// AcquireOption is what Acquire and TryAcquire accept.
type AcquireOption func(*request)

type request struct{ data []byte }

// Data lets others see b beside the holder's name: what the lock is held for. b is
// not kept.
func Data(b []byte) AcquireOption { return func(r *request) { r.data = b } }

// Acquire waits in line for the lock and returns it held. Who comes first by the order
// of the log holds first, on whichever node. It blocks until then, until ctx ends, or
// the node.
//
// After an error nothing is held, and nothing stays in the queue: if ctx ended first, the
// place is given up in the background, for as long as that takes. So the outcome is
// NotDone always. The errors are ctx's cause, whose hint tells who is before; a
// *LimitError, ErrInvalid, ErrTooLarge, ErrQuota, ErrFull, ErrTaken; ErrBroken if
// somebody has asked this contender to go; kith.ErrSessionEnded if the place was lost
// with the node's session, in which case acquiring again means waiting at the end of the
// line; and those of every agreement call.
func (l *Lock) Acquire(ctx context.Context, options ...AcquireOption) (*Held, error) {
	return l.acquire(ctx, "acquire", false, options)
}

// TryAcquire is Acquire for those who do not want to wait in line: if the lock cannot be
// had at once the error is ErrHeld, with a *HeldError that tells who has it. It blocks
// for as long as the cluster takes to decide.
func (l *Lock) TryAcquire(ctx context.Context, options ...AcquireOption) (*Held, error) {
	return l.acquire(ctx, "try to acquire", true, options)
}

func (l *Lock) acquire(ctx context.Context, op string, onlyIfFree bool, options []AcquireOption) (*Held, error) {
	var r request
	for _, o := range options {
		if o == nil {
			return nil, notDone(op, l.name, invalid("an option that is nil"))
		}
		o(&r)
	}
	if err := l.check(r.data); err != nil {
		return nil, notDone(op, l.name, err)
	}
	place, err := l.places.Enter(ctx, op, queue.Request{
		Kind: statepb.QueueName_LOCK, Queue: l.name, Member: l.member, Data: r.data,
		Limit: l.limit, OnlyIfHeld: onlyIfFree,
	})
	if err != nil {
		return nil, l.held(op, err)
	}
	if err := place.Await(ctx, int(l.limit)); err != nil {
		hint := ""
		if place.Context().Err() == nil {
			hint = l.ahead(place.Token())
		}
		place.Abandon()
		return nil, &outcome.Error{Op: op, Name: l.name, Outcome: outcome.NotDone, Err: err, Hint: hint}
	}
	return &Held{lock: l, place: place, ctx: place.ContextWith(ctx)}, nil
}

// check refuses what the machine would refuse, before it is sent.
func (l *Lock) check(data []byte) error {
	if l.invalid != nil {
		return l.invalid
	}
	if err := l.places.Check("lock", l.name, data); err != nil {
		return err
	}
	if l.member == "" {
		return nil
	}
	return l.places.Check("member", l.member, nil)
}

// held turns the error about a place that cannot be had at once into ours.
func (l *Lock) held(op string, err error) error {
	taken, ok := errors.AsType[*queue.HeldError](err)
	if !ok {
		return err
	}
	e := &HeldError{Limit: int(l.limit)}
	own := l.places.SessionID()
	viewErr := l.places.Replica().View(func(m *state.Machine) { e.Owner = contender(m, &taken.Holder, 0, own) })
	if viewErr != nil {
		e.Owner = Contender{Name: queue.Name(taken.Holder.Member), Token: taken.Holder.Token}
	}
	return notDone(op, l.name, e)
}

// ahead tells who stands before the place with the token.
func (l *Lock) ahead(token uint64) (hint string) {
	err := l.places.Replica().View(func(m *state.Machine) {
		q, _ := m.Queue(statepb.QueueName_LOCK, l.name)
		if i, ok := q.Find(token); ok && i > 0 {
			head := contender(m, q.Slots[0], 0, 0)
			hint = fmt.Sprintf("held by %s, token %d; this one was number %d in line", head.who(), head.Token, i+1)
		}
	})
	if err != nil {
		return ""
	}
	return hint
}
