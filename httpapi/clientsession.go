package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
)

const (
	// DefaultSessionTTL is SessionOptions.TTL when that is 0.
	DefaultSessionTTL = kith.DefaultSessionTTL
	// DefaultSessionGrace is SessionOptions.Grace when that is 0.
	DefaultSessionGrace = 500 * time.Millisecond
)

// SessionOptions are the choices of [Client.Session]. The zero value is useful.
type SessionOptions struct {
	// ID is the name by which the agents know this program; whoever gives the same one
	// acts in the same session. "": a random one.
	ID string
	// TTL is how long the cluster waits for a renewal before it ends the session. It
	// must be more than twice Grace; the shorter, the sooner others take over, and the more
	// likely a slow cluster ends the session in vain. A session that is taken over keeps
	// the one that it was opened with.
	TTL time.Duration
	// Grace is how much earlier than the cluster the holder lets go: time to stop what
	// runs under a lock.
	Grace time.Duration
	// OnRenewed, if not nil, is called with the new deadline after the session was opened
	// and after each renewal, from one goroutine at a time. It must be quick. For the meaning
	// see [Session.Deadline].
	OnRenewed func(deadline time.Duration)
}

// Session is the cluster's promise to this program: what it holds under the session stays
// until the session ends, and Context ends before the cluster gives it to another
// (SAFETY.md, S11). A goroutine renews it. Methods are safe for concurrent use.
type Session struct {
	c          *Client // signs with the session
	number     uint64
	ttl, grace time.Duration
	told       func(time.Duration)

	ctx    context.Context
	cancel context.CancelCauseFunc
	until  atomic.Int64 // the deadline
	// attempts counts tries to take a place; none has the name of another.
	attempts atomic.Uint64

	wg     sync.WaitGroup
	mu     sync.Mutex // guards closed, and with it what wg counts
	closed bool

	closeOnce sync.Once
	closeErr  error
}

// Session opens a session, or takes over the one that a client with this ID has. It
// blocks until the cluster has agreed, or ctx ends; ctx does not bound the session,
// which keeps ctx's values and lasts until Close, or until it is lost.
func (c *Client) Session(ctx context.Context, o SessionOptions) (*Session, error) {
	if o.ID == "" {
		o.ID = rand.Text()
	}
	if o.TTL == 0 {
		o.TTL = DefaultSessionTTL
	}
	if o.Grace == 0 {
		o.Grace = DefaultSessionGrace
	}
	if o.TTL <= 2*o.Grace {
		return nil, c.about("open session", o.ID).failed(outcome.NotDone,
			fmt.Errorf("%w: the time to live is %v, not even twice the grace, %v", errInvalidSession, o.TTL, o.Grace))
	}
	s := &Session{c: c.As(o.ID), ttl: o.TTL, grace: o.Grace, told: o.OnRenewed}
	sent := c.clock()
	info, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	s.number, s.c.session = info.Session, info.Session
	s.ttl = time.Duration(info.TTL) // that of whoever opened it
	// Two programs that share a session must not share the names of places.
	s.attempts.Store(uint64(mathrand.Uint32()) << 24)
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if !s.extend(sent, time.Duration(info.TTL)) || c.clock() >= s.Deadline() {
		s.cancel(kith.ErrSessionEnded)
		return nil, c.about("open session", o.ID).failed(outcome.Done, fmt.Errorf("%w: opening it took longer than it lasts (%v)", kith.ErrSessionEnded, o.TTL))
	}
	s.wg.Go(s.keep)
	return s, nil
}

var errInvalidSession = errors.New("httpapi: invalid session")

// ID returns the client's ID, which requests carry in the header X-Client-Id: another
// program that sends it sees itself where this one is.
func (s *Session) ID() string { return s.c.id }

// Number returns the cluster's ID of the session.
func (s *Session) Number() uint64 { return s.number }

// Client returns a client that asks under the session's ID, so that lists mark what is
// the session's own.
func (s *Session) Client() *Client { return s.c }

// Context ends when the session cannot be relied on any more: with kith.ErrSessionEnded
// when it was lost, with kith.ErrClosed when Close was called.
func (s *Session) Context() context.Context { return s.ctx }

// Deadline is when Context will end unless the session is renewed before, as time since
// the machine was started (CLOCK_BOOTTIME on Linux; elsewhere by a clock that is this
// process's own).
func (s *Session) Deadline() time.Duration { return time.Duration(s.until.Load()) }

// Left returns how much time is left until Deadline.
func (s *Session) Left() time.Duration { return s.Deadline() - s.c.clock() }

// ask opens the session, or renews it once it has a number.
func (s *Session) ask(ctx context.Context) (SessionInfo, error) {
	q := s.c.about("renew session", s.c.id)
	if s.number == 0 {
		q.op = "open session"
	}
	query := url.Values{"ttl": {strconv.FormatInt(s.ttl.Milliseconds(), 10)}}
	resp, err := q.ask(ctx, call{method: http.MethodPost, path: keyPath("/sessions/", s.c.id), query: query, repeatable: true})
	if err != nil {
		return SessionInfo{}, err
	}
	var info SessionInfo
	if err := s.c.decode(ctx, resp, "/sessions", &info); err != nil {
		return info, q.failed(outcome.Unknown, err)
	}
	if info.Session == 0 || info.TTL <= 0 {
		return info, q.strange("its answer names no session")
	}
	return info, nil
}

// shortest is how little of d a clock may show that is ρ = 1 % off (S11).
func shortest(d time.Duration) time.Duration { return d - d/100 }

// extend moves the deadline after a renewal that was sent at that time.
func (s *Session) extend(sent, ttl time.Duration) bool {
	until := int64(sent + shortest(ttl) - s.grace)
	if until <= s.until.Load() {
		return false
	}
	s.until.Store(until)
	if s.told != nil {
		s.told(time.Duration(until))
	}
	return true
}

// nap is the longest that the keeper of a session does not look at the clock: after a
// suspend its timers are as late as the machine has slept.
const nap = 250 * time.Millisecond

// renewal is what became of one renewal.
type renewal struct {
	sent time.Duration
	ttl  time.Duration
	err  error
}

// keep renews the session until it is lost, or closed.
func (s *Session) keep() {
	every := s.ttl / 5
	answers := make(chan renewal, 1)
	underWay := 0
	renewAt := s.c.clock() + every
	timer := time.NewTimer(min(every, nap))
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case a := <-answers:
			underWay--
			switch {
			case a.err == nil:
				s.extend(a.sent, a.ttl)
			case errors.Is(a.err, kith.ErrSessionEnded):
				s.cancel(a.err)
				return
			default: // try again soon
				renewAt = s.c.clock() + every/4
			}
			continue
		case <-timer.C:
		}
		now, until := s.c.clock(), s.Deadline()
		if now >= until {
			s.cancel(fmt.Errorf("%w: it could not be renewed within %v", kith.ErrSessionEnded, s.ttl))
			return
		}
		if now >= renewAt && underWay < 2 { // a second one, if the first hangs at a dead agent
			underWay++
			renewAt = now + every
			s.wg.Go(func() { s.renew(now, 2*every, answers) })
		}
		timer.Reset(min(max(renewAt-now, time.Millisecond), nap, until-now))
	}
}

// renew sends one renewal.
func (s *Session) renew(sent, patience time.Duration, answers chan<- renewal) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	info, err := s.ask(ctx)
	if err == nil && info.Session != s.number {
		err = fmt.Errorf("%w: the agent knows another session of this client", kith.ErrSessionEnded)
	}
	select {
	case answers <- renewal{sent, time.Duration(info.TTL), err}:
	case <-s.ctx.Done():
	}
}

// spawn runs f in a goroutine that Close waits for, unless the session is over.
func (s *Session) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ctx.Err() != nil {
		return false
	}
	s.wg.Go(f)
	return true
}

// Close ends the session: first its Context, then in the cluster, and with it
// everything it holds. It blocks until the cluster has agreed, or ctx ends; after an error the
// session ends when its time is up. A second Close returns the first result.
func (s *Session) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		lost := s.ctx.Err() != nil
		s.cancel(kith.ErrClosed)
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.wg.Wait()
		if lost {
			return // nothing is there any more, or nobody will renew it
		}
		q := s.c.about("end session", s.c.id)
		resp, err := q.ask(ctx, call{method: http.MethodDelete, path: keyPath("/sessions/", s.c.id), repeatable: true})
		switch {
		case errors.Is(err, kith.ErrSessionEnded):
		case err != nil:
			s.closeErr = err
		default:
			resp.Body.Close()
		}
	})
	return s.closeErr
}
