package group

import (
	"context"
	"iter"

	"github.com/kith-go/kith/internal/outcome"
)

// Watch tells how the group is, at once and after each change: whole views, in
// order. A reader that is slower than the changes gets fewer views, but always the
// last. A view differs from the one before it in members, their order, their data or
// their being revoked; an empty group is a view too.
//
// The first view sees every change that was acknowledged before, as Members does,
// unless the Group is Stale; from then on views come from this node's copy, also
// while there is no majority. Revisions do not go back, unless the node joins
// another cluster, where they count anew. The stream ends without a word when ctx
// does; when the node ends, or it cannot begin, its last element is an error. It runs
// on the reader's goroutine and holds nothing between elements but a subscription.
// Ranging over it again begins anew.
func (g *Group) Watch(ctx context.Context) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		if err := g.follow(ctx, yield); err != nil && ctx.Err() == nil {
			yield(View{}, outcome.With("watch", g.name, err, outcome.NotDone))
		}
	}
}

// follow returns why there is no more to tell; nil if the reader has enough.
func (g *Group) follow(ctx context.Context, yield func(View, error) bool) error {
	if err := g.check(); err != nil {
		return err
	}
	// From here on each change rings, so that none falls between a look and the
	// wait after it.
	changed, cancel := g.replica.Subscribe(g.name)
	defer cancel()
	if err := g.fresh(ctx, "watch"); err != nil {
		return err
	}
	var told *sight
	for {
		seen, err := g.look(0)
		if err != nil {
			return err
		}
		if told == nil || seen.cluster != told.cluster || seen.changed != told.changed {
			if !yield(seen.view(g.places.SessionID()), nil) {
				return nil
			}
			told = seen
		}
		if err := g.wait(ctx, changed); err != nil {
			return err
		}
	}
}

// wait returns nil after something has come from changed.
func (g *Group) wait(ctx context.Context, changed <-chan uint64) error {
	node := g.replica.Context()
	// Among several that are ready, the end comes first.
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-node.Done():
		return context.Cause(node)
	}
}
