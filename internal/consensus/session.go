package consensus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
)

// Session is a promise of the cluster: what belongs to the session stays until it
// ends. Methods are safe for concurrent use.
//
// The node's own session ([Replica.Session]) is kept by the node, which learns of the
// end before the cluster acts on it (S11). That of a remote client
// ([Replica.ClientSession]) is kept by the client.
type Session struct {
	// ID is the revision at which it was opened.
	ID  uint64
	TTL time.Duration

	replica *Replica
	ctx     context.Context
	cancel  context.CancelCauseFunc
	until   atomic.Int64 // of the node's own: the holder's deadline by the replica's clock, in nanoseconds
}

func (r *Replica) newSession(id uint64, ttl time.Duration) *Session {
	s := &Session{ID: id, TTL: ttl, replica: r}
	s.ctx, s.cancel = context.WithCancelCause(r.ctx)
	return s
}

// SessionID returns the session's ID, the revision at which it was opened.
func (s *Session) SessionID() uint64 { return s.ID }

// Context ends, with a cause that is outcome.ErrSessionEnded, as soon as the node's own
// session cannot be relied on any more; with outcome.ErrClosed when the replica was
// closed.
//
// Of a client's session it ends when this node has seen the session's end, or with
// [Session.End] on this node: another node may renew the session, so this one cannot
// tell that it runs out. When it does, the client must know: it counts from its own
// renewals, and stops before the cluster lets others in (S11).
func (s *Session) Context() context.Context { return s.ctx }

// sessions are this node's own session, opened when it is first needed and anew
// after it ended, and its handles of the sessions of clients.
type sessions struct {
	// turn holds one token, taken while a session is opened. Not a mutex: that
	// takes as long as the cluster takes.
	turn chan struct{}

	mu      sync.Mutex // guards the fields below
	current *Session
	// moves counts the times that the node gave up its session to go elsewhere.
	moves   int
	clients map[uint64]*Session // by ID; those that have not ended
	leaving bool                // the node opens no other of its own
	closed  bool
}

// close lets no further session begin.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// leave lets no further session of the node's own begin; those of clients go on.
func (s *sessions) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
}

func (s *sessions) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

// live returns the session, nil if there is none that can be relied on now.
func (s *sessions) live(now time.Duration) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.ctx.Err() != nil {
		return nil
	}
	if int64(now) >= s.current.until.Load() { // the machine slept, or this process did
		s.current.cancel(outcome.ErrSessionEnded)
		return nil
	}
	return s.current
}

// end cancels the sessions that have ended.
func (s *sessions) end(ended []uint64) {
	if len(ended) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ended {
		if s.current != nil && s.current.ID == id {
			s.current.cancel(outcome.ErrSessionEnded)
		}
		if h := s.clients[id]; h != nil {
			h.cancel(outcome.ErrSessionEnded)
			delete(s.clients, id)
		}
	}
}

// endUnless cancels the sessions that another state, which has come into force, does not
// have.
func (s *sessions) endUnless(there func(id uint64) bool) {
	s.mu.Lock()
	var ended []uint64
	if s.current != nil && !there(s.current.ID) {
		ended = append(ended, s.current.ID)
	}
	for id := range s.clients {
		if !there(id) {
			ended = append(ended, id)
		}
	}
	s.mu.Unlock()
	s.end(ended)
}

// Session returns this node's session, which it opens if there is none. It blocks
// until then, until ctx ends, or the replica. The errors are Propose's,
// outcome.ErrClosed after EndSession, and outcome.ErrSessionEnded if the new one was over
// before it could be used.
func (r *Replica) Session(ctx context.Context) (*Session, error) {
	if s := r.sessions.live(r.clock()); s != nil {
		return s, nil
	}
	select {
	case <-r.sessions.turn:
		defer func() { r.sessions.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, r.failed(r.tooLate(ctx), outcome.NotDone)
	case <-r.ctx.Done():
		return nil, r.failed(context.Cause(r.ctx), outcome.NotDone)
	}
	if s := r.sessions.live(r.clock()); s != nil {
		return s, nil
	}
	if r.sessions.left() {
		return nil, r.failed(outcome.ErrClosed, outcome.NotDone)
	}
	return r.openSession(ctx)
}

func (r *Replica) openSession(ctx context.Context) (*Session, error) {
	moves := r.sessions.moved()
	asked := r.clock()
	ttl := r.cfg.SessionTTL
	id, err := r.proposeSession(ctx, "", ttl)
	if err != nil {
		return nil, err
	}
	s := r.newSession(id, ttl)
	until := asked + shortest(ttl) - r.cfg.SessionGrace
	if r.clock() >= until {
		s.cancel(outcome.ErrSessionEnded)
		return nil, r.failed(fmt.Errorf("%w: opening it took longer than it lasts (%v)", outcome.ErrSessionEnded, ttl), outcome.NotDone)
	}
	r.sessions.mu.Lock()
	if r.sessions.closed {
		r.sessions.mu.Unlock()
		s.cancel(outcome.ErrClosed)
		return nil, r.failed(outcome.ErrClosed, outcome.NotDone)
	}
	if r.sessions.moves != moves { // it may be of the registration that is given up
		r.sessions.mu.Unlock()
		if err := s.End(ctx); err != nil {
			return nil, err
		}
		return r.openSession(ctx)
	}
	r.sessions.current = s
	s.until.Store(int64(until))
	r.wg.Go(func() { r.keep(s) })
	r.sessions.mu.Unlock()
	var there bool
	r.View(func(m *state.Machine) { _, there = m.Session(s.ID) })
	if !there { // ended between its opening and its registration here
		s.cancel(outcome.ErrSessionEnded)
		return nil, r.failed(outcome.ErrSessionEnded, outcome.NotDone)
	}
	return s, nil
}

// Relocate must be called before this node closes its control port to go on at another
// address, or leaves this cluster for another. It does not block.
//
// To the others a port that refuses is that of a dead process, whose session ends at once
// (S12). So this node gives up its session first. It also registers anew: what others
// still find at the old address says nothing about the sessions that it opens at the new
// one. Calls that are under way are not disturbed.
func (r *Replica) Relocate() {
	r.sessions.mu.Lock()
	if r.sessions.current != nil {
		r.sessions.current.cancel(fmt.Errorf("%w: this node goes on elsewhere", outcome.ErrSessionEnded))
	}
	r.sessions.moves++
	r.proposals.retire() // in the same step: who sees the move opens nothing under the old registration
	r.sessions.mu.Unlock()
	r.inbox.wake()
}

// moved counts the calls of Relocate.
func (s *sessions) moved() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moves
}

// EndSession gives up this node's session, if it has one: first its context ends,
// then what belongs to it goes. It is for a node that is about to go: no session begins
// after it, or whoever has lost a place would take another, which nobody gives up. It
// blocks as Propose does and returns its errors; after one, what belongs to the session
// goes when its time is up.
func (r *Replica) EndSession(ctx context.Context) error {
	r.sessions.leave()
	select {
	case <-r.sessions.turn: // one that is being opened is open then
		r.sessions.turn <- struct{}{}
	case <-ctx.Done():
		return r.failed(r.tooLate(ctx), outcome.NotDone)
	case <-r.ctx.Done():
		return r.failed(context.Cause(r.ctx), outcome.NotDone)
	}
	s := r.sessions.live(r.clock())
	if s == nil {
		return nil
	}
	return s.End(ctx)
}

// nap is the longest that the keeper of a session does not look at the clock: after
// a suspend its timers are as late as the machine has slept.
const nap = 250 * time.Millisecond

// keep renews s until it is lost or the replica ends. The holder's deadline is
// TTL(1-ρ) - grace after the last acknowledged renewal was sent (S11).
func (r *Replica) keep(s *Session) {
	every := s.TTL / 5
	// It counts from when it was asked for, and to open it may have taken most of its time.
	renewAt := time.Duration(s.until.Load()) - (shortest(s.TTL) - r.cfg.SessionGrace) + every
	pause := time.NewTimer(min(max(renewAt-r.clock(), 0), nap))
	defer pause.Stop()
	answered := make(chan *ask, 1)
	var open []*ask // those without an answer, in order
	defer func() { r.asks.drop(open...) }()
	for {
		select {
		case <-s.ctx.Done():
			return
		case a := <-answered:
			s.until.Store(max(s.until.Load(), int64(a.asked+shortest(s.TTL)-r.cfg.SessionGrace)))
			if i := slices.Index(open, a); i >= 0 { // with those before, which say less
				r.asks.drop(open[:i]...)
				open = slices.Delete(open, 0, i+1)
			}
			continue
		case <-pause.C:
		}
		now, until := r.clock(), time.Duration(s.until.Load())
		if now >= until {
			r.log.Warn("this node's session was not renewed in time and is taken for lost", "session", s.ID)
			s.cancel(fmt.Errorf("%w: it could not be renewed within %v", outcome.ErrSessionEnded, s.TTL))
			return
		}
		if now >= renewAt {
			open = append(open, r.asks.add(s.ID, now, answered))
			r.inbox.wake()
			renewAt = now + every
			if len(open) > 1 { // an answer is overdue: ask more often
				renewAt = now + every/4
			}
		}
		pause.Reset(min(max(renewAt-now, 0), nap, until-now))
	}
}
