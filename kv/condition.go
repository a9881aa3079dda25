package kv

import (
	"fmt"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Condition lets a write happen only if something is so at the moment when the
// write takes its place in the log. Set and Delete take conditions on their own
// key; in a transaction, Of says which key is meant. The zero Condition is invalid.
type Condition struct {
	test     test
	key      string // "": that of the call
	revision Revision
	value    []byte
	holder   Holder
}

type test uint8

const (
	noTest test = iota
	atRevision
	exists
	hasValue
	isHeld
)

// SetOption is what Set accepts: a [Condition], or a [Lifetime].
type SetOption interface{ setOption() }

func (Condition) setOption() {}

// IfRevision holds if the key is at revision r; with r = 0, if it is not there. It
// is also what Fire takes, where r is the event's.
func IfRevision(r Revision) Condition { return Condition{test: atRevision, revision: r} }

// IfAbsent holds if the key is not there.
func IfAbsent() Condition { return IfRevision(0) }

// IfExists holds if the key is there.
func IfExists() Condition { return Condition{test: exists} }

// IfValue holds if the key is there and has exactly this value. value is left alone
// until the call that uses it has returned.
func IfValue(value []byte) Condition { return Condition{test: hasValue, value: value} }

// Holder is a place in the queue of a lock or a group. What lock.Acquire and
// group.Join return are Holders.
type Holder interface {
	// Fence names the place: kind is "lock" or "group", name the queue's, token the
	// place's own, and first how many places from the head are meant. With first =
	// 0 it is those that hold by the queue's own limit.
	Fence() (kind, name string, token, first uint64)
}

// IfHeld holds if the lock or seat is held when the write takes its place in the
// log: so a holder that was paused and is late cannot write any more. It is about
// no key.
func IfHeld(h Holder) Condition { return Condition{test: isHeld, holder: h} }

// Of returns c as a condition on that key.
func (c Condition) Of(key string) Condition {
	c.key = key
	return c
}

// String tells the condition in words.
func (c Condition) String() string {
	subject := "the key"
	if c.key != "" {
		subject = fmt.Sprintf("%q", c.key)
	}
	switch c.test {
	case atRevision:
		if c.revision == 0 {
			return subject + " absent"
		}
		return fmt.Sprintf("%s at revision %d", subject, c.revision)
	case exists:
		return subject + " present"
	case hasValue:
		return subject + " with a certain value"
	case isHeld:
		if c.holder == nil {
			break
		}
		kind, name, token, _ := c.holder.Fence()
		return fmt.Sprintf("%s %q held by token %d", kind, name, token)
	}
	return "nothing"
}

// encode returns c for the log. What check has refused cannot be encoded.
func (c *Condition) encode() *statepb.Condition {
	switch c.test {
	case exists:
		return &statepb.Condition{Test: &statepb.Condition_KeyAt{KeyAt: &statepb.KeyAt{Key: c.key, Exists: true}}}
	case hasValue:
		return &statepb.Condition{Test: &statepb.Condition_ValueIs{ValueIs: &statepb.ValueIs{Key: c.key, Value: c.value}}}
	case isHeld:
		kind, name, token, first := c.holder.Fence()
		queue := &statepb.QueueName{Kind: queueKinds[kind], Name: name}
		return &statepb.Condition{Test: &statepb.Condition_Held{Held: &statepb.Held{Queue: queue, Token: token, First: first}}}
	}
	return &statepb.Condition{Test: &statepb.Condition_KeyAt{KeyAt: &statepb.KeyAt{Key: c.key, Revision: uint64(c.revision)}}}
}

// queueKinds are what Fence may call its kind.
var queueKinds = map[string]statepb.QueueName_Kind{
	"lock":  statepb.QueueName_LOCK,
	"group": statepb.QueueName_GROUP,
}

// met reports whether c, a condition on a key, holds where the key is as a Get
// found it.
func (c *Condition) met(found *statepb.OpResult) bool {
	switch c.test {
	case exists:
		return found.GetFound()
	case hasValue:
		return found.GetFound() && string(found.GetValue()) == string(c.value)
	}
	return Revision(found.GetRevision()) == c.revision
}
