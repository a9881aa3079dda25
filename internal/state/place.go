package state

import (
	"strings"

	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/state/statepb"
)

// enter takes a place at the tail of a queue.
func (m *Machine) enter(e *statepb.Enter) *statepb.Result {
	kind, name := e.Queue.GetKind(), e.Queue.GetName()
	if refused := m.checkEnter(e); refused != nil {
		return refused
	}
	s, ok := m.sessions.Get(e.Session)
	if !ok {
		return m.noSession(e.Session)
	}
	q, ok := m.queues[kind].Get(name)
	if !ok {
		return m.begin(e, s)
	}
	if q.Limit != e.Limit {
		result := m.refuse(statepb.Result_LIMIT_MISMATCH, "the limit is %d, not %d, while others are in the queue", q.Limit, e.Limit)
		result.Limit = q.Limit
		return result
	}
	if token, ok := s.places[place{kind, name, e.Member}]; ok {
		i := q.find(token)
		if e.OnlyIfHeld && !q.holds(i) {
			return m.notHeld(q)
		}
		return &statepb.Result{Revision: m.revision, Token: token, Position: uint64(i), Limit: q.Limit}
	}
	if full := q.Limit != 0 && uint64(len(q.Slots)) >= q.Limit; full && e.OnlyIfHeld {
		return m.notHeld(q)
	}
	if uint64(len(q.Slots)) >= m.limits.QueueSlots {
		return m.refuse(statepb.Result_QUEUE_FULL, "%d are in the queue", len(q.Slots))
	}
	if refused := m.noRoom(slotSize(e.Member, e.Data)); refused != nil {
		return refused
	}
	return m.enqueue(m.writable(q), e, s)
}

func (m *Machine) checkEnter(e *statepb.Enter) *statepb.Result {
	if refused := m.checkName("queue", e.Queue.GetName()); refused != nil {
		return refused
	}
	if refused := m.checkName("member", e.Member); refused != nil {
		return refused
	}
	if e.Limit == 0 && e.Queue.GetKind() == statepb.QueueName_LOCK {
		return m.refuse(statepb.Result_INVALID, "limit: a lock has holders; 0 is for groups")
	}
	return m.checkData("data", e.Data)
}

// begin begins a queue.
func (m *Machine) begin(e *statepb.Enter, s *session) *statepb.Result {
	if refused := m.noRoom(slotSize(e.Member, e.Data) + queueSize(e.Queue.GetName())); refused != nil {
		return refused
	}
	return m.enqueue(m.addQueue(e.Queue.GetKind(), strings.Clone(e.Queue.GetName()), e.Limit), e, s)
}

// enqueue does the entering.
func (m *Machine) enqueue(q *queue, e *statepb.Enter, s *session) *statepb.Result {
	revision := m.advance()
	i := q.entrance(e.Precedence)
	token := revision
	if planted.Bug(planted.TokenReused) && i == 0 {
		token = 1
	}
	m.insert(q, i, newSlot(e, token, m.time), s)
	m.noteQueue(q, revision)
	result := m.done()
	result.Token, result.Position, result.Limit = token, uint64(i), q.Limit
	return result
}

func newSlot(e *statepb.Enter, token, since uint64) *Slot {
	return &Slot{
		Token: token, Session: e.Session, Member: strings.Clone(e.Member), Data: owned(e.Data),
		Revision: token, Since: since, Precedence: e.Precedence,
	}
}

// notHeld tells who is in the way. Its data is left out: results stay long in windows.
func (m *Machine) notHeld(q *queue) *statepb.Result {
	head := *q.Slots[0]
	head.Data = nil
	return &statepb.Result{
		Code: statepb.Result_NOT_HELD, Revision: m.revision, Limit: q.Limit, Owner: head.encode(),
	}
}

// slot finds a place by its token.
func (m *Machine) slot(name *statepb.QueueName, token uint64) (q *queue, i int, refused *statepb.Result) {
	if refused := m.checkName("queue", name.GetName()); refused != nil {
		return nil, -1, refused
	}
	if q, ok := m.queues[name.GetKind()].Get(name.GetName()); ok {
		if i := q.find(token); i >= 0 {
			return q, i, nil
		}
	}
	return nil, -1, m.refuse(statepb.Result_NO_SLOT, "no place has the token %d", token)
}

// leave gives a place up.
func (m *Machine) leave(l *statepb.Leave) *statepb.Result {
	token := l.Token
	if token == 0 {
		if refused := m.checkName("member", l.Member); refused != nil {
			return refused
		}
		s, ok := m.sessions.Get(l.Session)
		if !ok {
			return m.noSession(l.Session)
		}
		token = s.places[place{l.Queue.GetKind(), l.Queue.GetName(), l.Member}]
	}
	q, i, refused := m.slot(l.Queue, token)
	if refused != nil {
		return refused
	}
	s := q.Slots[i]
	if l.Session != 0 && l.Session != s.Session || l.Member != "" && l.Member != s.Member {
		return m.refuse(statepb.Result_NO_SLOT, "the place with the token %d is another's", token)
	}
	m.removeAt(m.writable(q), m.advance(), i)
	return m.done()
}

// updateSlot replaces a slot's data.
func (m *Machine) updateSlot(u *statepb.UpdateSlot) *statepb.Result {
	if refused := m.checkData("data", u.Data); refused != nil {
		return refused
	}
	q, i, refused := m.slot(u.Queue, u.Token)
	if refused != nil {
		return refused
	}
	s := *q.Slots[i]
	if refused := m.noRoom(int64(len(u.Data) - len(s.Data))); refused != nil {
		return refused
	}
	s.Data = owned(u.Data)
	return m.replaceSlot(q, i, &s)
}

// replaceSlot puts s in the place of what is at position i of q, as a change.
func (m *Machine) replaceSlot(q *queue, i int, s *Slot) *statepb.Result {
	q = m.writable(q)
	s.Revision = m.advance()
	m.size += s.charge() - q.Slots[i].charge()
	q.Slots[i] = s
	m.noteQueue(q, s.Revision)
	return m.done()
}

// revoke asks a holder to go, which it may do in its own time (S13). One who only
// waits has nothing to hand over, and is removed.
func (m *Machine) revoke(r *statepb.Revoke) *statepb.Result {
	q, i, refused := m.slot(r.Queue, r.Token)
	if refused != nil {
		return refused
	}
	s := *q.Slots[i]
	switch {
	case !q.holds(i):
		m.removeAt(m.writable(q), m.advance(), i)
		return m.done()
	case s.Revoked:
		return m.unchanged()
	}
	s.Revoked = true
	return m.replaceSlot(q, i, &s)
}
