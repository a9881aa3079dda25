package kith

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// Node is one replica: this process's part of the cluster. It is made by
// [Start]. Methods are safe for concurrent use and none of them blocks unless
// it takes a context.
type Node struct {
	cfg      Config
	log      *slog.Logger
	gossip   *membership.Gossip
	list     *roster
	agreed   *agreement
	kv       *kv.Store
	places   *queue.Places // in locks and groups
	messages *messages

	ctx    context.Context // ends with the node; the cause tells why
	cancel context.CancelCauseFunc
	work   context.Context // ends with the node's goroutines, just before ctx
	quit   context.CancelFunc
	wg     sync.WaitGroup

	// turn holds one token, taken while a list takes effect or the node leaves.
	// Not a mutex: that takes seconds.
	turn chan struct{}

	mu   sync.Mutex // guards the fields below
	run  *run
	dir  string
	lock io.Closer     // of dir, nil without one
	sync *peers.Syncer // nil unless the list comes from a URL

	closeOnce sync.Once
	closeErr  error
}

const (
	// endSessionTimeout bounds how long a node that leaves tries to end its session.
	endSessionTimeout = 2 * time.Second
	// handOverTimeout bounds how long a leader that leaves looks for a successor.
	handOverTimeout = 2 * time.Second
	// lonelyTimeout bounds how long Start waits for a cluster of one.
	lonelyTimeout = 3 * time.Second
)

// Start makes this process a replica: it finds the peers file, finds itself in
// it, opens the control port and looks for the others. With the zero Config and
// no peers file it is a cluster of one on loopback, in memory.
//
// ctx bounds the start only; the node ends with [Node.Close], with
// [Node.Leave], or when it learns that it must (see [Node.Context]). Start
// returns as soon as one other peer is met, or none of them answers: at once
// when they are down, after three seconds when they are silent. That others are
// missing is no error; they are looked for as long as the node runs.
//
// Agreement comes after that: the cluster is founded when all its voters are there,
// and calls that need it wait, as [Node.Ready] does. A cluster of one is ready when Start
// returns, unless its disk keeps it from that for longer than some seconds.
//
// Errors: ErrWhoAmI, ErrNoKey, ErrNameTaken, ErrKeyMalformed, ErrKeyExposed, a
// *peers.InvalidError with every fault of the peers file, those of files and
// sockets, or ctx's cause. Nothing is left running after an error.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.ready()
	if err != nil {
		return nil, err
	}
	gossip, err := membership.New(membership.Config{Timing: cfg.Timing, Log: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("kith: %w", err)
	}
	n := &Node{cfg: cfg, log: cfg.Logger, gossip: gossip, list: newRoster(), turn: make(chan struct{}, 1)}
	n.turn <- struct{}{}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.work, n.quit = context.WithCancel(n.ctx)
	n.agreed = newAgreement(n)
	n.kv = kv.New(coordinates{n.agreed})
	n.messages = &messages{cfg: n.cfg, log: n.log}
	if err := n.start(ctx); err != nil {
		n.end(err)
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	source, list, err := n.open(ctx)
	if err != nil {
		return err
	}
	if err := n.apply(ctx, list, source.path); err != nil {
		return err
	}
	n.places = queue.New(coordinates{n.agreed}, n.Name())
	n.wg.Go(func() { n.follow(source) })
	n.wg.Go(n.attend)
	n.wg.Go(n.announce)
	n.wg.Go(n.accompany)
	if len(n.Peers().Peers) == 1 {
		n.awaitLonely(ctx)
	}
	return nil
}

// awaitLonely lets a cluster of one be ready when Start returns: it waits for nobody
// else. What keeps it from that is in its status, and no reason not to start.
func (n *Node) awaitLonely(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lonelyTimeout)
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		n.log.Warn("started, but not ready", "error", err)
	}
}

// attend ends the node when gossip finds that it must.
func (n *Node) attend() {
	select {
	case <-n.work.Done():
	case err := <-n.gossip.Fatal():
		n.stopFor(fmt.Errorf("kith: %w", err))
	}
}

// stopFor ends the node from within, from a goroutine that end waits for. Close
// waits for the one that this starts.
func (n *Node) stopFor(cause error) {
	n.log.Error("this node must stop", "error", cause)
	go n.end(cause)
}

// announce logs who is missing, whenever that changes.
func (n *Node) announce() {
	before := ""
	for range n.gossip.Watch(n.work) {
		if n.work.Err() != nil {
			return
		}
		missing := n.missing()
		names := make([]string, len(missing))
		for i, m := range missing {
			names[i] = m.Name
		}
		switch now := fmt.Sprint(names); {
		case now == before:
		case len(names) > 0:
			n.log.Info("waiting for peers", "missing", names)
			before = now
		case before != "":
			n.log.Info("all peers are here")
			before = ""
		}
	}
}

// Close ends the node at once, without a goodbye: to the others it failed. It
// waits for everything the node has started, query handlers included, so do not
// call it from one. Only the gossip engine's own goroutines may outlive it, by
// eight probe intervals at most; they touch nothing any more. A second Close
// returns the first one's result.
func (n *Node) Close() error { return n.end(ErrClosed) }

// Leave says goodbye and closes the node. Others see it as left, not failed; if it
// led, another voter leads first. It takes a second or two, and no time when nobody
// else is there; when ctx ends first, the node is closed all the same, at most three
// seconds later, and Leave returns the context's cause.
func (n *Node) Leave(ctx context.Context) error {
	n.endSession(ctx)
	n.handOver(ctx)
	n.quit() // a list that is taking effect lets go soon
	select {
	case <-n.turn:
	case <-n.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), n.end(ErrClosed))
	}
	err := n.gossip.Leave(ctx)
	n.turn <- struct{}{}
	return errors.Join(closed(err), n.end(ErrClosed))
}

// endSession lets what belongs to this node's session go with it.
func (n *Node) endSession(ctx context.Context) {
	replica := n.agreed.born()
	if replica == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endSessionTimeout)
	defer cancel()
	if err := replica.EndSession(ctx); err != nil && !errors.Is(err, ErrClosed) {
		n.log.Warn("leaving without having ended this node's session; what belongs to it goes when its time is up", "error", err)
	}
}

// handOver lets another voter lead, so that the cluster does not notice.
func (n *Node) handOver(ctx context.Context) {
	replica := n.agreed.born()
	if replica == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	if err := replica.Handover(ctx); err != nil && !errors.Is(err, ErrClosed) {
		n.log.Warn("leaving without having handed over leadership; the others elect a leader", "error", err)
	}
}

// end stops everything in the reverse order of its start.
func (n *Node) end(cause error) error {
	n.closeOnce.Do(func() {
		n.quit()
		<-n.turn // and never given back: no list takes effect any more
		n.closeErr = n.messages.close()
		n.wg.Wait()
		n.gossip.Close()
		if run := n.now(); run != nil {
			n.closeErr = errors.Join(n.closeErr, run.link.Close()) // last: to the others a closed port is a dead process (S12)
		}
		if n.lock != nil {
			n.closeErr = errors.Join(n.closeErr, n.lock.Close())
		}
		n.list.close(ErrClosed)
		n.cancel(cause)
		if n.places != nil {
			n.places.Close()
		}
	})
	return n.closeErr
}

// Context is done when the node has ended. Its cause tells why: ErrClosed after
// Close or Leave, ErrNameTaken when another node had the name first.
func (n *Node) Context() context.Context { return n.ctx }

// Name returns this node's name.
func (n *Node) Name() string { return n.now().self.Name }

// Self returns this node's entry in the list of peers.
func (n *Node) Self() *peers.Peer { return n.now().self.Clone() }

func (n *Node) now() *run {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.run
}

// Peers returns a copy of the list of peers in force: those that should exist.
func (n *Node) Peers() *peers.Peers { return n.list.get() }

// WatchPeers streams the list of peers in force: the current one first, in a
// Change without Previous, then every change; a slow reader gets several as one.
// An error other than ErrClosed does not end the stream: the newest content of
// the file is not in force, for the reason given, and Current still is.
//
// The stream ends when ctx does; when the node has ended, its last element is
// ErrClosed.
func (n *Node) WatchPeers(ctx context.Context) iter.Seq2[peers.Change, error] {
	return n.list.watch(ctx)
}

// Members returns those that exist, as gossip tells: all known members, this
// node included, sorted by PID, then by name. The caller owns the slice.
func (n *Node) Members() []membership.Member { return n.gossip.Members() }

// WatchMembers streams views of the members: the current one first, then one
// after each change or, for a slow reader, after several. No change is lost
// without View.Skipped saying so. The first view has members and no changes. The
// stream ends when ctx does; when the node
// has ended, its last element is ErrClosed.
func (n *Node) WatchMembers(ctx context.Context) iter.Seq2[membership.View, error] {
	return own(n.gossip.Watch(ctx))
}

// KV returns the cluster's keys. Calls wait until the cluster is founded, for as
// long as their contexts allow; see [Node.Ready].
func (n *Node) KV() *kv.Store { return n.kv }

// Event returns the event of that name: something that is fired and waited for,
// agreed like a key and without a value.
func (n *Node) Event(name string) *kv.Event { return n.kv.Event(name) }

// Ready waits until this node takes part in agreement and has seen all that was
// acknowledged before the call: until the cluster was founded, has a leader, and
// this node has caught up. It returns nil then, or why it could not: ErrNotMember
// and ErrStateLost at once, ErrNoQuorum around ctx's cause when ctx ends first, with
// the names of those that are waited for, or ErrClosed.
func (n *Node) Ready(ctx context.Context) error {
	return outcome.With("waiting for agreement", "", coordinates{n.agreed}.Barrier(ctx), NotDone)
}

// Broadcast sends a small message to all members by gossip, this node included;
// see [membership.Gossip.Broadcast]. It suits hints ("look again now"): it may
// be lost, and arrives within a second or so.
func (n *Node) Broadcast(name string, payload []byte) error {
	return closed(n.gossip.Broadcast(name, payload))
}

// Broadcasts streams the broadcasts called name that arrive while it is ranged
// over; there is no history. See [membership.Gossip.Broadcasts].
func (n *Node) Broadcasts(ctx context.Context, name string) iter.Seq2[membership.Broadcast, error] {
	return own(n.gossip.Broadcasts(ctx, name))
}

// Query asks all members by gossip and streams their answers, until all have
// answered, ctx ends, or without a deadline some seconds have passed; break out
// when there are enough. See [membership.Gossip.Query].
func (n *Node) Query(ctx context.Context, name string, payload []byte) iter.Seq2[membership.Response, error] {
	return own(n.gossip.Query(ctx, name, payload))
}

// HandleQuery answers queries called name with fn, on goroutines of the node's;
// nil answers no more. A panic in fn ends the program, as everywhere.
func (n *Node) HandleQuery(name string, fn membership.QueryHandler) { n.gossip.HandleQuery(name, fn) }

// own makes a stream of gossip's one of the node's.
func own[T any](stream iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range stream {
			if !yield(v, closed(err)) {
				return
			}
		}
	}
}

// closed turns gossip's word for the end into the node's.
func closed(err error) error {
	if errors.Is(err, membership.ErrClosed) {
		return ErrClosed
	}
	return err
}

// newIncarnation draws the mark of this start.
func (c Config) newIncarnation() membership.Incarnation {
	return membership.NewIncarnation(c.now(), rand.Uint64())
}

// bindAddress is what self's control port listens on: the address that others
// dial if that is on loopback, else all of this host's, since an address that
// others dial may not be one that this host knows itself by.
func bindAddress(self *peers.Peer, advertise netip.Addr) string {
	host := ""
	if self.IsLoopback() {
		host = advertise.String()
	}
	return net.JoinHostPort(host, fmt.Sprint(self.Control()))
}
