package state

import (
	"fmt"

	"github.com/tidwall/btree"

	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/state/statepb"
)

// kinds is how many kinds of queues there are; a kind is below it.
const kinds = 2

// Machine is the replicated state of one node. It is not safe for concurrent use,
// except that any number of reading methods may run together while nothing applies.
// Iterators, too, end before the next Apply. What it returns by reference is
// read-only, and stays as it is unless the method says otherwise. Use New, Found or
// Restore to make one.
type Machine struct {
	index, term    uint64 // of the last entry applied
	revision, time uint64
	size           int64

	cluster *statepb.Cluster // replaced, never changed: snapshots share it
	limits  *statepb.Limits  // effective

	items    btree.Map[string, *Item]
	due      *btree.BTreeG[*Item] // those that expire, the first one first
	queues   [kinds]btree.Map[string, *queue]
	sessions btree.Map[uint64, *session]
	events   btree.Map[string, uint64] // name → revision
	firings  btree.Map[uint64, string] // the reverse

	proposers map[uint64]*proposer // by ID
	current   map[uint64]*proposer // the same by member

	own     map[uint64][]uint64 // IDs of nodes' own sessions by member, in order
	clients map[string]uint64   // those of remote clients by client

	history history

	// epoch grows with each snapshot. A queue of an earlier epoch belongs to a
	// snapshot too and is copied before it is changed.
	epoch uint64

	// Of the entry that is being applied; the memory is used again.
	entry      entry
	touched    touched
	answers    []Answer
	changes    []Change
	ended      []uint64
	registered bool // a new proposer was made
}

// Outcome is what an entry led to. It is read-only and valid until the next Apply;
// the results, items and registrations in it stay.
type Outcome struct {
	Answers []Answer // in order of the commands, each of which has one
	Changes []Change // in order
	Ended   []uint64 // sessions that ended, in order
}

// Answer tells a proposer what became of a command, or of its registration.
type Answer struct {
	Proposer, Seq uint64
	// Result may be shared with the window: read-only.
	Result *statepb.Result
	// Registration is set if it is one that is answered. Result's revision then is
	// the proposer's ID, or, if the code is STALE, the incarnation in force. The
	// second new one in an entry has no answer: it must be repeated.
	Registration *statepb.Registration
}

// New returns an empty machine, before the first entry and without a cluster.
func New() *Machine {
	limits, _ := effective(nil)
	return &Machine{
		cluster: &statepb.Cluster{},
		limits:  limits,
		due: btree.NewBTreeGOptions(func(a, b *Item) bool {
			return a.Expires < b.Expires || a.Expires == b.Expires && a.Key < b.Key
		}, btree.Options{NoLocks: true}),
		proposers: make(map[uint64]*proposer),
		current:   make(map[uint64]*proposer),
		own:       make(map[uint64][]uint64),
		clients:   make(map[string]uint64),
		history:   newHistory(),
	}
}

// Apply applies one committed entry, the one after Index. data may be empty, as in
// Raft's own entries. It keeps no reference to data's bytes.
//
// An error means that this node cannot do what the log says and must halt (S9): an
// *UnintelligibleError. The machine is unchanged then.
func (m *Machine) Apply(index, term uint64, data []byte) (Outcome, error) {
	if index != m.index+1 || term < m.term {
		err := fmt.Errorf("index %d, term %d does not follow index %d, term %d", index, term, m.index, m.term)
		return Outcome{}, &UnintelligibleError{Index: index, Err: err}
	}
	defer m.entry.release()
	if err := m.entry.decode(data); err != nil {
		return Outcome{}, &UnintelligibleError{Index: index, Err: err}
	}
	m.index, m.term = index, term
	m.answers = released(m.answers)
	m.changes = released(m.changes)
	m.ended = m.ended[:0]
	m.registered = false
	if len(data) > 0 {
		m.applyEntry(&m.entry)
	}
	return Outcome{Answers: m.answers, Changes: m.changes, Ended: m.ended}, nil
}

func (m *Machine) applyEntry(e *entry) {
	own := e.term == m.term || planted.Bug(planted.ExpireDeposed) // else another leader committed it, for whom time and ended do not speak (S7)
	if own {
		m.time = max(m.time, e.time)
	}
	m.expire()
	if own {
		for _, id := range e.ended {
			if s, ok := m.sessions.Get(id); ok {
				m.end(s)
			}
		}
	}
	for i := range e.batches {
		b := &e.batches[i]
		if b.registration != nil {
			m.register(b.registration)
		} else {
			m.batch(b, e.commands[b.commands.from:b.commands.to])
		}
	}
}

// do does a command for the first time. Its gets may return up to room bytes.
func (m *Machine) do(c *command, room int) *statepb.Result {
	var result *statepb.Result
	switch body := c.body.(type) {
	case *statepb.Fire:
		result = m.fire(body)
	case *statepb.OpenSession:
		result = m.openSession(body)
	case *statepb.EndSession:
		result = m.endSession(body)
	case *statepb.Enter:
		result = m.enter(body)
	case *statepb.Leave:
		result = m.leave(body)
	case *statepb.UpdateSlot:
		result = m.updateSlot(body)
	case *statepb.Revoke:
		result = m.revoke(body)
	case *statepb.Admit:
		result = m.admit(body)
	case *statepb.SetLimits:
		result = m.setLimits(body)
	case *statepb.RaiseFeature:
		result = m.raiseFeature(body)
	default:
		result = m.txn(c, room)
	}
	return result
}

// advance makes the next revision, for a change that is being made.
func (m *Machine) advance() uint64 {
	m.revision++
	return m.revision
}

// note records a change, once everything that belongs to its revision is known to happen.
func (m *Machine) note(c Change) {
	m.changes = append(m.changes, c)
	m.history.add(c)
}

// done ends a change whose last Change has been noted.
func (m *Machine) done() *statepb.Result {
	m.history.trim(m.limits)
	return &statepb.Result{Revision: m.revision}
}

// unchanged is the answer to what had nothing to do.
func (m *Machine) unchanged() *statepb.Result {
	return &statepb.Result{Revision: m.revision}
}

// refuse is the answer to what is not done.
func (m *Machine) refuse(code statepb.Result_Code, format string, args ...any) *statepb.Result {
	return &statepb.Result{Code: code, Revision: m.revision, Detail: fmt.Sprintf(format, args...)}
}

// noRoom is the answer to a change that would grow the state by so many bytes, nil
// if it may. What does not grow is never refused.
func (m *Machine) noRoom(grows int64) *statepb.Result {
	if grows <= 0 || m.size+grows <= m.quota() {
		return nil
	}
	return m.refuse(statepb.Result_QUOTA, "%d bytes more than the %d in use would pass state_bytes, %d", grows, m.size, m.quota())
}

func (m *Machine) quota() int64 { return int64(m.limits.StateBytes) }

// Index returns the index of the last entry applied, 0 before the first.
func (m *Machine) Index() uint64 { return m.index }

// Term returns the term of the last entry applied.
func (m *Machine) Term() uint64 { return m.term }

// Revision returns the revision of the last change, 0 before the first.
func (m *Machine) Revision() uint64 { return m.revision }

// Time returns the agreed time, in milliseconds since the founding (S17).
func (m *Machine) Time() uint64 { return m.time }

// Size returns what the state amounts to by the quota's reckoning, in bytes.
func (m *Machine) Size() int64 { return m.size }

// Cluster returns the cluster's own facts.
func (m *Machine) Cluster() *statepb.Cluster { return m.cluster }

// Limits returns the limits in force, with defaults filled in.
func (m *Machine) Limits() *statepb.Limits { return m.limits }

// Event returns the revision at which the event was last fired; 0 if never, or so long
// ago that it is forgotten.
func (m *Machine) Event(name string) uint64 {
	revision, _ := m.events.Get(name)
	return revision
}

// LastChange returns the newest revision of the key, the event, the lock or the group of
// that name, deleted ones included as long as history remembers; 0 if there is
// none. It may be lower than it once was, when history has forgotten: who waits for it to
// differ wakes once too often, never too seldom.
func (m *Machine) LastChange(name string) uint64 {
	last := max(m.history.last[name], m.Event(name))
	if item, ok := m.items.Get(name); ok {
		last = max(last, item.Revision)
	}
	for kind := range m.queues {
		if q, ok := m.queues[kind].Get(name); ok {
			last = max(last, q.Revision)
		}
	}
	return last
}
