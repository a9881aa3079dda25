package kv

import (
	"bytes"
	"context"
	"math"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Replica is what a Store needs of the replicated state; a kith.Node has one. Its
// methods are safe for concurrent use.
type Replica interface {
	// Propose has the cluster do a command and returns its answer once the local
	// state has it. It blocks until then, until ctx ends, or the node. Errors are
	// *outcome.Error. Nothing of cmd is kept after it returned.
	Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error)
	// Barrier returns once the local state has every change that was acknowledged
	// before the call (S10).
	Barrier(ctx context.Context) error
	// View calls fn with the local state, which does not change meanwhile. fn is
	// quick and keeps nothing that can change.
	View(fn func(*state.Machine)) error
	// Subscribe returns a channel with room for one value. After a change of a name
	// with the prefix was applied it gets the change's revision, or 0 when another
	// state came into force; while there is a value that nobody has received,
	// further ones are dropped. So whoever has received all there was, and looked
	// at the state then, has missed nothing before the revision that comes next,
	// however long he waited and whatever the state has forgotten meanwhile.
	Subscribe(prefix string) (changed <-chan uint64, cancel func())
	// Session returns the ID of this node's session, which it opens if there is
	// none.
	Session(ctx context.Context) (uint64, error)
	// Context ends with the node; its cause then is outcome.ErrClosed or what
	// halted agreement on this node.
	Context() context.Context
}

// Revision numbers the changes of the whole cluster: each change of a key, a lock,
// a group, a session or an event takes the next one, and a transaction is one
// change. A key is "at" the revision of its last change; 0 stands for a key that is
// not there.
type Revision uint64

// Entry is one key as it was when it was read.
type Entry struct {
	Key string
	// Value is the caller's own copy. An empty value is nil.
	Value []byte
	// Revision is that of the key's last change, Created that of the change that
	// brought it into being.
	Revision, Created Revision
	// TTL is how long the key had left, by the cluster's agreed time, which stands
	// still while there is no leader. 0: no end.
	TTL time.Duration
	// Ephemeral tells that the key goes when the session it belongs to ends.
	Ephemeral bool
}

// Store reads and writes the cluster's keys. Use New, or kith's Node.KV, to get
// one. It is safe for concurrent use and needs no closing: it ends with its node.
type Store struct {
	*engine
	local bool // reads do not ask the cluster
}

// engine is what a Store and its Stale view share.
type engine struct {
	replica Replica
	stale   *Store
	lookups sync.Pool // of *lookup
	pull    int       // how many changes, or keys, a watch takes from the state at once
}

// New returns a Store on r.
func New(r Replica) *Store {
	e := &engine{replica: r, pull: maxPull}
	e.stale = &Store{engine: e, local: true}
	e.lookups.New = func() any {
		l := new(lookup)
		l.view = l.look
		return l
	}
	return &Store{engine: e}
}

// Stale returns a view of the same keys whose reads are answered by this node's own
// copy at once, without asking the cluster. What they tell was true a moment ago,
// or longer ago on a node that is cut off; it does not go back while the node runs.
// Writes are the same.
func (s *Store) Stale() *Store { return s.stale }

// barrier makes the local state fresh enough for s. Its error is about op and name.
func (s *Store) barrier(ctx context.Context, op, name string) error {
	if s.local {
		if ctx.Err() != nil {
			return notDone(op, name, context.Cause(ctx))
		}
		return nil
	}
	return outcome.With(op, name, s.replica.Barrier(ctx), outcome.NotDone)
}

// lookup is one look at a key. It is used again, with its function: a Get then
// allocates nothing but the copy of the value.
type lookup struct {
	key   string
	item  state.Item
	found bool
	now   uint64
	view  func(*state.Machine)
}

func (l *lookup) look(m *state.Machine) {
	l.item, l.found = m.Get(l.key)
	l.now = m.Time()
}

// Get returns the key's entry, or an error that is ErrNotFound. It sees every write
// that was acknowledged before the call, on whichever node; it blocks until a
// majority has confirmed that, until ctx ends, or the node. On a Stale store it
// does not block.
func (s *Store) Get(ctx context.Context, key string) (Entry, error) {
	const op = "get"
	if err := checkName("key", key); err != nil {
		return Entry{}, notDone(op, key, err)
	}
	if err := s.barrier(ctx, op, key); err != nil {
		return Entry{}, err
	}
	l := s.lookups.Get().(*lookup)
	l.key = key
	err := s.replica.View(l.view)
	item, found, now := l.item, l.found, l.now
	l.key, l.item = "", state.Item{} // what lies in the pool keeps no value alive
	s.lookups.Put(l)
	switch {
	case err != nil:
		return Entry{}, outcome.With(op, key, err, outcome.NotDone)
	case !found:
		return Entry{}, notDone(op, key, ErrNotFound)
	}
	return entryOf(&item, now), nil
}

// entryOf makes an entry with a copy of the value. now is agreed time.
func entryOf(item *state.Item, now uint64) Entry {
	e := bareEntry(item, now)
	if len(item.Value) > 0 {
		e.Value = bytes.Clone(item.Value)
	}
	return e
}

// bareEntry is entryOf without the value.
func bareEntry(item *state.Item, now uint64) Entry {
	return Entry{
		Key:       item.Key,
		Revision:  Revision(item.Revision),
		Created:   Revision(item.Created),
		TTL:       left(item.Expires, now),
		Ephemeral: item.Session != 0,
	}
}

// left returns what is left until expires; for what is due, which the next entry of
// the log sweeps away, the least there is: 0 would mean that it has no end.
func left(expires, now uint64) time.Duration {
	const most = math.MaxInt64 / uint64(time.Millisecond)
	switch {
	case expires == 0:
		return 0
	case expires <= now:
		return time.Millisecond
	}
	return time.Duration(min(expires-now, most)) * time.Millisecond
}
