package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// The causes with which the context of a [Held] or a [Seat] ends, beside those of its
// session's.
var (
	// ErrReleased: Release or Leave was called.
	ErrReleased = lock.ErrReleased
	// ErrRevoked: somebody has asked the holder to go. Nobody takes its place before it
	// was released, or the session has ended (SAFETY.md, S13).
	ErrRevoked = lock.ErrBroken
	// ErrLost: the cluster does not have the place any more.
	ErrLost = lock.ErrLost
)

var (
	// ErrHeld is matched by every [HeldError].
	ErrHeld = lock.ErrHeld
	// ErrLimit: others use the lock with another limit. From Lock and TryLock.
	ErrLimit = errors.New("httpapi: others use the lock with another limit")
)

// LockOptions are the choices of [Session.Lock]. The zero value is useful.
type LockOptions struct {
	// Name is what others see the holder as; "" is the client's ID. It does not matter
	// if others have the same.
	Name string
	// Limit is how many may hold the lock at a time, 0 being 1. All who use the lock
	// must name the same.
	Limit int
	// Data is what others see of the holder beside its name.
	Data []byte
}

// JoinOptions are the choices of [Session.Join]. The zero value is useful.
type JoinOptions struct {
	// Name is what others see the member as; "" is the client's ID.
	Name string
	// Data is what others see of the member beside its name.
	Data []byte
}

// place is what a session has in a queue.
type place struct {
	s        *Session
	path     string // of the queue
	queue    string
	name     string
	token    uint64
	position atomic.Int64

	ctx    context.Context
	cancel context.CancelCauseFunc

	leaveOnce sync.Once
	leaveErr  error
}

// Held is a lock that is held. Methods are safe for concurrent use.
type Held struct{ *place }

// Seat is a place in a group. Methods are safe for concurrent use.
type Seat struct{ *place }

// Token is the fencing token: it grows with every holder, and stores that are shown it
// can refuse those who come late.
func (p *place) Token() uint64 { return p.token }

// Name is what others see the holder as.
func (p *place) Name() string { return p.name }

// Context ends when the place can no longer be relied on: with the session, or with
// ErrReleased, ErrRevoked or ErrLost. It keeps the values of the context that the place
// was taken with. A paused process may see that late: the token has the last word.
func (p *place) Context() context.Context { return p.ctx }

// Fence names the place for kv.IfHeld, in a program that has the node too.
func (h Held) Fence() (kind, name string, token, first uint64) { return "lock", h.queue, h.token, 0 }

// Position is where the seat stands, as the agent has told last; 0 leads.
func (s Seat) Position() int { return int(s.position.Load()) }

// Lock waits until the session holds the lock, first come, first served. It blocks until
// then, until ctx ends, or the session; a wait that ends in vain leaves nothing behind. It
// goes on at another address of the client, or at the same one later, when its agent
// cannot be reached, and then stands in line anew.
func (s *Session) Lock(ctx context.Context, name string, o LockOptions) (Held, error) {
	return s.lock(ctx, name, o, false)
}

// TryLock is Lock that does not wait: if it would have to, the error is a *[HeldError].
func (s *Session) TryLock(ctx context.Context, name string, o LockOptions) (Held, error) {
	return s.lock(ctx, name, o, true)
}

func (s *Session) lock(ctx context.Context, name string, o LockOptions, try bool) (Held, error) {
	query := url.Values{"limit": {strconv.Itoa(max(o.Limit, 1))}}
	if try {
		query.Set("try", "true")
	}
	p, err := s.enter(ctx, "lock", keyPath("/locks/", name), name, o.Name, query, o.Data)
	return Held{p}, err
}

// Join takes a seat at the end of the group; the order is that of arrival. It blocks and
// fails as Lock does, but waits for nobody.
func (s *Session) Join(ctx context.Context, group string, o JoinOptions) (Seat, error) {
	p, err := s.enter(ctx, "join", keyPath("/groups/", group), group, o.Name, url.Values{}, o.Data)
	return Seat{p}, err
}

// enter takes a place. Each try has a name of its own, which the agent that got it takes
// care of until it has answered; so a try whose answer was lost can be taken back by its
// name, and one that an agent does late is in nobody's way.
func (s *Session) enter(ctx context.Context, op, path, queue, name string, query url.Values, data []byte) (*place, error) {
	values := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	q := s.c.about(op, queue)
	if name != "" {
		query.Set("name", name)
	} else {
		name = s.c.id
	}
	var lost []string // tries whose answer was lost
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		attempt := strconv.FormatUint(s.attempts.Add(1), 10)
		query.Set("attempt", attempt)
		if len(lost) > 0 {
			query.Set("instead", strings.Join(lost, ","))
		}
		resp, err := q.ask(ctx, call{method: http.MethodPost, path: path, query: query, body: data, patient: true})
		if err == nil {
			resp.Body.Close()
			return s.took(values, path, queue, name, resp)
		}
		if e, ok := errors.AsType[*ReplyError](err); ok && e.problem.Holder != nil {
			return nil, q.failed(outcome.NotDone, &HeldError{Lock: queue, Holder: *e.problem.Holder})
		}
		e, unreachable := errors.AsType[*UnreachableError](err)
		closed := errors.Is(err, kith.ErrClosed)
		if unreachable && e.sent || closed {
			lost = append(lost, attempt)
		}
		if s.ctx.Err() != nil {
			return nil, q.failed(outcome.NotDone, context.Cause(s.ctx))
		}
		if (unreachable || closed) && ctx.Err() == nil && pause(ctx, wait) {
			continue
		}
		s.takeBack(path, queue, lost)
		if ctx.Err() != nil {
			err = q.failed(outcome.NotDone, fmt.Errorf("httpapi: waiting for %s: %w", s.c.URL(), context.Cause(ctx)))
		}
		return nil, err
	}
}

// took makes a place of an agent's answer.
func (s *Session) took(values context.Context, path, queue, name string, resp *http.Response) (*place, error) {
	q := s.c.about("enter", queue)
	token, err := strconv.ParseUint(resp.Header.Get(tokenHeader), 10, 64)
	if err != nil || token == 0 {
		return nil, q.strange("its answer carries no " + tokenHeader)
	}
	position, _ := strconv.ParseInt(resp.Header.Get(positionHeader), 10, 64)
	p := &place{s: s, path: path, queue: queue, name: name, token: token}
	p.position.Store(position)
	p.ctx, p.cancel = context.WithCancelCause(context.WithoutCancel(values))
	context.AfterFunc(s.ctx, func() { p.cancel(context.Cause(s.ctx)) })
	if !s.spawn(p.follow) {
		return nil, q.failed(outcome.NotDone, context.Cause(s.ctx))
	}
	return p, nil
}

// takeBack gives up what tries in vain may have left, in the background, until that is
// acknowledged or the session has ended.
func (s *Session) takeBack(path, queue string, attempts []string) {
	if len(attempts) == 0 {
		return
	}
	s.spawn(func() {
		q := s.c.about("leave", queue)
		for _, attempt := range attempts {
			s.untilDone(func() error { return q.leave(s.ctx, path, url.Values{"attempt": {attempt}}) })
		}
	})
}

// untilDone calls leave until the outcome is known, or the session has ended.
func (s *Session) untilDone(leave func() error) {
	for {
		err := leave()
		if err == nil || errors.Is(err, ErrLost) || errors.Is(err, kith.ErrSessionEnded) || !pause(s.ctx, 200*time.Millisecond) {
			return
		}
	}
}

// pause waits, and reports whether ctx has lasted that long.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// leave gives up the place that the query names.
func (q *question) leave(ctx context.Context, path string, query url.Values) error {
	resp, err := q.ask(ctx, call{method: http.MethodDelete, path: path, query: query})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// leaveOnce is leave that is repeated for as long as no answer comes, and knows that the
// place may be gone then because of an earlier try.
func (q *question) leaveOnce(ctx context.Context, path string, query url.Values) error {
	sent := false
	for {
		err := q.leave(ctx, path, query)
		if sent && errors.Is(err, ErrLost) {
			return nil
		}
		e, unreachable := errors.AsType[*UnreachableError](err)
		if !unreachable || !pause(ctx, 100*time.Millisecond) {
			return err
		}
		sent = sent || e.sent
	}
}

// follow ends the place's context when the cluster says that it is lost or revoked.
// That is for the sake of speed, and of Break: that nobody else holds the lock before the
// session's deadline does not depend on it.
func (p *place) follow() {
	for {
		for view, err := range p.s.c.watchQueue(p.ctx, p.path, url.Values{"token": {format(kv.Revision(p.token))}}) {
			if err != nil {
				break
			}
			now, there := view.Find(p.token)
			switch {
			case !there:
				p.cancel(ErrLost)
				return
			case now.Revoked:
				p.cancel(ErrRevoked)
				return
			}
			p.position.Store(int64(now.Position))
		}
		if !pause(p.ctx, 200*time.Millisecond) {
			return
		}
	}
}

// Release gives the lock back: first its Context ends, then the next one holds it. It
// blocks until the cluster has agreed, or ctx ends; if it is not known then whether that was
// done, it is tried again in the background for as long as the session lasts. The error
// is ErrLost or that of the session if it was not held any more. A second Release returns the
// first result.
func (h Held) Release(ctx context.Context) error { return h.leave(ctx, "release") }

// Leave gives the seat up, as [Held.Release] does with a lock.
func (s Seat) Leave(ctx context.Context) error { return s.leave(ctx, "leave") }

func (p *place) leave(ctx context.Context, op string) error {
	p.leaveOnce.Do(func() {
		q := p.s.c.about(op, p.queue)
		p.cancel(ErrReleased)
		switch cause := context.Cause(p.ctx); {
		case errors.Is(cause, kith.ErrClosed): // the session's end has released it
			return
		case !errors.Is(cause, ErrReleased) && !errors.Is(cause, ErrRevoked):
			p.leaveErr = q.failed(outcome.NotDone, cause)
			return
		}
		query := url.Values{"token": {format(kv.Revision(p.token))}}
		p.leaveErr = q.leaveOnce(ctx, p.path, query)
		if p.leaveErr != nil && !errors.Is(p.leaveErr, ErrLost) && !errors.Is(p.leaveErr, kith.ErrSessionEnded) {
			p.s.spawn(func() {
				p.s.untilDone(func() error { return q.leave(p.s.ctx, p.path, query) })
			})
		}
	})
	return p.leaveErr
}

// Update replaces the seat's data. It blocks until the cluster has agreed, or ctx ends.
func (s Seat) Update(ctx context.Context, data []byte) error {
	q := s.s.c.about("update", s.queue)
	resp, err := q.ask(ctx, call{
		method: http.MethodPut, path: s.path, body: data, repeatable: true,
		query: url.Values{"token": {format(kv.Revision(s.token))}},
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
