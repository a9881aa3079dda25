package kith_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// find is what node thinks of name.
func find(node *kith.Node, name string) membership.Member {
	m, _ := membership.View{Members: node.Members()}.Find(name)
	return m
}

// TestEditedFile: nodes follow their file while they run.
func TestEditedFile(t *testing.T) {
	dir := lonely(t)
	path := filepath.Join(dir, "peers.json")
	list := onLoopback(t, "alpha", "bravo", "charlie")
	two := list.Clone()
	two.Remove("charlie")
	dump(t, two, path)
	alpha := start(t, kith.Config{Name: "alpha"})
	bravo := start(t, kith.Config{Name: "bravo"})
	await(t, alpha, "bravo", alive("bravo"))

	dump(t, list, path)
	charlie := start(t, kith.Config{Name: "charlie"})
	await(t, bravo, "charlie", alive("charlie"))
	await(t, charlie, "all", alive("alpha", "bravo", "charlie"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for change := range alpha.WatchPeers(ctx) {
		if len(change.Current.Peers) == 3 {
			break
		}
	}

	// Half a file: the list stays, and Status says why.
	os.WriteFile(path, []byte(`{"replicas":[{"pid":1,"na`), 0o644)
	for change, err := range alpha.WatchPeers(ctx) {
		if err != nil {
			if len(change.Current.Peers) != 3 {
				t.Errorf("the bad file left %d peers", len(change.Current.Peers))
			}
			break
		}
	}
	if s := alpha.Status(); s.Healthy() || !strings.Contains(s.PeersError, path) || len(alpha.Peers().Peers) != 3 {
		t.Errorf("status: %q, error %q", s.Problems, s.PeersError)
	}

	// Good again, and bravo has moved to other ports.
	moved := list.Clone()
	moved.Update("bravo", func(p *peers.Peer) { fresh := freePorts(t, 2); p.Port, p.ControlPort = fresh[0], fresh[1] })
	dump(t, moved, path)
	want, _ := moved.Get("bravo")
	for _, node := range []*kith.Node{alpha, charlie} {
		await(t, node, "bravo at its new address", func(v membership.View) bool {
			m, _ := v.Find("bravo")
			return m.Status == membership.StatusAlive && m.Addr.Port() == want.ControlPort
		})
	}

	// Taken off the list: it goes on, and everybody can see that it is not listed.
	dump(t, two, path)
	for change := range charlie.WatchPeers(ctx) {
		if len(change.Current.Peers) == 2 {
			break
		}
	}
	if s := charlie.Status(); s.Healthy() || !strings.Contains(s.Problems[0], "not in the list") {
		t.Errorf("it does not say that it is not listed: %q", s.Problems)
	}
	if charlie.Context().Err() != nil || find(charlie, "alpha").Status != membership.StatusAlive {
		t.Error("a node taken off the list fell over")
	}
}

// TestMoveToAPortInUse: the list in force stays, Status says why, and the node
// moves when the port is free.
func TestMoveToAPortInUse(t *testing.T) {
	dir := lonely(t)
	path := filepath.Join(dir, "peers.json")
	list := onLoopback(t, "alpha")
	dump(t, list, path)
	alpha := start(t, kith.Config{})
	before := alpha.Status().ControlAddr
	squatter, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	taken := netip.MustParseAddrPort(squatter.Addr().String())
	list.Update("alpha", func(p *peers.Peer) { p.ControlPort = taken.Port() })
	dump(t, list, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, err := range alpha.WatchPeers(ctx) {
		if errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if s := alpha.Status(); s.Healthy() || !strings.Contains(s.PeersError, taken.String()) || s.ControlAddr != before {
		t.Errorf("it listens on %v and says %q", s.ControlAddr, s.PeersError)
	}
	squatter.Close()
	await(t, alpha, "itself at the new port", func(v membership.View) bool {
		m, _ := v.Find("alpha")
		return m.Addr == taken
	})
	for range alpha.WatchPeers(ctx) {
		if alpha.Status().Healthy() {
			break
		}
	}
	if s := alpha.Status(); !s.Healthy() || s.ControlAddr != taken {
		t.Errorf("after the move it listens on %v and says %q", s.ControlAddr, s.Problems)
	}
}

func TestNameTakenAtStart(t *testing.T) {
	c := kithtest.Start(t, 2, kithtest.Options{})
	c.AwaitAlive()
	first := c.Node("bravo").Status()
	// A second bravo elsewhere, whose list has the true alpha.
	list := c.Peers()
	list.Update("bravo", func(p *peers.Peer) { fresh := freePorts(t, 2); p.Port, p.ControlPort = fresh[0], fresh[1] })
	second, err := kith.Start(t.Context(), kith.Config{Name: "bravo", Peers: list, Key: c.Key(), Dir: t.TempDir()})
	if err == nil {
		second.Close()
		t.Fatal("a second bravo was let in")
	}
	p, _ := list.Get("bravo")
	taken, ok := errors.AsType[*membership.NameTakenError](err)
	if !ok || !errors.Is(err, kith.ErrNameTaken) || taken.Holder != first.ControlAddr || taken.Addr.Port() != p.ControlPort {
		t.Errorf("got %v; want both addresses, %v and port %d", err, first.ControlAddr, p.ControlPort)
	}
	for _, addr := range []netip.AddrPort{taken.Addr, taken.Holder} {
		if !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("the error does not name %v: %v", addr, err)
		}
	}
	c.AwaitAlive() // the first one is not disturbed
	if c.Node("bravo").Context().Err() != nil {
		t.Error("the first bravo ended")
	}
}

// TestOneNameOnTwoSides: two nodes of one name start on two sides of a
// partition. When it heals the later one ends, the earlier one stays.
func TestOneNameOnTwoSides(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			kithtest.Virtual(t, 4, kithtest.Options{Seed: seed}, func(t *testing.T, c *kithtest.Cluster) {
				c.AwaitAlive()
				first := c.Node("delta")
				time.Sleep(time.Second) // so that the other one is later
				elsewhere := netip.MustParseAddr("10.0.9.9")
				c.Network().Partition([]netip.Addr{elsewhere, c.Addr("alpha")},
					[]netip.Addr{c.Addr("bravo"), c.Addr("charlie"), c.Addr("delta")})
				c.Await("alpha gives delta up", func() bool {
					return find(c.Node("alpha"), "delta").Status == membership.StatusFailed
				})
				list := c.Peers()
				list.Update("delta", func(p *peers.Peer) { p.IPAddr = elsewhere.String() })
				second, err := kith.Start(t.Context(), kith.Config{
					Name: "delta", Peers: list, Key: c.Key(), Dir: t.TempDir(), Network: c.Network().Host(elsewhere)})
				if err != nil {
					t.Fatal(err)
				}
				defer second.Close()
				c.Await("alpha sees the second delta", func() bool {
					m := find(c.Node("alpha"), "delta")
					return m.Status == membership.StatusAlive && m.Addr.Addr() == elsewhere
				})
				c.Heal()
				c.Await("the second delta ends", func() bool { return second.Context().Err() != nil })
				if cause := context.Cause(second.Context()); !errors.Is(cause, kith.ErrNameTaken) ||
					!strings.Contains(cause.Error(), elsewhere.String()) || !strings.Contains(cause.Error(), c.Addr("delta").String()) {
					t.Errorf("it ended with %v; want ErrNameTaken and both addresses", cause)
				}
				c.AwaitAlive()
				if first.Context().Err() != nil {
					t.Error("the first delta ended")
				}
			})
		})
	}
}

// TestMoveIsNotCalledOff: a context that ends while the node moves must not
// leave it nowhere.
func TestMoveIsNotCalledOff(t *testing.T) {
	for i := range 20 {
		kithtest.Virtual(t, 3, kithtest.Options{Seed: uint64(i)}, func(t *testing.T, c *kithtest.Cluster) {
			c.AwaitAlive()
			list := c.Peers()
			list.Update("alpha", func(p *peers.Peer) { p.Port = 9000 })
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Millisecond)
			defer cancel()
			err := c.Node("alpha").SetPeers(ctx, list)
			for _, name := range []string{"bravo", "charlie"} {
				if err == nil {
					c.Node(name).SetPeers(t.Context(), list)
				}
			}
			c.AwaitAlive()
			if cause := context.Cause(c.Node("alpha").Context()); cause != nil {
				t.Errorf("after %v: SetPeers said %v, and the node ended with %v", time.Duration(i)*50*time.Millisecond, err, cause)
			}
		})
	}
}

// TestNameMoves: a killed node comes back at once under the same name with
// another address.
func TestNameMoves(t *testing.T) {
	kithtest.Virtual(t, 4, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		c.Kill("bravo")
		list := c.Peers()
		list.Update("bravo", func(p *peers.Peer) { p.IPAddr = "10.0.7.7" })
		c.SetPeers(list)
		start := time.Now()
		c.Restart("bravo")
		c.AwaitAlive()
		if m := find(c.Node("delta"), "bravo"); m.Addr.Addr().String() != "10.0.7.7" {
			t.Errorf("delta knows bravo at %v", m.Addr)
		}
		// The old one must first be declared failed; virtual time is exact.
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("it took %v until all knew it at its new address", took)
		}
	})
}

func TestRestartFasterThanGossip(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		alpha := c.Node("alpha")
		before := find(alpha, "bravo").Incarnation
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := make(chan membership.Change, 64)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for view := range alpha.WatchMembers(ctx) {
				for _, change := range view.Changes {
					seen <- change
				}
			}
		}()
		time.Sleep(time.Second) // an incarnation is drawn from the clock
		c.Kill("bravo")
		c.Restart("bravo")
		c.AwaitAlive()
		var kinds []string
		for change := range seen {
			kinds = append(kinds, change.Kind.String())
			if change.Kind == membership.Restarted {
				if change.Previous.Incarnation != before || change.Member.Incarnation <= before {
					t.Errorf("from %v to %v, want from %v to a later one", change.Previous.Incarnation, change.Member.Incarnation, before)
				}
				break
			}
		}
		cancel()
		<-done
		if slices.Contains(kinds, "failed") {
			t.Errorf("changes: %v; it was back before anybody could notice", kinds)
		}
	})
}

// TestLongPartitionHeals: after half a day, when gossip itself has forgotten the
// other side, the cluster heals without anybody's help.
func TestLongPartitionHeals(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		c.Partition([]string{"alpha"})
		time.Sleep(7 * time.Hour)
		if m := find(c.Node("alpha"), "bravo"); m.Status != 0 {
			t.Fatalf("alpha still remembers bravo as %v: the partition is too short for this test", m.Status)
		}
		c.Heal()
		start := time.Now()
		c.AwaitAlive()
		if took := time.Since(start); took > 30*time.Second { // virtual, hence exact
			t.Errorf("it took %v; contacts are to be tried every 15 s at least", took)
		}
	})
}

func TestEverybodyRestarts(t *testing.T) {
	kithtest.Virtual(t, 5, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		names := kithtest.Names(5)
		for _, name := range names {
			c.Kill(name)
		}
		time.Sleep(time.Hour)
		for _, name := range names {
			c.Restart(name)
		}
		c.AwaitAlive()
	})
}

// TestUnreachableFromHere: alpha and bravo cannot talk, everybody else can. Both
// stay alive to all, and the two say that they do not reach one another.
func TestUnreachableFromHere(t *testing.T) {
	kithtest.Virtual(t, 5, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		c.CutBoth("alpha", "bravo")
		c.Await("alpha finds bravo unreachable", func() bool { return find(c.Node("alpha"), "bravo").Unreachable })
		c.Await("bravo finds alpha unreachable", func() bool { return find(c.Node("bravo"), "alpha").Unreachable })
		m := find(c.Node("alpha"), "bravo")
		if m.Status != membership.StatusAlive || !strings.Contains(m.Reason, c.Addr("bravo").String()) {
			t.Errorf("alpha sees bravo as %v, reason %q", m.Status, m.Reason)
		}
		if find(c.Node("charlie"), "bravo").Unreachable {
			t.Error("charlie reaches bravo and says it does not")
		}
		if s := c.Node("alpha").Status(); s.Healthy() || s.Unreachable != 1 {
			t.Errorf("alpha's status: %q", s.Problems)
		}
		time.Sleep(3 * time.Minute)
		for _, name := range []string{"alpha", "bravo"} {
			for _, observer := range c.Nodes() {
				if observer.Name() != name && find(observer, name).Status != membership.StatusAlive {
					t.Errorf("%s gave %s up although three others vouch for it", observer.Name(), name)
				}
			}
		}
		c.Heal()
		healed := time.Now()
		c.AwaitAlive()
		if took := time.Since(healed); took > 16*time.Second {
			t.Errorf("%v after healing the last one became reachable; they are to be tried every 15 s", took)
		}
	})
}

// TestStrangersKeepApart: another cluster's node, a wrong key, no key.
func TestStrangersKeepApart(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(cfg *kith.Config)
		want string
	}{
		"cluster": {func(cfg *kith.Config) { cfg.Cluster = "other" }, `belongs to cluster`},
		"key":     {func(cfg *kith.Config) { cfg.Key = kith.NewKey() }, "its cluster key differs from ours"},
		"no key":  {func(cfg *kith.Config) { cfg.Key, cfg.Insecure = "", true }, "uses no cluster key"},
	} {
		t.Run(name, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{Configure: func(name string, cfg *kith.Config) {
				if name == "charlie" {
					tc.edit(cfg)
				}
			}}, func(t *testing.T, c *kithtest.Cluster) {
				c.Await("the other two meet", func() bool {
					return find(c.Node("alpha"), "bravo").Status == membership.StatusAlive
				})
				time.Sleep(time.Minute)
				if len(c.Node("alpha").Members()) != 2 || len(c.Node("charlie").Members()) != 1 {
					t.Errorf("they mixed:\n%s", c.Table())
				}
				s := c.Node("alpha").Status()
				if len(s.Missing) != 1 || !strings.Contains(s.Missing[0].LastError, tc.want) {
					t.Errorf("alpha says %+v; want charlie missing because %q", s.Missing, tc.want)
				}
			})
		})
	}
}

func TestWrongAddressInTheFile(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Absent: []string{"charlie"}}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		list := c.Peers()
		list.Update("charlie", func(p *peers.Peer) { p.IPAddr, p.Domain = "", "bravo" }) // resolves to bravo's address
		list.Update("charlie", func(p *peers.Peer) { p.Port = 7400 })
		list.Update("charlie", func(p *peers.Peer) { p.ControlPort = 8318 })
		for _, node := range c.Nodes() {
			node.SetPeers(t.Context(), list)
		}
		c.Await("alpha says who is there instead", func() bool {
			s := c.Node("alpha").Status()
			return len(s.Missing) == 1 && strings.Contains(s.Missing[0].LastError, "bravo lives here, not charlie")
		})
		list.Update("charlie", func(p *peers.Peer) { p.Domain = "nowhere.invalid" })
		c.Node("alpha").SetPeers(t.Context(), list)
		c.Await("alpha says that the name does not resolve", func() bool {
			s := c.Node("alpha").Status()
			return len(s.Missing) == 1 && strings.Contains(s.Missing[0].LastError, "nowhere.invalid")
		})
	})
}

func TestCloseAndLeave(t *testing.T) {
	c := kithtest.Start(t, 3, kithtest.Options{})
	c.AwaitAlive()
	alpha := c.Node("alpha")
	var ended []error
	done := make(chan error, 3)
	go func() {
		var last error
		for _, last = range alpha.WatchMembers(context.Background()) {
		}
		done <- last
	}()
	go func() {
		var last error
		for _, last = range alpha.WatchPeers(context.Background()) {
		}
		done <- last
	}()
	go func() {
		var last error
		for _, last = range alpha.Broadcasts(context.Background(), "x") {
		}
		done <- last
	}()
	if err := alpha.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := alpha.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	for range 3 {
		ended = append(ended, <-done)
	}
	for _, err := range ended {
		if err == nil || !errors.Is(err, kith.ErrClosed) {
			t.Errorf("a stream of a closed node ended with %v", err)
		}
	}
	if cause := context.Cause(alpha.Context()); !errors.Is(cause, kith.ErrClosed) {
		t.Errorf("the node's context ended with %v", cause)
	}
	for what, err := range map[string]error{
		"Leave":     alpha.Leave(t.Context()),
		"Broadcast": alpha.Broadcast("x", nil),
		"SetPeers":  alpha.SetPeers(t.Context(), c.Peers()),
	} {
		if !errors.Is(err, kith.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	alpha.Status() // still answers
	alpha.Members()
	c.Leave("charlie")
	await(t, c.Node("bravo"), "charlie's end", func(v membership.View) bool {
		m, _ := v.Find("charlie") // failed only if bravo was still joining: see below
		return m.Status == membership.StatusLeft || m.Status == membership.StatusFailed
	})
}

// TestLeaveWhileJoining: a goodbye holds, also when this node was still busy
// meeting others; a join that ends after it would take it back. What two others
// tell one another in that moment may still outrun it, rarely: then they see the
// node as failed instead of left.
func TestLeaveWhileJoining(t *testing.T) {
	failed := 0
	for seed := range uint64(60) {
		opts := kithtest.Options{Seed: seed, Conditions: memnet.Conditions{Delay: 10 * time.Millisecond, Jitter: 40 * time.Millisecond}}
		kithtest.Virtual(t, 3, opts, func(t *testing.T, c *kithtest.Cluster) {
			for c.Sees("charlie", "alpha") != membership.StatusAlive || c.Sees("charlie", "bravo") != membership.StatusAlive {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Duration(seed%20) * time.Millisecond)
			c.Leave("charlie")
			time.Sleep(5 * time.Second)
			for _, name := range []string{"alpha", "bravo"} {
				if c.Sees(name, "charlie") == membership.StatusFailed {
					failed++
				}
			}
		})
	}
	if failed > 5 {
		t.Errorf("of 120 that charlie said goodbye to, %d say that it failed", failed)
	}
}

// TestCloseAtAnyMoment: closing while the list changes and others leave.
func TestCloseAtAnyMoment(t *testing.T) {
	for i := range 10 {
		kithtest.Virtual(t, 3, kithtest.Options{Seed: uint64(i)}, func(t *testing.T, c *kithtest.Cluster) {
			time.Sleep(time.Duration(i) * 7 * time.Millisecond)
			list := c.Peers()
			list.Update("alpha", func(p *peers.Peer) { p.Port = 9000 })
			alpha := c.Node("alpha")
			moved := make(chan error)
			go func() { moved <- alpha.SetPeers(t.Context(), list) }()
			time.Sleep(time.Duration(i) * 50 * time.Millisecond)
			c.Kill("alpha")
			<-moved
		})
	}
}

func TestBroadcastAndQuery(t *testing.T) {
	kithtest.Virtual(t, 5, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		time.Sleep(5 * time.Second) // what a joining node missed is not replayed to it
		var heard atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		listening := make(chan struct{}, 5)
		ended := make(chan struct{}, 5)
		for _, node := range c.Nodes() {
			go func() {
				listening <- struct{}{}
				for b, err := range node.Broadcasts(ctx, "reload") {
					if err == nil && string(b.Payload) == "now" {
						heard.Add(1)
					}
				}
				ended <- struct{}{}
			}()
			node.HandleQuery("load", func(_ context.Context, from string, payload []byte) []byte {
				return []byte(node.Name() + " to " + from + ": " + string(payload))
			})
		}
		for range 5 {
			<-listening
		}
		time.Sleep(time.Second)
		if err := c.Node("bravo").Broadcast("reload", []byte("now")); err != nil {
			t.Fatal(err)
		}
		c.Await("all five hear the broadcast", func() bool { return heard.Load() == 5 })
		cancel()
		for range 5 {
			<-ended
		}
		answers := map[string]string{}
		for r, err := range c.Node("bravo").Query(t.Context(), "load", []byte("1m")) {
			if err != nil {
				t.Fatal(err)
			}
			answers[r.From] = string(r.Payload)
		}
		if len(answers) != 5 || answers["echo"] != "echo to bravo: 1m" {
			t.Errorf("answers: %q", answers)
		}
		for _, err := range c.Node("bravo").Query(t.Context(), "load", make([]byte, 4096)) {
			if !errors.Is(err, membership.ErrTooLarge) {
				t.Errorf("a query of 4 KiB: %v", err)
			}
		}
		if err := c.Node("bravo").Broadcast("reload", make([]byte, 4096)); !errors.Is(err, membership.ErrTooLarge) {
			t.Errorf("a broadcast of 4 KiB: %v", err)
		}
	})
}

// TestSlowReader: one that does not read holds up nobody and learns how much it
// missed.
func TestSlowReader(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		var last membership.View
		first := true
		for view, err := range c.Node("alpha").WatchMembers(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			last = view
			if !first {
				break
			}
			first = false
			for range 3 { // while this reader sleeps
				c.Kill("bravo")
				c.AwaitSeen("bravo", membership.StatusFailed)
				c.Restart("bravo")
				c.AwaitAlive()
			}
		}
		var kinds []string
		for _, change := range last.Changes {
			if change.Kind == membership.Failed || change.Kind == membership.Returned {
				kinds = append(kinds, change.Kind.String())
			}
		}
		if want := "failed returned failed returned failed returned"; strings.Join(kinds, " ") != want {
			t.Errorf("the slow reader got %q, want %q", kinds, want)
		}
		if m, _ := last.Find("bravo"); m.Status != membership.StatusAlive {
			t.Errorf("its view has bravo %v", m.Status)
		}
	})
}

func TestTags(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{Configure: func(name string, cfg *kith.Config) {
		cfg.Tags = map[string]string{"zone": name + "-zone"}
	}}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		m := find(c.Node("alpha"), "bravo")
		if m.Tags["zone"] != "bravo-zone" || len(m.Tags) != 1 || m.PID != 2 || m.Version != kith.Version {
			t.Errorf("alpha sees %+v", m)
		}
	})
	for name, tags := range map[string]map[string]string{
		"reserved": {"_i": "0"}, "too large": {"a": strings.Repeat("x", 600)},
	} {
		if node, err := kith.Start(t.Context(), kith.Config{Name: "solo", Peers: onLoopback(t, "solo"), Tags: tags}); err == nil {
			node.Close()
			t.Errorf("%s tags were accepted", name)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.Network().SetDefault(memnet.Conditions{Delay: 10 * time.Millisecond})
		c.AwaitAlive()
		c.Await("the estimate is near 20 ms", func() bool {
			rtt := find(c.Node("alpha"), "bravo").RTT
			return rtt > 15*time.Millisecond && rtt < 25*time.Millisecond
		})
	})
}

// TestSyncFromURL: the URL is the source and the file its last good copy.
func TestSyncFromURL(t *testing.T) {
	dir := lonely(t)
	path := filepath.Join(dir, "peers.json")
	list := onLoopback(t, "alpha", "bravo")
	raw := filepath.Join(dir, "served.json")
	dump(t, list, raw)
	var away atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() || r.Header.Get("X-Api-Key") != "sesame" {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		http.ServeFile(w, r, raw)
	}))
	defer server.Close()
	t.Setenv("PEERS_SYNC_URL", server.URL)
	if _, err := kith.Start(t.Context(), kith.Config{Name: "alpha", PeersPath: path}); err == nil || !strings.Contains(err.Error(), "PEERS_SYNC_APIKEY") {
		t.Errorf("without an API key: %v", err)
	}
	t.Setenv("PEERS_SYNC_APIKEY", "sesame")
	alpha := start(t, kith.Config{Name: "alpha", PeersPath: path})
	if s := alpha.Status(); s.Sync == nil || s.Sync.LastSuccess.IsZero() || s.Sync.Peers != 2 {
		t.Errorf("sync state: %+v", s.Sync)
	}
	if copied, err := peers.LoadFrom(path); err != nil || len(copied.Peers) != 2 {
		t.Errorf("the copy: %v, %v", copied, err)
	}
	away.Store(true)
	bravo := start(t, kith.Config{Name: "bravo", PeersPath: path})
	await(t, bravo, "alpha", alive("alpha"))
	if s := bravo.Status(); s.Sync.LastError == "" || s.Healthy() {
		t.Errorf("bravo does not say that the server is away: %+v, %q", s.Sync, s.Problems)
	}
	os.Remove(path)
	if _, err := kith.Start(t.Context(), kith.Config{Name: "bravo", PeersPath: path}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("no server and no copy: %v", err)
	}
}
