package kithtest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
	"github.com/kith-go/kith/transport/inproc"
)

// Options change how a cluster is made. The zero value is useful.
type Options struct {
	// Seed and Conditions decide about the network's faults in virtual time;
	// the zero Conditions are a perfect network.
	Seed       uint64
	Conditions memnet.Conditions
	// Configure edits the configuration of the node called name before each of
	// its starts. Network, Peers, Name, Key and Dir are set already. Nodes that
	// start together have it called at the same time.
	Configure func(name string, cfg *kith.Config)
	// Patience is how long the Await methods wait; default 60 s, in virtual time
	// ten minutes.
	Patience time.Duration
	// Logger replaces the log to the test's output.
	Logger *slog.Logger
	// Absent are nodes of the list that are not started at first.
	Absent []string
	// Drift has the clocks that virtual nodes measure leases with run wrong, by name: 0.01
	// is one per cent fast, -0.01 slow.
	Drift map[string]float64
}

// Cluster is a number of nodes in one test. Its methods fail the test when they
// cannot do what they are asked. They are safe for concurrent use, but those that
// fail the test must be called from its goroutine, as t.Fatal must.
type Cluster struct {
	t        testing.TB
	opts     Options
	key      string
	dir      string
	network  *memnet.Network // nil on loopback
	messages *inproc.Network // of virtual nodes
	patience time.Duration
	poll     time.Duration

	mu      sync.Mutex // guards the fields below
	list    *peers.Peers
	disks   map[string]*memdisk.Disk // of virtual nodes
	crashes uint64                   // power losses so far
	ahead   map[string]time.Duration // of virtual nodes' wall clocks
	nodes   map[string]*kith.Node    // those that run, and those that ended by themselves
}

// Names returns the names that the first n nodes of a cluster have: alpha,
// bravo … zulu, alpha2, bravo2 and so on.
func Names(n int) []string {
	alphabet := strings.Fields("alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu")
	names := make([]string, n)
	for i := range names {
		names[i] = alphabet[i%len(alphabet)]
		if round := i / len(alphabet); round > 0 {
			names[i] += fmt.Sprint(round + 1)
		}
	}
	return names
}

// Start starts n nodes on loopback, on free ports, with real sockets. They are
// started one after the other and need not have met when it returns.
func Start(t testing.TB, n int, opts Options) *Cluster {
	t.Helper()
	dir := t.TempDir() // before newCluster's cleanup: nodes close first
	c := newCluster(t, opts)
	c.dir, c.patience, c.poll = dir, 60*time.Second, 5*time.Millisecond
	for i, name := range Names(n) {
		message, control := c.freePorts()
		c.list.Peers = append(c.list.Peers, &peers.Peer{
			PID: uint32(i + 1), Name: name, IPAddr: "127.0.0.1", Port: message, ControlPort: control,
		})
	}
	c.startAll()
	return c
}

// Virtual runs fn with a cluster of n nodes in a bubble of virtual time, over a
// network in memory. Time moves when everybody waits; see testing/synctest for
// what the test must not do there: real sockets, files that others write, cgo. With the
// race detector on, the whole process has one processor meanwhile (GOMAXPROCS), because the
// detector crashes otherwise (https://go.dev/issue/78156).
//
// The nodes have the addresses 10.0.0.1, 10.0.0.2 and so on; see [Cluster.Addr].
// They start together.
func Virtual(t *testing.T, n int, opts Options, fn func(t *testing.T, c *Cluster)) {
	t.Helper()
	dir := t.TempDir() // made and removed outside, where time is real
	bubble.Test(t, func(t *testing.T) {
		network := memnet.New(opts.Seed)
		t.Cleanup(func() { network.Close() }) // before newCluster's: nodes close first
		c := newCluster(t, opts)
		c.dir, c.network, c.messages = dir, network, newMessageNetwork(opts)
		c.network.SetDefault(opts.Conditions)
		c.patience, c.poll = 10*time.Minute, 20*time.Millisecond
		for i, name := range Names(n) {
			addr := netip.AddrFrom4([4]byte{10, 0, byte((i + 1) >> 8), byte(i + 1)})
			c.list.Peers = append(c.list.Peers, &peers.Peer{
				PID: uint32(i + 1), Name: name, IPAddr: addr.String(), Port: 7318,
			})
			c.network.AddName(name, addr)
		}
		c.startAll()
		fn(t, c)
	})
}

func newCluster(t testing.TB, opts Options) *Cluster {
	c := &Cluster{t: t, opts: opts, key: kith.NewKey(), list: &peers.Peers{}, disks: make(map[string]*memdisk.Disk), nodes: make(map[string]*kith.Node)}
	if c.opts.Logger == nil {
		c.opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Cleanup(c.close)
	return c
}

func (c *Cluster) close() {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.nodes))
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, node := range all {
		wg.Go(func() { node.Close() })
	}
	wg.Wait()
	if c.network != nil {
		// The gossip engine's own goroutines notice at their next tick.
		time.Sleep(time.Minute)
	}
}

// startAll starts the nodes together, as they start in life.
func (c *Cluster) startAll() {
	c.t.Helper()
	if c.opts.Patience > 0 {
		c.patience = c.opts.Patience
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := make(map[string]error)
	for _, p := range c.list.Peers {
		if slices.Contains(c.opts.Absent, p.Name) {
			continue
		}
		wg.Go(func() {
			if _, err := c.TryStart(p.Name); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[p.Name] = err
			}
		})
	}
	wg.Wait()
	for name, err := range failed {
		c.t.Fatalf("kithtest: starting %s: %v", name, err)
	}
}

// config returns the configuration of the node called name.
func (c *Cluster) config(name string) kith.Config {
	cfg := kith.Config{
		Name:   name,
		Peers:  c.Peers(),
		Key:    c.key,
		Dir:    filepath.Join(c.dir, name),
		Logger: c.opts.Logger.With("node", name),
	}
	if c.network != nil {
		cfg.Network = machine{c.network.Host(c.Addr(name)), c.messages, c.Disk(name).Mount(), c.opts.Drift[name], func() time.Time { return c.wall(name) }}
	}
	if c.opts.Configure != nil {
		c.opts.Configure(name, &cfg)
	}
	return cfg
}

// machine is what a virtual node runs on: a host of the network, a disk, and a clock.
type machine struct {
	*memnet.Host
	messages *inproc.Network
	files    disk.FS
	drift    float64
	wall     func() time.Time
}

// Files returns the disk; package kith looks for it.
func (m machine) Files() disk.FS { return m.files }

// Clock returns the machine's clock; package kith looks for it.
func (m machine) Clock() func() time.Duration {
	origin := time.Now()
	return func() time.Duration {
		passed := time.Since(origin)
		return passed + time.Duration(float64(passed)*m.drift)
	}
}

// Now returns what its wall clock shows; package kith looks for it.
func (m machine) Now() time.Time { return m.wall() }

// Disk returns the disk of a virtual node, for its faults. It is made when it is
// first asked for.
func (c *Cluster) Disk(name string) *memdisk.Disk {
	c.t.Helper()
	c.Network() // there is one
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disks[name] == nil {
		c.disks[name] = memdisk.New()
	}
	return c.disks[name]
}

// TryStart starts the node called name, which must not run, and returns the
// error instead of failing the test.
func (c *Cluster) TryStart(name string) (*kith.Node, error) {
	c.mu.Lock()
	old := c.nodes[name]
	c.mu.Unlock()
	if old != nil && old.Context().Err() != nil {
		old.Close()
	}
	node, err := kith.Start(context.Background(), c.config(name))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = node
	return node, nil
}

// Restart starts the node called name again, with the same directory, after
// Kill, PowerOff or Leave, or after it ended by itself; or for the first time if
// it was absent.
func (c *Cluster) Restart(name string) *kith.Node {
	c.t.Helper()
	if c.node(name) != nil {
		c.t.Fatalf("kithtest: %s runs already", name)
	}
	if c.network != nil {
		c.network.Host(c.Addr(name)).PowerOn()
	}
	node, err := c.TryStart(name)
	if err != nil {
		c.t.Fatalf("kithtest: starting %s: %v", name, err)
	}
	return node
}

// Node returns the running node called name.
func (c *Cluster) Node(name string) *kith.Node {
	c.t.Helper()
	c.Addr(name) // there is one of that name
	node := c.node(name)
	if node == nil {
		c.t.Fatalf("kithtest: %s does not run", name)
	}
	return node
}

// node returns the node called name, or nil if it does not run. One that has
// ended by itself does not.
func (c *Cluster) node(name string) *kith.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if node := c.nodes[name]; node != nil && node.Context().Err() == nil {
		return node
	}
	return nil
}

// Nodes returns the running nodes, sorted by PID.
func (c *Cluster) Nodes() []*kith.Node {
	c.mu.Lock()
	running := slices.Collect(maps.Values(c.nodes))
	c.mu.Unlock()
	running = slices.DeleteFunc(running, func(n *kith.Node) bool { return n.Context().Err() != nil })
	slices.SortFunc(running, func(a, b *kith.Node) int { return int(a.Self().PID) - int(b.Self().PID) })
	return running
}

// Peers returns a copy of the list that nodes are started with.
func (c *Cluster) Peers() *peers.Peers {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list.Clone()
}

// SetPeers replaces the list of all nodes, running and to come.
func (c *Cluster) SetPeers(list *peers.Peers) {
	c.t.Helper()
	c.mu.Lock()
	c.list = list.Clone()
	c.mu.Unlock()
	for _, node := range c.Nodes() {
		if err := node.SetPeers(context.Background(), list); err != nil {
			c.t.Fatalf("kithtest: new list for %s: %v", node.Name(), err)
		}
	}
}

// Key returns the cluster's key, for nodes that the test starts by itself.
func (c *Cluster) Key() string { return c.key }

// Network returns the network of a virtual cluster, for its faults. Messages go another
// way, which only the faults of Cluster itself concern.
func (c *Cluster) Network() *memnet.Network {
	c.t.Helper()
	if c.network == nil {
		c.t.Fatal("kithtest: a cluster on loopback has the system's network; use Virtual to break one")
	}
	return c.network
}

// Addr returns the IP address of the node called name.
func (c *Cluster) Addr(name string) netip.Addr {
	c.t.Helper()
	list := c.Peers()
	p, err := list.Get(name)
	if err != nil {
		var names []string
		for _, p := range list.Peers {
			names = append(names, p.Name)
		}
		c.t.Fatalf("kithtest: there is no node %s, but %s", name, strings.Join(names, ", "))
	}
	return netip.MustParseAddr(p.IPAddr)
}

// take removes a node from those that run.
func (c *Cluster) take(name string) *kith.Node {
	c.t.Helper()
	node := c.Node(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, name)
	return node
}

// Sees returns the status that the running node called observer gives name; 0
// if it has never heard of it.
func (c *Cluster) Sees(observer, name string) membership.Status {
	c.t.Helper()
	return status(c.Node(observer), name)
}

func status(observer *kith.Node, name string) membership.Status {
	m, _ := membership.View{Members: observer.Members()}.Find(name)
	return m.Status
}
