package kith

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

const (
	// applyTimeout bounds a move to another address.
	applyTimeout = 10 * time.Second
	// moveGoodbye bounds the goodbye at the old one.
	moveGoodbye = 3 * time.Second
)

// place is where and as whom a node runs. Another place means moving there.
type place struct {
	self      *peers.Peer // not modified
	cluster   string
	key       secret.Key
	path      string // the peers file, "" without one
	bind      string
	advertise netip.Addr
}

// same reports whether b can be had without moving from a.
func (a place) same(b place) bool {
	return a.self.Name == b.self.Name && a.self.PID == b.self.PID && a.cluster == b.cluster &&
		a.key == b.key && a.bind == b.bind && a.advertise == b.advertise
}

// run is a node at one place.
type run struct {
	place
	link *link.Link
	id   membership.Incarnation
}

// apply puts list in force: who this node is, where it listens, whom it looks
// for. When it fails, what was in force still is. If not even that could be
// kept, because the old port was given up for a new one and neither is to be
// had, the node ends.
func (n *Node) apply(ctx context.Context, list *peers.Peers, path string) error {
	select {
	case <-n.turn:
		defer func() { n.turn <- struct{}{} }()
	case <-n.work.Done():
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if n.work.Err() != nil {
		return ErrClosed
	}
	first := n.now() == nil
	if err := n.comply(ctx, list, path); err != nil {
		if !first && n.work.Err() == nil && n.list.fail(err) {
			n.log.Error("the newest list of peers cannot be followed, the one in force stays", "error", err)
		}
		return err
	}
	if path == "" && n.cfg.Peers == nil {
		list.Peers[0].ControlPort, list.Peers[0].Port = n.now().self.ControlPort, n.now().self.Port
	}
	n.messages.follow(list)
	if diff := n.list.set(list, time.Now()); !diff.Empty() && !first {
		n.log.Info("the list of peers changed", "path", path, "diff", diff.String())
	}
	return n.agree(first)
}

// agree makes the node part of agreement by the list in force. Once it runs, a list
// that agreement has no use for changes nothing.
func (n *Node) agree(first bool) error {
	n.mu.Lock()
	dir, name := n.dir, n.run.self.Name
	n.mu.Unlock()
	err := n.agreed.begin(dir, name, n.list.get())
	if err != nil && !first {
		n.log.Debug("agreement goes on by an earlier list of peers", "error", err)
		return nil
	}
	return err
}

// comply does the work of apply, whose turn it has.
func (n *Node) comply(ctx context.Context, list *peers.Peers, path string) error {
	old := n.now()
	self, err := n.identify(list, path, old)
	if err != nil {
		return err
	}
	others := contacts(list, self.Name)
	if old != nil && !listed(list, self.Name) {
		n.log.Warn("this node is not in the list of peers any more; it goes on as it was", "name", self.Name, "path", path)
		n.gossip.SetContacts(others)
		return nil
	}
	next, err := n.choose(ctx, list, self, path, old)
	if err != nil {
		return err
	}
	if err := n.makeDir(self.Name, len(list.Peers)); err != nil {
		return err
	}
	way, err := n.messages.prepare(next)
	if err != nil {
		return err
	}
	if old != nil && old.same(next) {
		n.settle(&run{place: next, link: old.link, id: old.id})
		n.gossip.SetContacts(others)
		return way.enter()
	}
	n.warnOfAddress(list, next)
	if old == nil {
		n.gossip.SetContacts(others)
		return n.rise(ctx, next, n.cfg.newIncarnation())
	}
	if err := n.move(old, next, others); err != nil {
		way.abandon()
		return err
	}
	return way.enter()
}

// identify finds this node in list. Once it was found in one, its name stays.
func (n *Node) identify(list *peers.Peers, path string, old *run) (*peers.Peer, error) {
	switch {
	case path == "" && n.cfg.Peers == nil: // alone
		return list.Peers[0].Clone(), nil
	case old == nil || old.path == "" && n.cfg.Peers == nil:
		return whoAmI(list, n.cfg.Name, n.cfg.PID, ownAddresses())
	}
	if self, err := list.Get(old.self.Name); err == nil {
		return self.Clone(), nil
	}
	return old.self, nil
}

func listed(list *peers.Peers, name string) bool {
	_, err := list.Get(name)
	return err == nil
}

func contacts(list *peers.Peers, self string) []membership.Contact {
	var found []membership.Contact
	for _, p := range list.Sorted() {
		if p.Name != self {
			found = append(found, membership.Contact{Name: p.Name, Addr: p.ControlEndpoint()})
		}
	}
	return found
}

// choose works out the place that list asks for.
func (n *Node) choose(ctx context.Context, list *peers.Peers, self *peers.Peer, path string, old *run) (place, error) {
	// Whatever gossip could refuse at the new place must be refused here.
	p := place{self: self, cluster: n.cfg.clusterName(list), path: path}
	err := membership.ValidateCluster(p.cluster)
	if err != nil {
		return p, fmt.Errorf("kith: info.cluster: %w", err)
	}
	if old != nil && old.path == path {
		p.key = old.key // changing it would cut the node off from the others
	} else if p.key, err = n.cfg.key(path); err != nil {
		return p, err
	}
	if err := n.cfg.checkBind(self, p.key, path); err != nil {
		return p, err
	}
	if p.advertise, err = n.cfg.address(ctx, self); err != nil {
		return p, err
	}
	p.bind = bindAddress(self, p.advertise)
	return p, nil
}

// warnOfAddress tells of addresses that work for this node and for nobody else,
// or the other way round.
func (n *Node) warnOfAddress(list *peers.Peers, p place) {
	switch remote := slices.ContainsFunc(list.Peers, func(p *peers.Peer) bool { return !p.IsLoopback() }); {
	case p.advertise.IsLoopback() && remote && len(list.Peers) > 1:
		n.log.Warn("this node's address is on loopback, where the peers on other hosts cannot reach it; give it an ip_address",
			"name", p.self.Name, "host", p.self.Host(), "resolves_to", p.advertise)
	case !p.advertise.IsLoopback() && n.cfg.Network == Network(link.System{}) && !slices.Contains(ownAddresses(), p.advertise):
		n.log.Warn("this node's address is not one of this host's: listening on all of them, as behind NAT; is the name right?",
			"name", p.self.Name, "addr", p.advertise)
	}
}

// makeDir finds and makes the state directory, once there is to be one.
func (n *Node) makeDir(name string, peers int) error {
	n.mu.Lock()
	made := n.dir != ""
	n.mu.Unlock()
	if made {
		return nil
	}
	dir, err := n.cfg.stateDir(name, peers)
	if err != nil {
		return err
	}
	if dir == "" {
		return nil
	}
	lock, err := n.lockDir(dir)
	if err != nil {
		return err
	}
	n.log.Info("state directory", "dir", dir)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dir, n.lock = dir, lock
	return nil
}

// rise opens the control port at p, and the first time the message port, and begins to
// gossip there.
func (n *Node) rise(ctx context.Context, p place, id membership.Incarnation) error {
	l, err := n.listen(ctx, p, id)
	if err != nil {
		return err
	}
	if err := n.messages.begin(p, id); err != nil {
		return errors.Join(err, l.Close())
	}
	return n.gossipAt(ctx, &run{place: p, link: l, id: id})
}

func (n *Node) listen(ctx context.Context, p place, id membership.Incarnation) (*link.Link, error) {
	l, err := link.Listen(ctx, link.Config{
		Network:     n.cfg.Network,
		Bind:        p.bind,
		Advertise:   p.advertise,
		Cluster:     p.cluster,
		Name:        p.self.Name,
		Incarnation: uint64(id),
		Key:         p.key,
		Admit:       n.admit,
		OnStream:    n.stream,
		OnPacket:    n.packet,
		Log:         n.log,
	})
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("kith: %s cannot listen: %w; this node, or another program, runs there already (see: ss -lntup)", p.self.Name, err)
		}
		return nil, fmt.Errorf("kith: %s cannot listen: %w", p.self.Name, err)
	}
	return l, nil
}

func (n *Node) gossipAt(ctx context.Context, r *run) error {
	n.settle(r)
	n.log.Info("listening", "name", r.self.Name, "addr", r.link.Addr(), "cluster", r.cluster,
		"encrypted", !r.key.IsZero(), "incarnation", r.id)
	self := membership.Self{
		Cluster: r.cluster, Name: r.self.Name, PID: r.self.PID,
		Incarnation: r.id, Version: Version, Tags: n.cfg.Tags,
	}
	if !r.key.IsZero() {
		self.Key = r.key.Gossip()
	}
	if err := n.gossip.Start(ctx, control{r.link, n.agreed}, self); err != nil {
		return fmt.Errorf("kith: %w", err)
	}
	return nil
}

// settle makes r the run in force.
func (n *Node) settle(r *run) {
	if r.self.Control() == 0 { // alone, on a port that the system chose
		r.self.ControlPort = r.link.Addr().Port()
	}
	if r.self.Port == 0 {
		r.self.Port = n.messages.port()
	}
	n.agreed.bind(r.link)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.run = r
}

// move takes the node from one place to another: goodbye there, hello here.
//
// It is not called off half-way, where the node would be nowhere: only the
// node's own end and applyTimeout bound it. What belongs to the node's session does
// not come along.
func (n *Node) move(old *run, next place, others []membership.Contact) error {
	ctx, cancel := context.WithTimeout(n.work, applyTimeout)
	defer cancel()
	n.log.Info("moving", "from", old.link.Addr(), "as", old.self.Name, "to", next.bind, "as_new", next.self.Name)
	if old.path == "" && next.path != "" {
		n.log.Info("a peers file appeared: leaving the cluster of one and its memory behind", "path", next.path)
	}
	var l *link.Link
	var err error
	samePort := old.bind == next.bind
	if !samePort { // make sure of the new port before the old one is given up
		if l, err = n.listen(ctx, next, old.id); err != nil {
			return err
		}
	}
	goodbye, said := context.WithTimeout(ctx, moveGoodbye)
	n.gossip.Leave(goodbye) // heard or not: the others find out
	said()
	n.agreed.relocate()
	old.link.Close()
	if samePort {
		if l, err = n.listen(ctx, next, old.id); err != nil {
			return n.lost(errors.Join(err, n.rise(ctx, old.place, old.id)))
		}
	}
	n.gossip.SetContacts(others)
	err = n.gossipAt(ctx, &run{place: next, link: l, id: old.id})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNameTaken):
		return n.lost(err)
	}
	l.Close()
	return n.lost(errors.Join(err, n.rise(ctx, old.place, old.id)))
}

// lost ends a node that has no place to run at any more.
func (n *Node) lost(err error) error {
	if n.gossip.Running() {
		return err // back at the old place
	}
	n.stopFor(fmt.Errorf("kith: the node could not go on at its new address: %w", err))
	return err
}
