package gossip

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/membership"
)

var big = flag.Bool("big", false, "measure 200 nodes as well")

const (
	kills = 5 // each of another node
	seeds = 5 // starts of all at once, each on another network
)

// lossy is a network of one data centre on a bad day.
var lossy = memnet.Conditions{Delay: 500 * time.Microsecond, Jitter: time.Millisecond, Loss: 0.05}

// figures are what is measured of one contestant.
type figures struct {
	meet           []time.Duration // from the start of all at once until all know all
	known          []time.Duration // from a kill until all know
	falsePositives int             // live nodes declared failed by anybody, while nothing happened
}

func TestGossip(t *testing.T) {
	sizes := []int{5, 50}
	if *big {
		sizes = append(sizes, 200)
	}
	for _, n := range sizes {
		quiet := time.Hour
		if n > 100 {
			quiet = 10 * time.Minute // an hour of 200 nodes is half an hour of this machine
		}
		var ours, theirs figures
		t.Run(fmt.Sprintf("kith-%d", n), func(t *testing.T) { ours = measureKith(t, n, quiet) })
		t.Run(fmt.Sprintf("memberlist-%d", n), func(t *testing.T) { theirs = measureRival(t, n, quiet) })
		if t.Failed() || ours.known == nil || theirs.known == nil { // -run named only one of the two
			continue
		}
		print := func(name string, x, y time.Duration) {
			fmt.Printf("%s, %d nodes: kith %d ms memberlist %d ms ratio %.2f\n", name, n, x.Milliseconds(), y.Milliseconds(), float64(y)/float64(x))
		}
		print("all know all (median of 5)", median(ours.meet), median(theirs.meet))
		print("all know of one killed (median of 5)", median(ours.known), median(theirs.known))
		fmt.Printf("false positives in %v at 5 %% loss, %d nodes: kith %d memberlist %d ratio %.2f\n",
			quiet, n, ours.falsePositives, theirs.falsePositives, float64(theirs.falsePositives+1)/float64(ours.falsePositives+1))
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// wait lets virtual time pass until ok holds and returns how much did.
func wait(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > time.Hour {
			t.Fatalf("waited an hour for: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

func measureKith(t *testing.T, n int, quiet time.Duration) figures {
	var f figures
	began := time.Now()
	for seed := range uint64(seeds) {
		opts := kithtest.Options{Seed: seed, Conditions: lossy, Logger: slog.New(slog.DiscardHandler)}
		kithtest.Virtual(t, n, opts, func(t *testing.T, c *kithtest.Cluster) {
			wait(t, "all know all", func() bool {
				for _, node := range c.Nodes() {
					if node.Status().Alive < n {
						return false
					}
				}
				return true
			})
			// The bubble's clock began with it, hence with the nodes' start.
			f.meet = append(f.meet, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
			if seed == 0 {
				f.falsePositives = lossesOfKith(c, quiet)
				f.known = killsOfKith(t, c, n)
			}
		})
	}
	t.Logf("%v of this machine's time", time.Since(began).Round(time.Millisecond))
	return f
}

// lossesOfKith counts members declared failed while nothing happens. It reads
// streams, so that none goes unseen.
func lossesOfKith(c *kithtest.Cluster, quiet time.Duration) int {
	var lost atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, node := range c.Nodes() {
		wg.Go(func() {
			for view := range node.WatchMembers(ctx) {
				for _, change := range view.Changes {
					if change.Kind == membership.Failed {
						lost.Add(1)
					}
				}
			}
		})
	}
	time.Sleep(quiet)
	cancel()
	wg.Wait()
	return int(lost.Load())
}

func killsOfKith(t *testing.T, c *kithtest.Cluster, n int) (known []time.Duration) {
	for i := range kills {
		victim := kithtest.Names(n)[(i*7+1)%n]
		c.Kill(victim)
		known = append(known, wait(t, "all know of the kill", func() bool {
			for _, node := range c.Nodes() {
				if m, _ := (membership.View{Members: node.Members()}).Find(victim); m.Status != membership.StatusFailed {
					return false
				}
			}
			return true
		}))
		c.Restart(victim)
		c.AwaitAlive()
		time.Sleep(time.Minute)
	}
	return known
}

func measureRival(t *testing.T, n int, quiet time.Duration) figures {
	var f figures
	began := time.Now()
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			network := memnet.New(seed)
			network.SetDefault(lossy)
			defer network.Close()
			start := time.Now()
			all := startRivals(t, network, n)
			wait(t, "all know all", all.agree(func(r *rival) bool { return r.list.NumMembers() == n }))
			f.meet = append(f.meet, time.Since(start))
			if seed == 0 {
				before := all.losses()
				time.Sleep(quiet)
				f.falsePositives = all.losses() - before
				f.known = killsOfRivals(t, all, network)
			}
			for _, r := range all {
				r.list.Shutdown()
			}
			time.Sleep(time.Minute) // memberlist's goroutines notice at their next tick
		})
	}
	t.Logf("%v of this machine's time", time.Since(began).Round(time.Millisecond))
	return f
}

func killsOfRivals(t *testing.T, all rivals, network *memnet.Network) (known []time.Duration) {
	n := len(all)
	for i := range kills {
		v := (i*7 + 1) % n
		dead := all[v]
		all[v] = nil
		dead.host.Kill()
		dead.list.Shutdown()
		known = append(known, wait(t, "all know of the kill", all.agree(func(r *rival) bool { return !r.sees(dead.name) })))
		all.launch(t, network, v)
		if _, err := all[v].list.Join([]string{address(v+1, n)}); err != nil {
			t.Error(err)
		}
		wait(t, "all are back", all.agree(func(r *rival) bool { return r.list.NumMembers() == n }))
		time.Sleep(time.Minute)
	}
	return known
}
