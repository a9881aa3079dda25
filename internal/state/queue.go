package state

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Slot is a place in a queue. It is never changed, only replaced.
type Slot struct {
	Token      uint64 // the revision at which the place was taken: it fences
	Session    uint64
	Member     string
	Data       []byte // read-only
	Revision   uint64 // of the slot's last change
	Since      uint64 // agreed time of entering
	Precedence uint64
	Revoked    bool // asked to go
}

func (s *Slot) charge() int64 { return slotSize(s.Member, s.Data) }

func slotSize(member string, data []byte) int64 {
	return int64(len(member)+len(data)) + slotCharge
}

// encode returns s as the log and snapshots know it, with the same data.
func (s *Slot) encode() *statepb.Slot {
	return &statepb.Slot{
		Token: s.Token, Session: s.Session, Member: s.Member, Data: s.Data,
		Revision: s.Revision, Since: s.Since, Precedence: s.Precedence, Revoked: s.Revoked,
	}
}

// Queue shows a lock's or a group's queue until the next Apply.
type Queue struct {
	Kind     statepb.QueueName_Kind
	Name     string
	Limit    uint64  // how many hold; 0: all
	Revision uint64  // of the queue's last change
	Slots    []*Slot // from the head; read-only
}

// Holding returns how many slots hold. They are those at the head.
func (q Queue) Holding() int {
	if q.Limit == 0 || q.Limit > uint64(len(q.Slots)) {
		return len(q.Slots)
	}
	return int(q.Limit)
}

// Find returns the position of the slot with the token, where 0 is the head.
func (q Queue) Find(token uint64) (position int, ok bool) {
	position = slices.IndexFunc(q.Slots, func(s *Slot) bool { return s.Token == token })
	return position, position >= 0
}

// queue is a queue with at least one slot: empty ones are not kept. Beyond the first
// limit slots, order is by precedence, then token.
type queue struct {
	Queue
	epoch uint64 // of the machine when it was last copied
}

// holds reports whether the slot at position i does.
func (q *queue) holds(i int) bool { return i < q.Holding() }

// find returns the position of the token, -1 if it is not there.
func (q *queue) find(token uint64) int {
	i, _ := q.Find(token)
	return i
}

// entrance returns where one who enters now with that precedence will stand.
func (q *queue) entrance(precedence uint64) int {
	held := q.Holding()
	waiting := q.Slots[held:]
	return held + sort.Search(len(waiting), func(i int) bool { return waiting[i].Precedence > precedence })
}

// place is what a session has in a queue.
type place struct {
	kind         statepb.QueueName_Kind
	name, member string
}

// Queue returns the queue of that name, false if nobody is in it. The view is valid
// until the next Apply.
func (m *Machine) Queue(kind statepb.QueueName_Kind, name string) (Queue, bool) {
	if checkKind(kind) != nil {
		return Queue{}, false
	}
	if q, ok := m.queues[kind].Get(name); ok {
		return q.Queue, true
	}
	return Queue{}, false
}

// Queues goes in order over the queues of that kind whose names begin with prefix. The
// views are valid until the next Apply.
func (m *Machine) Queues(kind statepb.QueueName_Kind, prefix string) iter.Seq[Queue] {
	return func(yield func(Queue) bool) {
		if checkKind(kind) != nil {
			return
		}
		m.queues[kind].Ascend(prefix, func(name string, q *queue) bool {
			return strings.HasPrefix(name, prefix) && yield(q.Queue)
		})
	}
}

// writable returns q, or a copy in its place if a snapshot has it too.
func (m *Machine) writable(q *queue) *queue {
	if q.epoch == m.epoch {
		return q
	}
	mine := *q
	mine.epoch, mine.Slots = m.epoch, slices.Clone(q.Slots)
	m.queues[q.Kind].Set(q.Name, &mine)
	return &mine
}

func (m *Machine) addQueue(kind statepb.QueueName_Kind, name string, limit uint64) *queue {
	q := &queue{Queue: Queue{Kind: kind, Name: name, Limit: limit}, epoch: m.epoch}
	m.queues[kind].Set(name, q)
	m.size += queueSize(name)
	return q
}

func queueSize(name string) int64 { return int64(len(name)) + queueCharge }

// insert puts s at position i of q, which is writable.
func (m *Machine) insert(q *queue, i int, s *Slot, of *session) {
	q.Slots = slices.Insert(q.Slots, i, s)
	of.take(place{q.Kind, q.Name, s.Member}, s.Token)
	m.size += s.charge()
}

// remove takes the slots that gone is true of out of q, which is writable, and notes
// that. A queue without slots is no more.
func (m *Machine) remove(q *queue, revision uint64, gone func(*Slot) bool) {
	q.Slots = slices.DeleteFunc(q.Slots, func(s *Slot) bool {
		if !gone(s) {
			return false
		}
		m.vacate(q, s)
		return true
	})
	m.removed(q, revision)
}

// removeAt is remove for the slot at position i: nobody else need be looked at, however
// long the queue.
func (m *Machine) removeAt(q *queue, revision uint64, i int) {
	m.vacate(q, q.Slots[i])
	q.Slots = slices.Delete(q.Slots, i, i+1)
	m.removed(q, revision)
}

// vacate takes s, which leaves q, from its session and the state's size.
func (m *Machine) vacate(q *queue, s *Slot) {
	m.size -= s.charge()
	if of, ok := m.sessions.Get(s.Session); ok {
		delete(of.places, place{q.Kind, q.Name, s.Member})
	}
}

func (m *Machine) removed(q *queue, revision uint64) {
	if len(q.Slots) == 0 {
		m.queues[q.Kind].Delete(q.Name)
		m.size -= queueSize(q.Name)
	}
	m.noteQueue(q, revision)
}

// noteQueue notes that q, which is writable, has changed.
func (m *Machine) noteQueue(q *queue, revision uint64) {
	m.note(Change{Revision: revision, Kind: statepb.Change_QUEUE, Queue: q.Kind, Name: q.Name, Previous: q.Revision})
	q.Revision = revision
}
