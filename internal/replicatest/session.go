package replicatest

import (
	"context"
	"fmt"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state/statepb"
)

// SessionTTL is that of the nodes' sessions, in milliseconds. No time passes by
// itself: Cluster.End ends them.
const SessionTTL = 10_000

// Session is a node's session.
type Session struct {
	id     uint64
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// SessionID is the revision at which it was opened.
func (s *Session) SessionID() uint64 { return s.id }

// Context ends before the session does in the cluster, and with the node.
func (s *Session) Context() context.Context { return s.ctx }

// Hold returns the node's session, which it opens if there is none.
func (n *Node) Hold(ctx context.Context) (queue.Session, error) {
	if s := n.live(); s != nil {
		return s, nil
	}
	r, err := n.Propose(ctx, &statepb.Command{Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{Member: n.ID, TtlMs: SessionTTL}}})
	if err != nil {
		return nil, err
	}
	if r.GetCode() != statepb.Result_OK {
		return nil, &outcome.Error{Op: "agreement", Err: fmt.Errorf("no session: %v", r.GetCode())}
	}
	s := &Session{id: r.GetRevision()}
	s.ctx, s.cancel = context.WithCancelCause(n.ctx)
	n.cluster.change(func() {
		if n.session != nil && n.session.ctx.Err() == nil { // another call was faster
			s.cancel(outcome.ErrSessionEnded)
			s = n.session
			return
		}
		n.session = s
		n.catchUpLocked()
	})
	return s, nil
}

func (n *Node) live() *Session {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.session == nil || n.session.ctx.Err() != nil {
		return nil
	}
	return n.session
}

// lapse ends the context of the node's session, if it is that one.
func (n *Node) lapse(session uint64) {
	if n.session != nil && n.session.id == session {
		n.session.cancel(fmt.Errorf("%w: it was not renewed in time", outcome.ErrSessionEnded))
	}
}

// Session returns the ID of the node's session, which it opens if there is none.
func (n *Node) Session(ctx context.Context) (uint64, error) {
	s, err := n.Hold(ctx)
	if err != nil {
		return 0, err
	}
	return s.SessionID(), nil
}

// SessionID returns the ID of the node's session, 0 if there is none that lasts.
func (n *Node) SessionID() uint64 {
	if s := n.live(); s != nil {
		return s.id
	}
	return 0
}
