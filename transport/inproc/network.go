package inproc

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Options say how a network behaves when nothing is wrong. The zero Options are a
// network without delay.
type Options struct {
	// Seed settles the delays.
	Seed uint64
	// A packet, and an attempt to connect, takes from MinDelay to MaxDelay one way.
	MinDelay, MaxDelay time.Duration
	// Silence is after what time a side that hears nothing more ends the connection:
	// 400 ms if it is zero.
	Silence time.Duration
	// Redial is the pause after an attempt to connect that failed: 50 ms if it is zero.
	Redial time.Duration
}

// Network connects the engines of one process. Its methods may be called by any number
// of goroutines. Nodes are named by the messengers' names.
type Network struct {
	options Options

	mu      sync.Mutex
	rand    *rand.Rand
	hosts   map[string]*Engine // those that listen, by endpoint
	cuts    map[[2]string]bool
	groups  map[string]int // of a partition, by node; those in none are in 0
	changed chan struct{}  // closed and replaced when a fault comes or goes
}

// New returns a network without anybody.
func New(o Options) *Network {
	o.Silence = cmp.Or(o.Silence, 400*time.Millisecond)
	o.Redial = cmp.Or(o.Redial, 50*time.Millisecond)
	return &Network{
		options: o,
		rand:    rand.New(rand.NewPCG(o.Seed, 1)),
		hosts:   map[string]*Engine{},
		cuts:    map[[2]string]bool{},
		changed: make(chan struct{}),
	}
}

var (
	errReset   = errors.New("connection reset by peer")
	errRefused = errors.New("connection refused")
	errSilent  = errors.New("nothing heard for too long")
	errGoodbye = errors.New("the peer hung up")
)

// delay draws how long something takes one way.
func (n *Network) delay() time.Duration {
	spread := n.options.MaxDelay - n.options.MinDelay
	if spread <= 0 {
		return n.options.MinDelay
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.options.MinDelay + time.Duration(n.rand.Int64N(int64(spread)+1))
}

// engineLocked returns the engine that listens under this node's name, or nil.
func (n *Network) engineLocked(name string) *Engine {
	for _, e := range n.hosts {
		if e.setup.Self.Name == name {
			return e
		}
	}
	return nil
}

// stirLocked lets everybody look at the faults again.
func (n *Network) stirLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Kill lets a node's process die: its connections break at the other ends at once,
// new ones are refused, and its engine neither hears nor says anything any more. Its
// messenger still has to be closed. A new engine may listen at the endpoint.
func (n *Network) Kill(name string) {
	n.mu.Lock()
	e := n.engineLocked(name)
	if e == nil {
		n.mu.Unlock()
		return
	}
	delete(n.hosts, e.endpoint)
	e.dead = true
	n.stirLocked()
	n.mu.Unlock()
	for _, h := range e.all() {
		h.other.end(errReset)
	}
}

// PowerOff lets a node's machine lose power: nothing comes from it any more, not even
// that its connections are broken, and the others notice when they have heard nothing for
// Options.Silence. Its messenger still has to be closed. A new engine may listen at the
// endpoint.
func (n *Network) PowerOff(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.engineLocked(name); e != nil {
		e.dead, e.off = true, true
		n.stirLocked()
	}
}

func (n *Network) isOff(e *Engine) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return e.off
}

// Stop freezes a node: nothing comes in or goes out. The others notice when they have
// heard nothing for Options.Silence.
func (n *Network) Stop(name string) { n.freeze(name, true) }

// Continue lets a stopped node go on. What was on the way arrives, unless the other
// side has given the connection up.
func (n *Network) Continue(name string) { n.freeze(name, false) }

func (n *Network) freeze(name string, frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.engineLocked(name); e != nil {
		e.frozen = frozen
		n.stirLocked()
	}
}

// Cut lets nothing pass between two nodes, in either direction, until Heal.
func (n *Network) Cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{a, b}], n.cuts[[2]string{b, a}] = true, true
	n.stirLocked()
}

// Partition lets nothing pass between nodes of different groups; those that are in none
// are one more. It replaces an earlier partition, and leaves cuts as they are.
func (n *Network) Partition(groups ...[]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.groups = map[string]int{}
	for i, names := range groups {
		for _, name := range names {
			n.groups[name] = i + 1
		}
	}
	n.stirLocked()
}

func (n *Network) apartLocked(a, b string) bool {
	return n.cuts[[2]string{a, b}] || n.groups[a] != n.groups[b]
}

// Heal undoes all cuts and partitions.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	clear(n.groups)
	n.stirLocked()
}

// Break breaks all connections between two nodes once. They connect again.
func (n *Network) Break(a, b string) {
	n.mu.Lock()
	e := n.engineLocked(a)
	n.mu.Unlock()
	if e == nil {
		return
	}
	for _, h := range e.all() {
		if h.remote.Name == b {
			h.end(errReset)
			h.other.end(errReset)
		}
	}
}

// condition is how things stand for what is to arrive at one side of a connection.
type condition uint8

const (
	clearWay condition = iota
	silence            // nothing arrives
	stopped            // this side does not notice anything
	killed             // nor will it ever
)

func (n *Network) condition(at *Engine, from *Engine) (condition, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case at.dead:
		return killed, n.changed
	case at.frozen:
		return stopped, n.changed
	case from.frozen, from.off, n.apartLocked(at.setup.Self.Name, from.setup.Self.Name):
		return silence, n.changed
	}
	return clearWay, n.changed
}

// reach finds the engine at an endpoint, for one that wants to connect to a node there.
func (n *Network) reach(from *Engine, endpoint, name string) (*Engine, condition, <-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.hosts[endpoint]
	switch {
	case from.dead:
		return nil, killed, n.changed, nil
	case from.frozen:
		return nil, stopped, n.changed, nil
	case n.apartLocked(from.setup.Self.Name, name), to != nil && (to.frozen || to.off):
		return nil, silence, n.changed, nil
	case to == nil:
		return nil, clearWay, n.changed, errRefused
	case to.setup.Self.Name != name:
		return nil, clearWay, n.changed, fmt.Errorf("%s answers there", to.setup.Self.Name)
	}
	return to, clearWay, n.changed, nil
}

func (n *Network) listen(e *Engine) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if before := n.hosts[e.endpoint]; before != nil && !before.off {
		return fmt.Errorf("listen on %s: address already in use", e.endpoint)
	}
	n.hosts[e.endpoint] = e
	return nil
}

func (n *Network) leave(e *Engine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[e.endpoint] == e && !e.off {
		delete(n.hosts, e.endpoint)
	}
}
