package queue

import (
	"context"

	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Replica is what Places need of the replicated state; a kith.Node has one. Its
// methods are safe for concurrent use.
type Replica interface {
	// Propose has the cluster do a command and returns its answer once the local
	// state has it. It blocks until then, until ctx ends, or the node. Errors are
	// *outcome.Error. Nothing of cmd is kept after it returned.
	Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error)
	// Submit begins what Propose does. It may block until the replica is there, one of the
	// contexts ends, or the node; errors are those of Propose before anything was sent. When
	// lasting ends before there is an answer the command is taken back, as Propose does when
	// its ctx ends. Whoever calls Submit asks for the answer until it is known. Nothing of
	// cmd is kept.
	Submit(ctx, lasting context.Context, cmd *statepb.Command) (Proposal, error)
	// Barrier returns once the local state has every change that was acknowledged
	// before the call (S10).
	Barrier(ctx context.Context) error
	// View calls fn with the local state, which does not change meanwhile. fn is
	// quick and keeps nothing that can change.
	View(fn func(*state.Machine)) error
	// Subscribe returns a channel with room for one value. It gets one after a change
	// of a name with the prefix was applied, and when another state came into force;
	// while there is one that nobody has received, further ones are dropped.
	Subscribe(prefix string) (changed <-chan uint64, cancel func())
	// Listen has fn called after changes of exactly that name were applied, once after any
	// number of them at a time, and when another state came into force. No lock is held, but
	// what applies changes waits meanwhile: fn looks (View), and calls nothing that has to
	// be applied. Two calls of fn may overlap.
	Listen(name string, fn func()) (cancel func())
	// Hold returns the session that places belong to, which it opens if there is
	// none. It blocks until then, until ctx ends, or the node. Errors are
	// *outcome.Error.
	Hold(ctx context.Context) (Session, error)
	// Context ends with the node; its cause then is outcome.ErrClosed or what
	// halted agreement on this node.
	Context() context.Context
}

// Proposal is a command under way.
type Proposal interface {
	// Answer blocks until there is an answer, which is Propose's then, or until ctx ends:
	// then it is not known, the command stays under way, and Answer can be called again.
	Answer(ctx context.Context) (result *statepb.Result, known bool, err error)
}

// Session is the cluster's promise that places stay until it ends.
type Session interface {
	SessionID() uint64
	// Context ends before the cluster gives away what belongs to the session (S11),
	// at the latest with the replica; the cause tells why.
	Context() context.Context
}
