package kith_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// row is a lock, a semaphore or a group that the storm goes over.
type row struct {
	name  string // in the history too
	limit int    // how many hold
	group bool
}

// rows are all of them. Whoever leads in the last one does so by Lead.
var rows = []row{{"k-lock", 1, false}, {"k-semaphore", 2, false}, {"k-group", 1, true}, {"k-led", 1, true}}

// queuers are clients of rows: some on each node.
type queuers struct {
	h     *check.History
	seed  uint64
	names []string // of the nodes
	node  func(name string) func() *kith.Node
	think time.Duration
}

// firstQueuer is the number of the first client; client i lives on node i modulo their
// number.
const firstQueuer = 2000

// queuer is one client.
type queuer struct {
	*queuers
	row
	id     int
	node   func() *kith.Node
	chance *rand.Rand
	wrote  int
}

// run lets clients come and go until ctx ends.
func (q *queuers) run(ctx context.Context, each int) {
	var crowd sync.WaitGroup
	for n, name := range q.names {
		for i := range each * len(rows) {
			id := firstQueuer + i*len(q.names) + n
			c := &queuer{queuers: q, row: rows[i%len(rows)], id: id, node: q.node(name), chance: rand.New(rand.NewPCG(q.seed, uint64(id)))}
			crowd.Go(func() {
				for c.pause(ctx, q.think) {
					if node := c.node(); node != nil {
						c.visit(ctx, node)
					}
				}
			})
		}
		o := &observer{queuers: q, name: name, node: q.node(name), chance: rand.New(rand.NewPCG(q.seed, uint64(n)))}
		crowd.Go(func() { o.run(ctx) })
		crowd.Go(func() { o.watch(ctx) })
	}
	crowd.Wait()
}

// died notes that a node's process ends in this moment.
func (q *queuers) died(name string) {
	q.h.Died(func(client int) bool {
		return client >= firstQueuer && q.names[(client-firstQueuer)%len(q.names)] == name
	})
}

// pause waits for about as long as mean, and reports whether ctx lives.
func (c *queuer) pause(ctx context.Context, mean time.Duration) bool {
	t := time.NewTimer(time.Duration(c.chance.ExpFloat64() * float64(mean)))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// visit is one attempt to hold.
func (c *queuer) visit(ctx context.Context, node *kith.Node) {
	switch {
	case c.name == "k-led":
		c.lead(ctx, node)
	case c.group:
		c.join(node)
	default:
		c.acquire(node)
	}
}

// patience is a context whose end the history knows of before anybody else.
func (c *queuer) patience(hold *check.Hold) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t := time.AfterFunc(time.Duration(50+c.chance.IntN(5000))*time.Millisecond, func() {
		hold.Quit()
		cancel()
	})
	return ctx, func() {
		t.Stop()
		cancel()
	}
}

func (c *queuer) acquire(node *kith.Node) {
	hold := c.h.Ask(c.id, c.name, c.limit)
	ctx, cancel := c.patience(hold)
	defer cancel()
	l := node.Lock(c.name, lock.Limit(c.limit))
	acquire := l.Acquire
	if c.chance.IntN(4) == 0 {
		acquire = l.TryAcquire
	}
	held, err := acquire(ctx, lock.Data([]byte(hold.Label())))
	if taken, ok := errors.AsType[*lock.HeldError](err); ok {
		hold.Refused(taken.Owner.Token)
		return
	}
	if err != nil {
		hold.Quit()
		return
	}
	defer context.AfterFunc(held.Context(), hold.Over)()
	if granted(hold, held.Context(), held.Token()) {
		c.work(held.Context(), node, hold, held)
	}
	hold.Over()
	c.leave(hold, held.Release)
	c.late(node, hold, held)
}

// granted notes a grant, unless it was over before it was told.
func granted(hold *check.Hold, ctx context.Context, token uint64) bool {
	if ctx.Err() == nil {
		hold.Granted(token)
		return true
	}
	hold.Quit()
	hold.Entered(token)
	return false
}

// leave gives up what is held, at times without waiting for it.
func (c *queuer) leave(hold *check.Hold, leave func(context.Context) error) {
	patience := 3 * time.Second
	if c.chance.IntN(5) == 0 {
		patience = time.Duration(c.chance.IntN(4)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if leave(ctx) == nil {
		hold.Gone()
	}
}

func (c *queuer) join(node *kith.Node) {
	hold := c.h.Ask(c.id, c.name, c.limit)
	ctx, cancel := c.patience(hold)
	defer cancel()
	seat, err := node.Group(c.name).Join(ctx, group.Name(hold.Label()), group.Data([]byte(hold.Label())))
	if err != nil {
		hold.Quit()
		return
	}
	hold.Entered(seat.Token())
	defer context.AfterFunc(seat.Context(), func() { hold.Quit(); hold.Over() })()
	if c.chance.IntN(3) == 0 {
		seat.Update(ctx, []byte(hold.Label()+"/again"))
	}
	if seat.Wait(ctx, c.limit) == nil && granted(hold, seat.Context(), seat.Token()) {
		c.work(seat.Context(), node, hold, seat.First(c.limit))
	}
	hold.Quit()
	hold.Over()
	c.leave(hold, seat.Leave)
	c.late(node, hold, seat)
}

// lead lets Lead call back, and again after a lost session, for a while.
func (c *queuer) lead(ctx context.Context, node *kith.Node) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+c.chance.IntN(8))*time.Second)
	defer cancel()
	next := c.h.Ask(c.id, c.name, c.limit)
	node.Group(c.name).Lead(ctx, c.limit, func(ctx context.Context) error {
		hold := next
		defer func() { next = c.h.Ask(c.id, c.name, c.limit) }() // it may join again
		defer context.AfterFunc(ctx, hold.Over)()
		seat := group.SeatOf(ctx)
		if granted(hold, ctx, seat.Token()) {
			c.work(ctx, node, hold, seat)
		}
		hold.Over()
		c.late(node, hold, seat)
		return nil
	}, group.Name(fmt.Sprint("c", c.id)))
}

// work is what is done under a hold: guarded writes, the last one perhaps after its end.
func (c *queuer) work(ctx context.Context, node *kith.Node, hold *check.Hold, holder kv.Holder) {
	pause := 40 * time.Millisecond
	if c.chance.IntN(12) == 0 { // somebody holds for long, also past the session's time
		pause = 2 * time.Second
	}
	for range c.chance.IntN(4) {
		if !c.pause(ctx, pause) {
			break
		}
		c.write(node, hold, holder)
	}
	if ctx.Err() != nil {
		c.write(node, hold, holder)
	}
}

// late is what is done after the end, at times.
func (c *queuer) late(node *kith.Node, hold *check.Hold, holder kv.Holder) {
	if c.chance.IntN(4) == 0 && c.pause(node.Context(), 50*time.Millisecond) {
		c.write(node, hold, holder)
	}
}

// write writes on condition of the hold.
func (c *queuer) write(node *kith.Node, hold *check.Hold, holder kv.Holder) {
	c.wrote++
	op := check.Op{Kind: check.Set, Key: "guarded/" + c.name, Value: fmt.Sprintf("q%d-%d", c.id, c.wrote)}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	call := c.h.Call(c.id, op)
	hold.Guarded(call)
	rev, err := node.KV().Set(ctx, op.Key, []byte(op.Value), kv.IfHeld(holder))
	switch {
	case err == nil:
		call.Return(check.Result{Outcome: outcome.Done, Revision: uint64(rev)})
	case errors.Is(err, kv.ErrNotHeld):
		call.Return(check.Result{NotHeld: true, Err: err})
	default:
		call.Return(check.Failed(err))
	}
}

// observer looks at rows, and at times breaks in.
type observer struct {
	*queuers
	name   string
	node   func() *kith.Node
	chance *rand.Rand
}

func (o *observer) run(ctx context.Context) {
	for {
		select {
		case <-time.After(time.Duration(100+o.chance.IntN(1200)) * time.Millisecond):
		case <-ctx.Done():
			return
		}
		if node := o.node(); node != nil {
			o.look(node, rows[o.chance.IntN(len(rows)-1)])
		}
	}
}

func (o *observer) look(node *kith.Node, r row) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	look := o.h.Look(o.name, r.name)
	places, revision, err := explain(ctx, node, r)
	if err != nil {
		return
	}
	look.Saw(revision, places)
	if n := len(places); n > 0 && o.chance.IntN(8) == 0 {
		token := places[o.chance.IntN(n)].Token
		o.h.Breaking(r.name, token)
		if r.group {
			node.Group(r.name).Break(ctx, token)
		} else {
			node.Lock(r.name).Break(ctx, token)
		}
	}
}

// explain is who stands in a row.
func explain(ctx context.Context, node *kith.Node, r row) (places []check.Standing, revision uint64, err error) {
	if r.group {
		e, err := node.Group(r.name).Explain(ctx)
		return standings(e.View), e.Revision, err
	}
	e, err := node.Lock(r.name).Explain(ctx)
	for _, all := range [][]lock.Contender{e.Holders, e.Waiters} {
		for _, c := range all {
			places = append(places, check.Standing{Token: c.Token, Label: string(c.Data)})
		}
	}
	return places, e.Revision, err
}

func standings(v group.View) (places []check.Standing) {
	for _, m := range v.Members {
		label, _, _ := strings.Cut(string(m.Data), "/")
		places = append(places, check.Standing{Token: m.Token, Label: label})
	}
	return places
}

// watch follows the group, through all lives of the node.
func (o *observer) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if node := o.node(); node != nil {
			for view, err := range node.Group("k-group").Watch(ctx) {
				if err == nil {
					o.h.Noticed(o.name+"'s watcher", "k-group", view.Revision, standings(view))
				}
			}
		}
		pause(ctx)
	}
}

// empty waits until nobody is left in any row, as each node sees it.
func empty(t *testing.T, c *kithtest.Cluster) {
	t.Helper()
	for _, n := range c.Nodes() {
		for _, r := range rows {
			var left []check.Standing
			deadline := time.Now().Add(time.Minute)
			for {
				var err error
				left, _, err = explain(t.Context(), n, r)
				if err == nil && len(left) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("a minute after all had left, %s has in %s: %v (%v)", n.Name(), r.name, left, err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
}

// turns lets several on each node ask for the same at the same moment: everybody gets
// his turn, and in time.
func turns(t *testing.T, q *queuers, c *kithtest.Cluster) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 3 * len(q.names) {
		node := c.Node(q.names[i%len(q.names)])
		for _, r := range rows[:2] {
			wg.Go(func() {
				hold := q.h.Ask(firstQueuer+i, r.name, r.limit)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				held, err := node.Lock(r.name, lock.Limit(r.limit)).Acquire(ctx, lock.Data([]byte(hold.Label())))
				if err != nil {
					hold.Quit()
					t.Errorf("%s never got %s: %v", node.Name(), r.name, err)
					return
				}
				hold.Granted(held.Token())
				time.Sleep(5 * time.Millisecond)
				hold.Over()
				if err := held.Release(ctx); err != nil {
					t.Errorf("%s: %s: %v", node.Name(), r.name, err)
				}
				hold.Gone()
			})
		}
	}
	wg.Wait()
}
