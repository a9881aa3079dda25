package state

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/state/statepb"
)

// entry is a decoded statepb.Entry. The messages that hold others (Entry, Batch,
// Command, Txn, Condition, Op) are taken apart here, strictly, into flat slices that are
// used again for the next entry; generated code reads the rest. Strings and bytes
// in it are those of the data: what outlives the call must be copied.
type entry struct {
	term, time uint64
	ended      []uint64
	batches    []batch
	commands   []command
	conditions []condition
	ops        []op

	leaf leaves
	// discard drops conditions and operations once they are found to be in order.
	discard bool
}

// leaves are what generated code decodes into, one at a time.
type leaves struct {
	put          statepb.Put
	del          statepb.Delete
	deletePrefix statepb.DeletePrefix
	get          statepb.Get
	keyAt        statepb.KeyAt
	held         statepb.Held
	valueIs      statepb.ValueIs
}

// span is a part of one of entry's slices.
type span struct{ from, to int }

type batch struct {
	proposer, low uint64
	registration  *statepb.Registration
	commands      span
}

// command is a transaction if body is nil, else one of statepb's messages.
type command struct {
	seq                         uint64
	body                        proto.Message
	conditions, then, otherwise span
}

type condition struct {
	test     test
	kind     statepb.QueueName_Kind
	name     string // of the key or the queue
	value    []byte
	revision uint64
	exists   bool
	token    uint64
	first    uint64
}

type test uint8

const (
	keyAt test = iota + 1
	held
	valueIs
)

type op struct {
	do      do
	key     string // or prefix
	value   []byte
	ttl     uint64
	session uint64
}

type do uint8

const (
	put do = iota + 1
	del
	deletePrefix
	get
)

// keep is how many elements of each slice survive an entry.
const keep = 8 << 10

// release forgets everything that refers to the data.
func (e *entry) release() {
	e.term, e.time, e.ended = 0, 0, e.ended[:0]
	e.batches = released(e.batches)
	e.commands = released(e.commands)
	e.conditions = released(e.conditions)
	e.ops = released(e.ops)
	e.leaf.put.Reset()
	e.leaf.del.Reset()
	e.leaf.deletePrefix.Reset()
	e.leaf.get.Reset()
	e.leaf.keyAt.Reset()
	e.leaf.held.Reset()
	e.leaf.valueIs.Reset()
}

func released[T any](s []T) []T {
	if cap(s) > keep {
		return nil
	}
	clear(s)
	return s[:0]
}

func (e *entry) decode(data []byte) error {
	f := fields{rest: data}
	for f.next() {
		switch f.tag {
		case 1<<3 | varint:
			e.term = f.varint
		case 2<<3 | varint:
			e.time = f.varint
		case 3<<3 | length:
			if err := e.batch(f.bytes); err != nil {
				return err
			}
		case 4<<3 | varint:
			e.ended = append(e.ended, f.varint)
		case 4<<3 | length: // packed
			for packed := f.bytes; len(packed) > 0; {
				id, n := protowire.ConsumeVarint(packed)
				if n < 0 {
					return protowire.ParseError(n)
				}
				e.ended, packed = append(e.ended, id), packed[n:]
			}
		default:
			return f.unknown("entry")
		}
	}
	return f.err
}

func (e *entry) batch(data []byte) error {
	b := batch{commands: span{from: len(e.commands)}}
	f := fields{rest: data}
	for f.next() {
		switch f.tag {
		case 1<<3 | varint:
			b.proposer = f.varint
		case 2<<3 | varint:
			b.low = f.varint
		case 3<<3 | length:
			if err := e.command(f.bytes); err != nil {
				return err
			}
		case 4<<3 | length:
			if b.registration != nil {
				return errors.New("two registrations in a batch")
			}
			b.registration = new(statepb.Registration)
			if err := leaf(b.registration, f.bytes); err != nil {
				return err
			}
		default:
			return f.unknown("batch")
		}
	}
	b.commands.to = len(e.commands)
	if b.registration != nil && b.commands.to > b.commands.from {
		return errors.New("a registration and commands in one batch")
	}
	e.batches = append(e.batches, b)
	return f.err
}

func (e *entry) command(data []byte) error {
	var c command
	bodies := 0
	f := fields{rest: data}
	for f.next() {
		var err error
		switch f.tag {
		case 1<<3 | varint:
			c.seq = f.varint
			continue
		case 2<<3 | length:
			err = e.txn(&c, f.bytes)
		default:
			c.body, err = f.body()
		}
		if err != nil {
			return err
		}
		bodies++
	}
	if f.err == nil && bodies != 1 {
		return fmt.Errorf("%d operations in a command", bodies)
	}
	e.commands = append(e.commands, c)
	if e.discard {
		e.conditions, e.ops = e.conditions[:0], e.ops[:0]
	}
	return f.err
}

// leaf decodes data into m, whole.
func leaf(m message, data []byte) error {
	if err := m.UnmarshalVTUnsafe(data); err != nil {
		return err
	}
	if statepb.HasUnknown(m) {
		return fmt.Errorf("unknown field in a %s", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

// body decodes the current field as what a command does.
func (f *fields) body() (proto.Message, error) {
	var m message
	switch f.tag {
	case 3<<3 | length:
		m = new(statepb.Fire)
	case 4<<3 | length:
		m = new(statepb.OpenSession)
	case 5<<3 | length:
		m = new(statepb.EndSession)
	case 6<<3 | length:
		m = new(statepb.Enter)
	case 7<<3 | length:
		m = new(statepb.Leave)
	case 8<<3 | length:
		m = new(statepb.UpdateSlot)
	case 9<<3 | length:
		m = new(statepb.Revoke)
	case 10<<3 | length:
		m = new(statepb.Admit)
	case 11<<3 | length:
		m = new(statepb.SetLimits)
	case 12<<3 | length:
		m = new(statepb.RaiseFeature)
	default:
		return nil, f.unknown("command")
	}
	if err := leaf(m, f.bytes); err != nil {
		return nil, err
	}
	if q, ok := m.(interface{ GetQueue() *statepb.QueueName }); ok {
		if err := checkKind(q.GetQueue().GetKind()); err != nil {
			return nil, err
		}
	}
	if r, ok := m.(*statepb.RaiseFeature); ok && r.Level > Feature {
		return nil, fmt.Errorf("feature level %d: this release knows %d", r.Level, Feature)
	}
	return m, nil
}

func checkKind(kind statepb.QueueName_Kind) error {
	if kind < 0 || kind >= kinds {
		return fmt.Errorf("unknown kind of queue, %d", kind)
	}
	return nil
}

func (e *entry) txn(c *command, data []byte) error {
	c.conditions.from, c.then.from = len(e.conditions), len(e.ops)
	hasOtherwise := false
	f := fields{rest: data}
	for f.next() {
		var err error
		switch f.tag {
		case 1<<3 | length:
			err = e.condition(f.bytes)
		case 2<<3 | length:
			err = e.op(f.bytes)
		case 3<<3 | length:
			hasOtherwise = true
		default:
			err = f.unknown("transaction")
		}
		if err != nil {
			return err
		}
	}
	if f.err != nil {
		return f.err
	}
	c.conditions.to, c.then.to = len(e.conditions), len(e.ops)
	c.otherwise.from = len(e.ops)
	if hasOtherwise { // may stand among the others, and is kept apart from them
		f = fields{rest: data}
		for f.next() {
			if f.tag != 3<<3|length {
				continue
			}
			if err := e.op(f.bytes); err != nil {
				return err
			}
		}
	}
	c.otherwise.to = len(e.ops)
	return nil
}

func (e *entry) condition(data []byte) error {
	f, err := only(data, "condition")
	if err != nil {
		return err
	}
	switch l := &e.leaf; f.tag {
	case 1<<3 | length:
		l.keyAt.Reset()
		err = leaf(&l.keyAt, f.bytes)
		e.conditions = append(e.conditions, condition{
			test: keyAt, name: l.keyAt.Key, revision: l.keyAt.Revision, exists: l.keyAt.Exists,
		})
	case 2<<3 | length:
		l.held.Reset()
		if err = leaf(&l.held, f.bytes); err == nil {
			err = checkKind(l.held.Queue.GetKind())
		}
		e.conditions = append(e.conditions, condition{
			test: held, kind: l.held.Queue.GetKind(), name: l.held.Queue.GetName(),
			token: l.held.Token, first: l.held.First,
		})
	case 3<<3 | length:
		l.valueIs.Reset()
		err = leaf(&l.valueIs, f.bytes)
		e.conditions = append(e.conditions, condition{test: valueIs, name: l.valueIs.Key, value: l.valueIs.Value})
	default:
		err = f.unknown("condition")
	}
	return err
}

func (e *entry) op(data []byte) error {
	f, err := only(data, "operation")
	if err != nil {
		return err
	}
	switch l := &e.leaf; f.tag {
	case 1<<3 | length:
		l.put.Reset()
		err = leaf(&l.put, f.bytes)
		e.ops = append(e.ops, op{
			do: put, key: l.put.Key, value: l.put.Value, ttl: l.put.TtlMs, session: l.put.Session,
		})
	case 2<<3 | length:
		l.del.Reset()
		err = leaf(&l.del, f.bytes)
		e.ops = append(e.ops, op{do: del, key: l.del.Key})
	case 3<<3 | length:
		l.deletePrefix.Reset()
		err = leaf(&l.deletePrefix, f.bytes)
		e.ops = append(e.ops, op{do: deletePrefix, key: l.deletePrefix.Prefix})
	case 4<<3 | length:
		l.get.Reset()
		err = leaf(&l.get, f.bytes)
		e.ops = append(e.ops, op{do: get, key: l.get.Key})
	default:
		err = f.unknown("operation")
	}
	return err
}
