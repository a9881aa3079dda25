package group

import (
	"context"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// JoinOption is what Join and Lead accept.
type JoinOption func(*joining)

type joining struct {
	name string
	data []byte
}

// Name sets what the member is called; without it that is the node's name. A node
// can have several seats in a group, each under a name of its own.
func Name(name string) JoinOption { return func(j *joining) { j.name = name } }

// Data goes with the seat for all to see, such as an address. It is not kept.
func Data(data []byte) JoinOption { return func(j *joining) { j.data = data } }

// Seat is this node's place in a group, from joining to leaving. It is safe for
// concurrent use.
type Seat struct {
	group *Group
	place *queue.Place
	ctx   context.Context
}

// Join takes a place in the group, behind all who are in it, or where ByPID puts it.
// It blocks until that is in force here and on a majority's disks, until ctx ends, or
// the node. ctx does not bound the stay: that ends with Leave, or when the seat is
// lost, of which Seat.Context tells.
//
// If ctx ends first, the error's outcome is NotDone; should the place be taken all
// the same, it is given up in the background. The other errors are ErrInvalid,
// ErrTooLarge, ErrQuota, ErrFull, ErrOrder, ErrTaken if this node has a seat of that
// name already, and those of every agreement call. A name whose former seat is being
// left is waited for.
func (g *Group) Join(ctx context.Context, options ...JoinOption) (*Seat, error) {
	const op = "join"
	j, err := g.joining(options)
	if err != nil {
		return nil, notDone(op, g.name, err)
	}
	place, err := g.places.Enter(ctx, op, queue.Request{
		Kind: statepb.QueueName_GROUP, Queue: g.name, Member: j.name, Data: j.data,
		Limit: uint64(g.leaders), Precedence: g.precedence(),
	})
	if err != nil {
		return nil, ordered(err)
	}
	return &Seat{group: g, place: place, ctx: place.ContextWith(ctx)}, nil
}

func (g *Group) joining(options []JoinOption) (joining, error) {
	j := joining{name: g.places.Name()}
	for _, o := range options {
		if o == nil {
			return j, invalid("an option that is nil")
		}
		o(&j)
	}
	if err := g.check(); err != nil {
		return j, err
	}
	return j, g.places.Check("member", j.name, j.data)
}

// Name returns what the member is called.
func (s *Seat) Name() string { return s.place.Member() }

// Token returns the seat's fencing token: the revision at which it was taken, greater
// than that of all who joined before, in any group.
func (s *Seat) Token() uint64 { return s.place.Token() }

// Context ends when the seat cannot be relied on any more, and before anybody can
// move into its place (S11). The cause is ErrLeft, ErrBroken, ErrLost,
// kith.ErrSessionEnded, kith.ErrClosed or what halted agreement. It has the values
// of Join's context.
//
// Nobody comes before a seat that is among the first n (under ByPID, the first
// leaders): whoever has waited for that with Wait works under this context for as
// long as it lasts.
func (s *Seat) Context() context.Context { return s.ctx }

// Index returns the seat's position where this node stands; 0 is the leader's. It
// is -1 when the seat is not there any more. It does not block.
func (s *Seat) Index() int {
	i, _ := s.look()
	return i
}

// Leading reports whether the seat is among the first n and can be relied on. It does
// not block: it is what this node knows. Where more than a hint is needed, a write with
// kv.IfHeld has the last word.
func (s *Seat) Leading(n int) bool {
	i, revoked := s.look()
	return i >= 0 && i < n && !revoked && s.ctx.Err() == nil
}

func (s *Seat) look() (index int, revoked bool) {
	index = -1
	err := s.group.places.View(statepb.QueueName_GROUP, s.group.name, func(_ *state.Machine, q state.Queue) {
		if i, ok := q.Find(s.Token()); ok {
			index, revoked = i, q.Slots[i].Revoked
		}
	})
	if err != nil {
		return -1, false
	}
	return index, revoked
}

// Wait blocks until the seat is among the first n, until ctx ends, or the seat's own
// context; the error has the cause of either end. The seat stays in the group
// whatever comes back. Under ByPID, n is at most the number of leaders: beyond
// them members overtake one another.
func (s *Seat) Wait(ctx context.Context, n int) error {
	const op = "wait"
	err := s.group.checkFirst(n)
	if err == nil {
		err = s.place.Await(ctx, n)
	}
	return outcome.With(op, s.group.name, err, outcome.NotDone)
}

// Update replaces the seat's data; its place stays the same. Of several at the same
// time the one that the cluster takes last remains. data is not kept. It blocks until
// that is in force here, until ctx ends, or the node. The errors are ErrTooLarge,
// ErrQuota, those of every agreement call, and the cause of the seat's end when it is
// gone.
func (s *Seat) Update(ctx context.Context, data []byte) error {
	const op = "update"
	g := s.group
	if err := g.places.Check("member", s.Name(), data); err != nil {
		return notDone(op, g.name, err)
	}
	if cause := context.Cause(s.ctx); cause != nil && cause != ErrBroken {
		return notDone(op, g.name, cause)
	}
	r, err := g.replica.Propose(ctx, &statepb.Command{Op: &statepb.Command_UpdateSlot{UpdateSlot: &statepb.UpdateSlot{
		Queue: g.queue(), Token: s.Token(), Data: data,
	}}})
	switch {
	case err != nil:
		return outcome.With(op, g.name, err, outcome.Unknown)
	case r.GetCode() == statepb.Result_NO_SLOT:
		cause := context.Cause(s.ctx)
		if cause == nil { // who looks after the seat is about to find out
			cause = ErrLost
		}
		return notDone(op, g.name, cause)
	}
	return answered(op, g.name, r)
}

// Leave gives the seat up: its context ends with ErrLeft, then those behind move up.
// So work that needs the place must have ended before. It blocks until that is in
// force, until ctx ends, or the node.
//
// The first call decides. If its outcome is unknown the place is given up in the
// background, as soon as the cluster can be reached, or goes with the session; later
// calls wait for that, and return what came of it. If the seat was lost before,
// the error says how, and is NotDone: there was nothing to leave.
func (s *Seat) Leave(ctx context.Context) error {
	return outcome.With("leave", s.group.name, s.place.Leave(ctx), outcome.NotDone)
}

// Fence lets kv.IfHeld make a write conditional on this seat being the leader when
// the write takes its place in the log.
func (s *Seat) Fence() (kind, name string, token, first uint64) {
	return s.First(1).Fence()
}

// First returns what lets kv.IfHeld make a write conditional on the seat being among
// the first n. n below 1 counts as 1.
func (s *Seat) First(n int) First { return First{s, max(n, 1)} }

// First is the condition to be among the first of a group. It is a kv.Holder.
type First struct {
	seat *Seat
	n    int
}

// Fence names the seat and how many are first.
func (f First) Fence() (kind, name string, token, first uint64) {
	return "group", f.seat.group.name, f.seat.Token(), uint64(f.n)
}
