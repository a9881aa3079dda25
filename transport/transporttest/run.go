package transporttest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/transport"
)

// World makes engines that can reach one another. What else it can do it tells by
// implementing Killer, Stopper, Mover and Breaker; tests that need what it cannot do are
// left out, and say so.
type World interface {
	// Engine returns a new engine for the node of this name, not started, that will
	// listen at the node's address. The one before, if any, is closed or killed.
	Engine(name string) transport.Engine
	// Address returns where the node listens, or will listen.
	Address(name string) transport.Address
}

// Killer can let a node's process die: its kernel closes its connections.
type Killer interface{ Kill(name string) }

// Stopper can freeze a node, and let it go on.
type Stopper interface {
	Stop(name string)
	Continue(name string)
}

// Mover can give a node another address, for its next engine.
type Mover interface{ Move(name string) }

// Breaker can break the connections between two nodes, both of which live on.
type Breaker interface{ Break(a, b string) }

// Suite is what to test.
type Suite struct {
	// World makes a world for one test. It may use t.Cleanup.
	World func(t *testing.T) World
	// Virtual runs each test in virtual time (testing/synctest).
	Virtual bool
	// Seeds is how many storms to run: 4 if it is zero.
	Seeds int
}

// Run runs the whole suite.
func Run(t *testing.T, s Suite) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"Request", requests}, {"Limits", limits}, {"Publish", publications},
		{"Gather", gatherings}, {"Stream", streams}, {"Life", lives}, {"BadDay", badDays},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.tests {
				t.Run(c.name, func(t *testing.T) { s.run(t, c.run) })
			}
		})
	}
	for seed := range cmp.Or(s.Seeds, 4) {
		t.Run(fmt.Sprintf("Storm/%d", seed), func(t *testing.T) {
			s.run(t, func(c *cluster) { storm(c, uint64(seed)) })
		})
	}
}

func (s Suite) run(t *testing.T, f func(*cluster)) {
	body := func(t *testing.T) {
		f(&cluster{T: t, world: s.World(t), nodes: map[string]*node{}})
	}
	if s.Virtual {
		bubble.Test(t, body)
	} else {
		body(t)
	}
}

type test struct {
	name string
	run  func(*cluster)
}

// patience bounds what is expected to happen at all. It is no measure of speed.
const patience = 30 * time.Second

// cluster is the nodes of one test.
type cluster struct {
	*testing.T
	world World
	nodes map[string]*node
	names []string // the list of peers
	runs  atomic.Uint64
}

// node is one run of a node.
type node struct {
	*transport.Messenger
	name string
}

// ctx returns a context that ends when the test has lost its patience.
func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	c.Cleanup(cancel)
	return ctx
}

// start starts nodes, all of which are one another's peers, and waits until all are
// connected.
func (c *cluster) start(names ...string) []*node {
	c.Helper()
	c.names = names
	var out []*node
	for _, name := range names {
		out = append(out, c.run(name, transport.Config{}))
	}
	c.settle()
	return out
}

// run starts one node, with the cluster's list of peers.
func (c *cluster) run(name string, config transport.Config) *node {
	c.Helper()
	config.Name, config.Engine = name, c.world.Engine(name)
	config.Incarnation = c.runs.Add(1)
	config.Log = slog.New(slog.NewTextHandler(c.Output(), nil))
	m, err := transport.New(config)
	if err != nil {
		c.Fatal(err)
	}
	n := &node{m, name}
	c.nodes[name] = n
	c.Cleanup(func() { _ = m.Close() })
	if !slices.Contains(c.names, name) {
		c.names = append(c.names, name)
	}
	m.SetPeers(c.list())
	return n
}

func (c *cluster) list() (list []transport.Address) {
	for _, name := range c.names {
		list = append(list, c.world.Address(name))
	}
	return list
}

// settle waits until all nodes are connected.
func (c *cluster) settle() {
	c.Helper()
	for _, n := range c.nodes {
		for _, p := range n.Peers() {
			if err := p.Await(c.ctx()); err != nil {
				c.Fatal(err)
			}
		}
	}
}

// handle adds a handler or fails the test.
func (c *cluster) handle(n *node, subject string, h transport.Handler, opts ...transport.HandleOption) {
	c.Helper()
	if err := n.Handle(subject, h, opts...); err != nil {
		c.Fatal(err)
	}
}

// eventually waits until ok.
func (c *cluster) eventually(what string, ok func() bool) {
	c.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// can returns the world as one that can do T, or skips the test.
func can[T any](c *cluster) T {
	w, ok := c.world.(T)
	if !ok {
		c.Skipf("this world cannot do that: %T", (*T)(nil))
	}
	return w
}

// echo answers with what it was asked with.
func echo(_ context.Context, r transport.Message) (transport.Message, error) {
	return transport.Message{Header: r.Header, Body: r.Body}, nil
}

// hold is a handler that waits for its context's end or for release, and tells when it
// begins and how it ends.
type hold struct {
	begun   chan string // who asked
	ended   chan error  // the context's error, nil if released
	release chan struct{}
}

func newHold() *hold {
	return &hold{make(chan string, 1000), make(chan error, 1000), make(chan struct{})}
}

func (h *hold) handle(ctx context.Context, r transport.Message) (transport.Message, error) {
	h.begun <- r.Peer
	select {
	case <-h.release:
		h.ended <- nil
		return transport.Message{Body: []byte("released")}, nil
	case <-ctx.Done():
		h.ended <- ctx.Err()
		return transport.Message{}, ctx.Err()
	}
}
