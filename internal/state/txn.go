package state

import (
	"bytes"
	"math"
	"strings"

	"github.com/kith-go/kith/internal/state/statepb"
)

// touched is what a transaction has done so far, by key, in order of first touch.
type touched struct {
	revision uint64 // of what it does
	any      bool
	found    int // bytes of values that its gets return
	keys     []touch
	// byKey finds keys again. A transaction of one operation touches no key twice
	// and does without.
	byKey    map[string]int
	repeated bool
}

// touch holds one key's item before the transaction and now; nil is absence.
type touch struct{ before, now *Item }

func (t *touched) begin(revision uint64, ops int) {
	t.revision, t.any, t.found, t.repeated = revision, false, 0, ops > 1
	t.keys = released(t.keys)
	if len(t.byKey) > keep || t.byKey == nil {
		t.byKey = make(map[string]int)
	} else {
		clear(t.byKey)
	}
}

func (t *touched) add(before, now *Item) {
	t.any = true
	if t.repeated {
		key := now
		if key == nil {
			key = before
		}
		if i, ok := t.byKey[key.Key]; ok {
			t.keys[i].now = now
			return
		}
		t.byKey[key.Key] = len(t.keys)
	}
	t.keys = append(t.keys, touch{before, now})
}

// answer is a result with the result of one operation, in one piece of memory:
// almost all transactions have one, and windows keep many.
type answer struct {
	result statepb.Result
	op     statepb.OpResult
	ops    [1]*statepb.OpResult
}

func newAnswer(ops int) *statepb.Result {
	a := new(answer)
	if ops == 1 {
		a.ops[0] = &a.op
		a.result.Ops = a.ops[:]
		return &a.result
	}
	result := &statepb.Result{Ops: make([]*statepb.OpResult, ops)}
	all := make([]statepb.OpResult, ops)
	for i := range all {
		result.Ops[i] = &all[i]
	}
	return result
}

// txn does a transaction whole, with one revision, or nothing of it.
func (m *Machine) txn(c *command, room int) *statepb.Result {
	conditions := m.entry.conditions[c.conditions.from:c.conditions.to]
	then := m.entry.ops[c.then.from:c.then.to]
	otherwise := m.entry.ops[c.otherwise.from:c.otherwise.to]
	if refused := m.checkTxn(conditions, then, otherwise); refused != nil {
		return refused
	}
	ops, code := then, statepb.Result_OK
	for i := range conditions {
		if !m.holds(&conditions[i]) {
			ops, code = otherwise, statepb.Result_CONDITION_FAILED
			break
		}
	}
	for i := range ops {
		if ops[i].session == 0 {
			continue
		}
		if _, ok := m.sessions.Get(ops[i].session); !ok {
			return m.noSession(ops[i].session)
		}
	}
	result := newAnswer(len(ops))
	result.Code = code
	size, t := m.size, &m.touched
	t.begin(m.revision+1, len(ops))
	for i := range ops {
		m.operate(&ops[i], result.Ops[i])
	}
	if t.found > room {
		m.undo()
		return m.refuse(statepb.Result_TOO_LARGE, "the values it would return have %d bytes: %d are left of what is kept until the proposer has its answers, and one transaction may return %d", t.found, room, maxFound)
	}
	if grows := m.size - size; grows > 0 && m.size > m.quota() {
		m.undo()
		return m.noRoom(grows)
	}
	if t.any {
		m.conclude()
	}
	result.Revision = m.revision
	return result
}

// undo takes back what the transaction has done.
func (m *Machine) undo() {
	for _, k := range m.touched.keys {
		if k.before != nil || k.now != nil {
			m.replaceWith(k.now, k.before)
		}
	}
}

// replaceWith is replace where both may be nil.
func (m *Machine) replaceWith(old, now *Item) {
	if old != nil || now != nil {
		m.replace(old, now)
	}
}

// conclude makes the transaction's revision and notes one change for each key. One that
// put a key and deleted it again has changed nothing, but has used its revision: its
// gets may have shown it.
func (m *Machine) conclude() {
	revision := m.advance()
	for _, k := range m.touched.keys {
		switch {
		case k.now != nil:
			c := Change{Revision: revision, Kind: statepb.Change_PUT, Name: k.now.Key, Item: k.now}
			if k.before != nil {
				c.Previous = k.before.Revision
			}
			m.note(c)
		case k.before != nil:
			m.note(deleted(statepb.Change_DELETE, revision, k.before))
		}
	}
	m.history.trim(m.limits)
}

// deleted is the change that an item is gone.
func deleted(kind statepb.Change_Kind, revision uint64, item *Item) Change {
	return Change{Revision: revision, Kind: kind, Name: item.Key, Previous: item.Revision}
}

// checkTxn refuses a transaction that can never be done, whichever branch it takes.
func (m *Machine) checkTxn(conditions []condition, then, otherwise []op) *statepb.Result {
	if n := max(len(conditions), len(then), len(otherwise)); uint64(n) > m.limits.TxnOps {
		return m.refuse(statepb.Result_TOO_LARGE, "a transaction with %d conditions or operations, more than txn_ops, %d", n, m.limits.TxnOps)
	}
	for i := range conditions {
		what := "key of a condition"
		if conditions[i].test == held {
			what = "queue of a condition"
		}
		if refused := m.checkName(what, conditions[i].name); refused != nil {
			return refused
		}
	}
	for _, ops := range [2][]op{then, otherwise} {
		for i := range ops {
			if refused := m.checkOp(&ops[i]); refused != nil {
				return refused
			}
		}
	}
	return nil
}

func (m *Machine) checkOp(o *op) *statepb.Result {
	if o.do == deletePrefix {
		return m.checkText("prefix", o.key)
	}
	if refused := m.checkName("key", o.key); refused != nil {
		return refused
	}
	if o.ttl > math.MaxUint64-m.time {
		return m.refuse(statepb.Result_INVALID, "ttl_ms: %d is beyond the end of time", o.ttl)
	}
	return m.checkData("value", o.value)
}

func (m *Machine) holds(c *condition) bool {
	if c.test == held {
		q, ok := m.queues[c.kind].Get(c.name)
		if !ok {
			return false
		}
		i := q.find(c.token)
		if c.first == 0 {
			return i >= 0 && q.holds(i)
		}
		return i >= 0 && uint64(i) < c.first
	}
	item, ok := m.items.Get(c.name)
	switch {
	case c.test == valueIs:
		return ok && bytes.Equal(item.Value, c.value)
	case c.exists:
		return ok
	case !ok:
		return c.revision == 0
	}
	return item.Revision == c.revision
}

// operate does one operation, which sees what those before it did.
func (m *Machine) operate(o *op, result *statepb.OpResult) {
	if o.do == deletePrefix {
		m.deletePrefix(o.key, result)
		return
	}
	item, ok := m.items.Get(o.key)
	if ok {
		result.Previous = item.Revision
	}
	switch o.do {
	case put:
		m.put(o, item)
	case del:
		if ok {
			m.replace(item, nil)
			m.touched.add(item, nil)
			result.Deleted = 1
		}
	case get:
		result.Previous = 0
		if ok {
			result.Found, result.Value = true, item.Value
			result.Revision, result.Created = item.Revision, item.Created
			m.touched.found += len(item.Value)
		}
	}
}

func (m *Machine) put(o *op, old *Item) {
	now := &Item{Value: owned(o.value), Revision: m.touched.revision, Session: o.session}
	if old != nil {
		now.Key, now.Created = old.Key, old.Created
	} else {
		now.Key, now.Created = strings.Clone(o.key), m.touched.revision
	}
	if o.ttl != 0 {
		now.Expires = m.time + o.ttl
	}
	m.replace(old, now)
	m.touched.add(old, now)
}

func (m *Machine) deletePrefix(prefix string, result *statepb.OpResult) {
	var gone []*Item
	m.items.Ascend(prefix, func(key string, item *Item) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		gone = append(gone, item)
		return true
	})
	for _, item := range gone {
		m.replace(item, nil)
		m.touched.add(item, nil)
	}
	result.Deleted = uint64(len(gone))
}
