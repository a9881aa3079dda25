package founding

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

// TestFounding: whatever is lost, delayed, killed and without power meanwhile, one
// record is committed, and all founders end with it.
func TestFounding(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for seed := range seeds(16) {
			t.Run(fmt.Sprintf("%d/%d", n, seed), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t, seed, peersOf(phonetic[:n]...))
					defer w.end()
					w.chaos(10*time.Second, 0)
					w.settle(30 * time.Second)
					w.expectAll(Born)
				})
			})
		}
	}
}

// TestFoundingWithWipes: less than a majority of the voters loses its disk at any time.
// Still one record is committed, nobody comes back as a member whose word was counted
// and lost, and those that kept their disks found the cluster.
func TestFoundingWithWipes(t *testing.T) {
	for _, n := range []int{3, 5} {
		for seed := range seeds(50) {
			t.Run(fmt.Sprintf("%d/%d", n, seed), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t, seed, peersOf(phonetic[:n]...))
					defer w.end()
					w.chaos(10*time.Second, (n-1)/2)
					w.settle(30 * time.Second)
					w.expectAll(Born, Lost)
				})
			})
		}
	}
}

// TestOverrides: operators who override without need, differently on different nodes,
// while disks are lost. They risk that a cluster is left behind by another one; but
// within each nobody comes back as a member whose word was counted and lost, and
// without lost disks there still is only one.
func TestOverrides(t *testing.T) {
	for _, n := range []int{3, 5} {
		for seed := range seeds(36) {
			wipes := int(seed) % 3
			t.Run(fmt.Sprintf("%d/%d", n, seed), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t, seed, peersOf(phonetic[:n]...))
					defer w.end()
					w.several, w.overrides = wipes > 0, true
					w.chaos(20*time.Second, wipes)
					w.settle(10 * time.Second)
				})
			})
		}
	}
}

// TestChangingLists: each node gets the same few lists, in its own order and time. Still
// there is one cluster, of whom it names; the others know that it does not count them
// in.
func TestChangingLists(t *testing.T) {
	lists := [][]Peer{
		peersOf(phonetic[:3]...),
		peersOf(phonetic[:5]...),
		peersOf(phonetic[:4]...),
		{{1, "alpha"}, {2, "bravo"}, {4, "delta"}},
		{{1, "echo"}, {2, "alpha"}, {3, "bravo"}},
	}
	for seed := range seeds(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t, seed, peersOf(phonetic[:5]...))
				defer w.end()
				w.lists = lists
				w.chaos(15*time.Second, 0)
				last := lists[w.dice().IntN(len(lists))]
				for _, n := range w.all() {
					n.follow(last)
				}
				w.settle(30 * time.Second)
				if len(w.records) == 0 {
					t.Errorf("nothing was founded%s", w.standing())
				}
			})
		})
	}
}

// follow gives the node another list, if it is in it.
func (n *node) follow(list []Peer) {
	if !named(list, n.name) {
		return
	}
	n.world.mu.Lock()
	n.list = list
	n.world.mu.Unlock()
	if f := n.founder(); f != nil {
		f.SetPeers(list)
	}
}

var phonetic = []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"}

var times = flag.Int("times", 1, "how many times the usual number of seeds are tried")

func seeds(n int) uint64 { return uint64(n * *times) }

// chaos lets everything happen for a while, at most wipes of them to different nodes.
func (w *world) chaos(d time.Duration, wipes int) {
	w.mu.Lock()
	w.net = conditions{delay: 300 * time.Millisecond, loss: 0.1, twice: 0.1}
	w.mu.Unlock()
	end := time.Now().Add(d)
	wiped := map[string]bool{}
	for time.Now().Before(end) {
		all := w.all()
		w.mu.Lock()
		n, what, power := all[w.rng.IntN(len(all))], w.rng.IntN(12), w.rng.IntN(2) == 0
		steps, pause := 1+w.rng.IntN(12), time.Duration(w.rng.Int64N(int64(600*time.Millisecond)))
		w.mu.Unlock()
		switch {
		case what < 5:
			n.revive()
		case what < 7: // die in the midst of a save
			n.dieAfter(steps, power)
			n.revive()
		case what == 7:
			n.stop(power)
		case what == 8:
			w.mu.Lock()
			n.cut = !n.cut
			w.mu.Unlock()
		case what == 9 && (wiped[n.name] || len(wiped) < wipes):
			wiped[n.name] = true
			n.stop(true)
			n.wipe()
		case what == 10 && w.overrides:
			w.override(all)
		case what == 11 && w.lists != nil:
			w.mu.Lock()
			list := w.lists[w.rng.IntN(len(w.lists))]
			w.mu.Unlock()
			n.follow(list)
		}
		time.Sleep(pause)
	}
}

// override has an operator name a majority, or nobody, on some of the nodes.
func (w *world) override(all []*node) {
	w.mu.Lock()
	var chosen []string
	for _, i := range w.rng.Perm(len(all))[:len(all)/2+1] {
		chosen = append(chosen, all[i].name)
	}
	if w.rng.IntN(3) == 0 {
		chosen = nil
	}
	var changed []*node
	for _, n := range all {
		if (chosen == nil || slices.Contains(chosen, n.name)) && w.rng.IntN(8) > 0 {
			n.override = chosen
			changed = append(changed, n)
		}
	}
	w.mu.Unlock()
	for _, n := range changed {
		n.stop(false)
		n.start()
	}
}

// dieAfter has the node's machine die at one of its next operations on disk.
func (n *node) dieAfter(steps int, power bool) {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	d := n.disk
	d.OnOp(func(op memdisk.Op) error {
		w.mu.Lock()
		steps--
		now := steps == 0
		w.mu.Unlock()
		if now && power {
			d.Crash(w.dice())
		} else if now {
			d.Kill()
		}
		return nil
	})
}
