package lock_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/lock"
)

// storm is a scenario: what happens to a lock, in order.
type storm struct {
	limit int
	steps []step
}

type step struct {
	do  string
	who int // a contender, a node or a position, by do
	n   int
}

func (s step) String() string { return fmt.Sprintf("%s %d %d", s.do, s.who, s.n) }

const (
	stormNodes      = 3
	stormContenders = 9 // three on each node
)

var stormSteps = []string{
	"acquire", "acquire", "acquire", "acquire", "try", "cancel", "release", "release", "release",
	"end", "break", "delay", "catch up", "refuse", "lose", "install", "settle", "settle",
}

func drawStorm(t *rapid.T) storm {
	s := storm{limit: rapid.IntRange(1, 3).Draw(t, "limit")}
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		s.steps = append(s.steps, step{
			do:  rapid.SampledFrom(stormSteps).Draw(t, "do"),
			who: rapid.IntRange(0, stormContenders-1).Draw(t, "who"),
			n:   rapid.IntRange(1, 3).Draw(t, "n"),
		})
	}
	return s
}

// world is what the storm goes over.
type world struct {
	cluster    *replicatest.Cluster
	nodes      []*node
	trouble    []*trouble
	contenders []*contender
	limit      int

	mu     sync.Mutex // guards all below
	live   map[*lock.Held]bool
	tokens []uint64 // in the order in which they were granted
	wrong  error
	grants int
}

// trouble is what a node's next proposals meet.
type trouble struct{ refuse, lose atomic.Int32 }

func strikes(left *atomic.Int32, cmd *statepb.Command) error {
	if (cmd.GetEnter() != nil || cmd.GetLeave() != nil) && left.Add(-1) >= 0 {
		return errInjected
	}
	return nil
}

// contender is one who wants the lock, again and again.
type contender struct {
	node *node
	lock *lock.Lock

	// Guarded by the world's mu.
	busy   bool
	cancel context.CancelFunc
	held   *lock.Held
}

func newWorld(limit int) *world {
	w := &world{cluster: replicatest.New(nil), limit: limit, live: make(map[*lock.Held]bool)}
	for range stormNodes {
		n, t := join(w.cluster), new(trouble)
		n.BeforePropose = func(_ context.Context, cmd *statepb.Command) error { return strikes(&t.refuse, cmd) }
		n.AfterPropose = func(_ context.Context, cmd *statepb.Command) error { return strikes(&t.lose, cmd) }
		w.nodes, w.trouble = append(w.nodes, n), append(w.trouble, t)
	}
	for i := range stormContenders {
		n := w.nodes[i%stormNodes]
		w.contenders = append(w.contenders, &contender{node: n, lock: n.lock("a", lock.Limit(limit))})
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format, args...)
	}
}

// acquire lets c stand in line.
func (w *world) acquire(c *contender, try bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.busy || c.held != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.busy, c.cancel = true, cancel
	go func() {
		defer cancel()
		acquire := c.lock.Acquire
		if try {
			acquire = c.lock.TryAcquire
		}
		held, err := acquire(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		if c.busy = false; err != nil {
			w.check(err)
			return
		}
		c.held = held
		w.granted(held)
	}()
}

// granted is called with mu held, at the moment of a grant.
func (w *world) granted(held *lock.Held) {
	maps.DeleteFunc(w.live, func(h *lock.Held, _ bool) bool { return h.Context().Err() != nil })
	w.grants++
	if held.Context().Err() == nil {
		w.live[held] = true
	}
	if len(w.live) > w.limit {
		w.fail("%d hold at a time", len(w.live))
	}
	switch {
	case slices.Contains(w.tokens, held.Token()):
		w.fail("the token %d was granted twice", held.Token())
	case w.limit == 1 && len(w.tokens) > 0 && held.Token() < w.tokens[len(w.tokens)-1]:
		w.fail("the token %d after %v", held.Token(), w.tokens)
	}
	w.tokens = append(w.tokens, held.Token())
}

// check judges the error of an acquire.
func (w *world) check(err error) {
	if outcome.Of(err) != outcome.NotDone {
		w.fail("an acquire with the outcome %v: %w", outcome.Of(err), err)
	}
	for _, known := range []error{errInjected, context.Canceled, lock.ErrHeld, lock.ErrBroken, outcome.ErrSessionEnded} {
		if errors.Is(err, known) {
			return
		}
	}
	w.fail("an acquire: %w", err)
}

func (w *world) release(c *contender) {
	w.mu.Lock()
	held := c.held
	c.held = nil
	if held != nil {
		delete(w.live, held)
	}
	w.mu.Unlock()
	if held == nil {
		return
	}
	err := held.Release(context.Background())
	if err != nil && !errors.Is(err, errInjected) && !errors.Is(err, outcome.ErrSessionEnded) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fail("release: %w", err)
	}
}

func (w *world) do(s step) {
	c, n := w.contenders[s.who], w.nodes[s.who%stormNodes]
	switch s.do {
	case "acquire", "try":
		w.acquire(c, s.do == "try")
	case "cancel":
		w.mu.Lock()
		if c.busy {
			c.cancel()
		}
		w.mu.Unlock()
	case "release":
		go w.release(c)
	case "end":
		if id := n.SessionID(); id != 0 {
			w.cluster.End(id)
		}
	case "break":
		if all := w.cluster.Queue(statepb.QueueName_LOCK, "a"); len(all) > 0 {
			err := n.lock("a").Break(context.Background(), all[s.who%len(all)].Token)
			if err != nil && !errors.Is(err, lock.ErrNotHeld) {
				w.mu.Lock()
				w.fail("break: %w", err)
				w.mu.Unlock()
			}
		}
	case "delay":
		n.Delay(true)
	case "catch up":
		n.Delay(false)
	case "refuse":
		w.trouble[s.who%stormNodes].refuse.Store(int32(s.n))
	case "lose":
		w.trouble[s.who%stormNodes].lose.Store(int32(s.n))
	case "install":
		n.Install()
	case "settle":
		w.settle()
	}
	if s.n == 1 {
		synctest.Wait()
	}
}

// settle waits until nothing happens any more, and compares: those who hold by the
// agreed state are those who believe so, unless they were asked to go.
func (w *world) settle() {
	for _, n := range w.nodes {
		n.Delay(false)
	}
	time.Sleep(time.Minute) // what was repeated in the background is done by then
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var hold, believe []uint64
	all := w.cluster.Queue(statepb.QueueName_LOCK, "a")
	for i, s := range all {
		if i < w.limit && !s.Revoked {
			hold = append(hold, s.Token)
		}
		if i > 0 && all[i-1].Token >= s.Token {
			w.fail("in line: %v", all)
		}
	}
	for h := range w.live {
		if h.Context().Err() == nil {
			believe = append(believe, h.Token())
		}
	}
	if slices.Sort(believe); !slices.Equal(hold, believe) {
		w.fail("%v hold, and %v believe it", hold, believe)
	}
}

// calm ends everything and looks for what is left.
func (w *world) calm() {
	for _, t := range w.trouble {
		t.refuse.Store(0)
		t.lose.Store(0)
	}
	for range 2 { // who holds at the second look was granted after the first
		w.settle()
		for _, c := range w.contenders {
			w.mu.Lock()
			if c.busy {
				c.cancel()
			}
			w.mu.Unlock()
			w.release(c)
		}
	}
	w.settle()
	if all := w.cluster.Queue(statepb.QueueName_LOCK, "a"); len(all) > 0 {
		w.fail("left in line: %v", all)
	}
	for _, n := range w.nodes {
		if left := n.Subscriptions(); left > 0 {
			w.fail("%s: %d subscriptions are left", n.Name, left)
		}
		n.close()
	}
}

// TestStorm: at no moment do more hold than may, tokens only grow, whoever should hold
// the lock finds out, and when all is over the queue is empty: with contenders that
// are cancelled, sessions that end, answers that are lost, breaks, and nodes that are
// behind or jump ahead.
func TestStorm(t *testing.T) {
	grants := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := drawStorm(rt)
		var w *world
		bubble.Test(t, func(t *testing.T) {
			w = newWorld(s.limit)
			for _, step := range s.steps {
				w.do(step)
			}
			w.calm()
		})
		if w.wrong != nil {
			rt.Fatalf("limit %d, %v: %v", s.limit, s.steps, w.wrong)
		}
		grants += w.grants
	})
	if grants < 100 {
		t.Errorf("only %d grants: the storm is none", grants)
	}
}
