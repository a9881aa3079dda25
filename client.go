package kith

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/consensus"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// Client acts in the cluster for a program that is no node and is known by an ID: a
// client of the HTTP API, say. What the program holds belongs to its session, which any
// node can act in and renew, so it may go from one node to another.
//
// A node is not the judge of a client's time: the session lasts as long as somebody
// renews it, wherever. A program that must know when it has lost what it holds counts
// for itself, from before it sends each renewal: TTL, less one per cent, less the time
// that it needs to stop (SAFETY.md, S11).
//
// Use Node.Client to get one, and Close when it is of no use any more. Methods are safe
// for concurrent use.
type Client struct {
	id     string
	seat   *clientSeat
	places *queue.Places
	store  *kv.Store
}

// Client returns a client by that ID. ttl is how long its session lasts without a renewal,
// if it has none yet and first needs one; with 0 it acts only in a session that is open
// already. Nothing is asked of the cluster yet. With no ID it can only look.
func (n *Node) Client(id string, ttl time.Duration) *Client {
	seat := &clientSeat{coordinates: coordinates{n.agreed}, id: id, ttl: ttl}
	seat.ctx, seat.close = context.WithCancelCause(n.agreed.ctx)
	return &Client{id: id, seat: seat, places: queue.New(seat, id), store: kv.New(seat)}
}

// ID returns the client's ID.
func (c *Client) ID() string { return c.id }

// KV returns the cluster's keys. Those that the client writes as ephemeral go with its
// session.
func (c *Client) KV() *kv.Store { return c.store }

// Lock returns the lock of that name, for the client: what is acquired belongs to its
// session, and is known on this node alone to be held.
func (c *Client) Lock(name string, options ...lock.Option) *lock.Lock {
	return lock.New(c.places, name, options...)
}

// Group returns the group of that name, for the client, as Lock does.
func (c *Client) Group(name string, options ...group.Option) *group.Group {
	return group.New(c.places, 0, name, options...)
}

// Context ends with Close, or with the node.
func (c *Client) Context() context.Context { return c.seat.ctx }

// Close waits until nothing of c runs any more. It takes moments, and ends nothing in the
// cluster: the session and what belongs to it stay.
func (c *Client) Close() {
	c.seat.close(ErrClosed)
	c.places.Close()
}

// Session returns the ID of the client's session and how long it lasts without a renewal.
// It finds one that was opened before the call, on whichever node; that may have ended a
// moment ago, which whoever uses it is told. If there is none, the error is
// ErrSessionEnded. It opens none.
func (c *Client) Session(ctx context.Context) (id uint64, ttl time.Duration, err error) {
	const op = "session"
	s, err := c.seat.find(ctx)
	if err != nil {
		return 0, 0, outcome.With(op, c.id, err, NotDone)
	}
	return s.ID, time.Duration(s.TTL) * time.Millisecond, nil
}

// Renew has the cluster keep the session for its TTL from some moment during the call, and
// opens it if need be. It blocks until a majority has confirmed that, until ctx ends, or
// the node. It returns the session's ID and its TTL.
func (c *Client) Renew(ctx context.Context) (id uint64, ttl time.Duration, err error) {
	s, err := c.seat.open(ctx)
	if err == nil {
		err = s.Renew(ctx)
	}
	if err != nil {
		return 0, 0, outcome.With("renew session", c.id, err, Unknown)
	}
	return s.ID, s.TTL, nil
}

// End ends the session, and with it all that belongs to it. It blocks until the cluster
// has agreed, until ctx ends, or the node. If there is none, the error is ErrSessionEnded.
func (c *Client) End(ctx context.Context) error {
	const op = "end session"
	found, err := c.seat.find(ctx)
	if err != nil {
		return outcome.With(op, c.id, err, NotDone)
	}
	r, err := c.seat.replica(ctx)
	if err != nil {
		return outcome.With(op, c.id, err, NotDone)
	}
	s, err := r.ClientSession(ctx, c.id, time.Duration(found.TTL)*time.Millisecond)
	if err == nil {
		err = s.End(ctx)
	}
	return outcome.With(op, c.id, err, Unknown)
}

// clientSeat is agreement as a client takes part in it.
type clientSeat struct {
	coordinates
	id    string
	ttl   time.Duration
	ctx   context.Context
	close context.CancelCauseFunc

	mu   sync.Mutex // guards held
	held *heldSession
}

// heldSession is a session that ends for a client with its Close, too.
type heldSession struct {
	*consensus.Session
	ctx context.Context
}

func (s *heldSession) Context() context.Context { return s.ctx }

func (s *clientSeat) Context() context.Context { return s.ctx }

// find returns the session that the cluster has for the client. What this node has seen
// open may have ended, which is no harm; what it has not seen may be open.
func (s *clientSeat) find(ctx context.Context) (found state.Session, err error) {
	there := false
	look := func(m *state.Machine) { found, there = m.ClientSession(s.id) }
	if s.id == "" {
		return found, ErrSessionEnded
	}
	if s.View(look) == nil && there {
		return found, nil
	}
	if err := s.Barrier(ctx); err != nil {
		return found, err
	}
	if err := s.View(look); err != nil {
		return found, err
	}
	if !there {
		return found, ErrSessionEnded
	}
	return found, nil
}

// open returns the client's session, which it opens if it may.
func (s *clientSeat) open(ctx context.Context) (*consensus.Session, error) {
	const op = "open session"
	ttl := s.ttl
	if s.id == "" {
		return nil, &outcome.Error{Op: op, Err: errors.New("kith: a client without an ID holds nothing")}
	}
	if ttl == 0 {
		found, err := s.find(ctx)
		if err != nil {
			return nil, outcome.With(op, s.id, err, NotDone)
		}
		ttl = time.Duration(found.TTL) * time.Millisecond
	}
	r, err := s.replica(ctx)
	if err != nil {
		return nil, err
	}
	return r.ClientSession(ctx, s.id, ttl)
}

// Hold lets package queue use the session.
func (s *clientSeat) Hold(ctx context.Context) (queue.Session, error) {
	session, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil || s.held.Session != session {
		held, cancel := context.WithCancelCause(session.Context())
		stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
		context.AfterFunc(held, func() { stop() }) // a client may outlive many sessions
		s.held = &heldSession{session, held}
	}
	return s.held, nil
}

// Session lets package kv use it.
func (s *clientSeat) Session(ctx context.Context) (uint64, error) {
	session, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	return session.ID, nil
}

// String is for logs.
func (c *Client) String() string { return fmt.Sprintf("client %q", c.id) }
