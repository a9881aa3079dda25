package group

import (
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Group is an ordered group of members across the cluster. Use New, or kith's
// Node.Group, to get one. Having one is not being in it: Join and Lead do that. It is
// safe for concurrent use and needs no closing.
type Group struct {
	places  *queue.Places
	replica queue.Replica
	name    string
	pid     uint32
	leaders int   // of ByPID, 0 without it
	invalid error // what is wrong with the options
	stale   bool
}

// Option is what New accepts; all who use a group must agree on it.
type Option func(*Group)

// ByPID lets those who do not lead yet stand in the order of their nodes' PIDs, lowest
// first, and of arrival among equals. The first leaders members lead: nobody is put
// before them, whatever his PID, so that a leader goes on until it is gone. Who has
// no PID, such as a remote client, stands behind those who have one. Without this
// option order is that of arrival alone. All who join must name the same number, or
// get ErrOrder.
func ByPID(leaders int) Option {
	return func(g *Group) {
		g.leaders = leaders
		if leaders < 1 {
			g.invalid = invalid("by PID after %d leaders: at least one leads", leaders)
		}
	}
}

// New returns the group of that name, for the holder of places, whose node has that
// PID; 0: none. What is wrong with the name or the options comes as an error of the calls.
func New(places *queue.Places, pid uint32, name string, options ...Option) *Group {
	g := &Group{places: places, replica: places.Replica(), name: name, pid: pid}
	for _, o := range options {
		if o == nil {
			g.invalid = invalid("an option that is nil")
			continue
		}
		o(g)
	}
	return g
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Stale returns a view of the same group whose Members, Explain and Watch begin with
// this node's own copy, without asking the cluster. What they tell was true a moment
// ago, or longer ago on a node that is cut off.
func (g *Group) Stale() *Group {
	local := *g
	local.stale = true
	return &local
}

// check refuses a group that can be nobody's.
func (g *Group) check() error {
	if g.invalid != nil {
		return g.invalid
	}
	return g.places.Check("group", g.name, nil)
}

// checkFirst refuses a number of leaders that cannot be waited for.
func (g *Group) checkFirst(n int) error {
	switch {
	case n < 1:
		return invalid("among the first %d: at least one leads", n)
	case g.leaders > 0 && n > g.leaders:
		return invalid("among the first %d: order is %s, who may be overtaken beyond that", n, order(uint64(g.leaders)))
	}
	return nil
}

// queue names the group to the state machine.
func (g *Group) queue() *statepb.QueueName {
	return &statepb.QueueName{Kind: statepb.QueueName_GROUP, Name: g.name}
}

// precedence is where those of this node stand among those who do not lead yet.
func (g *Group) precedence() uint64 {
	if g.leaders == 0 {
		return 0
	}
	if g.pid == 0 {
		return 1 << 32 // behind those who have one
	}
	return uint64(g.pid)
}
