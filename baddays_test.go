package kith_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/kv"
)

// works makes sure that a cluster is in order: all running nodes write, and all read
// what the others have written.
func works(t *testing.T, c *kithtest.Cluster) {
	t.Helper()
	ready(t, c)
	for _, n := range c.Nodes() {
		want := fmt.Sprint(n.Name(), time.Now().UnixNano())
		set(t, n, "works", want)
		for _, m := range c.Nodes() {
			if got := get(t, m, "works"); got != want {
				t.Errorf("%s wrote %q, %s reads %q", n.Name(), want, m.Name(), got)
			}
		}
	}
}

// contents is what n itself has under a prefix, without asking anybody.
func contents(t *testing.T, n *kith.Node, prefix string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for e, err := range n.KV().Stale().All(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("%s: %v", n.Name(), err)
		}
		all[e.Key] = string(e.Value)
	}
	return all
}

// troubled waits until the status of n names all of words among its problems.
func troubled(t *testing.T, c *kithtest.Cluster, n *kith.Node, words ...string) {
	t.Helper()
	c.Await(fmt.Sprintf("%s to say %q", n.Name(), words), func() bool {
		problems := strings.Join(n.Status().Problems, "\n")
		for _, w := range words {
			if !strings.Contains(problems, w) {
				return false
			}
		}
		return true
	})
}

// says checks what an error tells: what became of the request, of what kind it is,
// and in which words.
func says(t *testing.T, what string, err error, outcome kith.Outcome, is error, words ...string) {
	t.Helper()
	if !errors.Is(err, is) || kith.OutcomeOf(err) != outcome {
		t.Errorf("%s: got %v (%v); want %v (%v)", what, err, kith.OutcomeOf(err), is, outcome)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

// Requests that cannot be are refused by every node, with what is wrong and what the
// limit is, and leave no trace.
func TestBadRequests(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		many := kv.Txn()
		for i := range 129 {
			many.Then(kv.Put(fmt.Sprint("many/", i), nil))
		}
		heavy := kv.Txn()
		for i := range 9 {
			heavy.Then(kv.Put(fmt.Sprint("heavy/", i), make([]byte, 1<<20)))
		}
		last := set(t, c.Node("alpha"), "k", "v")
		for _, n := range c.Nodes() {
			ctx, keys := t.Context(), n.KV()
			for _, tc := range []struct {
				what  string
				do    func() error
				is    error
				words []string
			}{
				{"empty key", func() error { _, err := keys.Set(ctx, "", nil); return err }, kv.ErrInvalid, []string{"key", "empty"}},
				{"key that is not UTF-8", func() error { _, err := keys.Set(ctx, "a\xffb", nil); return err }, kv.ErrInvalid, []string{"UTF-8"}},
				{"get of such a key", func() error { _, err := keys.Get(ctx, "a\xffb"); return err }, kv.ErrInvalid, []string{"UTF-8"}},
				{"prefix that is not UTF-8", func() error { _, _, err := keys.DeletePrefix(ctx, "a\xff"); return err }, kv.ErrInvalid, []string{"UTF-8"}},
				{"event that is not UTF-8", func() error { _, err := keys.Fire(ctx, "a\xff"); return err }, kv.ErrInvalid, []string{"UTF-8"}},
				{"long key", func() error { _, err := keys.Set(ctx, strings.Repeat("k", 1025), nil); return err }, kv.ErrTooLarge, []string{"1025", "1024"}},
				{"large value", func() error { _, err := keys.Set(ctx, "k", make([]byte, 1<<20+1)); return err }, kv.ErrTooLarge, []string{"1048577", "1048576"}},
				{"transaction of many", func() error { _, err := keys.Commit(ctx, many); return err }, kv.ErrTooLarge, []string{"129", "128"}},
				{"transaction of much", func() error { _, err := keys.Commit(ctx, heavy); return err }, kv.ErrTooLarge, nil},
				{"negative TTL", func() error { _, err := keys.Set(ctx, "k", nil, kv.TTL(-1)); return err }, kv.ErrInvalid, []string{"TTL"}},
			} {
				says(t, n.Name()+": "+tc.what, tc.do(), kith.NotDone, tc.is, tc.words...)
			}
			if e, err := n.KV().Get(ctx, "k"); err != nil || e.Revision != last || string(e.Value) != "v" {
				t.Errorf("%s: the key is %q at %d, %v; a refused request has changed it", n.Name(), e.Value, e.Revision, err)
			}
		}
		time.Sleep(time.Second) // the status is of a moment ago
		if got := c.Node("alpha").Status().Agreement.Revision; got != uint64(last) {
			t.Errorf("revision %d after requests that were all refused, %d before", got, last)
		}
		// What just fits is taken.
		for _, n := range c.Nodes() {
			key, value := strings.Repeat(n.Name()[:1], 1024), strings.Repeat("v", 1<<20)
			set(t, n, key, value)
			if get(t, c.Node("alpha"), key) != value {
				t.Errorf("a key and a value of the greatest size, written on %s, did not come back", n.Name())
			}
		}
		works(t, c)
	})
}

// A watch from a revision that the cluster has forgotten is told so, then the whole
// state; one from a revision that is yet to come waits for it.
func TestForgottenRevision(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		alpha := c.Node("alpha")
		first := set(t, alpha, "k/000", "first")
		set(t, alpha, "gone", "x")
		if _, err := alpha.KV().Delete(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		var newest kv.Revision
		for round := range 140 { // the cluster remembers 16 Ki changes
			txn := kv.Txn()
			for i := range 128 {
				txn.Then(kv.Put(fmt.Sprintf("k/%03d", i), fmt.Append(nil, round)))
			}
			result, err := alpha.KV().Commit(t.Context(), txn)
			if err != nil {
				t.Fatal(err)
			}
			newest = result.Revision
		}
		for _, n := range c.Nodes() {
			var kinds []kv.Kind
			for change, err := range n.KV().Watch(t.Context(), "k/", first) {
				if err != nil {
					t.Fatalf("%s: %v", n.Name(), err)
				}
				kinds = append(kinds, change.Kind)
				if len(kinds) == 1 && (change.Kind != kv.Resync || change.Previous != first) {
					t.Fatalf("%s: the first element is %+v; want a resync after %d", n.Name(), change, first)
				}
				if change.Kind == kv.Written && string(change.Value) != "139" {
					t.Errorf("%s: the state that follows has %s = %q", n.Name(), change.Key, change.Value)
				}
				if change.Kind == kv.Synced {
					break
				}
			}
			if len(kinds) != 1+128+1 {
				t.Errorf("%s: %d elements; want a resync, 128 keys and the end of the state", n.Name(), len(kinds))
			}
			began := time.Now()
			if at, err := n.KV().WaitChange(t.Context(), "gone", first+1); err != nil || at != 0 {
				t.Errorf("%s: a wait for a key whose history is forgotten returned %d, %v", n.Name(), at, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s: it waited %v for a change that has long been", n.Name(), took)
			}
		}
		came := make(chan kv.Change, 1)
		go func() {
			for change, err := range c.Node("bravo").KV().Watch(t.Context(), "k/", newest+1) {
				if err != nil {
					break
				}
				came <- change
				return
			}
			close(came)
		}()
		time.Sleep(time.Second)
		set(t, alpha, "k/next", "not this one")
		want := set(t, alpha, "k/next", "this one")
		if got := <-came; got.Revision != want {
			t.Errorf("a watch after revision %d began with %d (%q); want %d", newest+1, got.Revision, got.Value, want)
		}
	})
}

// calls is every way to wait for agreement, each with a name that nobody touches.
func calls(n *kith.Node) map[string]func(ctx context.Context) error {
	keys, event, l, g := n.KV(), n.Event("event"), n.Lock("lock"), n.Group("group")
	last := func(stream func(yield func(kv.Change, error) bool)) (err error) {
		for _, err = range stream {
		}
		return err
	}
	return map[string]func(ctx context.Context) error{
		"ready":         func(ctx context.Context) error { return n.Ready(ctx) },
		"get":           func(ctx context.Context) error { _, err := keys.Get(ctx, "k"); return err },
		"list":          func(ctx context.Context) error { _, err := keys.List(ctx, "k"); return err },
		"set":           func(ctx context.Context) error { _, err := keys.Set(ctx, "set", nil); return err },
		"set ephemeral": func(ctx context.Context) error { _, err := keys.Set(ctx, "eph", nil, kv.Ephemeral()); return err },
		"delete":        func(ctx context.Context) error { _, err := keys.Delete(ctx, "delete"); return err },
		"delete prefix": func(ctx context.Context) error { _, _, err := keys.DeletePrefix(ctx, "delete"); return err },
		"transaction": func(ctx context.Context) error {
			_, err := keys.Commit(ctx, kv.Txn().Then(kv.Put("txn", nil)))
			return err
		},
		"fire":       func(ctx context.Context) error { _, err := event.Fire(ctx); return err },
		"event":      func(ctx context.Context) error { _, err := event.Revision(ctx); return err },
		"event wait": func(ctx context.Context) error { _, err := event.Wait(ctx, 1<<40); return err },
		"wait":       func(ctx context.Context) error { _, err := keys.WaitChange(ctx, "k", 0); return err },
		"watch":      func(ctx context.Context) error { return last(keys.Watch(ctx, "k", 0)) },
		"watch key":  func(ctx context.Context) error { return last(keys.WatchKey(ctx, "k", 0)) },
		"all": func(ctx context.Context) (err error) {
			for _, err = range keys.All(ctx, "k") {
			}
			return err
		},
		"typed": func(ctx context.Context) error {
			_, err := kv.Typed(keys, "typed/", kv.JSON[int]()).Set(ctx, "k", 1)
			return err
		},
		"acquire":       func(ctx context.Context) error { _, err := l.Acquire(ctx); return err },
		"try acquire":   func(ctx context.Context) error { _, err := l.TryAcquire(ctx); return err },
		"owners":        func(ctx context.Context) error { _, err := l.Owners(ctx); return err },
		"explain":       func(ctx context.Context) error { _, err := l.Explain(ctx); return err },
		"break":         func(ctx context.Context) error { return l.Break(ctx, 1) },
		"join":          func(ctx context.Context) error { _, err := g.Join(ctx); return err },
		"members":       func(ctx context.Context) error { _, err := g.Members(ctx, 0); return err },
		"explain group": func(ctx context.Context) error { _, err := g.Explain(ctx); return err },
		"break seat":    func(ctx context.Context) error { return g.Break(ctx, 1) },
		"lead": func(ctx context.Context) error {
			return n.Group("led").Lead(ctx, 1, func(context.Context) error { return nil })
		},
		"watch group": func(ctx context.Context) (err error) {
			for _, err = range g.Watch(ctx) {
			}
			return err
		},
	}
}

// writes are those of calls that change something.
var writes = []string{"set", "set ephemeral", "delete", "delete prefix", "transaction", "fire", "typed", "break", "break seat"}

// A closed node answers every call with ErrClosed: those under way, wherever they
// stand, and those that come afterwards.
func TestClosedNode(t *testing.T) {
	for name, tc := range map[string]struct {
		absent  []string
		prepare func(t *testing.T, c *kithtest.Cluster)
	}{
		"before the birth": {[]string{"charlie"}, func(*testing.T, *kithtest.Cluster) {}},
		"cut off": {nil, func(t *testing.T, c *kithtest.Cluster) {
			ready(t, c)
			set(t, c.Node("alpha"), "k", "v")
			c.Partition([]string{"alpha"})
		}},
		"no majority": {nil, func(t *testing.T, c *kithtest.Cluster) {
			ready(t, c)
			set(t, c.Node("alpha"), "k", "v")
			c.Kill("bravo")
			c.Kill("charlie")
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{Absent: tc.absent}, func(t *testing.T, c *kithtest.Cluster) {
				tc.prepare(t, c)
				alpha := c.Node("alpha")
				ends := make(map[string]error)
				var mu sync.Mutex // guards ends
				var wg sync.WaitGroup
				for what, call := range calls(alpha) {
					wg.Go(func() {
						err := call(context.Background())
						mu.Lock()
						defer mu.Unlock()
						ends[what] = err
					})
				}
				time.Sleep(time.Second)
				mu.Lock()
				early := maps.Clone(ends)
				mu.Unlock()
				for what, err := range early {
					t.Errorf("%s ended before the node was closed: %v", what, err)
				}
				began := time.Now()
				alpha.Close()
				wg.Wait()
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("closing and the end of all calls took %v", took)
				}
				for what, err := range ends {
					if !errors.Is(err, kith.ErrClosed) {
						t.Errorf("%s, under way: %v", what, err)
					}
					if !slices.Contains(writes, what) && kith.OutcomeOf(err) != kith.NotDone {
						t.Errorf("%s, which changes nothing: %v", what, err)
					}
				}
				afterwards := calls(alpha)
				afterwards["stale get"] = func(ctx context.Context) error { _, err := alpha.KV().Stale().Get(ctx, "k"); return err }
				for what, call := range afterwards {
					says(t, what+", afterwards", call(context.Background()), kith.NotDone, kith.ErrClosed)
				}
			})
		})
	}
}

// A cluster of two has one voter, the lower PID, and a learner. Without the learner it
// goes on; without the voter it waits, and what is known can still be read.
func TestTwoPeers(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		set(t, c.Node("bravo"), "k", "both")
		c.Kill("bravo")
		began := time.Now()
		set(t, c.Node("alpha"), "k", "alone")
		if took := time.Since(began); took > time.Second {
			t.Errorf("the voter took %v for a write after its learner was gone", took)
		}
		bravo := c.Restart("bravo")
		works(t, c)
		if got := get(t, bravo, "k"); got != "alone" {
			t.Errorf("the learner came back and reads %q", got)
		}

		c.Kill("alpha")
		troubled(t, c, bravo, "no leader")
		for what, call := range map[string]func(ctx context.Context) error{
			"set": func(ctx context.Context) error { _, err := bravo.KV().Set(ctx, "k", []byte("lost")); return err },
			"get": func(ctx context.Context) error { _, err := bravo.KV().Get(ctx, "k"); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			says(t, what, call(ctx), kith.NotDone, kith.ErrNoQuorum, "alpha")
			cancel()
		}
		if e, err := bravo.KV().Stale().Get(t.Context(), "k"); err != nil || string(e.Value) != "alone" {
			t.Errorf("the learner's own copy has %q, %v", e.Value, err)
		}
		c.Restart("alpha")
		works(t, c)
		if got := get(t, bravo, "k"); got != "alone" {
			t.Errorf("after the voter's return the key is %q", got)
		}
	})
}

// Where refused connections prove nothing (Config.IgnoreRefusals), ephemeral keys outlive
// the process that wrote them for what is left of the session's time, and no longer, whoever
// leads. A process that comes back at once does not inherit them: they go with its return,
// and what it writes anew stays.
func TestEphemeralKeysOfAKilledNode(t *testing.T) {
	const ttl = 10 * time.Second
	patient := func(_ string, cfg *kith.Config) { cfg.SessionTTL, cfg.IgnoreRefusals = ttl, true }
	for _, who := range []string{"leader", "voter"} {
		t.Run(who, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{Conditions: near, Configure: patient}, func(t *testing.T, c *kithtest.Cluster) {
				for _, back := range []bool{false, true} {
					ready(t, c)
					holder := holders(t, c, who)
					witness := others(c, holder)[0]
					for _, key := range []string{"mine", "kept"} {
						ephemeral(t, holder, key)
					}
					if took, ok := freed(t, witness, "mine")(time.Now(), 3*ttl); ok {
						t.Fatalf("an ephemeral key is gone after %v although its node lives", took)
					}
					gone := freed(t, witness, "mine")
					killed := time.Now()
					c.Kill(holder.Name())
					// The last renewal was at most a fifth of the TTL before the end.
					least, most := ttl*4/5, ttl*5/4
					if back {
						time.Sleep(2 * time.Second)
						least, most = 2*time.Second, 4*time.Second
						c.Restart(holder.Name())
						ephemeral(t, c.Node(holder.Name()), "kept")
					}
					if took, ok := gone(killed, 2*ttl); !ok || took < least || took > most {
						t.Errorf("back %v: gone after %v (%v), want %v to %v", back, took, ok, least, most)
					}
					if !back {
						c.Restart(holder.Name())
						continue
					}
					time.Sleep(2 * ttl)
					if !exists(t, witness, "kept") {
						t.Error("what the new process wrote went with the old one's session")
					}
				}
			})
		})
	}
}

// Ephemeral keys of a node that leaves go with it, whether it leads or not; where no
// majority is left it leaves all the same.
func TestEphemeralKeysOfALeaver(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for range 2 {
			holder := leader(t, c)
			session := ephemeral(t, holder, "mine")
			witness := others(c, holder)[0]
			c.Leave(holder.Name())
			left := time.Now()
			if !errors.Is(context.Cause(session), kith.ErrSessionEnded) {
				t.Errorf("its session ended with %v", context.Cause(session))
			}
			if exists(t, witness, "mine") {
				t.Error("its key stays")
			}
			if took := time.Since(left); took > time.Second {
				t.Errorf("it took %v to find out", took)
			}
			c.Restart(holder.Name())
			works(t, c)
		}
		alpha := c.Node("alpha")
		ephemeral(t, alpha, "mine")
		c.Kill("bravo")
		c.Kill("charlie")
		began := time.Now()
		c.Leave("alpha")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("alone, it left after %v", took)
		}
	})
}

// A node that was paused for longer than its session lasts wakes without it: the
// cluster has let go of what was its own, it is told, and a new session begins.
func TestPausedBeyondItsSession(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				holder := leader(t, c)
				if who == "follower" {
					holder = others(c, holder)[0]
				}
				if _, err := holder.KV().Set(t.Context(), "mine", nil, kv.Ephemeral()); err != nil {
					t.Fatal(err)
				}
				session, err := holder.SessionContext(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				witness := others(c, holder)[0]
				c.Pause(holder.Name())
				c.Await("the key to go", func() bool { return !exists(t, witness, "mine") })
				set(t, witness, "k", "meanwhile")
				time.Sleep(time.Minute)
				c.Resume(holder.Name())
				<-session.Done()
				if cause := context.Cause(session); !errors.Is(cause, kith.ErrSessionEnded) {
					t.Errorf("the session's end is told as %v", cause)
				}
				if got := get(t, holder, "k"); got != "meanwhile" {
					t.Errorf("awake again, it reads %q", got)
				}
				if exists(t, holder, "mine") {
					t.Error("awake again, it sees its key")
				}
				if _, err := holder.KV().Set(t.Context(), "mine", nil, kv.Ephemeral()); err != nil {
					t.Errorf("no new session: %v", err)
				}
				time.Sleep(10 * kith.DefaultSessionTTL)
				if !exists(t, witness, "mine") {
					t.Error("the new session is not kept")
				}
				works(t, c)
			})
		})
	}
}

// Every node comes back at another address: members are known by their IDs and
// directories, not by where they are.
func TestAllMove(t *testing.T) {
	opts := kithtest.Options{Conditions: memnet.Conditions{Delay: time.Millisecond}}
	kithtest.Virtual(t, 5, opts, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		set(t, c.Node("alpha"), "k", "v")
		id := c.Node("alpha").Status().Agreement.ClusterID
		list := c.Peers()
		for _, p := range list.Peers {
			c.Kill(p.Name)
			p.IPAddr, p.Port = fmt.Sprintf("10.0.77.%d", 6-p.PID), uint16(9000+p.PID)
		}
		c.SetPeers(list)
		for _, p := range list.Peers {
			c.Restart(p.Name)
		}
		works(t, c)
		for _, n := range c.Nodes() {
			s := n.Status()
			if got := get(t, n, "k"); got != "v" || s.Agreement.ClusterID != id || !s.Healthy() {
				t.Errorf("%s reads %q in cluster %s, problems %q", n.Name(), got, s.Agreement.ClusterID, s.Problems)
			}
		}
		// And while they run.
		for _, p := range list.Peers {
			p.Port += 100
		}
		c.SetPeers(list)
		works(t, c)
		if got := get(t, c.Node("echo"), "k"); got != "v" {
			t.Errorf("after the second move: %q", got)
		}
	})
}

// Nodes that were clusters of their own, in memory, forget that when they are to be
// one cluster; those who watched are told, also where revisions begin anew.
func TestMemoryGivesWayToACluster(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "/state")
	alone := func(name string, cfg *kith.Config) {
		cfg.Dir = ""
		self, err := cfg.Peers.Get(name)
		if err != nil {
			t.Error(err)
			return
		}
		cfg.Peers.Peers = append(cfg.Peers.Peers[:0:0], self)
	}
	kithtest.Virtual(t, 3, kithtest.Options{Configure: alone}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		copies := make(map[string]map[string]string)
		resyncs := make(map[string]int)
		var mu sync.Mutex // guards copies and resyncs
		for _, n := range c.Nodes() {
			for i := range 20 {
				set(t, n, fmt.Sprint("own/", i), n.Name())
			}
			wg.Go(func() {
				for change, err := range n.KV().Watch(ctx, "", 0) {
					mu.Lock()
					switch {
					case err != nil:
						t.Errorf("%s: %v", n.Name(), err)
					case change.Kind == kv.Resync:
						resyncs[n.Name()]++
						copies[n.Name()] = nil
					case change.Kind == kv.Written:
						if copies[n.Name()] == nil {
							copies[n.Name()] = make(map[string]string)
						}
						copies[n.Name()][change.Key] = string(change.Value)
					case change.Kind == kv.Deleted:
						delete(copies[n.Name()], change.Key)
					}
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Second)
		c.SetPeers(c.Peers())
		c.Await("one cluster", func() bool { // until all have the list, some may say that they do not count the others in
			return !slices.ContainsFunc(c.Nodes(), func(n *kith.Node) bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				return n.Ready(ctx) != nil
			})
		})
		works(t, c)
		set(t, c.Node("bravo"), "ours", "x")
		if _, err := c.Node("charlie").KV().Delete(t.Context(), "works"); err != nil {
			t.Fatal(err)
		}
		ready(t, c)
		time.Sleep(time.Second)
		stop()
		wg.Wait()
		for _, n := range c.Nodes() {
			if got := copies[n.Name()]; len(got) != 1 || got["ours"] != "x" {
				t.Errorf("who watched %s holds %v", n.Name(), got)
			}
			if resyncs[n.Name()] == 0 {
				t.Errorf("who watched %s was not told that the state it knew is gone", n.Name())
			}
			if s := n.Status(); s.Dir == "" || len(s.Agreement.Members) != 3 {
				t.Errorf("%s lives in %q with %d members", n.Name(), s.Dir, len(s.Agreement.Members))
			}
		}
	})
}
