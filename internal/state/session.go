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
	Client string // a remote client's ID, "" for the node's own; no two sessions share one
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

// SessionsAfter goes over the sessions that were opened after the given revision, by
// ID.
func (m *Machine) SessionsAfter(revision uint64) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		m.sessions.Ascend(revision+1, func(_ uint64, s *session) bool { return yield(s.Session) })
	}
}

// SessionsOf goes over a node's own sessions, not those of its clients, by ID. All of
// them were opened in the incarnation that is registered ([Machine.Incarnation]); there
// are several when the node gave one up and opened another before the first one ended.
func (m *Machine) SessionsOf(member uint64) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		for _, id := range m.own[member] {
			if s, ok := m.Session(id); ok && !yield(s) {
				return
			}
		}
	}
}

// ClientSession returns the session of the remote client with that ID, false if it has
// none.
func (m *Machine) ClientSession(client string) (Session, bool) {
	return m.Session(m.clients[client])
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
	if s, ok := m.ClientSession(o.Client); ok {
		return &statepb.Result{Revision: s.ID} // opened by way of another node, or by an attempt whose answer was lost
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
	if s.Client == "" {
		m.own[s.Member] = append(m.own[s.Member], s.ID) // which is the highest so far
	} else {
		m.clients[s.Client] = s.ID
	}
}

// dropSession undoes addSession.
func (m *Machine) dropSession(s Session) {
	m.sessions.Delete(s.ID)
	m.size -= s.charge()
	if s.Client != "" {
		delete(m.clients, s.Client)
		return
	}
	if i, found := slices.BinarySearch(m.own[s.Member], s.ID); found {
		m.own[s.Member] = slices.Delete(m.own[s.Member], i, i+1)
	}
	if len(m.own[s.Member]) == 0 {
		delete(m.own, s.Member)
	}
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
	m.dropSession(s.Session)
	m.ended = append(m.ended, s.ID)
	m.history.trim(m.limits)
}

// outlive ends a member's own sessions: the process whose they were is gone.
func (m *Machine) outlive(member uint64) {
	for _, id := range slices.Clone(m.own[member]) {
		if s, ok := m.sessions.Get(id); ok {
			m.end(s)
		}
	}
}

func byQueue(a, b place) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
}
