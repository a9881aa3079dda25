package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Session owns ephemeral keys and places in queues, which end with it.
type Session struct {
	ID     uint64 // the revision that opened it
	Member uint64 // Raft ID of the node whose it is, or that speaks for the client
	Client string // a remote client's ID, "" for the node's own
	TTL    uint64 // milliseconds
}

func (s *Session) charge() int64 { return int64(len(s.Client)) + sessionCharge }

// session is a session with what it owns. A snapshot shares it and reads Session alone,
// which never changes.
type session struct {
	Session
	keys   map[string]struct{}
	places map[place]uint64 // tokens
}

// own notes that the key ends with the session.
func (s *session) own(key string) {
	if s.keys == nil {
		s.keys = make(map[string]struct{})
	}
	s.keys[key] = struct{}{}
}

// take notes that the place ends with the session.
func (s *session) take(p place, token uint64) {
	if s.places == nil {
		s.places = make(map[place]uint64)
	}
	s.places[p] = token
}

// Session returns the session with the ID, false if it has ended or never was.
func (m *Machine) Session(id uint64) (Session, bool) {
	if s, ok := m.sessions.Get(id); ok {
		return s.Session, true
	}
	return Session{}, false
}

// Sessions goes over all sessions by ID.
func (m *Machine) Sessions() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		m.sessions.Scan(func(_ uint64, s *session) bool { return yield(s.Session) })
	}
}

// SessionsOf goes over a node's own sessions, not those of its clients, by ID: a node
// has several when it was restarted before the earlier ones ended.
func (m *Machine) SessionsOf(member uint64) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		for s := range m.Sessions() {
			if s.Member == member && s.Client == "" && !yield(s) {
				return
			}
		}
	}
}

func (m *Machine) noSession(id uint64) *statepb.Result {
	return m.refuse(statepb.Result_NO_SESSION, "session %d has ended, or never was", id)
}

func (m *Machine) openSession(o *statepb.OpenSession) *statepb.Result {
	l := m.limits
	if m.member(o.Member) == nil {
		return m.refuse(statepb.Result_NO_MEMBER, "member %d", o.Member)
	}
	if refused := m.checkText("client", o.Client); refused != nil {
		return refused
	}
	if o.TtlMs < l.MinTtlMs || o.TtlMs > l.MaxTtlMs {
		return m.refuse(statepb.Result_INVALID, "ttl_ms: %d is not within %d and %d", o.TtlMs, l.MinTtlMs, l.MaxTtlMs)
	}
	if uint64(m.sessions.Len()) >= l.Sessions {
		return m.refuse(statepb.Result_TOO_MANY_SESSIONS, "%d are open", m.sessions.Len())
	}
	s := Session{Member: o.Member, Client: strings.Clone(o.Client), TTL: o.TtlMs}
	if refused := m.noRoom(s.charge()); refused != nil {
		return refused
	}
	s.ID = m.advance()
	m.addSession(s)
	return m.done()
}

func (m *Machine) addSession(s Session) {
	m.sessions.Set(s.ID, &session{Session: s})
	m.size += s.charge()
}

func (m *Machine) endSession(e *statepb.EndSession) *statepb.Result {
	s, ok := m.sessions.Get(e.Session)
	if !ok {
		return m.noSession(e.Session)
	}
	m.end(s)
	return m.done()
}

// end ends a session with all it owns, in one revision.
func (m *Machine) end(s *session) {
	revision := m.advance()
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		if item, ok := m.items.Get(key); ok {
			m.replace(item, nil)
			m.note(deleted(statepb.Change_DELETE, revision, item))
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.places), byQueue) {
		q, ok := m.queues[p.kind].Get(p.name)
		if !ok || q.Revision == revision { // another place in it was met before
			continue
		}
		m.remove(m.writable(q), revision, func(slot *Slot) bool { return slot.Session == s.ID })
	}
	m.sessions.Delete(s.ID)
	m.size -= s.charge()
	m.history.trim(m.limits)
}

func byQueue(a, b place) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
}
