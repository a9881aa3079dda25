package kith

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/membership"
)

// control lets gossip speak through the control port: it turns the link's words
// into membership's.
type control struct {
	*link.Link
	agreed *agreement
}

var _ membership.Transport = control{}

func (c control) Dial(ctx context.Context, name, addr string) (net.Conn, error) {
	conn, id, err := c.Link.Dial(ctx, link.Call{Name: name, Addr: addr, Purpose: link.Gossip})
	if err == nil {
		c.agreed.met(id)
	}
	return conn, explain(err)
}

func (c control) Probe(ctx context.Context, name, addr string) (membership.Greeting, error) {
	_, id, err := c.Link.Dial(ctx, link.Call{Name: name, Addr: addr, Purpose: link.Probe})
	return greeting(id), explain(err)
}

func greeting(id link.Identity) membership.Greeting {
	return membership.Greeting{Name: id.Name, Incarnation: membership.Incarnation(id.Incarnation), Addr: id.Addr}
}

// explain gives refusals about names the types that membership knows.
func explain(err error) error {
	r, ok := errors.AsType[*link.Refusal](err)
	if !ok {
		return err
	}
	switch r.Code {
	case link.CodeNameTaken:
		return &membership.NameTakenError{Name: r.Name, Holder: r.Addr, HolderIncarnation: membership.Incarnation(r.Incarnation)}
	case link.CodeNamePending:
		return fmt.Errorf("%w: %w", membership.ErrNamePending, err)
	case link.CodeLeaving:
		return membership.ErrLeaving
	}
	return err
}

// admit asks gossip about a node that presents itself.
func (n *Node) admit(ctx context.Context, h link.Hello) *link.Refusal {
	if h.Purpose != link.Gossip && h.Purpose != link.Probe {
		return nil // members are known by their IDs, and founders by their directories
	}
	err := n.gossip.Admit(ctx, greeting(h.Identity))
	if err == nil {
		return nil
	}
	if taken, ok := errors.AsType[*membership.NameTakenError](err); ok {
		return &link.Refusal{
			Code: link.CodeNameTaken, Text: err.Error(),
			Name: taken.Name, Addr: taken.Holder, Incarnation: uint64(taken.HolderIncarnation),
		}
	}
	if errors.Is(err, membership.ErrLeaving) {
		return &link.Refusal{Code: link.CodeLeaving, Text: err.Error()}
	}
	return &link.Refusal{Code: link.CodeNamePending, Text: err.Error(), Name: h.Name}
}

func (n *Node) stream(conn net.Conn, h link.Hello) {
	n.agreed.met(h.Identity)
	if h.Purpose != link.Gossip {
		n.agreementStream(conn, h)
		return
	}
	n.gossip.HandleStream(conn)
}

func (n *Node) packet(b []byte, from netip.AddrPort, at time.Time) {
	n.gossip.HandlePacket(b, from, at)
}
