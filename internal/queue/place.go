package queue

import (
	"context"
	"errors"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Place is a place in a queue, from entering to leaving. Its methods are safe for
// concurrent use.
type Place struct {
	places  *Places
	line    *line
	session Session
	member  string
	chosen  bool // the caller chose the member's name
	token   uint64

	// ctx is a child of the session's context. Nothing but cancel ends it otherwise.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// settled is closed when the place is known not to be in the queue (any more), or
	// its session is over. err then is what Leave returns.
	settled chan struct{}
	err     error

	// Guarded by line.mu.
	leaving bool // given up, or about to be
	over    bool // settled
	// followed: the place has its token, and the line looks after it.
	followed bool
	held     bool // stood among those who hold when the line last met it
	waits    []*wait
	pass     uint64 // of the line that has met it last
}

// wait is one who waits until the place is among the first n.
type wait struct {
	n    int
	done chan struct{} // closed when it is
}

func newPlace(p *Places, l *line, s Session, member string) *Place {
	place := &Place{places: p, line: l, session: s, member: member, settled: make(chan struct{})}
	place.ctx, place.cancel = context.WithCancelCause(s.Context())
	return place
}

// Token is the place's fencing token.
func (p *Place) Token() uint64 { return p.token }

// Member is the place's name in the queue; Name makes it one for people.
func (p *Place) Member() string { return p.member }

// Session is what the place belongs to.
func (p *Place) Session() Session { return p.session }

// Context ends when the place cannot be relied on any more. The cause is ErrLeft,
// ErrBroken, ErrLost, or that of the session's context. A place that is revoked
// stays in the queue until Leave, or until its session ends (S13).
func (p *Place) Context() context.Context { return p.ctx }

// Position returns where this node has the place; 0 is the head. It is false if the
// place is not there.
func (p *Place) Position() (position int, ok bool) {
	err := p.places.View(p.line.kind, p.line.name, func(_ *state.Machine, q state.Queue) {
		position = p.line.find(q, p.token)
	})
	return position, err == nil && position >= 0
}

// Await blocks until the place is among the first n, which this node has applied,
// until ctx ends, or the place's context. It returns the cause of either end. The
// place stays in the queue whatever comes back.
func (p *Place) Await(ctx context.Context, n int) error {
	w := p.line.await(p, n)
	if w == nil {
		return nil
	}
	select {
	case <-w.done:
	case <-p.ctx.Done():
	case <-ctx.Done():
		p.line.forget(p, w)
		return context.Cause(ctx)
	}
	return context.Cause(p.ctx)
}

// Leave gives the place up: first its context ends, then the place goes. It blocks
// until that is in force, until ctx ends, or the node.
//
// The first call decides. An error with the outcome Unknown, or a context that ends
// before the command was sent, leaves it to the background: the place goes as soon as
// the cluster can be reached, or with its session; later calls wait for that and
// return nil then. If the place was lost before the first call the error tells
// the cause, and is NotDone.
func (p *Place) Leave(ctx context.Context) error {
	p.line.mu.Lock()
	first := !p.leaving && !p.over
	p.leaving = true
	p.line.mu.Unlock()
	p.cancel(ErrLeft)
	if first {
		return p.leave(ctx)
	}
	select {
	case <-p.settled:
		return p.err
	default:
	}
	select {
	case <-p.settled:
		return p.err
	case <-ctx.Done():
		return unsettled(context.Cause(ctx))
	}
}

func (p *Place) leave(ctx context.Context) error {
	result, err := p.proposeLeave(ctx)
	if err == nil {
		p.settle(p.verdict(result, false))
		return p.err
	}
	if p.session.Context().Err() != nil {
		p.settle(p.lost(context.Cause(p.session.Context())))
		return p.err
	}
	if !p.places.spawn(p.insist) { // closed: the session ends with the node
		p.settle(unsettled(err))
	}
	return unsettled(err)
}

// unsettled is the error about a place that will go, but has not yet.
func unsettled(err error) error {
	e, ok := errors.AsType[*outcome.Error](err)
	if !ok {
		e = &outcome.Error{Err: err}
	}
	hint := "it goes on in the background, and the place goes with its session at the latest"
	if e.Hint != "" {
		hint = e.Hint + "; " + hint
	}
	return &outcome.Error{Outcome: outcome.Unknown, Err: e.Err, Hint: hint}
}

// Abandon gives the place up without waiting for that: its context ends, and it goes in
// the background, as after a Leave with the outcome Unknown.
func (p *Place) Abandon() {
	p.line.mu.Lock()
	first := !p.leaving && !p.over
	p.leaving = true
	p.line.mu.Unlock()
	p.cancel(ErrLeft)
	if first && !p.places.spawn(p.insist) {
		p.settle(nil)
	}
}

// giveUp notes that nobody wants the place.
func (p *Place) giveUp() {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.leaving = true
}

func (p *Place) isLeaving() bool {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	return p.leaving
}

// vanished reports whether this node's state does not have the place any more, though
// whoever looks after it may not have told yet.
func (p *Place) vanished() (vanished bool) {
	l := p.line
	err := p.places.View(l.kind, l.name, func(_ *state.Machine, q state.Queue) {
		l.mu.Lock()
		defer l.mu.Unlock()
		vanished = p.over || p.followed && l.find(q, p.token) < 0
	})
	return err == nil && vanished
}

// undo gives up what may have come of entering, after the caller has gone. err and
// result are the answer to that.
func (p *Place) undo(result *statepb.Result, err error) {
	p.giveUp()
	p.cancel(ErrLeft)
	switch {
	case err == nil && result.GetCode() != statepb.Result_OK, outcome.Of(err) == outcome.NotDone:
		p.settle(nil)
		return
	case err == nil:
		p.token = result.GetToken()
	}
	if !p.places.spawn(p.insist) {
		p.settle(nil)
	}
}

// insist leaves, again and again, until that is done or the session is over.
func (p *Place) insist() {
	const first, longest = 10 * time.Millisecond, time.Second
	ctx := p.session.Context()
	for wait := first; ; wait = min(2*wait, longest) {
		result, err := p.proposeLeave(ctx)
		if err == nil {
			p.settle(p.verdict(result, true))
			return
		}
		if !pause(ctx, wait) {
			p.settle(p.lost(context.Cause(ctx)))
			return
		}
	}
}

func (p *Place) proposeLeave(ctx context.Context) (*statepb.Result, error) {
	return p.places.propose(ctx, &statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
		Queue: p.line.queue, Session: p.session.SessionID(), Member: p.member, Token: p.token,
	}}})
}

// verdict says what an answer to Leave means. again tells that an earlier attempt may
// have done it.
func (p *Place) verdict(result *statepb.Result, again bool) error {
	cause := context.Cause(p.ctx)
	switch result.GetCode() {
	case statepb.Result_OK:
		if cause == ErrLeft || cause == ErrBroken {
			return nil
		}
		return p.lost(cause) // in the queue to the end, but not to be relied on
	case statepb.Result_NO_SLOT, statepb.Result_NO_SESSION:
		switch {
		case cause != ErrLeft && cause != ErrBroken:
			return p.lost(cause)
		case again:
			return nil
		}
		return p.lost(p.taken())
	}
	return Refused("", "", result, 0)
}

// taken tells what has become of a place that this holder has not left.
func (p *Place) taken() error {
	cause := ErrLost
	err := p.places.replica.View(func(m *state.Machine) {
		if over := p.sessionOver(m); over != nil {
			cause = over
		}
	})
	if err != nil && p.session.Context().Err() != nil {
		cause = context.Cause(p.session.Context())
	}
	return cause
}

// sessionOver returns why the session has ended, nil if it has not.
func (p *Place) sessionOver(m *state.Machine) error {
	if ctx := p.session.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, there := m.Session(p.session.SessionID()); !there {
		return outcome.ErrSessionEnded // its context is about to say so
	}
	return nil
}

func (p *Place) lost(cause error) error {
	return NotDone("", "", cause, "it was lost before")
}

// settle notes that the place is not in the queue any more, or never was. Only the
// first call counts.
func (p *Place) settle(err error) {
	l := p.line
	l.mu.Lock()
	if p.over {
		l.mu.Unlock()
		return
	}
	p.over, p.err, p.waits = true, err, nil
	if l.standing[p.token] == p {
		delete(l.standing, p.token)
	}
	l.mu.Unlock()
	p.cancel(ErrLost)
	close(p.settled)
	p.places.done(p)
}
