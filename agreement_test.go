package kith_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/kv"
)

// ready waits until all running nodes take part in agreement.
func ready(t *testing.T, c *kithtest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, n := range c.Nodes() {
		if err := n.Ready(ctx); err != nil {
			t.Fatalf("%s: %v", n.Name(), err)
		}
	}
}

func set(t *testing.T, n *kith.Node, key, value string) kv.Revision {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rev, err := n.KV().Set(ctx, key, []byte(value))
	if err != nil {
		t.Fatalf("%s: %v", n.Name(), err)
	}
	return rev
}

func get(t *testing.T, n *kith.Node, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := n.KV().Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatalf("%s: %v", n.Name(), err)
	}
	return string(e.Value)
}

// leader returns the node that leads, and waits for one.
func leader(t *testing.T, c *kithtest.Cluster) *kith.Node {
	t.Helper()
	var found *kith.Node
	c.Await("a leader", func() bool {
		for _, n := range c.Nodes() {
			if s := n.Status().Agreement; s != nil && s.State == "leader" {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

func others(c *kithtest.Cluster, not *kith.Node) []*kith.Node {
	var all []*kith.Node
	for _, n := range c.Nodes() {
		if n != not {
			all = append(all, n)
		}
	}
	return all
}

func TestWrittenHereReadThere(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for i, n := range c.Nodes() {
			set(t, n, "k", fmt.Sprint(i))
			for _, m := range c.Nodes() {
				if got := get(t, m, "k"); got != fmt.Sprint(i) {
					t.Errorf("written on %s, %s reads %q", n.Name(), m.Name(), got)
				}
			}
		}
		for _, n := range c.Nodes() {
			if s := n.Status(); !s.Healthy() {
				t.Errorf("%s is not content: %q", n.Name(), s.Problems)
			}
		}
	})
}

func TestAloneInMemory(t *testing.T) {
	kithtest.Virtual(t, 1, kithtest.Options{Configure: func(_ string, cfg *kith.Config) { cfg.Dir = "" }}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		set(t, c.Nodes()[0], "k", "v")
		if got := get(t, c.Nodes()[0], "k"); got != "v" {
			t.Errorf("reads %q", got)
		}
	})
}

// Nine peers: five vote, four learn, and all of them can write and read.
func TestLearners(t *testing.T) {
	kithtest.Virtual(t, 9, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		voters := 0
		for _, m := range c.Nodes()[0].Status().Agreement.Members {
			if m.Voter {
				voters++
			}
		}
		if voters != 5 {
			t.Errorf("%d voters of nine", voters)
		}
		for _, n := range c.Nodes() {
			set(t, n, "by/"+n.Name(), "x")
		}
		for _, n := range c.Nodes() {
			page, err := n.KV().List(t.Context(), "by/")
			if err != nil || len(page.Entries) != 9 {
				t.Errorf("%s reads %d keys: %v", n.Name(), len(page.Entries), err)
			}
		}
	})
}

// A killed leader is succeeded in a fraction of the election timeout, and nothing
// acknowledged is lost (S15).
func TestLeaderKilled(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for round := range 5 {
			old := leader(t, c)
			key := fmt.Sprint("round/", round)
			set(t, old, key, "before")
			left := others(c, old)
			began := time.Now()
			c.Kill(old.Name())
			set(t, left[0], key+"/after", "x")
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("round %d: %v from the kill to the next acknowledged write", round, took)
			}
			if got := get(t, left[1], key); got != "before" {
				t.Errorf("round %d: lost %s: %q", round, key, got)
			}
			c.Restart(old.Name())
			ready(t, c)
		}
	})
}

// Power lost everywhere at once: every acknowledged write is there afterwards.
func TestAllLosePower(t *testing.T) {
	for seed := range uint64(5) {
		kithtest.Virtual(t, 3, kithtest.Options{Seed: seed}, func(t *testing.T, c *kithtest.Cluster) {
			ready(t, c)
			want := make(map[string]string)
			for round := range 3 {
				for i, n := range c.Nodes() {
					key := fmt.Sprintf("%d/%d", round, i)
					set(t, n, key, key)
					want[key] = key
				}
				for _, name := range kithtest.Names(3) {
					c.PowerOff(name)
				}
				for _, name := range kithtest.Names(3) {
					c.Restart(name)
				}
				ready(t, c)
				for _, n := range c.Nodes() {
					for key, value := range want {
						if got := get(t, n, key); got != value {
							t.Fatalf("seed %d: %s: %s is %q, was acknowledged as %q", seed, n.Name(), key, got, value)
						}
					}
				}
			}
		})
	}
}

// Without a majority calls end with their context and say who is missing; what was
// not sent is not done.
func TestNoMajority(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		c.PowerOff("bravo")
		c.PowerOff("charlie")
		alpha := c.Node("alpha")
		c.Await("alpha to see that nobody leads", func() bool { return alpha.Status().Agreement.Leader == "" })
		for what, call := range map[string]func(ctx context.Context) error{
			"set": func(ctx context.Context) error { _, err := alpha.KV().Set(ctx, "k", nil); return err },
			"get": func(ctx context.Context) error { _, err := alpha.KV().Get(ctx, "k"); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			began := time.Now()
			err := call(ctx)
			cancel()
			if !errors.Is(err, kith.ErrNoQuorum) || !errors.Is(err, context.DeadlineExceeded) || kith.OutcomeOf(err) != kith.NotDone {
				t.Errorf("%s: %v", what, err)
			}
			if !strings.Contains(err.Error(), "bravo") || !strings.Contains(err.Error(), "charlie") {
				t.Errorf("%s does not name who is missing: %v", what, err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("%s took %v", what, took)
			}
		}
		c.Restart("bravo")
		ready(t, c)
		set(t, alpha, "k", "back")
	})
}

// A peer that is added to the list later gossips, is told plainly, and disturbs
// nothing.
func TestNotCountedIn(t *testing.T) {
	kithtest.Virtual(t, 4, kithtest.Options{Absent: []string{"delta"}, Configure: func(name string, cfg *kith.Config) {
		if name != "delta" { // founded with three
			cfg.Peers.Peers = cfg.Peers.Peers[:3]
		}
	}}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		set(t, c.Node("alpha"), "k", "v")
		c.SetPeers(c.Peers())
		delta := c.Restart("delta")
		c.AwaitAlive()
		_, err := delta.KV().Get(t.Context(), "k")
		c.Await("delta to be told", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = delta.KV().Get(ctx, "k")
			return errors.Is(err, kith.ErrNotMember)
		})
		if kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("the outcome of %v is %v", err, kith.OutcomeOf(err))
		}
		if s := delta.Status(); s.Agreement.State != "not a member" || s.Healthy() {
			t.Errorf("its status does not tell: %q, %q", s.Agreement.State, s.Problems)
		}
		set(t, c.Node("bravo"), "k", "w")
		time.Sleep(time.Minute)
		for _, name := range []string{"alpha", "bravo", "charlie"} {
			if got := get(t, c.Node(name), "k"); got != "w" {
				t.Errorf("%s reads %q", name, got)
			}
		}
	})
}

// A voter whose directory was emptied stays out and says so (S3).
func TestWipedVoterStaysOut(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		c.Kill("bravo")
		c.Wipe("bravo")
		bravo := c.Restart("bravo")
		var err error
		c.Await("bravo to be told", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = bravo.KV().Get(ctx, "k")
			return errors.Is(err, kith.ErrStateLost)
		})
		if s := bravo.Status().Agreement; s.State != "lost" {
			t.Errorf("its state is %q, %v", s.State, err)
		}
		set(t, c.Node("alpha"), "k", "v")
	})
}

// The hunt for stale reads in virtual time: the leader is cut off, the others elect
// a successor and write, and all the while the old leader is asked.
func TestNoStaleReadsAtADeposedLeader(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: memnet.Conditions{Delay: time.Millisecond, Jitter: time.Millisecond}}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		var answered atomic.Int64
		for round := range 20 {
			old := leader(t, c)
			left := others(c, old)
			set(t, old, "k", fmt.Sprint(round))
			var acknowledged atomic.Uint64 // of the newest write that anybody was told of
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			c.Partition([]string{old.Name()})
			wg.Go(func() {
				for ctx.Err() == nil {
					writing, cancel := context.WithTimeout(ctx, 5*time.Second)
					rev, err := left[0].KV().Set(writing, "k", []byte("new"))
					cancel()
					if err == nil {
						acknowledged.Store(uint64(rev))
					}
				}
			})
			for range 4 {
				wg.Go(func() {
					for ctx.Err() == nil {
						floor := acknowledged.Load()
						reading, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
						e, err := old.KV().Get(reading, "k")
						cancel()
						if err == nil && uint64(e.Revision) < floor {
							t.Errorf("round %d: read revision %d after %d was acknowledged", round, e.Revision, floor)
						}
						if err == nil && floor > 0 {
							answered.Add(1)
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(2500 * time.Millisecond)
			c.Heal()
			time.Sleep(time.Second)
			stop()
			wg.Wait()
		}
		if answered.Load() == 0 {
			t.Error("no read was answered after a write elsewhere: nothing was tested")
		}
	})
}

// A holder that is cut off lets go before the cluster acts on it, and counts from
// the last renewal that a majority has stood behind (S11): also if it leads, and for
// a while believes to lead on.
func TestHolderStopsFirst(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		for round := range 5 {
			ready(t, c)
			holder := leader(t, c)
			left := others(c, holder)
			if _, err := holder.KV().Set(t.Context(), "mine", nil, kv.Ephemeral()); err != nil {
				t.Fatal(err)
			}
			session, err := holder.SessionContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// Each round cuts at another moment between two renewals.
			time.Sleep(time.Minute + time.Duration(round)*kith.DefaultSessionTTL/25)
			if session.Err() != nil {
				t.Fatalf("the session ended by itself: %v", context.Cause(session))
			}
			cut := time.Now()
			c.Partition([]string{holder.Name()})
			<-session.Done()
			if !errors.Is(context.Cause(session), kith.ErrSessionEnded) {
				t.Errorf("its cause is %v", context.Cause(session))
			}
			most := kith.DefaultSessionTTL*99/100 - 500*time.Millisecond
			if stopped := time.Since(cut); stopped > most {
				t.Errorf("round %d: it let go %v after it was cut off; %v is the most", round, stopped, most)
			}
			if !exists(t, left[0], "mine") {
				t.Errorf("round %d: the cluster let go before the holder did", round)
			}
			c.Await("the key to be gone", func() bool { return !exists(t, left[0], "mine") })
			if gone := time.Since(cut); gone > 3*kith.DefaultSessionTTL {
				t.Errorf("round %d: the key was gone only after %v", round, gone)
			}
			c.Heal()
		}
	})
}

func exists(t *testing.T, n *kith.Node, key string) bool {
	t.Helper()
	_, err := n.KV().Get(t.Context(), key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// Keys with a TTL go when agreed time says so, which stands still without a leader
// (S17).
func TestKeysExpire(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		alpha := c.Node("alpha")
		if _, err := alpha.KV().Set(t.Context(), "brief", nil, kv.TTL(10*time.Second)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(9 * time.Second)
		if !exists(t, alpha, "brief") {
			t.Error("gone too early")
		}
		for change, err := range alpha.KV().Watch(t.Context(), "brief", 0) {
			if err != nil {
				t.Fatal(err)
			}
			if change.Kind == kv.Expired {
				break
			}
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("gone only after %v", took)
		}
		// An hour in which nothing is written must not make the next one expire at once.
		time.Sleep(time.Hour)
		if _, err := alpha.KV().Set(t.Context(), "brief", nil, kv.TTL(10*time.Second)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !exists(t, alpha, "brief") {
			t.Error("agreed time had stood still, and the key paid for it")
		}
	})
}

// Who was away for longer than the log reaches back gets a snapshot, and its
// watchers miss nothing without being told.
func TestCatchUpBySnapshot(t *testing.T) {
	few := func(_ string, cfg *kith.Config) { cfg.SetSnapshotBytes(16 << 10) }
	kithtest.Virtual(t, 4, kithtest.Options{Configure: few}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for _, away := range []string{"charlie", "delta"} { // a voter and a learner
			set(t, c.Node("alpha"), "k/before", away)
			c.Kill(away)
			for i := range 300 {
				set(t, c.Node("alpha"), fmt.Sprintf("k/%03d", i), strings.Repeat(away, 100))
			}
			c.Await("alpha and bravo to have snapshots", func() bool {
				return c.Node("alpha").Status().Agreement.SnapshotIndex > 200 && c.Node("bravo").Status().Agreement.SnapshotIndex > 200
			})
			back := c.Restart(away)
			ready(t, c)
			if got := get(t, back, "k/299"); got != strings.Repeat(away, 100) {
				t.Errorf("%s reads %.20q", away, got)
			}
			page, err := back.KV().Stale().List(t.Context(), "k/")
			want, _ := c.Node("alpha").KV().List(t.Context(), "k/")
			if err != nil || len(page.Entries) != len(want.Entries) {
				t.Errorf("%s holds %d keys of %d, %v", away, len(page.Entries), len(want.Entries), err)
			}
			set(t, back, "k/after", "x")
		}
	})
}

// A leader that leaves has a successor before it goes.
func TestLeaveHandsOver(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		old := leader(t, c)
		left := others(c, old)
		writing, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var longest time.Duration
		wg.Go(func() {
			for writing.Err() == nil {
				began := time.Now()
				set(t, left[0], "k", "v")
				longest = max(longest, time.Since(began))
				time.Sleep(time.Millisecond)
			}
		})
		c.Leave(old.Name())
		stop()
		wg.Wait()
		if longest > 100*time.Millisecond {
			t.Errorf("a write took %v while the leader left", longest)
		}
		set(t, left[1], "k", "w")
	})
}

// What no frame and no entry could carry is refused, and disturbs nobody.
func TestHugeCommand(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		l := leader(t, c)
		set(t, l, "k", "v")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err := l.KV().Set(ctx, "k", []byte("w"), kv.IfValue(make([]byte, 64<<20-48)))
		cancel()
		if !errors.Is(err, kv.ErrTooLarge) || kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("the huge one: %v", err)
		}
		for _, n := range c.Nodes() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			_, err := n.KV().Set(ctx, "other", []byte("v"))
			cancel()
			if err != nil {
				t.Errorf("%s: a small write after it: %v", n.Name(), err)
			}
		}
	})
}
