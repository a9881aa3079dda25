package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Session is a promise of the cluster to this node: what belongs to the session
// stays until it ends, and the node learns of the end before the cluster acts on
// it (S11).
type Session struct {
	// ID is the revision at which it was opened.
	ID  uint64
	TTL time.Duration

	ctx    context.Context
	cancel context.CancelCauseFunc
	acks   chan ack
	until  atomic.Int64 // the holder's deadline by the replica's clock, in nanoseconds
}

type ack struct{ nonce uint64 }

// Context ends, with a cause that is outcome.ErrSessionEnded, as soon as the
// session cannot be relied on any more; with outcome.ErrClosed when the replica
// was closed.
func (s *Session) Context() context.Context { return s.ctx }

// sessions is this node's own session, opened when it is first needed and anew
// after it ended.
type sessions struct {
	// turn holds one token, taken while a session is opened. Not a mutex: that
	// takes as long as the cluster takes.
	turn chan struct{}

	mu      sync.Mutex // guards the fields below
	current *Session
	closed  bool
}

// close lets no further session begin.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
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

// renewed delivers the leader's promise to the goroutine that keeps the session.
func (s *sessions) renewed(id, nonce uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.ID == id {
		select {
		case s.current.acks <- ack{nonce}:
		default: // the next one will do
		}
	}
}

// ended cancels the session if the machine does not have it any more.
func (s *sessions) ended(there func(id uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && !there(s.current.ID) {
		s.current.cancel(outcome.ErrSessionEnded)
	}
}

// Session returns this node's session, which it opens if there is none. It blocks
// until then, until ctx ends, or the replica. The errors are Propose's, and
// outcome.ErrSessionEnded if the new one was over before it could be used.
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
	return r.openSession(ctx)
}

func (r *Replica) openSession(ctx context.Context) (*Session, error) {
	asked := r.clock()
	ttl := r.cfg.SessionTTL
	result, err := r.Propose(ctx, &statepb.Command{Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{
		Member: r.id, TtlMs: uint64(ttl / time.Millisecond),
	}}})
	if err != nil {
		return nil, err
	}
	if result.GetCode() != statepb.Result_OK {
		return nil, r.failed(fmt.Errorf("the cluster refuses to open a session: %v %s", result.GetCode(), result.GetDetail()), outcome.NotDone)
	}
	s := &Session{ID: result.GetRevision(), TTL: ttl, acks: make(chan ack, 1)}
	s.ctx, s.cancel = context.WithCancelCause(r.ctx)
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

// EndSession gives up this node's session, if it has one: first its context ends,
// then what belongs to it goes. It blocks as Propose does and returns its errors; after
// one, what belongs to the session goes when its time is up.
func (r *Replica) EndSession(ctx context.Context) error {
	s := r.sessions.live(r.clock())
	if s == nil {
		return nil
	}
	s.cancel(outcome.ErrSessionEnded)
	_, err := r.Propose(ctx, &statepb.Command{Op: &statepb.Command_EndSession{EndSession: &statepb.EndSession{Session: s.ID}}})
	return err
}

// nap is the longest that the keeper of a session does not look at the clock: after
// a suspend its timers are as late as the machine has slept.
const nap = 250 * time.Millisecond

// keep renews s until it is lost or the replica ends. The holder's deadline is
// TTL(1-ρ) - grace after the last acknowledged renewal was sent (S11).
func (r *Replica) keep(s *Session) {
	every := s.TTL / 5
	pause := time.NewTimer(min(every, nap))
	renewAt := r.clock() + every
	defer pause.Stop()
	sentAt := make(map[uint64]time.Duration) // by nonce, those without an answer
	var nonce uint64
	for {
		select {
		case <-s.ctx.Done():
			return
		case a := <-s.acks:
			if at, ours := sentAt[a.nonce]; ours {
				s.until.Store(max(s.until.Load(), int64(at+shortest(s.TTL)-r.cfg.SessionGrace)))
				for n := range sentAt {
					if n <= a.nonce {
						delete(sentAt, n)
					}
				}
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
			nonce++
			sentAt[nonce] = now
			r.askToKeep(s.ID, nonce)
			renewAt = now + every
			if len(sentAt) > 1 { // an answer is overdue: ask more often
				renewAt = now + every/4
			}
		}
		pause.Reset(min(max(renewAt-now, 0), nap, until-now))
	}
}

// askToKeep sends a renewal to the leader, if there is one.
func (r *Replica) askToKeep(session, nonce uint64) {
	r.inbox.do(func() {
		if r.lead == r.id {
			r.renew([]renewal{{from: r.id, session: session, nonce: nonce, received: r.clock()}})
			return
		}
		r.send(r.lead, link.KindRenew, appendRenewal(nil, session, nonce))
	})
}

func appendRenewal(dst []byte, session, nonce uint64) []byte {
	dst = binary.AppendUvarint(dst, session)
	return binary.AppendUvarint(dst, nonce)
}

func decodeRenewal(b []byte) (session, nonce uint64, err error) {
	r := reader{b: b}
	session, nonce = r.uvarint(), r.uvarint()
	if r.bad || len(r.b) > 0 {
		return 0, 0, errors.New("malformed renewal")
	}
	return session, nonce, nil
}
