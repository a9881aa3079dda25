package state

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/state/statepb"
)

// model is the machine as one would explain it: maps, lists, copies, and everything
// counted anew each time. It takes messages, never bytes.
type model struct {
	revision, time, index uint64
	limits, set           *statepb.Limits
	items                 map[string]Item
	queues                map[place]*modelQueue // place without member
	sessions              map[uint64]Session
	events                map[string]uint64
	proposers             map[uint64]*modelProposer // by member
	changes               []string                  // all that ever were
}

type modelQueue struct {
	limit, revision uint64
	slots           []Slot
}

type modelProposer struct {
	id, incarnation, low uint64
	results              map[uint64]*statepb.Result
}

func newModel() *model {
	limits, _ := effective(nil)
	return &model{
		limits: limits, items: map[string]Item{}, queues: map[place]*modelQueue{},
		sessions: map[uint64]Session{}, events: map[string]uint64{}, proposers: map[uint64]*modelProposer{},
	}
}

func (m *model) clone() *model {
	c := *m
	c.items, c.sessions, c.events = maps.Clone(m.items), maps.Clone(m.sessions), maps.Clone(m.events)
	c.changes = slices.Clone(m.changes)
	c.queues = map[place]*modelQueue{}
	for name, q := range m.queues {
		c.queues[name] = &modelQueue{q.limit, q.revision, slices.Clone(q.slots)}
	}
	return &c
}

func (m *model) size() (size int64) {
	for _, i := range m.items {
		size += int64(len(i.Key)+len(i.Value)) + itemCharge
	}
	for name, q := range m.queues {
		size += int64(len(name.name)) + queueCharge
		for _, s := range q.slots {
			size += int64(len(s.Member)+len(s.Data)) + slotCharge
		}
	}
	for _, s := range m.sessions {
		size += int64(len(s.Client)) + sessionCharge
	}
	for name := range m.events {
		size += int64(len(name)) + eventCharge
	}
	return size
}

// changed notes a change as text.
func (m *model) changed(kind statepb.Change_Kind, name string, previous uint64) {
	m.changes = append(m.changes, fmt.Sprintf("%d %v %s %d", m.revision, kind, name, previous))
}

func changeText(c Change) string {
	return fmt.Sprintf("%d %v %s %d", c.Revision, c.Kind, c.Name, c.Previous)
}

// entry does an entry, as the entry at the next index in the term, and returns what the
// answers say.
func (m *model) entry(e *statepb.Entry, term uint64) (answers []*statepb.Result) {
	m.index++
	if e.Term == term {
		m.time = max(m.time, e.Time)
	}
	m.expire()
	if e.Term == term {
		for _, id := range e.Ended {
			if _, ok := m.sessions[id]; ok {
				m.end(id)
			}
		}
	}
	registered := false
	for _, b := range e.Batches {
		if b.Registration != nil {
			if r := m.register(b.Registration, &registered); r != nil {
				answers = append(answers, r)
			}
			continue
		}
		answers = append(answers, m.batch(b)...)
	}
	return answers
}

func (m *model) expire() {
	var due []string
	for key, item := range m.items {
		if item.Expires != 0 && item.Expires <= m.time {
			due = append(due, key)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		return cmp.Or(cmp.Compare(m.items[a].Expires, m.items[b].Expires), cmp.Compare(a, b))
	})
	for i, key := range due {
		if i == 0 {
			m.revision++
		}
		m.changed(statepb.Change_EXPIRE, key, m.items[key].Revision)
		delete(m.items, key)
	}
}

func (m *model) end(id uint64) {
	m.revision++
	for _, key := range slices.Sorted(maps.Keys(m.items)) {
		if m.items[key].Session == id {
			m.changed(statepb.Change_DELETE, key, m.items[key].Revision)
			delete(m.items, key)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(m.queues), byQueue) {
		m.remove(name, func(s Slot) bool { return s.Session == id })
	}
	delete(m.sessions, id)
}

// remove takes slots out of a queue, in the current revision.
func (m *model) remove(name place, gone func(Slot) bool) {
	q := m.queues[name]
	left := slices.DeleteFunc(slices.Clone(q.slots), gone)
	if len(left) == len(q.slots) {
		return
	}
	m.changed(statepb.Change_QUEUE, name.name, q.revision)
	q.slots, q.revision = left, m.revision
	if len(left) == 0 {
		delete(m.queues, name)
	}
}

func (m *model) register(r *statepb.Registration, registered *bool) *statepb.Result {
	p := m.proposers[r.Member]
	switch {
	case r.Member < 1 || r.Member > 3:
		return m.result(statepb.Result_NO_MEMBER)
	case p != nil && r.Incarnation < p.incarnation:
		return &statepb.Result{Code: statepb.Result_STALE, Revision: p.incarnation}
	case p != nil && r.Incarnation == p.incarnation:
		return &statepb.Result{Revision: p.id}
	case *registered:
		return nil
	}
	*registered = true
	if p != nil {
		for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
			if s := m.sessions[id]; s.Member == r.Member && s.Client == "" {
				m.end(id)
			}
		}
	}
	m.proposers[r.Member] = &modelProposer{id: m.index, incarnation: r.Incarnation, results: map[uint64]*statepb.Result{}}
	return &statepb.Result{Revision: m.index}
}

func (m *model) batch(b *statepb.Batch) (answers []*statepb.Result) {
	var p *modelProposer
	for _, registered := range m.proposers {
		if registered.id == b.Proposer {
			p = registered
			p.low = max(p.low, b.Low)
		}
	}
	for _, c := range b.Commands {
		switch {
		case p == nil:
			answers = append(answers, m.result(statepb.Result_UNKNOWN_PROPOSER))
		case c.Seq < p.low:
			answers = append(answers, m.result(statepb.Result_SPENT))
		case c.Seq >= p.low+m.limits.Window:
			answers = append(answers, m.result(statepb.Result_OVERRUN))
		default:
			if p.results[c.Seq] == nil {
				p.results[c.Seq] = m.do(c)
			}
			answers = append(answers, p.results[c.Seq])
		}
	}
	return answers
}

func (m *model) result(code statepb.Result_Code) *statepb.Result {
	return &statepb.Result{Code: code, Revision: m.revision}
}

// do does a command, on a copy that is thrown away if the quota forbids it.
func (m *model) do(c *statepb.Command) *statepb.Result {
	before := m.clone()
	result := m.attempt(c)
	if m.size() > before.size() && m.size() > int64(m.limits.StateBytes) {
		proposers := m.proposers
		*m = *before
		m.proposers = proposers
		return m.result(statepb.Result_QUOTA)
	}
	return result
}

func (m *model) attempt(c *statepb.Command) *statepb.Result {
	switch op := c.Op.(type) {
	case *statepb.Command_Txn:
		return m.txn(op.Txn)
	case *statepb.Command_Fire:
		previous := m.events[op.Fire.Name]
		if op.Fire.IfRevision != 0 && op.Fire.IfRevision != previous {
			return m.result(statepb.Result_CONDITION_FAILED)
		}
		m.revision++
		m.events[op.Fire.Name] = m.revision
		m.changed(statepb.Change_FIRE, op.Fire.Name, previous)
	case *statepb.Command_OpenSession:
		o := op.OpenSession
		for _, s := range m.sessions {
			if o.Client != "" && s.Client == o.Client {
				return &statepb.Result{Revision: s.ID}
			}
		}
		if o.TtlMs < m.limits.MinTtlMs {
			return m.result(statepb.Result_INVALID)
		}
		m.revision++
		m.sessions[m.revision] = Session{m.revision, op.OpenSession.Member, op.OpenSession.Client, op.OpenSession.TtlMs}
	case *statepb.Command_EndSession:
		if _, ok := m.sessions[op.EndSession.Session]; !ok {
			return m.result(statepb.Result_NO_SESSION)
		}
		m.end(op.EndSession.Session)
	case *statepb.Command_SetLimits:
		if proto.Equal(m.set, op.SetLimits.Limits) {
			return m.result(statepb.Result_OK)
		}
		m.revision++
		m.set = op.SetLimits.Limits
		m.limits, _ = effective(m.set)
	case *statepb.Command_Enter:
		return m.enter(op.Enter)
	default:
		return m.atSlot(c)
	}
	return m.result(statepb.Result_OK)
}

func (m *model) holds(c *statepb.Condition) bool {
	switch test := c.Test.(type) {
	case *statepb.Condition_KeyAt:
		item, ok := m.items[test.KeyAt.Key]
		if test.KeyAt.Exists {
			return ok
		}
		return item.Revision == test.KeyAt.Revision
	case *statepb.Condition_ValueIs:
		item, ok := m.items[test.ValueIs.Key]
		return ok && bytes.Equal(item.Value, test.ValueIs.Value)
	}
	h := c.GetHeld()
	q := m.queues[place{h.Queue.Kind, h.Queue.Name, ""}]
	if q == nil {
		return false
	}
	first := cmp.Or(h.First, q.limit, 1<<60)
	for i, s := range q.slots {
		if s.Token == h.Token {
			return uint64(i) < first
		}
	}
	return false
}

func (m *model) txn(t *statepb.Txn) *statepb.Result {
	result, ops := m.result(statepb.Result_OK), t.Then
	for _, c := range t.Conditions {
		if !m.holds(c) {
			result.Code, ops = statepb.Result_CONDITION_FAILED, t.Otherwise
		}
	}
	for _, op := range ops {
		if s := op.GetPut().GetSession(); s != 0 && m.sessions[s].ID == 0 {
			return m.result(statepb.Result_NO_SESSION)
		}
	}
	before, any := maps.Clone(m.items), false
	var order []string
	touch := func(key string) {
		any = true
		if !slices.Contains(order, key) {
			order = append(order, key)
		}
	}
	for _, op := range ops {
		r := &statepb.OpResult{}
		switch do := op.Do.(type) {
		case *statepb.Op_Put:
			old, ok := m.items[do.Put.Key]
			item := Item{do.Put.Key, do.Put.Value, m.revision + 1, m.revision + 1, 0, do.Put.Session}
			if ok {
				r.Previous, item.Created = old.Revision, old.Created
			}
			if do.Put.TtlMs > 0 {
				item.Expires = m.time + do.Put.TtlMs
			}
			m.items[item.Key] = item
			touch(item.Key)
		case *statepb.Op_Get:
			if item, ok := m.items[do.Get.Key]; ok {
				r.Found, r.Value, r.Revision, r.Created = true, item.Value, item.Revision, item.Created
			}
		case *statepb.Op_Delete:
			if item, ok := m.items[do.Delete.Key]; ok {
				r.Previous, r.Deleted = item.Revision, 1
				delete(m.items, item.Key)
				touch(item.Key)
			}
		case *statepb.Op_DeletePrefix:
			for _, key := range slices.Sorted(maps.Keys(m.items)) {
				if strings.HasPrefix(key, do.DeletePrefix.Prefix) {
					r.Deleted++
					delete(m.items, key)
					touch(key)
				}
			}
		}
		result.Ops = append(result.Ops, r)
	}
	if any {
		m.revision++
	}
	for _, key := range order {
		old, was := before[key]
		if _, is := m.items[key]; is {
			m.changed(statepb.Change_PUT, key, old.Revision)
		} else if was {
			m.changed(statepb.Change_DELETE, key, old.Revision)
		}
	}
	result.Revision = m.revision
	return result
}

func (m *model) enter(e *statepb.Enter) *statepb.Result {
	name := place{e.Queue.Kind, e.Queue.Name, ""}
	if m.sessions[e.Session].ID == 0 {
		return m.result(statepb.Result_NO_SESSION)
	}
	q := m.queues[name]
	if q == nil {
		q = &modelQueue{limit: e.Limit}
	}
	if q.limit != e.Limit {
		r := m.result(statepb.Result_LIMIT_MISMATCH)
		r.Limit = q.limit
		return r
	}
	holding := int(cmp.Or(q.limit, 1<<60))
	notHeld := func() *statepb.Result {
		r := m.result(statepb.Result_NOT_HELD)
		r.Limit, r.Owner = q.limit, q.slots[0].encode()
		r.Owner.Data = nil
		return r
	}
	for i, s := range q.slots {
		if s.Session == e.Session && s.Member == e.Member {
			if e.OnlyIfHeld && i >= holding {
				return notHeld()
			}
			r := m.result(statepb.Result_OK)
			r.Token, r.Position, r.Limit = s.Token, uint64(i), q.limit
			return r
		}
	}
	if e.OnlyIfHeld && len(q.slots) >= holding {
		return notHeld()
	}
	m.revision++
	m.changed(statepb.Change_QUEUE, name.name, q.revision)
	at := len(q.slots)
	for at > holding && q.slots[at-1].Precedence > e.Precedence {
		at--
	}
	q.slots = slices.Insert(q.slots, at, Slot{m.revision, e.Session, e.Member, e.Data, m.revision, m.time, e.Precedence, false})
	q.revision, m.queues[name] = m.revision, q
	r := m.result(statepb.Result_OK)
	r.Token, r.Position, r.Limit = m.revision, uint64(at), q.limit
	return r
}

// atSlot does what concerns a place that is there.
func (m *model) atSlot(c *statepb.Command) *statepb.Result {
	var name *statepb.QueueName
	var token uint64
	switch op := c.Op.(type) {
	case *statepb.Command_Leave:
		name, token = op.Leave.Queue, op.Leave.Token
		if token == 0 && m.sessions[op.Leave.Session].ID == 0 {
			return m.result(statepb.Result_NO_SESSION)
		}
	case *statepb.Command_UpdateSlot:
		name, token = op.UpdateSlot.Queue, op.UpdateSlot.Token
	case *statepb.Command_Revoke:
		name, token = op.Revoke.Queue, op.Revoke.Token
	}
	key := place{name.Kind, name.Name, ""}
	q := m.queues[key]
	if q == nil {
		return m.result(statepb.Result_NO_SLOT)
	}
	l := c.GetLeave()
	at := slices.IndexFunc(q.slots, func(s Slot) bool {
		if l != nil && (token == 0 || l.Session != 0) && (s.Session != l.Session || s.Member != l.Member) {
			return false
		}
		return token == 0 || s.Token == token
	})
	if at < 0 {
		return m.result(statepb.Result_NO_SLOT)
	}
	waits := q.limit != 0 && uint64(at) >= q.limit
	if c.GetRevoke() != nil && !waits && q.slots[at].Revoked {
		return m.result(statepb.Result_OK)
	}
	m.revision++
	switch {
	case l != nil || c.GetRevoke() != nil && waits:
		gone := q.slots[at].Token
		m.remove(key, func(s Slot) bool { return s.Token == gone })
		return m.result(statepb.Result_OK)
	case c.GetRevoke() != nil:
		q.slots[at].Revoked = true
	default:
		q.slots[at].Data = c.GetUpdateSlot().Data
	}
	q.slots[at].Revision = m.revision
	m.changed(statepb.Change_QUEUE, key.name, q.revision)
	q.revision = m.revision
	return m.result(statepb.Result_OK)
}

// sameResult compares all but the words.
func sameResult(a, b *statepb.Result) bool {
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	a.Detail, b.Detail = "", ""
	return a.String() == b.String()
}
