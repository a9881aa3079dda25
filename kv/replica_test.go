package kv_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

func TestMain(m *testing.M) { leak.Main(m) }

// cluster is an agreement without a network: one log, and nodes that apply it, each
// with a state machine of its own.
type cluster struct {
	id       string
	mu       sync.Mutex // guards what follows; taken before a node's
	log      [][]byte   // of the entries after the founding and the registration
	machine  *state.Machine
	proposer uint64
	seq      uint64
	time     uint64
	nodes    []*node
}

const firstEntry = 2 // index of log[0]: the founding and the registration come before

// newCluster founds a cluster with these limits; nil means the defaults.
func newCluster(limits *statepb.Limits) *cluster { return newClusterNamed("c", limits) }

func newClusterNamed(id string, limits *statepb.Limits) *cluster {
	c := &cluster{id: id, machine: found(id, limits)}
	c.proposer = c.machine.Index()
	return c
}

func found(id string, limits *statepb.Limits) *state.Machine {
	m, err := state.Found(&statepb.Cluster{
		Id: id, Feature: 1, Limits: limits,
		Members: []*statepb.Member{{RaftId: 1, Name: "alpha", Pid: 1, Voter: true}},
	}, 1, 1)
	if err != nil {
		panic(err)
	}
	apply(m, &statepb.Entry{Term: 1, Batches: []*statepb.Batch{{Registration: &statepb.Registration{Member: 1, Incarnation: 1}}}})
	return m
}

func encode(e *statepb.Entry) []byte {
	data, err := e.MarshalVT()
	if err != nil {
		panic(err)
	}
	return data
}

func apply(m *state.Machine, e *statepb.Entry) state.Outcome { return applyData(m, encode(e)) }

func applyData(m *state.Machine, data []byte) state.Outcome {
	out, err := m.Apply(m.Index()+1, 1, data)
	if err != nil {
		panic(err)
	}
	return out
}

// append adds an entry to the log; nodes that are not held up apply it.
func (c *cluster) append(e *statepb.Entry) *statepb.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.appendLocked(e)
}

func (c *cluster) appendLocked(e *statepb.Entry) *statepb.Result {
	e.Term, e.Time = 1, c.time
	data := encode(e)
	c.log = append(c.log, data)
	var result *statepb.Result
	for _, a := range applyData(c.machine, data).Answers {
		result = a.Result
	}
	for _, n := range c.nodes {
		if !n.held {
			n.catchUpLocked()
		}
	}
	return result
}

func (c *cluster) propose(cmd *statepb.Command) *statepb.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	cmd.Seq = c.seq
	batch := &statepb.Batch{Proposer: c.proposer, Low: c.seq, Commands: []*statepb.Command{cmd}}
	return c.appendLocked(&statepb.Entry{Batches: []*statepb.Batch{batch}})
}

// advance moves agreed time.
func (c *cluster) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time += uint64(d / time.Millisecond)
	c.appendLocked(&statepb.Entry{})
}

// end ends a session.
func (c *cluster) end(session uint64) { c.append(&statepb.Entry{Ended: []uint64{session}}) }

// node is a kv.Replica.
type node struct {
	cluster *cluster
	ctx     context.Context
	cancel  context.CancelCauseFunc

	// Guarded by cluster.mu.
	held    bool
	session uint64

	// Set by tests before the calls that they are about.
	beforePropose func(*statepb.Command) error // the proposal is not made
	afterPropose  func(*statepb.Command) error // the answer is lost
	refuseBarrier error
	answer        *statepb.Result // in the place of the machine's
	afterView     func()          // runs once, as soon as the state was let go

	views, barriers atomic.Int64 // how many there were

	mu      sync.RWMutex // guards what follows
	machine *state.Machine
	ears    map[*ear]bool
	viewErr error
}

type ear struct {
	prefix  string
	changed chan uint64
}

// join adds a node to the cluster. It ends with the test.
func (c *cluster) join() *node {
	n := &node{cluster: c, machine: found(c.id, c.machine.Cluster().GetLimits()), ears: make(map[*ear]bool)}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	n.catchUpLocked()
	return n
}

func newNode() *node { return newCluster(nil).join() }

// newStore is what most tests need.
func newStore(t testing.TB) (*kv.Store, *node) {
	n := newNode()
	t.Cleanup(n.close)
	return kv.New(n), n
}

func (n *node) close() { n.cancel(outcome.ErrClosed) }

// hold lets the node fall behind, until it is released or must catch up.
func (n *node) hold(held bool) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.held = held; !held {
		n.catchUpLocked()
	}
}

// catchUpLocked applies what the node has not applied, all at once; cluster.mu is
// held.
func (n *node) catchUpLocked() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.machine.Index()-firstEntry < uint64(len(n.cluster.log)) {
		n.notify(applyData(n.machine, n.cluster.log[n.machine.Index()-firstEntry]).Changes)
	}
}

func (n *node) notify(changes []state.Change) {
	for _, c := range changes {
		for e := range n.ears {
			if strings.HasPrefix(c.Name, e.prefix) {
				e.ring(c.Revision)
			}
		}
	}
}

func (e *ear) ring(revision uint64) {
	select {
	case e.changed <- revision:
	default:
	}
}

// install brings the node up to date by a snapshot in the place of log entries.
func (n *node) install() {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	var stream bytes.Buffer
	if _, err := n.cluster.machine.Snapshot().WriteTo(&stream); err != nil {
		panic(err)
	}
	m, err := state.Restore(&stream)
	if err != nil {
		panic(err)
	}
	n.replace(m)
}

// replace puts another state in force.
func (n *node) replace(m *state.Machine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine = m
	for e := range n.ears {
		e.ring(0)
	}
}

// move makes the node one of another cluster.
func (n *node) move(to *cluster) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	n.cluster.nodes = slices.DeleteFunc(n.cluster.nodes, func(other *node) bool { return other == n })
	to.nodes = append(to.nodes, n)
	n.cluster = to
	m := found(to.id, nil)
	for _, data := range to.log {
		applyData(m, data)
	}
	n.replace(m)
}

func (n *node) ended() error {
	if n.ctx.Err() != nil {
		return context.Cause(n.ctx)
	}
	return nil
}

func (n *node) Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	err := n.ended()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && n.beforePropose != nil {
		err = n.beforePropose(cmd)
	}
	if err != nil {
		return nil, &outcome.Error{Op: "agreement", Outcome: outcome.NotDone, Err: err}
	}
	result := n.cluster.propose(cmd)
	n.cluster.mu.Lock()
	n.catchUpLocked()
	n.cluster.mu.Unlock()
	if n.afterPropose != nil {
		if err := n.afterPropose(cmd); err != nil {
			return nil, &outcome.Error{Op: "agreement", Outcome: outcome.Unknown, Err: err}
		}
	}
	if n.answer != nil {
		return n.answer, nil
	}
	return result, nil
}

func (n *node) Barrier(ctx context.Context) error {
	n.barriers.Add(1)
	switch err := n.ended(); {
	case err != nil:
		return &outcome.Error{Op: "agreement", Err: err}
	case n.refuseBarrier != nil:
		return &outcome.Error{Op: "agreement", Err: n.refuseBarrier, Hint: "bravo does not answer"}
	case ctx.Err() != nil:
		return &outcome.Error{Op: "agreement", Err: context.Cause(ctx)}
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	n.catchUpLocked()
	return nil
}

func (n *node) View(fn func(*state.Machine)) error {
	n.views.Add(1)
	if err := n.view(fn); err != nil {
		return err
	}
	if after := n.afterView; after != nil {
		n.afterView = nil
		after()
	}
	return nil
}

func (n *node) view(fn func(*state.Machine)) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.viewErr != nil {
		return n.viewErr
	}
	fn(n.machine)
	return nil
}

func (n *node) Subscribe(prefix string) (<-chan uint64, func()) {
	e := &ear{prefix: prefix, changed: make(chan uint64, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ears[e] = true
	return e.changed, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.ears, e)
	}
}

// subscriptions returns how many there are.
func (n *node) subscriptions() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.ears)
}

func (n *node) Session(ctx context.Context) (uint64, error) {
	n.cluster.mu.Lock()
	session := n.session
	n.cluster.mu.Unlock()
	if session != 0 {
		return session, nil
	}
	r, err := n.Propose(ctx, &statepb.Command{Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{Member: 1, TtlMs: 10_000}}})
	if err != nil {
		return 0, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	n.session = r.GetRevision()
	return n.session, nil
}

func (n *node) Context() context.Context { return n.ctx }

var errInjected = errors.New("injected")
