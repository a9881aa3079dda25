package replicatest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Node is one node's replica, as kv.Replica and queue.Replica want it. Its methods
// are safe for concurrent use; its hooks are set before the calls that they are about.
type Node struct {
	// Name is that of the member that the node is; ID its Raft ID.
	Name string
	ID   uint64

	// BeforePropose may refuse a proposal, which then is not made. It may block.
	BeforePropose func(context.Context, *statepb.Command) error
	// AfterPropose may lose the answer to a proposal that was made. It may block.
	AfterPropose func(context.Context, *statepb.Command) error
	// Answer is what proposals return in the place of the machine's answer.
	Answer *statepb.Result
	// RefuseBarrier is what Barrier returns.
	RefuseBarrier error
	// AfterView runs once, as soon as the state was let go.
	AfterView func()

	Views, Barriers atomic.Int64 // how many there were

	cluster *Cluster
	ctx     context.Context
	cancel  context.CancelCauseFunc

	// Guarded by the cluster's mu.
	held    bool
	session *Session

	mu      sync.RWMutex // guards what follows
	machine *state.Machine
	ears    map[*ear]bool
	calls   []*ear // to be called as soon as no lock is held
	viewErr error
}

// ear is a subscription, or a listener: then it has a call, and its prefix is the name.
type ear struct {
	prefix  string
	changed chan uint64
	call    func()
	due     bool // the call is in Node.calls
}

// Join adds a node to the cluster. Whoever called it closes it.
func (c *Cluster) Join() *Node {
	n := &Node{cluster: c, machine: found(c.id, c.machine.Cluster().GetLimits()), ears: make(map[*ear]bool)}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.joined % len(Names())
	n.Name, n.ID = Names()[i], uint64(i+1)
	c.joined++
	c.nodes = append(c.nodes, n)
	n.catchUpLocked()
	return n
}

// Close ends the node as Node.Close does, without ending its session in the cluster.
func (n *Node) Close() { n.cancel(outcome.ErrClosed) }

// Cluster returns that which the node is in.
func (n *Node) Cluster() *Cluster { return n.cluster }

// Delay lets the node fall behind, until that is over or it must catch up.
func (n *Node) Delay(held bool) {
	n.cluster.change(func() {
		if n.held = held; !held {
			n.catchUpLocked()
		}
	})
}

// FailViews lets View return err; nil ends that.
func (n *Node) FailViews(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.viewErr = err
}

// catchUpLocked applies what the node has not applied, all at once; cluster.mu is
// held.
func (n *Node) catchUpLocked() {
	n.mu.Lock()
	defer n.mu.Unlock()
	var changes []state.Change
	for n.machine.Index()-firstEntry < uint64(len(n.cluster.log)) {
		changes = append(changes, apply(n.machine, n.cluster.log[n.machine.Index()-firstEntry]).Changes...)
	}
	n.checkSession()
	n.notify(changes)
}

// checkSession ends the context of a session that the state has not any more.
func (n *Node) checkSession() {
	if n.session == nil {
		return
	}
	if _, there := n.machine.Session(n.session.id); !there {
		n.session.cancel(outcome.ErrSessionEnded)
	}
}

func (n *Node) notify(changes []state.Change) {
	for _, c := range changes {
		for e := range n.ears {
			if c.Name == e.prefix || e.call == nil && strings.HasPrefix(c.Name, e.prefix) {
				n.ring(e, c.Revision)
			}
		}
	}
}

// ring tells one who listens; mu is held.
func (n *Node) ring(e *ear, revision uint64) {
	if e.call != nil {
		if !e.due {
			e.due = true
			n.calls = append(n.calls, e)
		}
		return
	}
	select {
	case e.changed <- revision:
	default:
	}
}

// Install brings the node up to date by a snapshot in the place of log entries.
func (n *Node) Install() {
	n.cluster.change(func() {
		var stream bytes.Buffer
		if _, err := n.cluster.machine.Snapshot().WriteTo(&stream); err != nil {
			panic(err)
		}
		m, err := state.Restore(&stream)
		if err != nil {
			panic(err)
		}
		n.replace(m)
	})
}

// replace puts another state in force.
func (n *Node) replace(m *state.Machine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine = m
	n.checkSession()
	for e := range n.ears {
		n.ring(e, 0)
	}
}

// Move makes the node one of another cluster.
func (n *Node) Move(to *Cluster) {
	from := n.cluster
	from.change(func() {
		to.change(func() {
			from.nodes = slices.DeleteFunc(from.nodes, func(other *Node) bool { return other == n })
			to.nodes = append(to.nodes, n)
			n.cluster = to
			m := found(to.id, nil)
			for _, data := range to.log {
				apply(m, data)
			}
			n.replace(m)
		})
	})
}

func (n *Node) ended() error {
	if n.ctx.Err() != nil {
		return context.Cause(n.ctx)
	}
	return nil
}

// Propose does a command. A hook's error makes it NotDone before, Unknown after it
// was done.
func (n *Node) Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	err := n.ended()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && n.BeforePropose != nil {
		err = n.BeforePropose(ctx, cmd)
	}
	if err != nil {
		return nil, &outcome.Error{Op: "agreement", Outcome: outcome.NotDone, Err: err}
	}
	result := n.cluster.Propose(cmd)
	n.catchUp()
	if n.AfterPropose != nil {
		if err := n.AfterPropose(ctx, cmd); err != nil {
			return nil, &outcome.Error{Op: "agreement", Outcome: outcome.Unknown, Err: err}
		}
	}
	if n.Answer != nil {
		return n.Answer, nil
	}
	return result, nil
}

// Submit begins a proposal, on a goroutine of its own because of the hooks.
func (n *Node) Submit(_, lasting context.Context, cmd *statepb.Command) (queue.Proposal, error) {
	if lasting.Err() != nil {
		return nil, &outcome.Error{Op: "agreement", Outcome: outcome.NotDone, Err: context.Cause(lasting)}
	}
	p := make(proposal, 1)
	cmd = proto.CloneOf(cmd)
	go func() {
		result, err := n.Propose(lasting, cmd)
		p <- answer{result, err}
	}()
	return p, nil
}

type proposal chan answer

type answer struct {
	result *statepb.Result
	err    error
}

// Answer waits for it.
func (p proposal) Answer(ctx context.Context) (*statepb.Result, bool, error) {
	select {
	case a := <-p:
		return a.result, true, a.err
	case <-ctx.Done():
		return nil, false, nil
	}
}

func (n *Node) catchUp() {
	n.cluster.change(n.catchUpLocked)
}

// Barrier lets the node catch up.
func (n *Node) Barrier(ctx context.Context) error {
	n.Barriers.Add(1)
	switch err := n.ended(); {
	case err != nil:
		return &outcome.Error{Op: "agreement", Err: err}
	case n.RefuseBarrier != nil:
		return &outcome.Error{Op: "agreement", Err: n.RefuseBarrier, Hint: "bravo does not answer"}
	case ctx.Err() != nil:
		return &outcome.Error{Op: "agreement", Err: context.Cause(ctx)}
	}
	n.catchUp()
	return nil
}

// View calls fn with the node's state.
func (n *Node) View(fn func(*state.Machine)) error {
	n.Views.Add(1)
	if err := n.view(fn); err != nil {
		return err
	}
	if after := n.AfterView; after != nil {
		n.AfterView = nil
		after()
	}
	return nil
}

func (n *Node) view(fn func(*state.Machine)) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.viewErr != nil {
		return n.viewErr
	}
	fn(n.machine)
	return nil
}

// Subscribe is the replica's.
func (n *Node) Subscribe(prefix string) (<-chan uint64, func()) {
	e := &ear{prefix: prefix, changed: make(chan uint64, 1)}
	return e.changed, n.hear(e)
}

// Listen is the replica's.
func (n *Node) Listen(name string, fn func()) (cancel func()) {
	return n.hear(&ear{prefix: name, call: fn})
}

func (n *Node) hear(e *ear) (cancel func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ears[e] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.ears, e)
	}
}

// takeCalls returns those who are to be called, once.
func (n *Node) takeCalls() []*ear {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	for _, e := range calls {
		e.due = false
	}
	return calls
}

// Subscriptions returns how many there are, those who listen included.
func (n *Node) Subscriptions() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.ears)
}

// Context ends with Close.
func (n *Node) Context() context.Context { return n.ctx }
