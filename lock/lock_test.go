package lock_test

import (
	"context"
	"errors"
	"strings"
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
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

func TestMain(m *testing.M) { leak.Main(m) }

var (
	_ queue.Replica = (*replicatest.Node)(nil)
	_ kv.Holder     = (*lock.Held)(nil)

	errInjected = errors.New("injected")
)

// node is a node with what it has in queues.
type node struct {
	*replicatest.Node
	places *queue.Places
}

func join(c *replicatest.Cluster) *node {
	n := c.Join()
	return &node{Node: n, places: queue.New(n, n.Name)}
}

// close ends the node, and waits.
func (n *node) close() {
	n.Close()
	n.places.Close()
}

func (n *node) lock(name string, options ...lock.Option) *lock.Lock {
	return lock.New(n.places, name, options...)
}

// nodes are so many of a new cluster; they end with the test.
func nodes(t testing.TB, count int) (*replicatest.Cluster, []*node) {
	c := replicatest.New(nil)
	all := make([]*node, count)
	for i := range all {
		all[i] = join(c)
		t.Cleanup(all[i].close)
	}
	return c, all
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantError(t *testing.T, err, want error, what outcome.Outcome) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if e, ok := errors.AsType[*outcome.Error](err); !ok || e.Op == "" || e.Outcome != what {
		t.Fatalf("got %v (%#v), want the outcome to be %v", err, e, what)
	}
}

// slots is how many are in the lock's queue.
func slots(c *replicatest.Cluster, name string) int {
	return len(c.Queue(statepb.QueueName_LOCK, name))
}

func names(all []lock.Contender) string {
	var b strings.Builder
	for _, c := range all {
		b.WriteString(c.Name + " ")
	}
	return strings.TrimSpace(b.String())
}

func TestAcquireAndRelease(t *testing.T) {
	c, n := nodes(t, 2)
	ctx := t.Context()
	first := must(n[0].lock("a").Acquire(ctx, lock.Data([]byte("why"))))
	before := c.Entries()
	_, err := n[1].lock("a").TryAcquire(ctx)
	wantError(t, err, lock.ErrHeld, outcome.NotDone)
	held, ok := errors.AsType[*lock.HeldError](err)
	if !ok || held.Owner.Name != "alpha" || held.Owner.Node != "alpha" || held.Owner.Token != first.Token() || held.Limit != 1 {
		t.Fatalf("got %+v", held)
	}
	if owners := must(n[1].lock("a").Owners(ctx)); len(owners) != 1 || string(owners[0].Data) != "why" || owners[0].Self {
		t.Errorf("owners are %+v", owners)
	}
	if owners := must(n[0].lock("a").Owners(ctx)); len(owners) != 1 || !owners[0].Self {
		t.Errorf("owners are %+v", owners)
	}
	if first.Context().Err() != nil {
		t.Error(context.Cause(first.Context()))
	}
	if err := first.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if cause := context.Cause(first.Context()); cause != lock.ErrReleased {
		t.Errorf("the cause is %v", cause)
	}
	if err := first.Release(ctx); err != nil {
		t.Errorf("released again: %v", err)
	}
	second := must(n[1].lock("a").TryAcquire(ctx))
	if second.Token() <= first.Token() {
		t.Errorf("tokens %d, %d", first.Token(), second.Token())
	}
	if err := second.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if got := c.Entries() - before; got != 5 { // TryAcquire, Release, a session, TryAcquire, Release
		t.Errorf("%d entries", got)
	}
	if slots(c, "a") != 0 {
		t.Error("somebody is left")
	}
}

// TestTwoEntries: the lock costs what it must and no read round.
func TestTwoEntries(t *testing.T) {
	c, n := nodes(t, 1)
	ctx := t.Context()
	l := n[0].lock("a")
	must(0, must(l.Acquire(ctx)).Release(ctx))
	before := c.Entries()
	must(0, must(l.Acquire(ctx)).Release(ctx))
	if got := c.Entries() - before; got != 2 || n[0].Barriers.Load() != 0 {
		t.Errorf("%d entries, %d barriers", got, n[0].Barriers.Load())
	}
	if n[0].Subscriptions() != 0 {
		eventually(t, func() bool { return n[0].Subscriptions() == 0 })
	}
}

// eventually waits for what goroutines outside of a bubble are about to do.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOrderIsThatOfArrival(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 3)
		var order []string
		first := must(n[0].lock("a").Acquire(t.Context()))
		for i := range 9 { // several of one node are contenders of their own
			who := n[(i+1)%3]
			go func() {
				held := must(who.lock("a").Acquire(t.Context()))
				order = append(order, who.Name)
				must(0, held.Release(t.Context()))
			}()
			synctest.Wait()
		}
		const want = "bravo charlie alpha bravo charlie alpha bravo charlie alpha"
		l := n[1].lock("a")
		if got := names(must(l.Waiters(t.Context()))); got != want {
			t.Errorf("waiters: %s", got)
		}
		if got := names(must(l.Owners(t.Context()))); got != "alpha" {
			t.Errorf("owners: %s", got)
		}
		must(0, first.Release(t.Context()))
		synctest.Wait()
		if got := strings.Join(order, " "); got != want || slots(c, "a") != 0 {
			t.Errorf("got %s", got)
		}
	})
}

func TestSemaphore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 2)
		ctx := t.Context()
		limit := lock.Limit(3)
		var held []*lock.Held
		for i := range 3 {
			held = append(held, must(n[i%2].lock("a", limit).TryAcquire(ctx)))
		}
		_, err := n[0].lock("a", limit).TryAcquire(ctx)
		wantError(t, err, lock.ErrHeld, outcome.NotDone)
		_, err = n[0].lock("a").Acquire(ctx)
		mismatch, ok := errors.AsType[*lock.LimitError](err)
		if !ok || mismatch.Wanted != 1 || mismatch.Actual != 3 || outcome.Of(err) != outcome.NotDone {
			t.Errorf("got %v", err)
		}
		var got []*lock.Held
		for range 2 {
			go func() { got = append(got, must(n[1].lock("a", limit).Acquire(ctx))) }()
			synctest.Wait()
		}
		must(0, held[1].Release(ctx)) // not the one at the head
		synctest.Wait()
		if len(got) != 1 {
			t.Fatalf("%d got in", len(got))
		}
		must(0, held[0].Release(ctx))
		synctest.Wait()
		if len(got) != 2 {
			t.Fatalf("%d got in", len(got))
		}
		for _, h := range append(got, held[2]) {
			if h.Context().Err() != nil {
				t.Error(context.Cause(h.Context()))
			}
			must(0, h.Release(ctx))
		}
		if slots(c, "a") != 0 {
			t.Error("somebody is left")
		}
	})
}

func TestNames(t *testing.T) {
	c, all := nodes(t, 1)
	n, ctx := all[0], t.Context()
	before := c.Revision()
	long := strings.Repeat("x", 10<<10)
	for _, test := range []struct {
		what    string
		lock    string
		options []lock.Option
		acquire []lock.AcquireOption
		want    error
	}{
		{what: "no name", want: lock.ErrInvalid},
		{what: "no UTF-8", lock: "a\xff", want: lock.ErrInvalid},
		{what: "10 KB", lock: long, want: lock.ErrTooLarge},
		{what: "limit 0", lock: "a", options: []lock.Option{lock.Limit(0)}, want: lock.ErrInvalid},
		{what: "limit -1", lock: "a", options: []lock.Option{lock.Limit(-1)}, want: lock.ErrInvalid},
		{what: "no option", lock: "a", options: []lock.Option{nil}, want: lock.ErrInvalid},
		{what: "no member", lock: "a", options: []lock.Option{lock.As("")}, want: lock.ErrInvalid},
		{what: "member like ours", lock: "a", options: []lock.Option{lock.As("x#7")}, want: lock.ErrInvalid},
		{what: "member of 10 KB", lock: "a", options: []lock.Option{lock.As(long)}, want: lock.ErrTooLarge},
		{what: "member that is no UTF-8", lock: "a", options: []lock.Option{lock.As("\xff")}, want: lock.ErrInvalid},
		{what: "no acquire option", lock: "a", acquire: []lock.AcquireOption{nil}, want: lock.ErrInvalid},
		{what: "2 MiB of data", lock: "a", acquire: []lock.AcquireOption{lock.Data(make([]byte, 2<<20))}, want: lock.ErrTooLarge},
	} {
		l := n.lock(test.lock, test.options...)
		_, err := l.Acquire(ctx, test.acquire...)
		if err == nil {
			t.Errorf("%s: acquired", test.what)
			continue
		}
		wantError(t, err, test.want, outcome.NotDone)
		_, err = l.TryAcquire(ctx, test.acquire...)
		wantError(t, err, test.want, outcome.NotDone)
		if test.acquire != nil {
			continue
		}
		_, err = l.Owners(ctx)
		wantError(t, err, test.want, outcome.NotDone)
		_, err = l.Waiters(ctx)
		wantError(t, err, test.want, outcome.NotDone)
		_, err = l.Explain(ctx)
		wantError(t, err, test.want, outcome.NotDone)
		wantError(t, l.Break(ctx, 7), test.want, outcome.NotDone)
	}
	if c.Revision() != before || c.Entries() != 0 {
		t.Error("something was sent")
	}
	for _, name := range []string{"a b", "/", "ü/\x00\n", strings.Repeat("y", 1<<10)} {
		held := must(n.lock(name).Acquire(ctx))
		if owners := must(n.lock(name).Owners(ctx)); len(owners) != 1 {
			t.Errorf("%q: owners are %v", name, owners)
		}
		must(0, held.Release(ctx))
	}
}

// TestRefusals: what only the machine can tell comes as an error of the call.
func TestRefusals(t *testing.T) {
	c := replicatest.New(&statepb.Limits{QueueSlots: 2, StateBytes: 8 << 10})
	n := join(c)
	defer n.close()
	ctx := t.Context()
	must(n.lock("a", lock.Limit(2)).Acquire(ctx))
	must(n.lock("a", lock.Limit(2)).Acquire(ctx))
	_, err := n.lock("a", lock.Limit(2)).Acquire(ctx)
	wantError(t, err, lock.ErrFull, outcome.NotDone)
	_, err = n.lock("b").Acquire(ctx, lock.Data(make([]byte, 8<<10)))
	wantError(t, err, lock.ErrQuota, outcome.NotDone)
	n.FailViews(errInjected) // limits cannot be seen: the machine judges
	_, err = n.lock(strings.Repeat("x", 10<<10)).Acquire(ctx)
	wantError(t, err, lock.ErrTooLarge, outcome.NotDone)
	_, err = n.lock("a").Owners(ctx)
	wantError(t, err, errInjected, outcome.NotDone)
	n.FailViews(nil)
	n.RefuseBarrier = errInjected
	_, err = n.lock("a").Waiters(ctx)
	wantError(t, err, errInjected, outcome.NotDone)
	n.BeforePropose = func(context.Context, *statepb.Command) error { return errInjected }
	_, err = n.lock("c").Acquire(ctx)
	wantError(t, err, errInjected, outcome.NotDone)
	_, err = n.lock("c").Explain(ctx)
	wantError(t, err, errInjected, outcome.NotDone)
	wantError(t, n.lock("a").Break(ctx, 7), errInjected, outcome.NotDone)
	n.BeforePropose = nil
	n.AfterPropose = func(context.Context, *statepb.Command) error { return errInjected }
	_, err = n.lock("c").Explain(ctx)
	wantError(t, err, errInjected, outcome.NotDone)
	wantError(t, n.lock("a").Break(ctx, 7), errInjected, outcome.Unknown)
}

func TestExplain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 2)
		ctx := t.Context()
		held := must(n[0].lock("a").Acquire(ctx, lock.Data([]byte("cleaning"))))
		done := make(chan *lock.Held)
		go func() { done <- must(n[1].lock("a", lock.As("broom")).Acquire(ctx)) }()
		synctest.Wait()
		c.Advance(3 * time.Second)
		must(0, n[0].lock("a").Break(ctx, held.Token()))
		e := must(n[1].lock("a", lock.Limit(9)).Explain(ctx))
		if e.Name != "a" || e.Limit != 1 || len(e.Holders) != 1 || len(e.Waiters) != 1 || e.Revision != c.Revision() {
			t.Fatalf("got %+v", e)
		}
		h, w := e.Holders[0], e.Waiters[0]
		if h.Age != 3*time.Second || h.Token != held.Token() || !h.Revoked || h.Self || h.Position != 0 || h.Node != "alpha" {
			t.Errorf("holder: %+v", h)
		}
		if w.Position != 1 || w.Name != "broom" || w.Node != "bravo" || !w.Self || w.Session != n[1].SessionID() {
			t.Errorf("waiter: %+v", w)
		}
		for _, part := range []string{`lock "a": 1 of 1`, `holds: alpha, token`, "asked to go", `data "cleaning"`, `waits: "broom" on bravo`, "3s ago"} {
			if !strings.Contains(e.String(), part) {
				t.Errorf("%q does not tell %q", e, part)
			}
		}
		must(0, held.Release(ctx))
		must(0, (<-done).Release(ctx))
		if e := must(n[0].lock("a", lock.Limit(9)).Explain(ctx)); e.Limit != 9 || len(e.Holders)+len(e.Waiters) > 0 {
			t.Errorf("got %+v", e)
		}
	})
}

// TestIfHeld: a write that depends on a lock is done only while it is held.
func TestIfHeld(t *testing.T) {
	c, n := nodes(t, 2)
	ctx := t.Context()
	store := kv.New(n[0])
	held := must(n[0].lock("a").Acquire(ctx))
	must(store.Set(ctx, "k", []byte("1"), kv.IfHeld(held)))
	c.End(n[0].SessionID())
	must(n[1].lock("a").Acquire(ctx))
	_, err := store.Set(ctx, "k", []byte("2"), kv.IfHeld(held)) // woken up late
	if !errors.Is(err, kv.ErrNotHeld) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("got %v", err)
	}
	var item state.Item
	c.View(func(m *state.Machine) { item, _ = m.Get("k") })
	if string(item.Value) != "1" {
		t.Errorf("it is %q", item.Value)
	}
}
