package kv

import (
	"context"
	"errors"
	"iter"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Kind is what a Change tells.
type Kind uint8

const (
	// Written: the key has a new value. With Change.Existing it is one that was
	// there already.
	Written Kind = iota + 1
	// Deleted: the key was deleted, or went with the session it belonged to.
	Deleted
	// Expired: the key's TTL was over.
	Expired
	// Resync: some changes are forgotten by the cluster and lost to this stream.
	// The whole current state follows, up to Synced. What the reader has and this
	// state has not, is gone.
	Resync
	// Synced: the stream has now told the whole state as of the change's revision.
	Synced
)

// String returns the kind in lower case, such as "written".
func (k Kind) String() string {
	switch k {
	case Written:
		return "written"
	case Deleted:
		return "deleted"
	case Expired:
		return "expired"
	case Resync:
		return "resync"
	case Synced:
		return "synced"
	}
	return "none"
}

// Change is an element of a watch.
type Change struct {
	Kind Kind
	// Entry is, of Written, the key as it is since then. Of Deleted and Expired its
	// Key and Revision are set, of Resync and Synced its Revision, which is the
	// cluster's at that moment. The value is the reader's own copy.
	Entry
	// Previous is the revision that the key was at before, 0 if it was not there.
	// What is Existing has none. Of Resync it is the last revision up to which
	// nothing is missing.
	Previous Revision
	// Existing tells that this is not news but part of the current state, which
	// Synced ends.
	Existing bool
	// Last tells that no more of the same revision follows, or, of Synced, that the
	// state is complete. Who applies changes only then, all since the last time at
	// once, never shows half a transaction.
	Last bool
}

const (
	// maxPull and maxPullBytes are about how many changes, or keys with their
	// values, a watch takes from the state at once.
	maxPull      = 256
	maxPullBytes = 1 << 20
)

// Watch tells the changes of all keys with the prefix; an empty one is that of all
// keys.
//
// With after = 0 it begins with the current state: every key as a Change that is
// Written and Existing, in the order of keys, then Synced. A key that changes while
// this is being read may be told once more before Synced, as Written and Existing,
// Deleted or Expired. All changes after Synced's revision follow. With after > 0 it
// begins with the first change after that revision; one that is not reached yet is
// waited for.
//
// Changes come in the order of their revisions; none is left out, and none comes
// twice. When changes are lost, because the reader is slower than the cluster
// forgets, because after is too old, or because the node has joined another
// cluster, where revisions count anew, a Resync says so, and the current state
// follows as above. Keys that never change lose nothing, however busy the others.
//
// To begin, it asks the cluster for what was acknowledged before, as Get does,
// unless the Store is Stale; from then on it reads this node's copy, also while
// there is no majority. The stream ends without a word when ctx does. When the node
// ends, or it cannot begin, its last element is an error. It runs on the reader's
// goroutine and holds nothing between elements but a subscription. Ranging over it
// again begins anew.
func (s *Store) Watch(ctx context.Context, prefix string, after Revision) iter.Seq2[Change, error] {
	return s.watch(ctx, prefix, false, after)
}

// WatchKey is Watch for one key. Its current state is one Written change, or none
// if the key is not there, and then Synced.
func (s *Store) WatchKey(ctx context.Context, key string, after Revision) iter.Seq2[Change, error] {
	return s.watch(ctx, key, true, after)
}

func (s *Store) watch(ctx context.Context, name string, exact bool, after Revision) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &watcher{store: s, ctx: ctx, name: name, exact: exact, seen: uint64(after), yield: yield}
		if err := w.run(); err != nil && ctx.Err() == nil {
			yield(Change{}, outcome.With("watch", name, err, outcome.NotDone))
		}
	}
}

// watcher is one reading of a watch.
type watcher struct {
	store *Store
	ctx   context.Context
	name  string // the prefix, or the key
	exact bool
	// seen is the revision up to which the reader has everything.
	seen    uint64
	home    home
	changed <-chan uint64 // see Replica.Subscribe
	yield   func(Change, error) bool
}

// home is the cluster whose state was looked at. A node of one that joins others
// gives up its own, and revisions count anew.
type home struct{ id string }

// left reports whether m is of another cluster than at the last look.
func (h *home) left(m *state.Machine) bool {
	before := h.id
	h.id = m.Cluster().GetId()
	return before != "" && before != h.id
}

// errLeft is why changes are lost when the node has joined another cluster.
var errLeft = errors.New("kv: another cluster")

// errStopped ends a watch whose reader wants no more.
var errStopped = errors.New("kv: the reader stopped")

// run returns why the stream ends; nil if there is nothing to say about it.
func (w *watcher) run() error {
	err := w.follow()
	if err == errStopped {
		return nil
	}
	return err
}

func (w *watcher) follow() error {
	if w.exact {
		if err := checkName("key", w.name); err != nil {
			return err
		}
	}
	// Whatever happens from here on rings the bell: nothing is overlooked between a
	// look at the state and the wait.
	changed, cancel := w.store.replica.Subscribe(w.name)
	defer cancel()
	w.changed = changed
	if err := w.store.barrier(w.ctx, "watch", w.name); err != nil {
		return err
	}
	if w.seen == 0 {
		if err := w.tellState(); err != nil {
			return err
		}
	}
	for {
		more, err := w.tellChanges()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		revision, err := w.store.wait(w.ctx, changed)
		if err != nil {
			return err
		}
		// Nothing of ours happened while we waited, although history may have
		// forgotten all that did happen.
		if revision > 0 {
			w.seen = max(w.seen, revision-1)
		}
	}
}

// wait returns what comes from changed; an error when ctx or the node ends.
func (s *Store) wait(ctx context.Context, changed <-chan uint64) (revision uint64, err error) {
	node := s.replica.Context()
	select {
	case revision = <-changed:
		return revision, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-node.Done():
		return 0, context.Cause(node)
	}
}

// send gives one change to the reader.
func (w *watcher) send(c Change) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if !w.yield(c, nil) {
		return errStopped
	}
	return nil
}

// tellChanges tells what happened since w.seen, or a part of that; then there is
// more.
func (w *watcher) tellChanges() (more bool, err error) {
	var changes []state.Change
	var current, next, now uint64
	var lost error
	err = w.store.replica.View(func(m *state.Machine) {
		current, now = m.Revision(), m.Time()
		if w.home.left(m) {
			lost = errLeft
			return
		}
		changes, next, lost = m.Changes(w.name, w.seen, w.store.pull)
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(lost, state.ErrFuture):
		return false, nil
	case lost != nil:
		if err := w.gap(current); err != nil {
			return false, err
		}
		return true, w.tellState()
	}
	changes = w.filter(changes)
	for i := range changes {
		last := i+1 == len(changes) || changes[i+1].Revision != changes[i].Revision
		if err := w.send(changeOf(&changes[i], now, last)); err != nil {
			return false, err
		}
	}
	w.seen = next
	return next < current, nil
}

// filter leaves the changes that w is about.
func (w *watcher) filter(changes []state.Change) []state.Change {
	if !w.exact {
		return changes
	}
	var own []state.Change
	for _, c := range changes {
		if c.Name == w.name {
			own = append(own, c)
		}
	}
	return own
}

// gap tells that changes are lost. The state that follows is looked at afterwards:
// it has whatever the bell has rung for until now, perhaps in another cluster.
func (w *watcher) gap(current uint64) error {
	select {
	case <-w.changed:
	default:
	}
	c := Change{Kind: Resync, Previous: Revision(w.seen)}
	c.Revision = Revision(current)
	return w.send(c)
}

// tellState tells the state as of one revision, which it sets w.seen to. It looks
// at a few keys at a time, so that nobody has to wait for it; what has changed
// meanwhile among those that were told before is told along with the next ones.
func (w *watcher) tellState() error {
	var p portion
	for {
		old := p
		p = portion{}
		var lost error
		err := w.store.replica.View(func(m *state.Machine) { lost = w.take(m, &old, &p) })
		switch {
		case err != nil:
			return err
		case lost != nil: // forgotten faster than it was read: once more from the start
			if err := w.gap(p.revision); err != nil {
				return err
			}
			p = portion{}
			continue
		}
		if err := w.tell(&p); err != nil {
			return err
		}
		if p.complete {
			w.seen = p.revision
			return nil
		}
	}
}

// portion is some of the state: what has changed since the one before, among the
// keys up to its end, and the keys after that.
type portion struct {
	revision, now uint64
	changes       []state.Change
	items         []state.Item
	end           string // the greatest key told so far
	complete      bool
}

// take fills p with what follows old.
func (w *watcher) take(m *state.Machine, old, p *portion) error {
	p.revision, p.now, p.end = m.Revision(), m.Time(), old.end
	if w.home.left(m) {
		return errLeft
	}
	if old.revision > 0 && old.end != "" {
		for seen := old.revision; seen < p.revision; {
			changes, next, err := m.Changes(w.name, seen, w.store.pull)
			if err != nil {
				return err
			}
			for _, c := range changes {
				if c.Name <= old.end {
					p.changes = append(p.changes, c)
				}
			}
			seen = next
		}
	}
	if w.exact {
		if item, ok := m.Get(w.name); ok {
			p.items = []state.Item{item}
		}
		p.complete = true
		return nil
	}
	size := 0
	for item := range m.Range(w.name, old.end) {
		if len(p.items) == w.store.pull || size > maxPullBytes {
			return nil
		}
		p.items, p.end = append(p.items, item), item.Key
		size += len(item.Value)
	}
	p.complete = true
	return nil
}

func (w *watcher) tell(p *portion) error {
	for i := range p.changes {
		c := changeOf(&p.changes[i], p.now, false)
		c.Existing = c.Kind == Written
		if err := w.send(c); err != nil {
			return err
		}
	}
	for i := range p.items {
		c := Change{Kind: Written, Entry: entryOf(&p.items[i], p.now), Existing: true}
		if err := w.send(c); err != nil {
			return err
		}
	}
	if !p.complete {
		return nil
	}
	synced := Change{Kind: Synced, Last: true}
	synced.Revision = Revision(p.revision)
	return w.send(synced)
}

// changeOf makes a change of the machine's into a reader's.
func changeOf(c *state.Change, now uint64, last bool) Change {
	told := Change{Kind: Deleted, Previous: Revision(c.Previous), Last: last}
	switch c.Kind {
	case statepb.Change_PUT:
		told.Kind, told.Entry = Written, entryOf(c.Item, now)
		return told
	case statepb.Change_EXPIRE:
		told.Kind = Expired
	}
	told.Key, told.Revision = c.Name, Revision(c.Revision)
	return told
}
