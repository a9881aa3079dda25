package check

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/internal/outcome"
)

func TestMain(m *testing.M) { leak.Main(m) }

// bug is a fault that a store may have; 0 is none.
type bug int

const (
	noBug bug = iota
	staleReads
	staleLists
	lostUpdates
	inventedValues
	repeatedWrites
	lostWrites
	reusedRevisions
	revisionsBackwards
	ignoredConditions
	falseConflicts
	tornTransactions
	droppedEvents
	swappedEvents
	wrongPrevious
	silentGaps
	tornStates
	lyingFailures
)

// store is a correct store, unless it has a bug: one map, one lock.
type store struct {
	bug bug

	mu       sync.Mutex // guards all below
	rng      *rand.Rand
	revision uint64
	keys     map[string]Entry
	log      []Event // all changes
	past     []map[string]Entry
	last     func() // the last write, again
}

func newStore(seed uint64, b bug) *store {
	return &store{bug: b, rng: rand.New(rand.NewPCG(seed, 99)), keys: make(map[string]Entry)}
}

// strikes decides whether the bug b happens now.
func (s *store) strikes(b bug) bool { return s.bug == b && s.rng.IntN(6) == 0 }

// do does op at this moment.
func (s *store) do(op Op) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = append(s.past, maps.Clone(s.keys))
	if s.last != nil && s.strikes(repeatedWrites) {
		s.last()
	}
	if s.strikes(lostWrites) {
		s.forget()
	}
	conflict := slices.ContainsFunc(op.If, func(c Condition) bool { return !s.holds(c) })
	switch {
	case s.strikes(ignoredConditions):
		conflict = false
	case len(op.If) > 0 && s.strikes(falseConflicts):
		conflict = true
	}
	if op.Kind == Txn {
		return s.txn(op, conflict)
	}
	r := Result{Outcome: outcome.Done}
	if conflict {
		e, ok := s.keys[op.If[0].Key]
		r.Conflict, r.Found, r.Revision = true, ok, e.Revision
		return r
	}
	if op.Kind == Get {
		return s.get(op)
	}
	if op.Kind == List {
		r.Entries, r.Revision = s.list(op), s.revision
		return r
	}
	s.last = func() { s.change([]Op{op}) }
	r = s.change([]Op{op})[0]
	if op.Kind == Delete && s.rng.IntN(2) == 0 {
		r.Found, r.Untold = false, true
	}
	return r
}

func (s *store) holds(c Condition) bool {
	e, ok := s.keys[c.Key]
	switch c.Test {
	case Exists:
		return ok
	case HasValue:
		return ok && e.Value == c.Value
	}
	return e.Revision == c.Revision
}

func (s *store) txn(op Op, conflict bool) Result {
	branch := op.Then
	if conflict {
		branch = op.Else
	}
	if s.strikes(tornTransactions) && len(branch) > 0 {
		s.change(branch[len(branch)-1:])
	}
	r := Result{Outcome: outcome.Done, Conflict: conflict, Ops: s.change(branch)}
	r.Revision = s.revision
	return r
}

func (s *store) get(op Op) Result {
	view := s.keys
	switch {
	case s.strikes(staleReads):
		view = s.past[s.rng.IntN(len(s.past))]
	case s.strikes(inventedValues):
		return Result{Outcome: outcome.Done, Found: true, Value: "invented", Revision: max(s.revision, 1)}
	}
	e, ok := view[op.Key]
	return Result{Outcome: outcome.Done, Found: ok, Value: e.Value, Revision: e.Revision}
}

func (s *store) list(op Op) []Entry {
	view := s.keys
	if s.strikes(staleLists) {
		view = s.past[s.rng.IntN(len(s.past))]
	}
	var found []Entry
	for _, k := range slices.Sorted(maps.Keys(view)) {
		if strings.HasPrefix(k, op.Key) && (op.After == "" || k > op.After) && (op.Limit == 0 || len(found) < op.Limit) {
			found = append(found, view[k])
		}
	}
	return found
}

// change does all ops with one revision, if they change anything.
func (s *store) change(ops []Op) []Result {
	next := s.revision + 1
	var events []Event
	var results []Result
	write := func(key string, e *Entry) {
		ev := Event{Key: key, Revision: next, Prev: s.keys[key].Revision}
		if e == nil {
			ev.Kind = Deleted
			delete(s.keys, key)
		} else {
			ev.Value = e.Value
			s.keys[key] = *e
		}
		if s.strikes(wrongPrevious) {
			ev.Prev = ev.Prev / 2
		}
		events = append(events, ev)
	}
	for _, op := range ops {
		r := Result{Outcome: outcome.Done}
		switch op.Kind {
		case Get:
			e, ok := s.keys[op.Key]
			r.Found, r.Value, r.Revision = ok, e.Value, e.Revision
		case Set:
			if !s.strikes(lostUpdates) {
				write(op.Key, &Entry{op.Key, op.Value, next})
			}
			r.Revision = next
		case Delete:
			_, r.Found = s.keys[op.Key]
			if r.Found {
				write(op.Key, nil)
			}
		case DeletePrefix:
			for _, k := range slices.Sorted(maps.Keys(s.keys)) {
				if strings.HasPrefix(k, op.Key) {
					write(k, nil)
					r.Count++
				}
			}
		}
		results = append(results, r)
	}
	if len(events) > 0 {
		s.commit(next, events)
	}
	for i := range results {
		if ops[i].Kind != Get {
			results[i].Revision = s.revision
		}
	}
	return results
}

// commit appends the events of one revision to the log.
func (s *store) commit(revision uint64, events []Event) {
	for i := range events {
		events[i].More = i < len(events)-1
	}
	switch {
	case s.strikes(reusedRevisions):
	case s.strikes(revisionsBackwards):
		s.revision = revision / 2
	default:
		s.revision = revision
	}
	switch {
	case s.strikes(droppedEvents) && len(events) == 1:
	case s.strikes(swappedEvents) && len(s.log) > 0:
		last := s.log[len(s.log)-1]
		s.log = append(s.log[:len(s.log)-1], append(events, last)...)
	default:
		s.log = append(s.log, events...)
	}
}

// forget goes back to an earlier state, or brings back a removed key.
func (s *store) forget() {
	s.keys = maps.Clone(s.past[max(0, len(s.past)-2)])
}

// reader is one watcher of a store.
type reader struct {
	store  *store
	feed   *Feed
	begun  bool
	cursor uint64
}

// read tells the feed what is new. It is too late if the cursor is below floor: what
// happened until then is forgotten.
func (r *reader) read(floor uint64) {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	late := r.begun && r.cursor < min(floor, s.revision)
	switch {
	case late && s.bug == silentGaps:
	case late:
		r.feed.Saw(Event{Kind: Resync, Prev: r.cursor})
		r.state()
	case !r.begun:
		r.state()
	default:
		r.changes()
	}
	r.begun, r.cursor = true, max(r.cursor, s.revision)
}

func (r *reader) state() {
	for i, e := range r.store.list(Op{Key: r.feed.stream.Prefix}) {
		if r.store.bug != tornStates || i > 0 {
			r.feed.Saw(Event{Kind: Existing, Key: e.Key, Value: e.Value, Revision: e.Revision})
		}
	}
	r.feed.Saw(Event{Kind: Synced, Revision: r.store.revision})
}

func (r *reader) changes() {
	var events []Event
	for _, e := range r.store.log {
		if e.Revision > r.cursor && strings.HasPrefix(e.Key, r.feed.stream.Prefix) {
			events = append(events, e)
		}
	}
	for i, e := range events {
		e.More = i+1 < len(events) && events[i+1].Revision == e.Revision
		r.feed.Saw(e)
	}
}

func (s *store) entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.keys), func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
}

// direct is a client of a store without any distance.
type direct struct{ store *store }

func (c direct) Do(_ context.Context, op Op) Result { return c.store.do(op) }

var errLost = errors.New("the answer was lost")

// remote is a client of a store that takes its time and loses answers.
type remote struct {
	store *store
	rng   *rand.Rand
	delay time.Duration // mean, each way
	late  *sync.WaitGroup
	lost  float64 // how often
}

func (c *remote) pause() { time.Sleep(time.Duration(c.rng.ExpFloat64() * float64(c.delay))) }

func (c *remote) Do(_ context.Context, op Op) Result {
	c.pause()
	if c.rng.Float64() < c.lost {
		return c.lose(op)
	}
	r := c.store.do(op)
	c.pause()
	return r
}

// lose fails in one of the ways in which an answer gets lost: never done, done, done
// later; or it is known that it was not done.
func (c *remote) lose(op Op) Result {
	err := Result{Outcome: outcome.Unknown, Err: errLost}
	switch c.rng.IntN(4) {
	case 0:
	case 1:
		c.store.do(op)
	case 2:
		delay := time.Duration(c.rng.ExpFloat64() * 5 * float64(c.delay))
		c.late.Go(func() {
			time.Sleep(delay)
			c.store.do(op)
		})
	case 3:
		if c.store.bug == lyingFailures {
			c.store.do(op)
		}
		err.Outcome = outcome.NotDone
	}
	return err
}
