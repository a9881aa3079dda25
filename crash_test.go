package kith_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
)

// near is a network in one data centre.
var near = memnet.Conditions{Delay: time.Millisecond / 2}

// freed begins to look when an ephemeral key goes, as witness sees it, and returns a
// function that waits for that and tells how long after the given moment it was. After
// most it waits no longer, and reports false.
func freed(t *testing.T, witness *kith.Node, key string) func(since time.Time, most time.Duration) (time.Duration, bool) {
	t.Helper()
	e, err := witness.KV().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	store := witness.KV().Stale()
	return func(since time.Time, most time.Duration) (time.Duration, bool) {
		ctx, cancel := context.WithDeadline(t.Context(), since.Add(most))
		defer cancel()
		_, err := store.WaitChange(ctx, key, e.Revision)
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		return time.Since(since), err == nil
	}
}

// holders are those whose crash must make no difference to how soon it is seen.
func holders(t *testing.T, c *kithtest.Cluster, kind string) *kith.Node {
	t.Helper()
	lead := leader(t, c)
	if kind == "leader" {
		return lead
	}
	for _, m := range lead.Status().Agreement.Members {
		if n := c.Node(m.Name); n != lead && m.Voter == (kind == "voter") {
			return n
		}
	}
	t.Fatalf("there is no %s", kind)
	return nil
}

// What a killed node held is free within milliseconds, not after its time, whoever it
// was: its kernel tells all voters (S12). If it led, there is an election first (S15).
func TestKilledHolder(t *testing.T) {
	for _, tc := range []struct {
		nodes  int
		holder string
		most   time.Duration
	}{
		{3, "voter", 20 * time.Millisecond},
		{3, "leader", 100 * time.Millisecond},
		{5, "voter", 20 * time.Millisecond},
		{5, "leader", 100 * time.Millisecond},
		{4, "learner", 20 * time.Millisecond},
		{2, "learner", 20 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tc.holder, " of ", tc.nodes), func(t *testing.T) {
			kithtest.Virtual(t, tc.nodes, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
				for round := range 5 {
					ready(t, c)
					time.Sleep(time.Second + time.Duration(round)*7*time.Millisecond)
					holder := holders(t, c, tc.holder)
					ephemeral(t, holder, "mine")
					// Also right after the session was opened, and between any two renewals.
					time.Sleep(time.Duration(round) * time.Duration(round) * 617 * time.Millisecond)
					gone := freed(t, others(c, holder)[0], "mine")
					killed := time.Now()
					c.Kill(holder.Name())
					if took, ok := gone(killed, time.Minute); !ok || took > tc.most {
						t.Errorf("round %d: what it held was free after %v (%v), want %v at most", round, took, ok, tc.most)
					} else {
						t.Logf("round %d: free after %v", round, took)
					}
					c.Restart(holder.Name())
				}
			})
		})
	}
}

// The leader and another node that holds something die at the same moment: the new
// leader finds out about both (S12, S15).
func TestLeaderAndHolderKilled(t *testing.T) {
	kithtest.Virtual(t, 5, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		for round := range 5 {
			ready(t, c)
			time.Sleep(time.Second)
			lead := leader(t, c)
			left := others(c, lead)
			holder, witness := left[round%4], left[(round+1)%4]
			ephemeral(t, holder, "mine")
			ephemeral(t, lead, "theirs")
			gone, theirs := freed(t, witness, "mine"), freed(t, witness, "theirs")
			killed := time.Now()
			c.Kill(holder.Name())
			c.Kill(lead.Name())
			for _, free := range []func(time.Time, time.Duration) (time.Duration, bool){gone, theirs} {
				if took, ok := free(killed, time.Minute); !ok || took > 100*time.Millisecond {
					t.Errorf("round %d: free after %v (%v)", round, took, ok)
				} else {
					t.Logf("round %d: free after %v", round, took)
				}
			}
			c.Restart(holder.Name())
			c.Restart(lead.Name())
		}
	})
}

// Silence is no crash: who is paused, cut off in whatever way, or without power keeps
// what it has until its time is up, and stops before (S11, S12).
func TestSilentHolder(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	for name, tc := range map[string]struct {
		strike func(c *kithtest.Cluster, holder string, others []*kith.Node)
		dead   bool // nobody is left who could look at the session
		kept   bool // it does not end at all
	}{
		"paused":        {strike: func(c *kithtest.Cluster, holder string, _ []*kith.Node) { c.Pause(holder) }, dead: true},
		"without power": {strike: func(c *kithtest.Cluster, holder string, _ []*kith.Node) { c.PowerOff(holder) }, dead: true},
		"cut off":       {strike: func(c *kithtest.Cluster, holder string, _ []*kith.Node) { c.Partition([]string{holder}) }},
		"not heard": {strike: func(c *kithtest.Cluster, holder string, others []*kith.Node) {
			for _, n := range others {
				c.Cut(holder, n.Name())
			}
		}},
		"not hearing": {strike: func(c *kithtest.Cluster, holder string, others []*kith.Node) {
			for _, n := range others {
				c.Cut(n.Name(), holder)
			}
		}},
		"cut off from a follower": {strike: func(c *kithtest.Cluster, holder string, others []*kith.Node) {
			for _, n := range others {
				if n.Status().Agreement.State == "follower" {
					c.CutBoth(holder, n.Name())
					return
				}
			}
		}, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				time.Sleep(time.Second)
				holder := holders(t, c, "voter")
				witness := leader(t, c)
				session := ephemeral(t, holder, "mine")
				time.Sleep(10 * time.Second)
				gone := freed(t, witness, "mine")
				struck := time.Now()
				tc.strike(c, holder.Name(), others(c, holder))
				took, ok := gone(struck, 4*ttl)
				switch {
				case tc.kept && ok:
					t.Errorf("free after %v although the holder reaches the leader", took)
				case tc.kept && session.Err() != nil:
					t.Errorf("the session is over for its holder: %v", context.Cause(session))
				case tc.kept:
				case !ok || took < ttl*4/5 || took > ttl*5/4:
					t.Errorf("free after %v (%v), its TTL is %v", took, ok, ttl)
				case !tc.dead && session.Err() == nil:
					t.Error("free while the holder believed to have it")
				}
				c.Heal()
			})
		})
	}
}

// forger is a network on which a node is told that another one refuses, and that its
// connections have ended, as a firewall would tell it.
type forger struct {
	kith.Network
	files disk.FS

	mu     sync.Mutex       // guards all below
	lies   map[string]error // by address, what dialling it is said to end with
	opened map[string][]net.Conn
}

// forge returns options whose nodes have forgers for their networks, which it gives by
// name once they are started.
func forge(configure func(cfg *kith.Config)) (kithtest.Options, func(name string) *forger) {
	var mu sync.Mutex // guards forgers
	forgers := make(map[string]*forger)
	opts := kithtest.Options{Conditions: near, Configure: func(name string, cfg *kith.Config) {
		mu.Lock()
		defer mu.Unlock()
		forgers[name] = &forger{
			Network: cfg.Network, files: cfg.Network.(interface{ Files() disk.FS }).Files(),
			lies: make(map[string]error), opened: make(map[string][]net.Conn),
		}
		cfg.Network = forgers[name]
		configure(cfg)
	}}
	return opts, func(name string) *forger {
		mu.Lock()
		defer mu.Unlock()
		return forgers[name]
	}
}

func (f *forger) Files() disk.FS { return f.files }

func (f *forger) Dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	lie := f.lies[address]
	f.mu.Unlock()
	if lie != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", lie)}
	}
	conn, err := f.Network.Dial(ctx, address)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.opened[address] = append(f.opened[address], conn)
	}
	return conn, err
}

// deny begins to lie about an address, and ends the connections to it.
func (f *forger) deny(address string, lie error) {
	f.mu.Lock()
	f.lies[address] = lie
	opened := f.opened[address]
	f.opened[address] = nil
	f.mu.Unlock()
	for _, conn := range opened {
		conn.Close()
	}
}

// One voter's word is not enough, nor that of all but the leader, nor that of the leader
// alone (S12). Where all are lied to, only IgnoreRefusals helps.
func TestForgedRefusals(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	for name, tc := range map[string]struct {
		leader    bool
		followers int
		ignore    bool
		free      bool
	}{
		"a follower":              {followers: 1},
		"the leader":              {leader: true},
		"leader and a follower":   {leader: true, followers: 1},
		"all but the leader":      {followers: 3},
		"a majority":              {leader: true, followers: 2, free: true},
		"a majority, and ignored": {leader: true, followers: 2, ignore: true},
	} {
		t.Run(name, func(t *testing.T) {
			opts, forgers := forge(func(cfg *kith.Config) { cfg.IgnoreRefusals = tc.ignore })
			kithtest.Virtual(t, 5, opts, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				time.Sleep(time.Second)
				lead, holder := leader(t, c), holders(t, c, "voter")
				session := ephemeral(t, holder, "mine")
				time.Sleep(3 * ttl)
				gone := freed(t, lead, "mine")
				address := holder.Self().ControlEndpoint()
				struck := time.Now()
				var deceived []string
				for _, n := range c.Nodes() {
					follower := n != lead && n != holder && len(deceived) < tc.followers
					if follower {
						deceived = append(deceived, n.Name())
					}
					if follower || n == lead && tc.leader {
						forgers(n.Name()).deny(address, syscall.ECONNREFUSED)
					}
				}
				took, ok := gone(struck, 4*ttl)
				switch {
				case tc.free && (!ok || took > 100*time.Millisecond):
					t.Errorf("free after %v (%v): nothing was forged", took, ok)
				case !tc.free && ok && took < ttl*4/5:
					t.Errorf("free after %v, by the word of too few", took)
				case !tc.free && !tc.leader && (ok || session.Err() != nil):
					t.Errorf("free after %v (%v) although it reached the leader", took, context.Cause(session))
				}
			})
		})
	}
}

// A node that moves closes its port as a dead one's kernel does. It lets go first, and what
// it takes anew at the other place is not touched by what others still see at the old
// one.
func TestMovingHolder(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		for round, who := range []string{"voter", "leader", "voter"} {
			ready(t, c)
			time.Sleep(time.Second)
			holder := holders(t, c, who)
			left := others(c, holder)
			session := ephemeral(t, holder, "mine")
			gone := freed(t, left[0], "mine")
			if round == 2 { // the last one knows nothing of the new place
				c.CutBoth(holder.Name(), left[1].Name())
			}
			var order []string
			var mu sync.Mutex // guards order
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, what)
			}
			stop := context.AfterFunc(session, func() { note("stopped") })
			defer stop()
			moved := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, ok := gone(moved, time.Minute); ok {
					note("free")
				}
			})
			list := c.Peers()
			self, err := list.Get(holder.Name())
			if err != nil {
				t.Fatal(err)
			}
			self.ControlPort = uint16(9000 + round)
			c.SetPeers(list)
			wg.Wait()
			if !slices.Equal(order, []string{"stopped", "free"}) {
				t.Errorf("%s: %v, want it to be free after the holder stopped", who, order)
			}
			if cause := context.Cause(session); !errors.Is(cause, kith.ErrSessionEnded) {
				t.Errorf("%s: the session's end is told as %v", who, cause)
			}
			next := ephemeral(t, holder, "again")
			gone = freed(t, holder, "again")
			if took, ok := gone(time.Now(), 10*kith.DefaultSessionTTL); ok || next.Err() != nil {
				t.Errorf("%s: what it took at the new place was gone after %v: %v", who, took, context.Cause(next))
			}
			c.Heal()
		}
	})
}

// What voters still see at the old address of a node that moved says nothing about what it
// holds at the new one, even if they know only the old one and elect a leader among
// themselves.
func TestMovedAndOverlooked(t *testing.T) {
	opts, forgers := forge(func(*kith.Config) {})
	kithtest.Virtual(t, 5, opts, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		time.Sleep(time.Second)
		lead, holder := leader(t, c), holders(t, c, "voter")
		list := c.Peers()
		self, err := list.Get(holder.Name())
		if err != nil {
			t.Fatal(err)
		}
		self.ControlPort = 9000
		var blind []*kith.Node
		for _, n := range c.Nodes() {
			if n != lead && n != holder {
				blind = append(blind, n)
				forgers(n.Name()).deny(self.ControlEndpoint(), syscall.EHOSTUNREACH)
				forgers(holder.Name()).deny(n.Self().ControlEndpoint(), syscall.EHOSTUNREACH)
			}
		}
		c.SetPeers(list)
		session := ephemeral(t, holder, "mine")
		gone := freed(t, blind[0], "mine")
		var stopped time.Time
		done := make(chan struct{})
		context.AfterFunc(session, func() { stopped = time.Now(); close(done) })
		if took, ok := gone(time.Now(), 2*kith.DefaultSessionTTL); ok || session.Err() != nil {
			t.Fatalf("gone after %v while it reached the leader: %v", took, context.Cause(session))
		}
		killed := time.Now()
		c.Kill(lead.Name())
		took, ok := gone(killed, 4*kith.DefaultSessionTTL)
		<-done
		if free := killed.Add(took); !ok || !stopped.Before(free) {
			t.Errorf("free after %v (%v), the holder stopped after %v", took, ok, stopped.Sub(killed))
		}
		if s := blind[0].Status().Agreement; s.Leader == "" || s.Leader == lead.Name() {
			t.Errorf("leader %q: nothing was tested", s.Leader)
		}
	})
}
