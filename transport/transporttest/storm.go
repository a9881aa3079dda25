package transporttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

// crew is the nodes of a storm as they come and go.
type crew struct {
	mu    sync.Mutex
	nodes map[string]*node
}

func (w *crew) get(name string) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[name]
}

func (w *crew) set(n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[n.name] = n
}

// storm lets three nodes ask one another while connections break and nodes are killed
// and stopped, by seed. Every request must return; it must have run once if a reply or
// the handler's error came, not at all if the error says not done, and never twice.
func storm(c *cluster, seed uint64) {
	const requestsEach, callersEach = 60, 4
	names := []string{"alpha", "bravo", "carol"}
	ran := make([]atomic.Int32, len(names)*callersEach*requestsEach)
	answer := func(ctx context.Context, r transport.Message) (transport.Message, error) {
		var id, pause int
		if _, err := fmt.Sscanf(string(r.Body), "%d %d", &id, &pause); err != nil {
			return transport.Message{}, err
		}
		ran[id].Add(1)
		select {
		case <-time.After(time.Duration(pause) * time.Millisecond):
		case <-ctx.Done():
		}
		if id%7 == 0 {
			return transport.Message{}, fmt.Errorf("no luck with %d", id)
		}
		return transport.Message{Body: r.Body}, nil
	}
	w := &crew{nodes: map[string]*node{}}
	for _, n := range c.start(names...) {
		c.handle(n, "work", answer, transport.Concurrency(3))
		w.set(n)
	}
	results := make([]error, len(ran))
	var callers sync.WaitGroup
	for i := range len(names) * callersEach {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		callers.Go(func() {
			for k := range requestsEach {
				id := i*requestsEach + k
				from, to := names[i%len(names)], names[r.IntN(len(names))]
				var opts []transport.CallOption
				if r.IntN(3) == 0 {
					opts = append(opts, transport.FailFast())
				}
				ctx, cancel := context.WithTimeout(c.Context(), time.Duration(1+r.IntN(400))*time.Millisecond)
				body := fmt.Appendf(nil, "%d %d", id, r.IntN(20))
				_, results[id] = w.get(from).Request(ctx, to, "work", body, opts...)
				cancel()
				time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
			}
		})
	}
	over := make(chan struct{})
	go func() { callers.Wait(); close(over) }()
	c.weather(seed, names, w, answer, over)

	c.settle() // whatever happened, they find one another again
	for _, n := range c.nodes {
		if err := n.Close(); err != nil { // and no handler runs any more
			c.Error(err)
		}
	}
	counts := map[outcome.Outcome]int{}
	for id, err := range results {
		o, times := outcome.Of(err), ran[id].Load()
		counts[o]++
		if times > 1 || o == outcome.NotDone && times != 0 || o == outcome.Done && times != 1 {
			c.Errorf("request %d ran %d times: %v", id, times, err)
		}
	}
	c.Logf("seed %d: %d done, %d not done, %d unknown", seed,
		counts[outcome.Done], counts[outcome.NotDone], counts[outcome.Unknown])
}

// weather does to the nodes what the world can do, until over.
func (c *cluster) weather(seed uint64, names []string, w *crew, answer transport.Handler, over <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, 1<<32))
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(r.IntN(150)) * time.Millisecond):
		}
		a, b := names[r.IntN(len(names))], names[r.IntN(len(names))]
		switch r.IntN(3) {
		case 0:
			if breaker, ok := c.world.(Breaker); ok && a != b {
				breaker.Break(a, b)
			}
		case 1:
			if killer, ok := c.world.(Killer); ok {
				killer.Kill(a)
			}
			_ = w.get(a).Close()
			n := c.run(a, transport.Config{})
			c.handle(n, "work", answer, transport.Concurrency(3))
			w.set(n)
		case 2:
			if stopper, ok := c.world.(Stopper); ok {
				stopper.Stop(a)
				time.Sleep(time.Duration(r.IntN(800)) * time.Millisecond)
				stopper.Continue(a)
			}
		}
	}
}
