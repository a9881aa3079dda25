package kith_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
)

var (
	stormSeeds = flag.Int("storm.seeds", 8, "how many storms `n` TestStorm runs")
	stormFrom  = flag.Uint64("storm.from", 1, "the first `seed` of TestStorm")
	stormLog   = flag.Bool("storm.log", false, "show the nodes' logs")
)

// TestStorm lets clients write and read, and hold locks and places in groups, while nodes are killed, lose power, are
// paused and cut off, and their clocks are wrong, and judges what they were told. make soak runs thousands.
func TestStorm(t *testing.T) {
	for seed := *stormFrom; seed < *stormFrom+uint64(*stormSeeds); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { storm(t, seed) })
	}
}

func storm(t *testing.T, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 0))
	size := []int{3, 3, 3, 5}[chance.IntN(4)]
	opts := kithtest.Options{Seed: seed, Drift: make(map[string]float64), Conditions: memnet.Conditions{
		Loss: []float64{0, 0.01, 0.1}[chance.IntN(3)], Delay: time.Millisecond, Jitter: 3 * time.Millisecond, Duplicate: 0.01,
	}}
	snapshots := []int64{0, 4 << 10, 32 << 10}[chance.IntN(3)] // small, so that many catch up by snapshot
	patient := chance.IntN(4) == 0
	opts.Configure = func(_ string, cfg *kith.Config) {
		if snapshots > 0 {
			cfg.SetSnapshotBytes(snapshots)
		}
		cfg.SessionTTL, cfg.IgnoreRefusals = kith.MinSessionTTL, patient
	}
	for _, name := range kithtest.Names(size) {
		opts.Drift[name] = []float64{-0.01, 0, 0.01}[chance.IntN(3)]
	}
	if !*stormLog {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	kithtest.Virtual(t, size, opts, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		h := check.NewHistory()
		names := kithtest.Names(size)
		running := func(name string) func() *kith.Node {
			return func() *kith.Node {
				for _, n := range c.Nodes() {
					if n.Name() == name {
						return n
					}
				}
				return nil
			}
		}
		var wg, watchers sync.WaitGroup
		watching, stopWatching := context.WithCancel(t.Context())
		for _, name := range names {
			watchers.Go(func() { watch(watching, h, name, running(name), pause) })
		}
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		mix, keys := check.SingleKey(), 6
		if chance.IntN(4) == 0 {
			mix, keys = check.MultiKey(), 3
		}
		work := check.Workload{
			Seed: seed, Clients: 6, Keys: keys, Prefix: "k", Mix: mix, Think: 150 * time.Millisecond, Timeout: 2 * time.Second,
		}
		wg.Go(func() {
			work.Run(ctx, h, func(i int) check.Client { return client{running(names[i%len(names)])} })
		})
		queuers := &queuers{h: h, seed: seed, names: names, node: running, think: 100 * time.Millisecond}
		wg.Go(func() { queuers.run(ctx, 2) })
		(&weather{c: c, names: names, chance: chance, dies: queuers.died}).rage(ctx)
		stop()
		wg.Wait()
		calm(t, c, names)
		empty(t, c)
		turns(t, queuers, c)
		empty(t, c)
		replicas := settle(t, c, h)
		stopWatching()
		watchers.Wait()
		t.Log(h.Record().Lines())
		check.Verify(t, check.Origin{Seed: seed, Command: fmt.Sprintf("go test -run TestStorm -storm.from %d -storm.seeds 1 -storm.log -artifacts .", seed)}, h, replicas...)
	})
}

func pause(ctx context.Context) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
}

// weather breaks things, by chance.
type weather struct {
	c      *kithtest.Cluster
	names  []string
	chance *rand.Rand
	dies   func(name string) // is told before a process ends; may be nil
}

func (w *weather) any() string { return w.names[w.chance.IntN(len(w.names))] }

func (w *weather) runs(name string) bool {
	return slices.ContainsFunc(w.c.Nodes(), func(n *kith.Node) bool { return n.Name() == name })
}

// rage goes on until ctx ends.
func (w *weather) rage(ctx context.Context) {
	for {
		select {
		case <-time.After(time.Duration(200+w.chance.IntN(1500)) * time.Millisecond):
		case <-ctx.Done():
			return
		}
		w.strike()
	}
}

func (w *weather) strike() {
	name := w.any()
	switch w.chance.IntN(13) {
	case 0, 1:
		w.end(name, w.c.Kill)
	case 2, 3:
		w.end(name, w.c.PowerOff)
	case 4: // all at once
		for _, n := range w.names {
			w.end(n, w.c.PowerOff)
		}
	case 5:
		w.c.Pause(name)
		w.later(func() { w.c.Resume(name) })
	case 6:
		w.c.Cut(name, w.any())
		w.later(w.c.Heal)
	case 7:
		w.c.Partition([]string{name})
		w.later(w.c.Heal)
	case 8:
		w.c.Partition([]string{name, w.any()})
		w.later(w.c.Heal)
	case 9: // the leader, wherever it is
		for _, n := range w.c.Nodes() {
			if s := n.Status().Agreement; s != nil && s.State == "leader" {
				w.end(n.Name(), w.c.Kill)
				break
			}
		}
	case 10: // for longer than its session lasts
		w.c.Pause(name)
		time.Sleep(kith.MinSessionTTL + time.Duration(w.chance.IntN(2000))*time.Millisecond)
		w.c.Resume(name)
	case 11: // wall clocks are wrong
		w.c.SetWallClock(name, []time.Duration{-time.Hour, 0, time.Hour}[w.chance.IntN(3)])
	case 12: // it goes in good order, as far as it can
		if w.runs(name) {
			w.c.Node(name).Leave(context.Background())
		}
	}
	for _, n := range w.names {
		if !w.runs(n) && w.chance.IntN(2) == 0 {
			w.c.Restart(n)
		}
	}
}

func (w *weather) end(name string, how func(string)) {
	if w.runs(name) {
		if w.dies != nil {
			w.dies(name)
		}
		how(name)
	}
}

// later undoes something after a while, in which the rest goes on.
func (w *weather) later(undo func()) {
	time.Sleep(time.Duration(100+w.chance.IntN(3000)) * time.Millisecond)
	undo()
}

// calm ends all faults and waits until everybody is back.
func calm(t *testing.T, c *kithtest.Cluster, names []string) {
	t.Helper()
	c.Heal()
	for _, name := range names {
		c.Resume(name)
		if !slices.ContainsFunc(c.Nodes(), func(n *kith.Node) bool { return n.Name() == name }) {
			c.Restart(name)
		}
	}
	ready(t, c)
}

// settle returns what all replicas hold in the end, once they hold the same.
func settle(t *testing.T, c *kithtest.Cluster, h *check.History) []check.Replica {
	t.Helper()
	last := client{func() *kith.Node { return c.Nodes()[0] }}
	if r := h.Do(t.Context(), 1000, last, check.Op{Kind: check.Set, Key: "k-end", Value: "end"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	ready(t, c)
	var all []check.Replica
	for _, n := range c.Nodes() {
		r := check.Replica{Name: n.Name()}
		for e, err := range n.KV().All(t.Context(), "") {
			if err != nil {
				t.Fatalf("%s: %v", n.Name(), err)
			}
			r.Entries = append(r.Entries, check.Entry{Key: e.Key, Value: string(e.Value), Revision: uint64(e.Revision)})
		}
		all = append(all, r)
	}
	time.Sleep(time.Second) // watchers see the end
	return all
}
