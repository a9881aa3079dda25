package state

import (
	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/state/statepb"
)

// proposer is a registration with its window: the results of the commands from low
// on, so that one that comes again is answered and not done again (S8).
type proposer struct {
	id, member, incarnation, low uint64

	// ring holds the result of seq at seq%len(ring), nil if there is none yet. All
	// that are kept lie within len(ring), a power of two, from low.
	ring []*statepb.Result
	// kept is how many bytes of values the results hold.
	kept int
}

func (p *proposer) slot(seq uint64) **statepb.Result {
	return &p.ring[seq&uint64(len(p.ring)-1)]
}

// result returns what the command led to when it was done, nil if it was not. seq is not below low.
func (p *proposer) result(seq uint64) *statepb.Result {
	if seq-p.low >= uint64(len(p.ring)) {
		return nil
	}
	return *p.slot(seq)
}

// store keeps a result. seq is within the window.
func (p *proposer) store(seq uint64, r *statepb.Result) {
	if seq-p.low >= uint64(len(p.ring)) {
		size := max(64, 2*len(p.ring))
		for seq-p.low >= uint64(size) {
			size *= 2
		}
		old := *p
		p.ring = make([]*statepb.Result, size)
		for i := range uint64(len(old.ring)) {
			*p.slot(p.low + i) = *old.slot(p.low + i)
		}
	}
	*p.slot(seq) = r
	p.kept += valueBytes(r)
}

// forget drops the results below low: the proposer has them. low never goes back.
func (p *proposer) forget(low uint64) {
	if low <= p.low {
		return
	}
	for i := range min(low-p.low, uint64(len(p.ring))) {
		slot := p.slot(p.low + i)
		p.kept -= valueBytes(*slot)
		*slot = nil
	}
	p.low = low
}

// valueBytes returns how many bytes of values the gets in r hold.
func valueBytes(r *statepb.Result) (size int) {
	for _, op := range r.GetOps() {
		size += len(op.Value)
	}
	return size
}

// Incarnation returns the incarnation in which the member is registered as a proposer,
// 0 if it never was.
func (m *Machine) Incarnation(member uint64) uint64 {
	if p := m.current[member]; p != nil {
		return p.incarnation
	}
	return 0
}

// register makes a proposer of a member, in the place of its former one, and ends the
// sessions that the former one has opened, with all that they hold.
//
// That is no sooner than their holders stopped (S11). A member's state directory
// belongs to one process at a time, which is what its lock is for, so a process that
// registers anew has outlived the former one; and one that goes on under a new
// incarnation, because its address changes, has let go of its session before. A member
// without a directory is a cluster of its own, and its state dies with its process. It is
// done here, and not by the leader, because so it cannot be lost with the leader, and
// so that all sessions of a member belong to the incarnation that is registered: the
// crash path (S12) relies on that.
func (m *Machine) register(r *statepb.Registration) {
	result := m.unchanged()
	former := m.current[r.Member]
	switch {
	case m.member(r.Member) == nil:
		result = m.refuse(statepb.Result_NO_MEMBER, "member %d", r.Member)
	case former != nil && r.Incarnation < former.incarnation:
		result.Code, result.Revision = statepb.Result_STALE, former.incarnation
	case former != nil && r.Incarnation == former.incarnation: // this one comes again
		result.Revision = former.id
	case m.registered:
		return // the entry's index names one proposer; this one will come again
	default:
		m.registered = true
		if former != nil {
			delete(m.proposers, former.id)
			m.outlive(r.Member)
		}
		m.enlist(&proposer{id: m.index, member: r.Member, incarnation: r.Incarnation})
		result.Revision = m.index
	}
	m.answers = append(m.answers, Answer{Result: result, Registration: r})
}

func (m *Machine) enlist(p *proposer) {
	m.proposers[p.id] = p
	m.current[p.member] = p
}

// batch does the commands of one proposer, each at most once.
func (m *Machine) batch(b *batch, commands []command) {
	p := m.proposers[b.proposer]
	if p != nil {
		p.forget(b.low)
	}
	for i := range commands {
		c := &commands[i]
		m.answers = append(m.answers, Answer{Proposer: b.proposer, Seq: c.seq, Result: m.once(p, c)})
	}
}

// once does a command unless it was done before. What it refuses because of the
// number alone is not kept: there is no place for it.
func (m *Machine) once(p *proposer, c *command) *statepb.Result {
	switch {
	case p == nil:
		return &statepb.Result{Code: statepb.Result_UNKNOWN_PROPOSER, Revision: m.revision}
	case c.seq < p.low:
		return &statepb.Result{Code: statepb.Result_SPENT, Revision: m.revision}
	case c.seq-p.low >= m.limits.Window:
		return &statepb.Result{Code: statepb.Result_OVERRUN, Revision: m.revision}
	}
	if former := p.result(c.seq); former != nil && !planted.Bug(planted.ApplyTwice) {
		return former
	}
	result := m.do(c, min(maxFound, maxKept-p.kept))
	p.store(c.seq, result)
	return result
}
