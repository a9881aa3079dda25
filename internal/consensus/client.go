package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// ClientSession returns the session of a remote client, a program that is no node and
// speaks through one, which it opens if the client has none. A client may go to
// another node at any time: that one finds the session.
//
// Nobody keeps it but the client, with [Session.Renew]. One that was found is as old as
// its last renewal, and has the TTL that it was opened with. It blocks as Propose does,
// and not at all for a session that this node's state has; that may lag behind, in
// which case the session's Context ends soon.
//
// Errors are Propose's, outcome.ErrOverloaded when the cluster has as many sessions as
// it may, outcome.ErrSessionEnded when the session ended before it could be used, and
// those about a client ID or a TTL that the cluster does not take.
func (r *Replica) ClientSession(ctx context.Context, client string, ttl time.Duration) (*Session, error) {
	if client == "" {
		return nil, r.failed(errors.New("a remote client needs an ID"), outcome.NotDone)
	}
	var found state.Session
	var there bool
	r.View(func(m *state.Machine) { found, there = m.ClientSession(client) })
	if !there {
		id, err := r.proposeSession(ctx, client, ttl)
		if err != nil {
			return nil, err
		}
		r.View(func(m *state.Machine) { found, there = m.Session(id) })
	}
	if there {
		if s := r.adopt(found); s != nil {
			return s, nil
		}
	}
	if r.ctx.Err() != nil {
		return nil, r.failed(context.Cause(r.ctx), outcome.NotDone)
	}
	return nil, r.failed(outcome.ErrSessionEnded, outcome.NotDone)
}

// proposeSession opens a session and returns its ID.
func (r *Replica) proposeSession(ctx context.Context, client string, ttl time.Duration) (uint64, error) {
	result, err := r.Propose(ctx, &statepb.Command{Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{
		Member: r.id, Client: client, TtlMs: uint64(max(ttl, 0) / time.Millisecond),
	}}})
	if err != nil {
		return 0, err
	}
	switch result.GetCode() {
	case statepb.Result_OK:
		return result.GetRevision(), nil
	case statepb.Result_TOO_MANY_SESSIONS, statepb.Result_QUOTA:
		err = fmt.Errorf("%w: the cluster opens no more sessions: %s", outcome.ErrOverloaded, result.GetDetail())
	default:
		err = fmt.Errorf("the cluster refuses to open a session: %v %s", result.GetCode(), result.GetDetail())
	}
	return 0, r.failed(err, outcome.NotDone)
}

// adopt returns this node's handle of a client's session, nil if the session has ended.
func (r *Replica) adopt(found state.Session) *Session {
	s := r.sessions.handle(r, found)
	var there bool
	r.View(func(m *state.Machine) { _, there = m.Session(found.ID) })
	if !there { // it ended before the handle could be told
		r.sessions.end([]uint64{found.ID})
	}
	if s == nil || s.ctx.Err() != nil {
		return nil
	}
	return s
}

// handle finds or makes the handle of a client's session.
func (s *sessions) handle(r *Replica, found state.Session) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	h := s.clients[found.ID]
	if h == nil || h.ctx.Err() != nil { // given up here, and still the client's
		h = r.newSession(found.ID, time.Duration(found.TTL)*time.Millisecond)
		if s.clients == nil {
			s.clients = make(map[uint64]*Session)
		}
		s.clients[found.ID] = h
	}
	return h
}

// Renew asks the cluster to keep the session and blocks until the leader has promised
// that, which it does after a majority has confirmed that it still leads (S11); until
// ctx ends, the session, or the replica. After nil the cluster keeps the session for its
// TTL from some moment during the call: who relies on it counts
// TTL(1-ρ) - grace from a reading of its own boot-time clock before the call, with
// ρ = 1 %. Many calls at a time share frames and rounds.
//
// It is for the sessions of remote clients; a node's own is renewed by itself.
//
// Errors are *outcome.Error: outcome.ErrSessionEnded, ErrNoQuorum around ctx's cause
// while there is no leader, ctx's cause, ErrClosed, ErrStateLost. Their outcome is
// Unknown if a leader was asked, which then may keep the session longer than the caller
// knows.
func (s *Session) Renew(ctx context.Context) error {
	r := s.replica
	if s.ctx.Err() != nil {
		return r.failed(context.Cause(s.ctx), outcome.NotDone)
	}
	a := r.asks.add(s.ID, r.clock(), make(chan *ask, 1))
	r.inbox.wake()
	var err error
	select {
	case <-a.answered:
		return nil
	case <-s.ctx.Done():
		r.asks.drop(a)
		return r.failed(context.Cause(s.ctx), outcome.NotDone)
	case <-ctx.Done():
		err = r.tooLate(ctx)
	}
	what := outcome.NotDone
	if r.asks.drop(a) {
		what = outcome.Unknown
	}
	return r.failed(err, what)
}

// End gives up the session: first its Context ends on this node, then what belongs to it
// goes. It blocks as Propose does and returns its errors; after one, what belongs to the
// session goes when its time is up. Ending what has ended is no error.
func (s *Session) End(ctx context.Context) error {
	s.cancel(outcome.ErrSessionEnded)
	_, err := s.replica.Propose(ctx, &statepb.Command{Op: &statepb.Command_EndSession{EndSession: &statepb.EndSession{Session: s.ID}}})
	return err
}
