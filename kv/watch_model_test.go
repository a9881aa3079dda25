package kv_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// reader reads a watch, no faster than it is allowed to, and compares each element
// with the model.
type reader struct {
	model   *model
	match   func(key string) bool
	permits chan struct{}

	mu   sync.Mutex // guards what follows, until the watch has ended
	told []kv.Change
	err  error // with which it ended

	mirror  map[string]string
	syncing bool   // between a Resync, or the beginning, and Synced
	seen    uint64 // revision up to which it was told everything
	pending []string
	resyncs int
}

// read reads until the watch ends.
func (r *reader) read(changes iter.Seq2[kv.Change, error]) {
	for c, err := range changes {
		r.mu.Lock()
		r.told, r.err = append(r.told, c), err
		r.mu.Unlock()
		<-r.permits
	}
}

// check compares what was told by a watch after a revision with the model.
func (r *reader) check(after int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.seen, r.syncing, r.mirror = uint64(after), after == 0, make(map[string]string)
	for key, v := range r.model.at(r.seen) {
		if r.match(key) {
			r.mirror[key] = v.text
		}
	}
	for _, c := range r.told {
		if err := r.take(c); err != nil {
			return err
		}
	}
	return r.finish()
}

func (r *reader) take(c kv.Change) error {
	if c.Kind == kv.Resync {
		r.resyncs++
		claimed := uint64(c.Previous) // that nothing up to there is missing
		if missing := r.model.told(r.match, r.seen, claimed); claimed < r.seen || len(missing) > 0 || len(r.pending) > 0 {
			return fmt.Errorf("resync from %d, but the stream was at %d, missing %q and %q", claimed, r.seen, r.pending, missing)
		}
		r.syncing, r.mirror = true, make(map[string]string)
		return nil
	}
	switch c.Kind {
	case kv.Written:
		r.mirror[c.Key] = string(c.Value)
	case kv.Deleted, kv.Expired:
		delete(r.mirror, c.Key)
	}
	if r.syncing {
		return r.takeState(c)
	}
	return r.takeChange(c)
}

// takeState checks an element of the current state.
func (r *reader) takeState(c kv.Change) error {
	switch {
	case c.Kind == kv.Synced:
		r.syncing, r.seen = false, uint64(c.Revision)
		want := map[string]string{}
		for key, v := range r.model.at(r.seen) {
			if r.match(key) {
				want[key] = v.text
			}
		}
		if !c.Last || !maps.Equal(want, r.mirror) {
			return fmt.Errorf("synced at %d with %v, want %v", c.Revision, r.mirror, want)
		}
	case c.Last, !r.match(c.Key), c.Existing != (c.Kind == kv.Written):
		return fmt.Errorf("in the state: %+v", c)
	}
	return nil
}

// takeChange checks a change against what the model says must come next.
func (r *reader) takeChange(c kv.Change) error {
	told := fmt.Sprintf("%d %s %s", c.Revision, c.Kind, c.Key)
	if c.Kind == kv.Written {
		told += "=" + string(c.Value)
	}
	told += fmt.Sprintf(" previous=%d", c.Previous)
	if c.Last {
		told += " last"
	}
	if len(r.pending) == 0 {
		r.pending = r.model.told(r.match, r.seen, uint64(c.Revision))
	}
	// Within one revision the order is the writer's.
	i := slices.IndexFunc(r.pending, func(want string) bool {
		return strings.TrimSuffix(want, " last") == strings.TrimSuffix(told, " last")
	})
	if i < 0 || c.Existing || c.Last != (len(r.pending) == 1) {
		return fmt.Errorf("got %q (existing: %v), want one of %q", told, c.Existing, r.pending)
	}
	if r.pending = slices.Delete(r.pending, i, i+1); len(r.pending) == 0 {
		r.seen = uint64(c.Revision)
	}
	return nil
}

// finish checks that the reader, who was told all there is, has it right.
func (r *reader) finish() error {
	want := map[string]string{}
	for key, v := range r.model.current() {
		if r.match(key) {
			want[key] = v.text
		}
	}
	switch {
	case r.syncing, len(r.pending) > 0:
		return fmt.Errorf("the stream stopped half-way: %q", r.pending)
	case len(r.model.told(r.match, r.seen, r.model.revision())) > 0:
		return fmt.Errorf("the stream stopped at %d: %q are missing", r.seen, r.model.told(r.match, r.seen, r.model.revision()))
	case !maps.Equal(want, r.mirror):
		return fmt.Errorf("the reader has %v, want %v", r.mirror, want)
	}
	return nil
}

// scenario is a run of writers beside one watch.
type scenario struct {
	history       uint64 // events that the cluster remembers
	name          string
	exact         bool
	before, after []step
	from          int // the watch begins after this revision; may be in the future
	stale         bool
	nibble        int // how much the watch takes at once
}

func drawScenario(t *rapid.T) scenario {
	s := scenario{
		history: rapid.SampledFrom([]uint64{1, 3, 8, 1000}).Draw(t, "history"),
		name:    rapid.SampledFrom([]string{"", "a", "a/", "a/2", "b/", "zz"}).Draw(t, "name"),
		exact:   rapid.Bool().Draw(t, "exact"),
		stale:   rapid.Bool().Draw(t, "stale"),
		nibble:  rapid.IntRange(1, 4).Draw(t, "nibble"),
	}
	if s.exact && s.name == "" {
		s.name = "a"
	}
	kinds := append([]string{"read", "read", "hold", "release", "install"}, writing...)
	for range rapid.IntRange(0, 20).Draw(t, "before") {
		s.before = append(s.before, drawStep(t, writing))
	}
	for range rapid.IntRange(0, 40).Draw(t, "after") {
		s.after = append(s.after, drawStep(t, kinds))
	}
	if rapid.Bool().Draw(t, "from a revision") {
		s.from = rapid.IntRange(1, 30).Draw(t, "from")
	}
	return s
}

// run plays the scenario and returns what is wrong.
func (s scenario) run(t *testing.T) (r *reader, err error) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := replicatest.New(&statepb.Limits{HistoryEvents: s.history})
		m := newModel(c)
		for _, step := range s.before {
			if err = m.write(ctx, step); err != nil {
				return
			}
		}
		n := c.Join()
		store := kv.New(n)
		store.Nibble(s.nibble)
		if s.stale {
			store = store.Stale()
		}
		r = &reader{model: m, permits: make(chan struct{}, 1<<20), match: func(key string) bool { return strings.HasPrefix(key, s.name) }}
		watch := store.Watch
		if s.exact {
			watch = store.WatchKey
			r.match = func(key string) bool { return key == s.name }
		}
		go r.read(watch(ctx, s.name, kv.Revision(s.from)))
		if err = s.play(ctx, m, n, r); err == nil {
			err = r.check(s.from)
		}
		cancel()
		synctest.Wait()
		if left := n.Subscriptions(); err == nil && left > 0 {
			err = fmt.Errorf("%d subscriptions are left", left)
		}
	})
	return r, err
}

func (s scenario) play(ctx context.Context, m *model, n *node, r *reader) error {
	for _, step := range s.after {
		switch step.do {
		case "read":
			for range step.count {
				r.permits <- struct{}{}
			}
		case "hold":
			n.Delay(true)
		case "release":
			n.Delay(false)
		case "install":
			n.Install()
		}
		if err := m.write(ctx, step); err != nil {
			return err
		}
		synctest.Wait()
	}
	// Whoever waits for a revision of the future must reach it.
	for s.from > int(m.revision()) {
		if err := m.write(ctx, step{do: "set", keys: []string{"c"}}); err != nil {
			return err
		}
	}
	n.Delay(false)
	close(r.permits)
	synctest.Wait()
	return nil
}

// TestWatchIsCompleteAndInOrder (S16): whatever writers do, however slow the reader,
// however short the memory of the cluster, behind or jumping ahead by snapshots: every
// change is told once, in order, or the stream says that some are lost.
func TestWatchIsCompleteAndInOrder(t *testing.T) {
	resyncs := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		r, err := s.run(t)
		if err != nil {
			rt.Fatalf("%+v: %v", s, err)
		}
		if r.resyncs > 0 && s.history == 1000 && s.from <= int(r.model.revision()) {
			rt.Fatalf("%d resyncs, but nothing was forgotten", r.resyncs)
		}
		resyncs += r.resyncs
	})
	if resyncs == 0 {
		t.Error("no scenario led to a resync: the test is blind on one eye")
	}
}
