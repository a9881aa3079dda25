package kith

import (
	"context"
	"fmt"
	"net"

	"github.com/kith-go/kith/internal/consensus"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/membership"
)

// askFounder carries a question about founding to a node of the list.
func (n *Node) askFounder(ctx context.Context, name string, question []byte) ([]byte, error) {
	addr, err := n.controlAddr(name)
	if err != nil {
		return nil, err
	}
	answer, _, err := n.now().link.Ask(ctx, link.Call{Name: name, Addr: addr}, question)
	return answer, err
}

// dialMember connects to another member, at an address or wherever it is now.
func (n *Node) dialMember(ctx context.Context, to *statepb.Member, at string, purpose link.Purpose) (net.Conn, link.Identity, error) {
	if at == "" {
		addr, err := n.controlAddr(to.GetName())
		if err != nil {
			return nil, link.Identity{}, err
		}
		at = addr
	}
	return n.now().link.Dial(ctx, link.Call{Name: to.GetName(), Addr: at, Purpose: purpose, RaftID: to.GetRaftId()})
}

// controlAddr finds a node: by the list in force, else by gossip.
func (n *Node) controlAddr(name string) (string, error) {
	if p, err := n.list.get().Get(name); err == nil {
		return p.ControlEndpoint(), nil
	}
	if m, ok := (membership.View{Members: n.gossip.Members()}).Find(name); ok && m.Addr.IsValid() {
		return m.Addr.String(), nil
	}
	return "", fmt.Errorf("kith: %s is not in the list of peers, and gossip does not know it", name)
}

// agreementStream serves a connection that another node opened for agreement.
func (n *Node) agreementStream(conn net.Conn, hello link.Hello) {
	l := n.agreed.now()
	switch {
	case l == nil || l.founder == nil:
		conn.Close()
	case hello.Purpose == link.Found:
		err := link.Answer(n.work, conn, func(ctx context.Context, question []byte) []byte {
			return l.founder.Answer(ctx, hello.Name, question)
		})
		if err != nil && n.work.Err() == nil {
			n.log.Debug("a question about founding", "from", hello.Name, "error", err)
		}
	default:
		if replica := n.agreed.born(); replica != nil {
			replica.Serve(conn, hello)
			return
		}
		conn.Close()
	}
}

// met tells the founder which cluster another node belongs to.
func (a *agreement) met(id link.Identity) {
	if l := a.now(); l != nil && l.founder != nil && id.ClusterID != "" {
		l.founder.Met(id.Name, id.ClusterID)
	}
}

// relocate gives up what the others would take for lost as soon as the control port is
// closed (S12).
func (a *agreement) relocate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch l := a.life; {
	case l == nil:
	case l.replica == nil:
		l.moved = true
	default:
		l.replica.Relocate()
	}
}

// born returns the replica, nil if there is none.
func (a *agreement) born() *consensus.Replica {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.life == nil {
		return nil
	}
	return a.life.replica
}

// accompany tells agreement what gossip sees: a member that is back is dialled at
// once.
func (n *Node) accompany() {
	for view := range n.gossip.Watch(n.work) {
		replica := n.agreed.born()
		if n.work.Err() != nil || replica == nil {
			continue
		}
		for _, c := range view.Changes {
			if c.Member.Status == membership.StatusAlive && !c.Member.Local {
				replica.Nudge(c.Member.Name)
			}
		}
	}
}
