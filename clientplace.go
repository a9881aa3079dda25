package kith

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// QueueKind tells locks from groups: a lock and a group may have the same name.
type QueueKind uint8

const (
	// LockQueue is the queue of a lock, whose first places, as many as its limit says,
	// hold it.
	LockQueue QueueKind = iota
	// GroupQueue is the queue of a group, whose first place leads.
	GroupQueue
)

func (k QueueKind) encode() statepb.QueueName_Kind {
	if k == GroupQueue {
		return statepb.QueueName_GROUP
	}
	return statepb.QueueName_LOCK
}

// QueueName names a lock or a group.
type QueueName struct {
	Kind QueueKind
	Name string
}

func (n QueueName) encode() *statepb.QueueName {
	return &statepb.QueueName{Kind: n.Kind.encode(), Name: n.Name}
}

// Queue is a lock or a group with all who are in it, as it was at one moment.
type Queue struct {
	QueueName
	// Limit is how many hold, 0 for all; and while nobody is there.
	Limit int
	// Revision is that of the last change of that name: of the lock or group, or of a
	// key, another queue or an event that has it too. kv.Store.WaitChange waits for
	// the next.
	Revision kv.Revision
	// Places stand in strict order, the head first.
	Places []QueuePlace
}

// QueuePlace is one place in a Queue.
type QueuePlace struct {
	// Member is the name of the place, Name that of its holder, which is Member without
	// what makes it unique.
	Member, Name string
	// Node is the name of the node whose place it is, or that opened the session of the
	// remote Client; Client is "" for a node's own.
	Node, Client string
	// Session is the session whose end ends the place, Token the fencing token.
	Session, Token uint64
	// Data is a copy.
	Data []byte
	// Age is how long ago the place was taken, by the cluster's agreed time.
	Age time.Duration
	// Revoked tells that the holder was asked to go, and has not gone yet.
	Revoked bool
}

// Holds reports whether the place at that position is among those that hold.
func (q Queue) Holds(position int) bool { return q.Limit == 0 || position < q.Limit }

// Look returns a lock or a group. It sees what was acknowledged before the call, on
// whichever node; it blocks until a majority has confirmed that, until ctx ends, or
// the node.
func (c *Client) Look(ctx context.Context, name QueueName) (Queue, error) {
	const op = "look"
	err := c.places.Check("queue", name.Name, nil)
	if err != nil {
		return Queue{}, queue.NotDone(op, name.Name, err, "")
	}
	if err := c.seat.Barrier(ctx); err != nil {
		return Queue{}, outcome.With(op, name.Name, err, NotDone)
	}
	q, _, err := c.glance(name)
	return q, outcome.With(op, name.Name, err, NotDone)
}

// glance looks at this node's own copy. changed is the revision of the queue's last change,
// 0 if nobody is in it.
func (c *Client) glance(name QueueName) (q Queue, changed uint64, err error) {
	q.QueueName = name
	err = c.seat.View(func(m *state.Machine) {
		seen, _ := m.Queue(name.Kind.encode(), name.Name)
		changed = seen.Revision
		q.Limit, q.Revision = int(seen.Limit), kv.Revision(m.LastChange(name.Name))
		q.Places = make([]QueuePlace, len(seen.Slots))
		for i, slot := range seen.Slots {
			q.Places[i] = newQueuePlace(m, slot)
		}
	})
	return q, changed, err
}

func newQueuePlace(m *state.Machine, slot *state.Slot) QueuePlace {
	p := QueuePlace{
		Member: slot.Member, Name: queue.Name(slot.Member), Session: slot.Session, Token: slot.Token,
		Data: bytes.Clone(slot.Data), Revoked: slot.Revoked,
		Age: time.Duration(m.Time()-min(slot.Since, m.Time())) * time.Millisecond,
	}
	p.Node, p.Client = queue.Home(m, slot.Session)
	return p
}

// Follow tells how a lock or a group is, at once, as Look does, and after each change.
// A reader that is slower than the changes gets fewer states, but always the last. The
// stream ends when ctx does, or with an error as its last element.
func (c *Client) Follow(ctx context.Context, name QueueName) iter.Seq2[Queue, error] {
	return func(yield func(Queue, error) bool) {
		news, cancel := c.seat.Subscribe(name.Name)
		defer cancel()
		_, err := c.Look(ctx, name)
		var q Queue
		var known uint64
		for first := true; ; first = false {
			before := known
			if err == nil {
				q, known, err = c.glance(name)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(Queue{}, err)
				return
			}
			if (first || known != before) && !yield(q, nil) {
				return
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			case <-c.seat.ctx.Done():
				err = queue.NotDone("watch", name.Name, context.Cause(c.seat.ctx), "")
			}
		}
	}
}

// EnterRequest asks for a place.
type EnterRequest struct {
	Queue QueueName
	// Member names the place among those of the client's session. What follows its
	// last '#', if that is a number, is not shown as part of the name. Entering again
	// under the same name leads to the same place, through whichever node; while this
	// Client has that place the error is lock.ErrTaken.
	Member string
	Data   []byte // not kept
	// Limit is how many hold; all who use the queue must agree. 0, in groups only: all.
	Limit int
	// Try takes the place only if it would hold at once.
	Try bool
}

// Entered is a place that was taken.
type Entered struct {
	Token, Session uint64
	// Revision is as in Queue.
	Revision kv.Revision
	Position int
}

// Enter takes a place and waits until it is among those that hold. It blocks until then,
// until ctx ends, or the client's session, or the node. A wait that ends in vain leaves
// nothing behind: the place is given up, in the background if need be, for as long as the
// session lasts.
func (c *Client) Enter(ctx context.Context, r EnterRequest) (Entered, error) {
	const op = "enter"
	name := r.Queue.Name
	for _, bad := range []error{c.places.Check("queue", name, r.Data), c.places.Check("member", r.Member, nil)} {
		if bad != nil {
			return Entered{}, queue.NotDone(op, name, bad, "")
		}
	}
	place, err := c.places.Enter(ctx, op, queue.Request{
		Kind: r.Queue.Kind.encode(), Queue: name, Member: r.Member, Data: r.Data, Limit: uint64(max(r.Limit, 0)), OnlyIfHeld: r.Try,
	})
	if held, ok := errors.AsType[*queue.HeldError](err); ok {
		return Entered{}, queue.NotDone(op, name, c.held(held, r.Limit), "")
	}
	if err != nil {
		return Entered{}, err
	}
	if r.Limit > 0 {
		err = place.Await(ctx, r.Limit)
	}
	if err == nil {
		err = context.Cause(ctx) // whoever has gone in the moment of the grant does not hold
	}
	if err != nil {
		place.Abandon()
		return Entered{}, queue.NotDone(op, name, err, "")
	}
	e := Entered{Token: place.Token(), Session: place.Session().SessionID()}
	e.Position, _ = place.Position()
	err = c.seat.View(func(m *state.Machine) { e.Revision = kv.Revision(m.LastChange(name)) })
	return e, outcome.With(op, name, err, Done)
}

// held tells who is in the way, as package lock does.
func (c *Client) held(e *queue.HeldError, limit int) *lock.HeldError {
	held := &lock.HeldError{Limit: limit, Owner: lock.Contender{Name: queue.Name(e.Holder.Member), Token: e.Holder.Token}}
	c.seat.View(func(m *state.Machine) { // without a state there is less to tell
		p := newQueuePlace(m, &e.Holder)
		held.Owner = lock.Contender{
			Name: p.Name, Node: p.Node, Client: p.Client, Session: p.Session, Token: p.Token, Age: p.Age, Revoked: p.Revoked,
		}
	})
	return held
}

// Leave gives up the place with that token, if it belongs to that session, whichever node it
// was taken through. It blocks until the cluster has agreed, until ctx ends, or the node.
func (c *Client) Leave(ctx context.Context, name QueueName, session, token uint64) (kv.Revision, error) {
	const op = "leave"
	if session == 0 || token == 0 { // which would mean any
		return 0, queue.NotDone(op, name.Name, fmt.Errorf("%w: a place has a session and a token", queue.ErrInvalid), "")
	}
	return c.propose(ctx, op, name, &statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
		Queue: name.encode(), Session: session, Token: token,
	}}})
}

// Update replaces the data of the place with that token. It blocks as Leave does.
func (c *Client) Update(ctx context.Context, name QueueName, token uint64, data []byte) (kv.Revision, error) {
	return c.propose(ctx, "update", name, &statepb.Command{Op: &statepb.Command_UpdateSlot{UpdateSlot: &statepb.UpdateSlot{
		Queue: name.encode(), Token: token, Data: data,
	}}})
}

// Break asks the holder of the place with that token, whoever it is, to go: see
// lock.Lock.Break. It does not wait until it has gone.
func (c *Client) Break(ctx context.Context, name QueueName, token uint64) (kv.Revision, error) {
	return c.propose(ctx, "break", name, &statepb.Command{Op: &statepb.Command_Revoke{Revoke: &statepb.Revoke{
		Queue: name.encode(), Token: token,
	}}})
}

func (c *Client) propose(ctx context.Context, op string, name QueueName, cmd *statepb.Command) (kv.Revision, error) {
	if err := c.places.Check("queue", name.Name, nil); err != nil {
		return 0, queue.NotDone(op, name.Name, err, "")
	}
	r, err := c.seat.Propose(ctx, cmd)
	switch {
	case err != nil:
		return 0, outcome.With(op, name.Name, err, Unknown)
	case r.GetCode() != statepb.Result_OK:
		return 0, queue.Refused(op, name.Name, r, 0)
	}
	return kv.Revision(r.GetRevision()), nil
}

// ClientSession is the session of a remote client.
type ClientSession struct {
	ID     uint64
	Client string
	TTL    time.Duration
}

// ClientSessions returns the sessions of all remote clients in the cluster, in the order in
// which they were opened. It blocks as Look does.
func (c *Client) ClientSessions(ctx context.Context) (all []ClientSession, err error) {
	const op = "sessions"
	if err := c.seat.Barrier(ctx); err != nil {
		return nil, outcome.With(op, "", err, NotDone)
	}
	err = c.seat.View(func(m *state.Machine) {
		for s := range m.Sessions() {
			if s.Client != "" {
				all = append(all, ClientSession{s.ID, s.Client, time.Duration(s.TTL) * time.Millisecond})
			}
		}
	})
	return all, outcome.With(op, "", err, NotDone)
}
