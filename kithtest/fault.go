package kithtest

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/kith-go/kith/peers"
)

// Kill ends the node called name as SIGKILL would: no goodbye, connections
// reset, its ports refuse.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	node := c.take(name)
	if c.network != nil {
		c.network.Host(c.Addr(name)).Kill() // before it could say a last word
		c.messages.Kill(name)
		c.Disk(name).Kill() // or write one
	}
	node.Close()
}

// Leave ends the node called name with a goodbye.
func (c *Cluster) Leave(name string) {
	c.t.Helper()
	if err := c.take(name).Leave(context.Background()); err != nil {
		c.t.Fatalf("kithtest: %s leaving: %v", name, err)
	}
}

// PowerOff ends the node called name as when its machine loses power: silence, and
// of what it wrote to its disk and did not sync, chance decides what stays, by
// Options.Seed. Needs a virtual cluster. Restart switches the machine on again.
func (c *Cluster) PowerOff(name string) {
	c.t.Helper()
	node := c.take(name)
	c.Network().Host(c.Addr(name)).PowerOff()
	c.messages.PowerOff(name)
	c.mu.Lock()
	c.crashes++
	chance := rand.New(rand.NewPCG(c.opts.Seed, c.crashes))
	c.mu.Unlock()
	c.Disk(name).Crash(chance)
	node.Close()
}

// Pause stops all traffic of the node called name, until Resume: it looks to
// others as if it got SIGSTOP. Needs a virtual cluster.
func (c *Cluster) Pause(name string) {
	c.t.Helper()
	c.Network().Host(c.Addr(name)).Pause()
	c.messages.Stop(name)
}

// Resume ends a Pause.
func (c *Cluster) Resume(name string) {
	c.t.Helper()
	c.Network().Host(c.Addr(name)).Resume()
	c.messages.Continue(name)
}

// Cut drops everything from one node to another, one way; with CutBoth both
// ways. Of messages, which need answers, nothing passes then either way. Needs a virtual cluster.
func (c *Cluster) Cut(from, to string) {
	c.t.Helper()
	c.Network().Cut(c.Addr(from), c.Addr(to))
	c.messages.Cut(from, to)
}

// CutBoth drops everything between two nodes. Needs a virtual cluster.
func (c *Cluster) CutBoth(a, b string) {
	c.t.Helper()
	c.Cut(a, b)
	c.Cut(b, a)
}

// Partition splits the cluster into the groups of names and one more of all
// that are in none. Needs a virtual cluster.
func (c *Cluster) Partition(groups ...[]string) {
	c.t.Helper()
	var split [][]netip.Addr
	var rest []netip.Addr
	named := slices.Concat(groups...)
	for _, group := range groups {
		var addrs []netip.Addr
		for _, name := range group {
			addrs = append(addrs, c.Addr(name))
		}
		split = append(split, addrs)
	}
	for _, p := range c.Peers().Peers {
		if !slices.Contains(named, p.Name) {
			rest = append(rest, c.Addr(p.Name))
		}
	}
	c.Network().Partition(append(split, rest)...)
	c.messages.Partition(groups...)
}

// Heal ends all cuts and partitions. Needs a virtual cluster.
func (c *Cluster) Heal() {
	c.t.Helper()
	c.Network().Heal()
	c.messages.Heal()
}

// SetWallClock sets the wall clock of the node called name ahead of the others', or
// behind them. Clocks that run wrong are Options.Drift. Needs a virtual cluster.
func (c *Cluster) SetWallClock(name string, ahead time.Duration) {
	c.t.Helper()
	c.Network() // there is one
	c.Addr(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead == nil {
		c.ahead = make(map[string]time.Duration)
	}
	c.ahead[name] = ahead
}

func (c *Cluster) wall(name string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead[name])
}

// freePorts draws a message port and a control port that nobody uses now.
func (c *Cluster) freePorts() (message, control uint16) {
	c.t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.t.Fatalf("kithtest: %v", err)
		}
		port := netip.MustParseAddrPort(tcp.Addr().String()).Port()
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			udp.Close()
		}
		other, _ := net.Listen("tcp", "127.0.0.1:0")
		tcp.Close()
		if other == nil {
			continue
		}
		second := netip.MustParseAddrPort(other.Addr().String()).Port()
		other.Close()
		if err == nil && c.unused(port) && c.unused(second) && port != second {
			return second, port
		}
	}
	c.t.Fatal("kithtest: no free ports on 127.0.0.1")
	return 0, 0
}

// unused reports whether no other node of the cluster was given the port.
func (c *Cluster) unused(port uint16) bool {
	return !slices.ContainsFunc(c.list.Peers, func(p *peers.Peer) bool { return p.Port == port || p.ControlPort == port })
}

// Wipe replaces the disk of a virtual node that does not run by an empty one.
func (c *Cluster) Wipe(name string) {
	c.t.Helper()
	c.Addr(name) // there is one of that name
	if c.node(name) != nil {
		c.t.Fatalf("kithtest: %s runs; kill it before its disk is wiped", name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.disks, name)
}
