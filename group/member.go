package group

import (
	"bytes"
	"context"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Member is one seat of a group, as it was when it was looked at.
type Member struct {
	// Index is the position: the member at 0 is the leader, and those below n are
	// the first n.
	Index int
	// Name is what the member joined as. Within one node, or one remote client, no
	// two members of a group have the same; across nodes they may.
	Name string
	// Node names the node whose member it is, or the one that speaks for the remote
	// Client; Client is "" for the node's own.
	Node, Client string
	// Session is the ID of the session that the seat belongs to.
	Session uint64
	// Token is the seat's fencing token: the revision at which the member joined.
	Token uint64
	// Data is what the member joined with, or last updated it to: the reader's own
	// copy. Empty data is nil.
	Data []byte
	// Age is how long ago it joined, by the cluster's agreed time as of the newest
	// entry of the log: that stands still while nothing happens.
	Age time.Duration
	// Revoked tells that it was asked to go, with Break, and has not gone yet.
	Revoked bool
	// Self tells that the seat belongs to the session of the node, or the client,
	// that asks.
	Self bool
}

// View is a whole group at one moment.
type View struct {
	// Members are all of them, in order. Nobody is in the group if there are none.
	Members []Member
	// Revision is the cluster's at that moment.
	Revision uint64
}

// Leader returns the first member, false if there is none.
func (v View) Leader() (Member, bool) {
	if len(v.Members) == 0 {
		return Member{}, false
	}
	return v.Members[0], true
}

// First returns the first n members, or all if there are fewer. It is a part of
// Members, not a copy.
func (v View) First(n int) []Member {
	return v.Members[:max(0, min(n, len(v.Members)))]
}

// Find returns the member with the token, false if it is not there.
func (v View) Find(token uint64) (Member, bool) {
	for _, m := range v.Members {
		if m.Token == token {
			return m, true
		}
	}
	return Member{}, false
}

// Members returns the first members of the group in their order, at most limit; with
// limit 0 all. It sees every change that was acknowledged before the call, on
// whichever node; it blocks until a majority has confirmed that, until ctx ends, or
// the node. On a Stale group it does not block. A group that nobody is in has none.
func (g *Group) Members(ctx context.Context, limit int) ([]Member, error) {
	s, err := g.read(ctx, "members", limit)
	if err != nil {
		return nil, err
	}
	return s.view(g.places.SessionID()).Members, nil
}

// read looks at the group, as fresh as g is.
func (g *Group) read(ctx context.Context, op string, limit int) (*sight, error) {
	err := g.check()
	if err == nil && limit < 0 {
		err = invalid("limit: %d is below 0", limit)
	}
	if err != nil {
		return nil, notDone(op, g.name, err)
	}
	if err := g.fresh(ctx, op); err != nil {
		return nil, err
	}
	s, err := g.look(limit)
	return s, outcome.With(op, g.name, err, outcome.NotDone)
}

// fresh makes the local state fresh enough for g.
func (g *Group) fresh(ctx context.Context, op string) error {
	if !g.stale {
		return outcome.With(op, g.name, g.replica.Barrier(ctx), outcome.NotDone)
	}
	if ctx.Err() != nil {
		return notDone(op, g.name, context.Cause(ctx))
	}
	return nil
}

// sight is what was seen of a group in one look at the state. Slots and members are
// never changed, only replaced, so it stays true of its moment.
type sight struct {
	cluster       string
	revision, now uint64
	changed       uint64 // the revision of the group's last change, 0 if it is empty
	order         uint64 // the queue's limit
	total         int
	seats         []seatSeen
}

type seatSeen struct {
	*state.Slot
	node, client string
}

// look takes in the first seats, at most limit; with 0 all.
func (g *Group) look(limit int) (*sight, error) {
	s := new(sight)
	err := g.replica.View(func(m *state.Machine) { s.take(m, g.name, limit) })
	return s, err
}

func (s *sight) take(m *state.Machine, name string, limit int) {
	s.cluster, s.revision, s.now = m.Cluster().GetId(), m.Revision(), m.Time()
	q, ok := m.Queue(statepb.QueueName_GROUP, name)
	if !ok {
		return
	}
	s.changed, s.order, s.total = q.Revision, q.Limit, len(q.Slots)
	slots := q.Slots
	if limit > 0 {
		slots = slots[:min(limit, len(slots))]
	}
	s.seats = make([]seatSeen, len(slots))
	for i, slot := range slots {
		s.seats[i].Slot = slot
		s.seats[i].node, s.seats[i].client = queue.Home(m, slot.Session)
	}
}

// view makes of s what users see; own is the session that asks, 0 if it has none.
func (s *sight) view(own uint64) View {
	v := View{Members: make([]Member, len(s.seats)), Revision: s.revision}
	for i, seat := range s.seats {
		v.Members[i] = Member{
			Index: i, Name: seat.Member, Node: seat.node, Client: seat.client,
			Session: seat.Session, Token: seat.Token, Revoked: seat.Revoked,
			Age:  time.Duration(s.now-min(seat.Since, s.now)) * time.Millisecond,
			Self: own != 0 && seat.Session == own,
		}
		if len(seat.Data) > 0 {
			v.Members[i].Data = bytes.Clone(seat.Data)
		}
	}
	return v
}
