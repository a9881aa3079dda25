package membership

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxPending bounds the changes kept for a reader that does not read.
const maxPending = 1024

// board is the current view and its readers. Every method is safe for
// concurrent use and none blocks, but for the stream itself.
type board struct {
	mu      sync.Mutex // guards all below
	members map[string]Member
	doubted map[string]bool // the latest attempt to reach it failed, perhaps by chance
	readers map[*reader]struct{}
	closed  error // set once; ends all streams
}

// reader is one stream's place on the board; board.mu guards it.
type reader struct {
	pending []Change
	skipped int
	wake    chan struct{} // capacity 1
}

func newBoard() *board {
	return &board{members: make(map[string]Member), doubted: make(map[string]bool), readers: make(map[*reader]struct{})}
}

// update makes next the membership and returns the changes that lead there.
// What the engine does not know (Since, Unreachable, Reason) carries over.
func (b *board) update(next []Member, now time.Time) []Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	var changes []Change
	known := make(map[string]bool, len(next))
	for _, m := range next {
		known[m.Name] = true
		prev, was := b.members[m.Name]
		m.Since = now
		if was && prev.Status == m.Status && prev.Incarnation == m.Incarnation {
			m.Since = prev.Since
			m.Unreachable, m.Reason = prev.Unreachable, prev.Reason
		}
		kind := kindOf(prev, m)
		b.members[m.Name] = m
		if kind != 0 {
			changes = append(changes, Change{Kind: kind, Member: m, Previous: prev})
		}
	}
	for name, prev := range b.members {
		if !known[name] {
			delete(b.members, name)
			delete(b.doubted, name)
			changes = append(changes, Change{Kind: Forgotten, Member: prev, Previous: prev})
		}
	}
	b.tellLocked(changes)
	return changes
}

// kindOf names the step from prev (zero: not known before) to next, or 0 when
// there is none.
func kindOf(prev, next Member) ChangeKind {
	alive := next.Status == StatusAlive
	switch {
	case prev.Status != next.Status && !alive:
		return map[Status]ChangeKind{StatusLeaving: Leaving, StatusLeft: Left, StatusFailed: Failed}[next.Status]
	case alive && prev.Status == 0:
		return Joined
	case alive && (prev.Status == StatusLeft || prev.Status == StatusFailed):
		return Returned
	case alive && prev.Incarnation != next.Incarnation:
		return Restarted
	case prev.Status != next.Status || prev.Incarnation != next.Incarnation || prev.PID != next.PID ||
		prev.Addr != next.Addr || prev.Version != next.Version || !maps.Equal(prev.Tags, next.Tags):
		return Updated
	}
	return 0
}

// reach records the outcome of an attempt of this node's own to reach name: the
// empty reason for success. A failure that is not certain, as when a lost packet
// outlasted a short patience, counts from the second in a row. It returns the
// change, if it was one.
func (b *board) reach(name, reason string, certain bool) (Change, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	prev, ok := b.members[name]
	if !ok || prev.Local || prev.Status != StatusAlive && reason != "" {
		return Change{}, false // that a dead one does not answer is known
	}
	doubted := b.doubted[name]
	delete(b.doubted, name)
	if prev.Unreachable == (reason != "") {
		return Change{}, false
	}
	if reason != "" && !certain && !doubted {
		b.doubted[name] = true
		return Change{}, false
	}
	next := prev
	next.Unreachable, next.Reason = reason != "", reason
	b.members[name] = next
	kind := Reachable
	if next.Unreachable {
		kind = Unreachable
	}
	change := Change{Kind: kind, Member: next, Previous: prev}
	b.tellLocked([]Change{change})
	return change, true
}

func (b *board) tellLocked(changes []Change) {
	if len(changes) == 0 {
		return
	}
	for r := range b.readers {
		r.pending = append(r.pending, changes...)
		if over := len(r.pending) - maxPending; over > 0 {
			r.skipped += over
			r.pending = slices.Delete(r.pending, 0, over)
		}
		r.nudge()
	}
}

func (r *reader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (b *board) get(name string) (Member, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.members[name]
	return m.clone(), ok
}

func (b *board) snapshot() []Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshotLocked()
}

func (b *board) snapshotLocked() []Member {
	members := make([]Member, 0, len(b.members))
	for _, m := range b.members {
		members = append(members, m.clone())
	}
	slices.SortFunc(members, Compare)
	return members
}

// close ends every stream with err.
func (b *board) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		b.closed = err
	}
	for r := range b.readers {
		r.nudge()
	}
}

// watch streams views; see Gossip.Watch. finish completes a view outside the lock.
func (b *board) watch(ctx context.Context, finish func(*View)) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		r := &reader{wake: make(chan struct{}, 1)}
		view, err := b.join(r)
		defer b.leave(r)
		for err == nil {
			finish(&view)
			if !yield(view, nil) {
				return
			}
			if view, err = b.next(ctx, r); ctx.Err() != nil {
				return
			}
		}
		yield(View{}, err)
	}
}

func (b *board) join(r *reader) (View, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return View{}, b.closed
	}
	b.readers[r] = struct{}{}
	return View{Members: b.snapshotLocked()}, nil
}

func (b *board) leave(r *reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, r)
}

// next waits for changes, or for ctx to end. Changes that came before the
// board was closed are still delivered.
func (b *board) next(ctx context.Context, r *reader) (View, error) {
	for {
		if ctx.Err() != nil {
			return View{}, ctx.Err()
		}
		if view, ok, err := b.take(r); ok || err != nil {
			return view, err
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

func (b *board) take(r *reader) (View, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(r.pending) == 0 {
		return View{}, false, b.closed
	}
	view := View{Members: b.snapshotLocked(), Changes: make([]Change, len(r.pending)), Skipped: r.skipped}
	for i, c := range r.pending {
		view.Changes[i] = Change{Kind: c.Kind, Member: c.Member.clone(), Previous: c.Previous.clone()}
	}
	r.pending, r.skipped = nil, 0
	return view, true, nil
}
