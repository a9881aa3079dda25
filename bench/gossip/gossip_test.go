package gossip

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/membership"
)

var big = flag.Bool("big", false, "measure 200 nodes as well")

const (
	kills = 5
	seed  = 1
)

// lossy is a network of one data centre on a bad day.
var lossy = memnet.Conditions{Delay: 500 * time.Microsecond, Jitter: time.Millisecond, Loss: 0.05}

// figures are what is measured of one contestant.
type figures struct {
	meet           time.Duration   // from the start of all at once until all know all
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
		print("all know all", ours.meet, theirs.meet)
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
	kithtest.Virtual(t, n, kithtest.Options{Seed: seed, Conditions: lossy, Logger: slog.New(slog.DiscardHandler)},
		func(t *testing.T, c *kithtest.Cluster) {
			epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when the bubble began, hence when the nodes were started
			wait(t, "all know all", func() bool {
				for _, node := range c.Nodes() {
					if node.Status().Alive < n {
						return false
					}
				}
				return true
			})
			f.meet = time.Since(epoch)

			// Losses are counted from streams, so that none goes unseen.
			var mu sync.Mutex
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			for _, node := range c.Nodes() {
				wg.Go(func() {
					for view := range node.WatchMembers(ctx) {
						for _, change := range view.Changes {
							if change.Kind == membership.Failed {
								mu.Lock()
								f.falsePositives++
								mu.Unlock()
							}
						}
					}
				})
			}
			time.Sleep(quiet)
			cancel()
			wg.Wait()

			for i := range kills {
				victim := kithtest.Names(n)[(i*7+1)%n]
				c.Kill(victim)
				f.known = append(f.known, wait(t, "all know of the kill", func() bool {
					for _, node := range c.Nodes() {
						m, _ := membership.View{Members: node.Members()}.Find(victim)
						if m.Status != membership.StatusFailed {
							return false
						}
					}
					return true
				}))
				c.Restart(victim)
				c.AwaitAlive()
				time.Sleep(time.Minute)
			}
		})
	t.Logf("%v of this machine's time", time.Since(began).Round(time.Millisecond))
	return f
}

func measureRival(t *testing.T, n int, quiet time.Duration) figures {
	var f figures
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(seed)
		network.SetDefault(lossy)
		defer network.Close()
		names := kithtest.Names(n)
		host := func(i int) *memnet.Host {
			return network.Host(netip.AddrFrom4([4]byte{10, 0, byte((i + 1) >> 8), byte(i + 1)}))
		}
		first := fmt.Sprintf("%s/%s:%d", names[0], host(0).Addr(), rivalPort)
		rivals := make([]*rival, n)
		launch := func(i int) {
			r, err := startRival(names[i], host(i))
			if err != nil {
				t.Error(err)
				return
			}
			rivals[i] = r
		}
		start := time.Now()
		for i := range n {
			launch(i)
		}
		var wg sync.WaitGroup
		for i := 1; i < n; i++ {
			wg.Go(func() {
				for { // what a program around memberlist does: try until it works
					if _, err := rivals[i].list.Join([]string{first}); err == nil {
						return
					}
					time.Sleep(250 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		all := func(ok func(r *rival) bool) func() bool {
			return func() bool {
				for _, r := range rivals {
					if r != nil && !ok(r) {
						return false
					}
				}
				return true
			}
		}
		wait(t, "all know all", all(func(r *rival) bool { return r.list.NumMembers() == n }))
		f.meet = time.Since(start)

		before := 0
		for _, r := range rivals {
			before += r.losses()
		}
		time.Sleep(quiet)
		for _, r := range rivals {
			f.falsePositives += r.losses()
		}
		f.falsePositives -= before

		for i := range kills {
			v := (i*7 + 1) % n
			dead := rivals[v]
			rivals[v] = nil
			dead.host.Kill()
			dead.list.Shutdown()
			f.known = append(f.known, wait(t, "all know of the kill", all(func(r *rival) bool { return !r.sees(names[v]) })))
			launch(v)
			if _, err := rivals[v].list.Join([]string{first}); err != nil {
				t.Error(err)
			}
			wait(t, "all are back", all(func(r *rival) bool { return r.list.NumMembers() == n }))
			time.Sleep(time.Minute)
		}
		for _, r := range rivals {
			r.list.Shutdown()
		}
		time.Sleep(time.Minute)
	})
	t.Logf("%v of this machine's time", time.Since(began).Round(time.Millisecond))
	return f
}
