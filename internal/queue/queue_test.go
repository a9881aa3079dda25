package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

func TestMain(m *testing.M) { leak.Main(m) }

var errInjected = errors.New("injected")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func start(t testing.TB, c *replicatest.Cluster) (*replicatest.Node, *queue.Places) {
	n := c.Join()
	p := queue.New(n, n.Name)
	t.Cleanup(func() { n.Close(); p.Close() })
	return n, p
}

func lockRequest(name string) queue.Request {
	return queue.Request{Kind: statepb.QueueName_LOCK, Queue: name, Limit: 1}
}

func groupRequest(name, member string) queue.Request {
	return queue.Request{Kind: statepb.QueueName_GROUP, Queue: name, Member: member}
}

// TestCrowd: ten thousand who wait for one lock get it in the order of their tokens,
// and each handover wakes one of them and looks at the head only.
func TestCrowd(t *testing.T) {
	const crowd = 10_000
	c := replicatest.New(nil)
	_, first := start(t, c)
	_, second := start(t, c)
	ctx := t.Context()
	var mu sync.Mutex // guards granted
	var granted []uint64
	places := [2]*queue.Places{first, second}
	hold := must(first.Enter(ctx, "enter", lockRequest("a")))
	var wg sync.WaitGroup
	for i := range crowd { // all at once: more than a replica takes
		wg.Go(func() {
			place, err := places[i%2].Enter(ctx, "enter", lockRequest("a"))
			if err == nil {
				err = place.Await(ctx, 1)
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			granted = append(granted, place.Token())
			mu.Unlock()
			if err := place.Leave(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	entered := func() (n int) {
		c.View(func(m *state.Machine) {
			q, _ := m.Queue(statepb.QueueName_LOCK, "a")
			n = len(q.Slots)
		})
		return n
	}
	for deadline := time.Now().Add(time.Minute); entered() <= crowd; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they do not come in")
		}
	}
	var audits uint64
	for _, p := range places {
		if woken, n, ok := p.Woken(statepb.QueueName_LOCK, "a"); !ok || woken != 0 {
			t.Errorf("%d were woken before anybody has left", woken)
		} else {
			audits += n
		}
	}
	waiter := must(second.Enter(ctx, "enter", lockRequest("a"))) // keeps the second line
	keeper := must(first.Enter(ctx, "enter", lockRequest("a")))  // and the first
	must(0, hold.Leave(ctx))
	wg.Wait()
	if len(granted) != crowd || !slices.IsSorted(granted) {
		t.Errorf("%d were granted, in order: %v", len(granted), slices.IsSorted(granted))
	}
	var woken, after uint64
	for _, p := range places {
		w, n, _ := p.Woken(statepb.QueueName_LOCK, "a")
		woken, after = woken+w, after+n
	}
	if woken != crowd {
		t.Errorf("%d were woken for %d handovers", woken, crowd)
	}
	if after-audits > crowd/100 {
		t.Errorf("%d looks at the whole queue in %d handovers", after-audits, crowd)
	}
	must(0, waiter.Leave(ctx))
	must(0, keeper.Leave(ctx))
}

// TestSomebodyBehindLeaves: those who leave the middle are missed although nobody looks
// there as a rule.
func TestSomebodyBehindLeaves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := replicatest.New(nil)
		n, p := start(t, c)
		ctx := t.Context()
		var all []*queue.Place
		for range 5 {
			all = append(all, must(p.Enter(ctx, "enter", lockRequest("a"))))
		}
		errs := make([]error, 5)
		for i, place := range all[1:] {
			go func() { errs[i+1] = place.Await(ctx, 1) }()
		}
		synctest.Wait()
		revoke := func(place *queue.Place) {
			r := c.Propose(&statepb.Command{Op: &statepb.Command_Revoke{Revoke: &statepb.Revoke{
				Queue: &statepb.QueueName{Name: "a"}, Token: place.Token(),
			}}})
			if r.GetCode() != statepb.Result_OK {
				t.Fatal(r)
			}
			synctest.Wait()
		}
		revoke(all[2])
		if !errors.Is(errs[2], queue.ErrBroken) {
			t.Errorf("got %v", errs[2])
		}
		n.Delay(true) // several things happen between two looks
		revoke(all[3])
		c.Propose(&statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{Queue: &statepb.QueueName{Name: "a"}, Token: all[0].Token()}}})
		n.Delay(false)
		synctest.Wait()
		if !errors.Is(errs[3], queue.ErrBroken) || context.Cause(all[0].Context()) != queue.ErrLost {
			t.Errorf("got %v and %v", errs[3], context.Cause(all[0].Context()))
		}
		if position, ok := all[1].Position(); position != 0 || !ok || all[1].Context().Err() != nil {
			t.Errorf("at %d: %v", position, context.Cause(all[1].Context()))
		}
		if _, ok := all[3].Position(); ok {
			t.Error("who is gone has a position")
		}
		must(0, all[1].Leave(ctx))
		must(0, all[4].Leave(ctx))
		synctest.Wait()
		if lines, _ := p.Lines(); lines != 0 || n.Subscriptions() != 0 {
			t.Errorf("%d lines, %d subscriptions", lines, n.Subscriptions())
		}
	})
}

// TestAmongTheFirst: several waits for one place, each for its own number.
func TestAmongTheFirst(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := replicatest.New(nil)
		_, p := start(t, c)
		ctx := t.Context()
		var all []*queue.Place
		for i := range 5 {
			all = append(all, must(p.Enter(ctx, "enter", groupRequest("g", fmt.Sprint(i)))))
		}
		var done [6]bool
		for n := 1; n <= 5; n++ {
			go func() {
				must(0, all[4].Await(ctx, n))
				done[n] = true
			}()
		}
		gaveUp, cancel := context.WithCancelCause(ctx)
		cancel(errInjected)
		if err := all[4].Await(gaveUp, 1); err != errInjected {
			t.Errorf("got %v", err)
		}
		for left := range 5 {
			synctest.Wait()
			for n := 1; n <= 5; n++ {
				if done[n] != (n > 4-left) {
					t.Fatalf("%d have left, among the first %d: %v", left, n, done[n])
				}
			}
			must(0, all[left].Leave(ctx))
		}
		synctest.Wait()
		if err := all[4].Await(ctx, 1); err != queue.ErrLeft {
			t.Errorf("got %v", err)
		}
	})
}

// TestChosenNames: one place for a name, until it is settled.
func TestChosenNames(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := replicatest.New(nil)
		n, p := start(t, c)
		ctx := t.Context()
		n.AfterPropose = func(_ context.Context, cmd *statepb.Command) error {
			if cmd.GetEnter() != nil {
				time.Sleep(time.Second)
			}
			return nil
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err := p.Enter(short, "enter", groupRequest("g", "m"))
		if !errors.Is(err, context.DeadlineExceeded) || outcome.Of(err) != outcome.NotDone {
			t.Fatal(err)
		}
		place := must(p.Enter(ctx, "enter", groupRequest("g", "m"))) // after the former one has gone
		slots := c.Queue(statepb.QueueName_GROUP, "g")
		if len(slots) != 1 || slots[0].Token != place.Token() || place.Member() != "m" {
			t.Fatalf("got %+v", slots)
		}
		if _, err := p.Enter(ctx, "enter", groupRequest("g", "m")); !errors.Is(err, queue.ErrTaken) {
			t.Errorf("got %v", err)
		}
		must(p.Enter(ctx, "enter", groupRequest("h", "m"))).Abandon()
		must(0, place.Leave(ctx))
		synctest.Wait()
		if lines, named := p.Lines(); lines+named != 0 {
			t.Errorf("%d lines, %d names", lines, named)
		}
	})
}

func TestNames(t *testing.T) {
	_, p := start(t, replicatest.New(nil))
	seen := make(map[string]bool)
	for _, name := range []string{"alpha", "a#1", "#", "", "a#"} {
		for range 3 {
			member := p.Unique(name)
			if seen[member] || queue.Name(member) != name {
				t.Errorf("%q became %q, which reads as %q", name, member, queue.Name(member))
			}
			seen[member] = true
		}
	}
	for _, name := range []string{"", "#", "a#", "a#b", "a#1b", "a#-1"} {
		if queue.Name(name) != name {
			t.Errorf("%q reads as %q", name, queue.Name(name))
		}
	}
}

// TestUnexpectedAnswer: an answer that nobody should give is told as unknown.
func TestUnexpectedAnswer(t *testing.T) {
	_, p := start(t, replicatest.New(nil))
	err := queue.Refused("enter", "a", &statepb.Result{Code: statepb.Result_OVERRUN}, 1)
	if outcome.Of(err) != outcome.Unknown {
		t.Errorf("got %v", err)
	}
	if err := p.Check("lock", "a", nil); err != nil {
		t.Error(err)
	}
}

// A place that somebody else has given up for its holder is in nobody's way as soon as
// the node has applied that, though the line has not told the holder yet.
func TestNameIsFreeAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := replicatest.New(nil)
		n, p := start(t, c)
		first := must(p.Enter(t.Context(), "enter", groupRequest("g", "name")))
		looking, told := make(chan struct{}), make(chan struct{})
		synctest.Wait()
		n.AfterView = func() {
			close(looking)
			<-told
		}
		go c.Propose(&statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
			Queue: &statepb.QueueName{Kind: statepb.QueueName_GROUP, Name: "g"}, Session: first.Session().SessionID(), Token: first.Token(),
		}}})
		<-looking
		entered := make(chan error)
		go func() {
			second, err := p.Enter(t.Context(), "enter", groupRequest("g", "name"))
			if err == nil && second.Token() <= first.Token() {
				err = fmt.Errorf("it is still the place with the token %d", first.Token())
			}
			entered <- err
		}()
		synctest.Wait()
		close(told)
		if err := <-entered; err != nil {
			t.Error(err)
		}
	})
}

// TestCloseWaitsForWhoEnters: nothing is proposed in the name of places that are closed.
func TestCloseWaitsForWhoEnters(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n, p := start(t, replicatest.New(nil))
		must(n.Hold(t.Context()))
		hold := make(chan struct{})
		n.BeforePropose = func(context.Context, *statepb.Command) error {
			<-hold
			return nil
		}
		entered, closed := false, false
		go func() {
			place, err := p.Enter(t.Context(), "enter", lockRequest("a"))
			if err == nil && place.Context().Err() == nil {
				t.Error("it has a place for ever")
			}
			entered = true
		}()
		synctest.Wait()
		n.Close()
		go func() {
			p.Close()
			closed = true
		}()
		synctest.Wait()
		if entered || closed {
			t.Errorf("entered: %v, closed: %v, while the command is on its way", entered, closed)
		}
		close(hold)
		synctest.Wait()
		if !entered || !closed {
			t.Errorf("entered: %v, closed: %v", entered, closed)
		}
	})
}
