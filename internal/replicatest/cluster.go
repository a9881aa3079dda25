// Package replicatest is an agreement without a network, for tests of what stands
// on it: one log in memory, and nodes that apply it, each with a state machine and a
// session of its own. Failures are injected by hooks. It is what package kv, lock and
// group see of a real replica, no more.
package replicatest

import (
	"sync"
	"time"

	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Names are those of the members, in the order of their Raft IDs, from 1. Nodes take
// them in turn.
func Names() []string {
	return []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"}
}

// Cluster is the log and the state that it leads to. Its methods are safe for
// concurrent use.
type Cluster struct {
	id string

	mu       sync.Mutex // guards what follows; taken before a node's
	log      [][]byte   // of the entries after the founding and the registration
	machine  *state.Machine
	proposer uint64
	seq      uint64
	time     uint64
	nodes    []*Node
	joined   int
}

const firstEntry = 2 // index of log[0]: the founding and the registration come before

// New founds a cluster with these limits; nil means the defaults.
func New(limits *statepb.Limits) *Cluster { return Named("c", limits) }

// Named is New with a cluster ID.
func Named(id string, limits *statepb.Limits) *Cluster {
	c := &Cluster{id: id, machine: found(id, limits)}
	c.proposer = c.machine.Index()
	return c
}

func found(id string, limits *statepb.Limits) *state.Machine {
	founding := &statepb.Cluster{Id: id, Feature: 1, Limits: limits}
	for i, name := range Names() {
		founding.Members = append(founding.Members, &statepb.Member{
			RaftId: uint64(i + 1), Name: name, Pid: uint32(i + 1), Voter: true,
		})
	}
	m, err := state.Found(founding, 1, 1)
	if err != nil {
		panic(err)
	}
	registration := &statepb.Registration{Member: 1, Incarnation: 1}
	apply(m, encode(&statepb.Entry{Term: 1, Batches: []*statepb.Batch{{Registration: registration}}}))
	return m
}

func encode(e *statepb.Entry) []byte {
	data, err := e.MarshalVT()
	if err != nil {
		panic(err)
	}
	return data
}

func apply(m *state.Machine, data []byte) state.Outcome {
	out, err := m.Apply(m.Index()+1, 1, data)
	if err != nil {
		panic(err)
	}
	return out
}

// appendLocked adds an entry to the log; nodes that are not held up apply it.
func (c *Cluster) appendLocked(e *statepb.Entry) *statepb.Result {
	e.Term, e.Time = 1, c.time
	data := encode(e)
	c.log = append(c.log, data)
	var result *statepb.Result
	for _, a := range apply(c.machine, data).Answers {
		result = a.Result
	}
	for _, n := range c.nodes {
		if !n.held {
			n.catchUpLocked()
		}
	}
	return result
}

// change runs do with the lock, then calls who listens for what has changed.
func (c *Cluster) change(do func()) {
	c.mu.Lock()
	do()
	var calls []*ear
	for _, n := range c.nodes {
		calls = append(calls, n.takeCalls()...)
	}
	c.mu.Unlock()
	for _, e := range calls {
		e.call()
	}
}

// Propose does a command, as somebody outside of the test's nodes.
func (c *Cluster) Propose(cmd *statepb.Command) (result *statepb.Result) {
	c.change(func() {
		c.seq++
		cmd.Seq = c.seq
		batch := &statepb.Batch{Proposer: c.proposer, Low: c.seq, Commands: []*statepb.Command{cmd}}
		result = c.appendLocked(&statepb.Entry{Batches: []*statepb.Batch{batch}})
	})
	return result
}

// Advance moves agreed time.
func (c *Cluster) Advance(d time.Duration) {
	c.change(func() {
		c.time += uint64(d / time.Millisecond)
		c.appendLocked(&statepb.Entry{})
	})
}

// End ends a session as its time being up does: first its holder's context ends,
// then what belongs to it goes (S11).
func (c *Cluster) End(session uint64) {
	c.change(func() {
		for _, n := range c.nodes {
			n.lapse(session)
		}
		c.appendLocked(&statepb.Entry{Ended: []uint64{session}})
	})
}

// View calls fn with the state that the whole log leads to.
func (c *Cluster) View(fn func(*state.Machine)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(c.machine)
}

// Revision is the cluster's.
func (c *Cluster) Revision() (r uint64) {
	c.View(func(m *state.Machine) { r = m.Revision() })
	return r
}

// Entries returns how many entries were added to the log.
func (c *Cluster) Entries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.log)
}

// Queue returns the slots of a queue, from the head.
func (c *Cluster) Queue(kind statepb.QueueName_Kind, name string) (slots []state.Slot) {
	c.View(func(m *state.Machine) {
		q, _ := m.Queue(kind, name)
		for _, s := range q.Slots {
			slots = append(slots, *s)
		}
	})
	return slots
}
