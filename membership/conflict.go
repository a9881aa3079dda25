package membership

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/hashicorp/serf/serf"
)

// verifyTimeout bounds the question whether a name's holder is still there. It
// is shorter than a handshake, within which it is asked.
const verifyTimeout = 2 * time.Second

// Admit decides on a node that presents itself with a claim to a name: nil lets
// it in. Another address than the one known for that name means that either the
// node moved or two nodes share a name; Admit asks at the known address, which
// may take two seconds. The errors are *NameTakenError, ErrNamePending and
// ErrLeaving.
func (g *Gossip) Admit(ctx context.Context, claim Greeting) error {
	e := g.running()
	if e == nil {
		return nil
	}
	if e.goodbye.Load() {
		return ErrLeaving
	}
	if claim.Name == e.self.Name {
		if claim.Incarnation == e.self.Incarnation {
			return nil // ourselves
		}
		e.suspectRival(claim) // it may have been first
		return e.taken(claim, e.self.Incarnation, e.transport.Addr())
	}
	known, ok := g.board.get(claim.Name)
	if !ok || known.Status == StatusLeft || known.Status == StatusFailed ||
		known.Incarnation == claim.Incarnation || known.Addr == claim.Addr {
		return nil
	}
	// The known one may be dead without our having noticed.
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	holder, err := e.transport.Probe(ctx, known.Name, known.Addr.String())
	switch {
	case err != nil:
		return ErrNamePending
	case holder.Incarnation == claim.Incarnation:
		return nil // one node, reached by two addresses
	}
	return e.taken(claim, holder.Incarnation, known.Addr)
}

func (e *engine) taken(claim Greeting, holder Incarnation, addr netip.AddrPort) error {
	err := &NameTakenError{Name: claim.Name, Addr: claim.Addr, Holder: addr, HolderIncarnation: holder}
	e.log.Warn("refused a node whose name is in use", "name", claim.Name, "addr", claim.Addr, "holder", addr)
	return err
}

// NotifyMerge sees every claim to be alive that gossip brings, with the engine's
// lock held: it only takes note of claims to our own name from elsewhere. The
// engine ignores those by itself.
func (e *engine) NotifyMerge(members []*serf.Member) error {
	for _, m := range members {
		if m.Name != e.self.Name {
			continue
		}
		ip, _ := netip.AddrFromSlice(m.Addr)
		rival := Greeting{Name: m.Name, Addr: netip.AddrPortFrom(ip.Unmap(), m.Port)}
		if rival.Addr != e.transport.Addr() {
			e.suspectRival(rival)
		}
	}
	return nil
}

// suspectRival has settle look at another claim to our name, without blocking.
func (e *engine) suspectRival(rival Greeting) {
	select {
	case e.rivals <- rival:
	default:
	}
}

// settle checks rivals for our name. One that gossip merely remembers does not
// answer; a live one and we do the same comparison and come to the same
// conclusion: the earlier incarnation stays.
func (e *engine) settle(ctx context.Context) {
	const pause = 10 * time.Second // gossip repeats itself
	for {
		select {
		case <-ctx.Done():
			return
		case rival := <-e.rivals:
			e.confront(ctx, rival)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (e *engine) confront(ctx context.Context, rival Greeting) {
	ask, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	holder, err := e.transport.Probe(ask, rival.Name, rival.Addr.String())
	if taken, ok := errors.AsType[*NameTakenError](err); ok {
		e.yieldTo(taken, false) // the rival itself refuses us
		return
	}
	if err != nil || holder.Incarnation == e.self.Incarnation {
		return
	}
	e.yieldTo(&NameTakenError{
		Name: e.self.Name, Addr: e.transport.Addr(),
		Holder: rival.Addr, HolderIncarnation: holder.Incarnation,
	}, false)
}

// yieldTo ends this node if the other one was there first, or if this one is
// only just coming. Two that confront one another compare the same incarnations
// and never both end.
func (e *engine) yieldTo(taken *NameTakenError, coming bool) {
	if first := e.self.Incarnation < taken.HolderIncarnation || taken.HolderIncarnation == 0; first && !coming {
		e.log.Error("another live node uses this node's name; this one was first and stays",
			"name", taken.Name, "addr", e.transport.Addr(), "other", taken.Holder)
		return
	}
	taken.Addr = e.transport.Addr()
	e.fail(taken)
}
