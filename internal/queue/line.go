package queue

import (
	"context"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// line is one queue as the places of one holder that stand in it see it. Who applies a
// change looks at the queue afterwards, on behalf of them all: only those are woken whose
// turn it is, or whose place is lost.
type line struct {
	lineName
	owner    *Places
	queue    *statepb.QueueName // for commands
	users    int                // places that are not settled; guarded by owner.mu
	unlisten func()

	// mu is taken within View, and held for moments only.
	mu       sync.Mutex
	standing map[uint64]*Place // those that entered, by token
	reach    int               // how far from the head somebody waits for
	last     glimpse
	pass     uint64 // counts looks at a queue that had changed
	woken    uint64 // counts waits that were told
	audits   uint64 // counts looks at the whole of a queue that had changed
}

// glimpse is what was seen at the last look.
type glimpse struct {
	revision uint64   // of the queue
	length   int      // of the queue
	newest   uint64   // the highest token
	head     []uint64 // tokens of those who held, or whom somebody waits to be among, and some more
}

// spare is how many tokens behind those that matter are remembered, so that as many
// handovers between two looks are still understood.
const spare = 8

func newLine(p *Places, name lineName) *line {
	l := &line{
		lineName: name,
		owner:    p,
		queue:    &statepb.QueueName{Kind: name.kind, Name: name.name},
		standing: make(map[uint64]*Place),
	}
	l.unlisten = p.replica.Listen(name.name, func() { l.look(nil) })
	return l
}

// abandon ends all places: nothing can be known of them any more, for the replica has ended.
func (l *line) abandon(cause error) {
	l.mu.Lock()
	left := slices.Collect(maps.Values(l.standing))
	l.mu.Unlock()
	for _, p := range left {
		p.cancel(cause)
		p.settle(p.lost(cause))
	}
}

// loss is a place that is not held any more.
type loss struct {
	place *Place
	cause error
	gone  bool // from the queue; else it was revoked
}

// look compares the queue with what was seen before, then calls also.
func (l *line) look(also func(m *state.Machine, q state.Queue) []loss) {
	var losses []loss
	err := l.owner.View(l.kind, l.name, func(m *state.Machine, q state.Queue) {
		l.mu.Lock()
		defer l.mu.Unlock()
		losses = l.compare(m, q)
		if also != nil {
			losses = append(losses, also(m, q)...)
		}
	})
	if err != nil {
		return // the replica ends, or has no state: there is nothing to be seen
	}
	for _, lost := range losses {
		lost.place.cancel(lost.cause)
		if lost.gone {
			lost.place.settle(lost.place.lost(lost.cause))
		}
	}
}

// compare tells those who wait that it is their turn, and returns who has lost a
// place. mu is held.
func (l *line) compare(m *state.Machine, q state.Queue) (losses []loss) {
	if q.Revision == l.last.revision {
		return nil
	}
	l.pass++
	whole := l.kind != statepb.QueueName_LOCK || !l.explained(q)
	seen := q.Slots
	if whole {
		l.audits++
	} else {
		seen = seen[:min(len(seen), max(l.reach, q.Holding()))]
	}
	for i, s := range seen {
		p := l.standing[s.Token]
		if p == nil {
			continue
		}
		p.pass = l.pass
		if p.held = i < q.Holding(); !s.Revoked {
			l.grant(p, i)
		} else if p.ctx.Err() == nil {
			losses = append(losses, loss{place: p, cause: ErrBroken})
		}
	}
	if whole {
		for _, p := range l.standing {
			if p.pass != l.pass {
				losses = l.gone(losses, m, p)
			}
		}
	} else {
		for _, token := range l.last.head {
			if p := l.standing[token]; p != nil && l.find(q, token) < 0 {
				losses = l.gone(losses, m, p)
			}
		}
	}
	l.remember(q)
	return losses
}

// explained reports whether all who have left the queue since the last look were at
// its head, as is the rule when a lock is handed on: then nobody else need be looked
// for, however many wait. It relies on tokens that ascend, as a lock's do.
func (l *line) explained(q state.Queue) bool {
	fresh := len(q.Slots) - sort.Search(len(q.Slots), func(i int) bool { return q.Slots[i].Token > l.last.newest })
	gone := 0
	for _, token := range l.last.head {
		if l.find(q, token) < 0 {
			gone++
		}
	}
	return l.last.length-gone == len(q.Slots)-fresh
}

func (l *line) remember(q state.Queue) {
	l.last.revision, l.last.length = q.Revision, len(q.Slots)
	l.last.head = l.last.head[:0]
	if l.kind != statepb.QueueName_LOCK {
		return // it is always looked at as a whole
	}
	for _, s := range q.Slots[:min(len(q.Slots), max(l.reach, q.Holding())+spare)] {
		l.last.head = append(l.last.head, s.Token)
	}
	if len(q.Slots) > 0 {
		l.last.newest = q.Slots[len(q.Slots)-1].Token
	}
}

// grant tells those for whom position i of p is near enough.
func (l *line) grant(p *Place, i int) {
	p.waits = slices.DeleteFunc(p.waits, func(w *wait) bool {
		if i >= w.n {
			return false
		}
		if planted.Bug(planted.WaiterForgotten) && l.pass%8 == 0 {
			return true
		}
		l.woken++
		close(w.done)
		return true
	})
}

// gone adds the loss of p. Who is leaving finds out by himself.
func (l *line) gone(losses []loss, m *state.Machine, p *Place) []loss {
	if p.leaving {
		return losses
	}
	cause := ErrLost
	if !p.held {
		cause = ErrBroken // who only waits is removed when he is revoked
	}
	if over := p.sessionOver(m); over != nil {
		cause = over
	}
	return append(losses, loss{place: p, cause: cause, gone: true})
}

// find returns the position of the token in q, -1 if it is not there.
func (l *line) find(q state.Queue, token uint64) int {
	if l.kind != statepb.QueueName_LOCK {
		i, _ := q.Find(token)
		return i
	}
	i := sort.Search(len(q.Slots), func(i int) bool { return q.Slots[i].Token >= token })
	if i < len(q.Slots) && q.Slots[i].Token == token {
		return i
	}
	return -1
}

// follow lets p, which has its token now, be looked after.
func (l *line) follow(p *Place) {
	l.look(func(m *state.Machine, q state.Queue) []loss {
		if p.over {
			return nil
		}
		l.standing[p.token] = p
		p.followed = true
		i := l.find(q, p.token)
		if i < 0 {
			return l.gone(nil, m, p)
		}
		p.held = i < q.Holding()
		if q.Slots[i].Revoked {
			return []loss{{place: p, cause: ErrBroken}}
		}
		return nil
	})
	if ended := l.owner.replica.Context(); ended.Err() != nil { // its end may not have met p here
		p.cancel(context.Cause(ended))
		p.settle(p.lost(context.Cause(ended)))
	}
}

// await returns nil if p is among the first n, else one who waits for that.
func (l *line) await(p *Place, n int) *wait {
	w := &wait{n: n, done: make(chan struct{})}
	near := false
	l.look(func(_ *state.Machine, q state.Queue) []loss {
		i := l.find(q, p.token)
		near = i >= 0 && i < n && !q.Slots[i].Revoked && p.ctx.Err() == nil
		if !near {
			l.reach = max(l.reach, n)
			p.waits = append(p.waits, w)
		}
		return nil
	})
	if near {
		return nil
	}
	return w
}

// forget takes back a wait.
func (l *line) forget(p *Place, w *wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.waits = slices.DeleteFunc(p.waits, func(other *wait) bool { return other == w })
}
