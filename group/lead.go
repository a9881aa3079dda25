package group

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/kith-go/kith/internal/outcome"
)

const (
	// LeavePatience is how long Lead waits for its leaving to be in force. After that
	// it goes on in the background, or with the node's session.
	LeavePatience = 5 * time.Second

	firstPause, longestPause = 50 * time.Millisecond, 5 * time.Second
)

// Lead joins the group and runs fn while the member is among the first n.
//
// The context that fn gets is ctx with one more end: that of the seat. It ends before
// anybody else may take the place, and what fn still does then is too late; fn must
// return soon. Writes that must not be too late name the seat in kv.IfHeld:
// SeatOf(ctx) returns it.
//
// If the place is lost while fn runs, because the session ended or somebody called
// Break, Lead waits for fn to return, whatever that returns, joins again at the end of
// the line, and runs fn again when it is among the first n once more. fn is never
// run twice at the same time. The place is never given up while fn runs: a session
// that lives holds it until fn has returned.
//
// Lead blocks until one of these, and has left the group when it returns, or does so
// in the background if that takes longer than LeavePatience:
//   - fn returns while it has the place: then Lead returns what fn returned. That is
//     also how it ends when ctx ends while fn runs.
//   - ctx ends while fn does not run: an error with ctx's cause.
//   - the group cannot be joined, for a reason that does not pass by itself: the
//     errors of Join. Lost sessions, a missing majority and overload are waited
//     out.
//   - the node has ended: kith.ErrClosed, or what halted agreement.
//
// If fn panics, or ends its goroutine, the group is left all the same; the panic goes
// on.
func (g *Group) Lead(ctx context.Context, n int, fn func(context.Context) error, options ...JoinOption) error {
	const op = "lead"
	err := g.checkFirst(n)
	if err == nil && fn == nil {
		err = invalid("nothing to run")
	}
	if err != nil {
		return notDone(op, g.name, err)
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		seat, err := g.Join(ctx, options...)
		if err == nil {
			ran, ended, err := seat.lead(ctx, n, fn)
			if ended {
				return err
			}
			if ran {
				pause = firstPause
			}
		} else if ctx.Err() != nil || !passes(err) {
			return outcome.With(op, g.name, err, outcome.NotDone)
		}
		if err := g.rest(ctx, pause); err != nil {
			return notDone(op, g.name, err)
		}
	}
}

// lead runs fn once, when the seat is among the first n, and leaves. It has ended if
// there is nothing more to do; else the seat was lost.
func (s *Seat) lead(ctx context.Context, n int, fn func(context.Context) error) (ran, ended bool, err error) {
	defer func() {
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), LeavePatience)
		defer cancel()
		s.Leave(patience) // what does not come of it in time comes of it in the background
	}()
	err = s.place.Await(ctx, n)
	if err == nil && ctx.Err() != nil { // its turn came in the moment of the end
		err = context.Cause(ctx)
	}
	if err != nil {
		return false, ctx.Err() != nil, notDone("lead", s.group.name, err)
	}
	run, cancel := s.work(ctx)
	defer cancel()
	err = fn(run)
	if cause := context.Cause(s.ctx); cause == nil || cause == ErrLeft { // fn may leave by itself
		return true, true, err
	}
	if ctx.Err() != nil && err == nil { // whether it was done in time, nobody knows
		err = notDone("lead", s.group.name, context.Cause(ctx))
	}
	return true, ctx.Err() != nil, err
}

// work returns the context that fn runs under. It is a child of the seat's, so that
// it has ended when the seat's has; ctx, whose values that has already, ends it too.
func (s *Seat) work(ctx context.Context) (context.Context, context.CancelFunc) {
	run, end := context.WithCancelCause(context.WithValue(s.ctx, seatKey{}, s))
	stop := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	cancel := func() {}
	if deadline, ok := ctx.Deadline(); ok {
		run, cancel = context.WithDeadline(run, deadline)
	}
	return run, func() {
		stop()
		cancel()
		end(nil)
	}
}

// seatKey is where fn's context has the seat.
type seatKey struct{}

// SeatOf returns the seat under which Lead runs the function that ctx was given to;
// nil for another context. If the function calls its Leave, the place is given up while
// it still runs; Lead then returns when it does.
func SeatOf(ctx context.Context) *Seat {
	s, _ := ctx.Value(seatKey{}).(*Seat)
	return s
}

// passes reports whether what kept a member from joining is over some time. A node that
// begins anew, as one of several, is closed in between; one that is closed for good ends
// the rest.
func passes(err error) bool {
	return errors.Is(err, outcome.ErrSessionEnded) || errors.Is(err, outcome.ErrNoQuorum) ||
		errors.Is(err, outcome.ErrOverloaded) || errors.Is(err, outcome.ErrClosed)
}

// rest waits about as long as pause, so that those who have lost their places at the
// same time do not come back at the same time.
func (g *Group) rest(ctx context.Context, pause time.Duration) error {
	t := time.NewTimer(pause/2 + rand.N(pause))
	defer t.Stop()
	node := g.replica.Context()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-node.Done():
		return context.Cause(node)
	}
}
