package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
)

// Client does operations on what is tested. Each is used by one goroutine at a time.
type Client interface {
	// Do does op and tells how it went. It blocks until it knows, or until ctx ends.
	Do(ctx context.Context, op Op) Result
}

// Mix says how often each kind of operation is asked, relative to the others.
type Mix struct {
	Get, Set, CompareAndSet, Create, Delete, DeleteAt int
	// Multi is for Txns over two keys, List and Sweep (DeletePrefix) for all keys: they
	// tie keys together, so that the search is harder. Use them in short histories.
	Multi, List, Sweep int
}

// SingleKey is a mix of operations on one key each.
func SingleKey() Mix {
	return Mix{Get: 40, Set: 30, CompareAndSet: 15, Create: 5, Delete: 5, DeleteAt: 5}
}

// MultiKey is a mix of all operations.
func MultiKey() Mix {
	return Mix{Get: 25, Set: 20, CompareAndSet: 10, Create: 5, Delete: 5, DeleteAt: 5, Multi: 15, List: 12, Sweep: 3}
}

// Workload is a crowd of clients that behave at random. What a client asks follows
// from Seed, the client's number, and the answers it got.
type Workload struct {
	Seed    uint64
	Clients int
	// Ops is how many operations each client asks. 0: until the context ends.
	Ops int
	// Keys is how many there are, named Prefix and a number.
	Keys   int
	Prefix string
	Mix    Mix
	// Think is the mean pause between the operations of a client, and Timeout how long
	// one may take. 0: none, and as long as the context allows.
	Think, Timeout time.Duration
}

// Run lets the clients, numbered from 0, do their work and records it in h. It blocks
// until they are done. When ctx ends they stop, with what is under way.
func (w Workload) Run(ctx context.Context, h *History, dial func(client int) Client) {
	var crowd sync.WaitGroup
	for i := range w.Clients {
		b := &behaviour{Workload: w, client: i, rng: rand.New(rand.NewPCG(w.Seed, uint64(i))), known: make(map[string]uint64)}
		c := dial(i)
		crowd.Go(func() { b.run(ctx, h, c) })
	}
	crowd.Wait()
}

// behaviour is one client of a workload.
type behaviour struct {
	Workload
	client int
	rng    *rand.Rand
	wrote  int               // makes values unique
	known  map[string]uint64 // the revisions of keys as last heard
}

func (b *behaviour) run(ctx context.Context, h *History, c Client) {
	for i := 0; (b.Ops == 0 || i < b.Ops) && ctx.Err() == nil; i++ {
		op := b.next()
		b.learn(op, b.do(ctx, h, c, op))
		b.think(ctx)
	}
}

func (b *behaviour) do(ctx context.Context, h *History, c Client, op Op) Result {
	if b.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.Timeout)
		defer cancel()
	}
	return h.Do(ctx, b.client, c, op)
}

func (b *behaviour) think(ctx context.Context) {
	if b.Think <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(b.rng.ExpFloat64() * float64(b.Think)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// next draws an operation.
func (b *behaviour) next() Op {
	key := b.key()
	at := []Condition{{Key: key, Revision: b.known[key]}}
	m := b.Mix
	kinds := []struct {
		weight int
		op     func() Op
	}{
		{m.Get, func() Op { return Op{Kind: Get, Key: key} }},
		{m.Set, func() Op { return b.set(key) }},
		{m.CompareAndSet, func() Op { return Op{Kind: Set, Key: key, Value: b.value(), If: at} }},
		{m.Create, func() Op { return Op{Kind: Set, Key: key, Value: b.value(), If: []Condition{{Key: key}}} }},
		{m.Delete, func() Op { return Op{Kind: Delete, Key: key} }},
		{m.DeleteAt, func() Op { return Op{Kind: Delete, Key: key, If: at} }},
		{m.Multi, func() Op { return b.txn(key) }},
		{m.List, func() Op { return Op{Kind: List, Key: b.Prefix} }},
		{m.Sweep, func() Op { return Op{Kind: DeletePrefix, Key: b.Prefix} }},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := b.rng.IntN(max(total, 1))
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return k.op()
		}
	}
	return Op{Kind: Get, Key: key} // a mix without weights
}

func (b *behaviour) key() string { return fmt.Sprintf("%s%d", b.Prefix, b.rng.IntN(max(b.Keys, 1))) }

func (b *behaviour) value() string {
	b.wrote++
	return fmt.Sprintf("c%d-%d", b.client, b.wrote)
}

func (b *behaviour) set(key string) Op { return Op{Kind: Set, Key: key, Value: b.value()} }

// txn moves on from one key to another: if the first is where it was, both change,
// else both are read.
func (b *behaviour) txn(key string) Op {
	other := b.key()
	op := Op{Kind: Txn, If: []Condition{{Key: key, Revision: b.known[key]}}, Else: []Op{{Kind: Get, Key: key}}}
	op.Then = []Op{{Kind: Get, Key: other}, b.set(key)}
	if other != key {
		op.Then = append(op.Then, []Op{b.set(other), {Kind: Delete, Key: other}}[b.rng.IntN(2)])
		op.Else = append(op.Else, Op{Kind: Get, Key: other})
	}
	return op
}

// learn remembers the revisions that an answer tells, for later conditions.
func (b *behaviour) learn(op Op, r Result) {
	switch {
	case r.Outcome != outcome.Done:
	case op.Kind == Txn:
		ops := op.Then
		if r.Conflict {
			ops = op.Else
		}
		for i, sub := range ops[:min(len(ops), len(r.Ops))] {
			told := r.Ops[i]
			told.Outcome = outcome.Done
			if sub.Kind == Set {
				told.Revision = r.Revision
			}
			b.learn(sub, told)
		}
	case op.Kind == List || op.Kind == DeletePrefix:
		clear(b.known)
		for _, e := range r.Entries {
			b.known[e.Key] = e.Revision
		}
	case op.Kind == Delete && !r.Conflict:
		b.known[op.Key] = 0
	default:
		b.known[op.Key] = r.Revision
	}
}
