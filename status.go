package kith

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// Status is how a node is doing, at one moment.
type Status struct {
	Name        string
	PID         uint32
	Cluster     string
	Version     string
	Incarnation membership.Incarnation
	Started     time.Time
	// ControlAddr is the address that others are told to dial.
	ControlAddr netip.AddrPort
	// Dir is the state directory, "" for a node that lives in memory.
	Dir string
	// Encrypted tells whether there is a cluster key.
	Encrypted bool

	// PeersPath is the peers file, "" without one. PeersLoaded is when the list
	// in force took effect, zero for a node that has none; PeersError why newer content did not, "" if it did.
	PeersPath   string
	PeersLoaded time.Time
	PeersError  string
	// Sync tells about the server that the list comes from, nil without one.
	Sync *peers.SyncState

	// How many members there are of each kind, this node included; the
	// unreachable ones are also counted as alive.
	Alive, Leaving, Left, Failed, Unreachable int
	// Missing are the peers of the list that are not alive, sorted by PID.
	Missing []MissingPeer
	// Agreement is how the node fares in agreement; nil when it has ended before it
	// began.
	Agreement *AgreementStatus
	// Problems are the reasons not to be content, in words, each with what to
	// do about it. Empty means healthy.
	Problems []string
}

// Healthy reports whether there are no problems.
func (s Status) Healthy() bool { return len(s.Problems) == 0 }

// MissingPeer is a peer that should be there and is not.
type MissingPeer struct {
	Name string
	PID  uint32
	Addr string
	// Status is the last that gossip told, 0 if it was never seen.
	Status membership.Status
	// Attempts counts the failed attempts to meet it, LastError is how the
	// newest one failed, at LastTry; the next comes at NextTry.
	Attempts         int
	LastError        string
	LastTry, NextTry time.Time

	err error // LastError's
}

// Status returns how the node is doing. It asks nobody and does not block.
func (n *Node) Status() Status {
	n.mu.Lock()
	run, dir, syncer := n.run, n.dir, n.sync
	n.mu.Unlock()
	s := Status{
		Name:        run.self.Name,
		PID:         run.self.PID,
		Cluster:     run.cluster,
		Version:     Version,
		Incarnation: run.id,
		Started:     run.id.Started(),
		ControlAddr: run.link.Addr(),
		Dir:         dir,
		Encrypted:   !run.key.IsZero(),
		PeersPath:   run.path,
		Missing:     n.missing(),
	}
	var err error
	if s.PeersLoaded, err = n.list.state(); err != nil {
		s.PeersError = err.Error()
	}
	if run.path == "" && n.cfg.Peers == nil {
		s.PeersLoaded = time.Time{}
	}
	if syncer != nil {
		s.Sync = new(syncer.State())
	}
	members := n.gossip.Members()
	for _, m := range members {
		s.count(m)
	}
	s.Agreement = n.agreed.status()
	s.Problems = n.problems(s, members)
	return s
}

func (s *Status) count(m membership.Member) {
	switch m.Status {
	case membership.StatusAlive:
		s.Alive++
	case membership.StatusLeaving:
		s.Leaving++
	case membership.StatusLeft:
		s.Left++
	case membership.StatusFailed:
		s.Failed++
	}
	if m.Unreachable {
		s.Unreachable++
	}
}

// missing lists the peers of the list that are not alive, by PID.
func (n *Node) missing() []MissingPeer {
	var missing []MissingPeer
	view := membership.View{Members: n.gossip.Members()}
	tries := n.gossip.Contacts()
	for _, p := range n.list.get().Sorted() {
		m, known := view.Find(p.Name)
		if m.Status == membership.StatusAlive || m.Local {
			continue
		}
		out := MissingPeer{Name: p.Name, PID: p.PID, Addr: p.ControlEndpoint()}
		if known {
			out.Status = m.Status
		}
		i := slices.IndexFunc(tries, func(c membership.ContactState) bool { return c.Name == p.Name })
		if i >= 0 {
			t := tries[i]
			out.Attempts, out.LastTry, out.NextTry = t.Attempts, t.LastTry, t.NextTry
			out.LastError, out.err = shortly(t.LastError), t.LastError
		}
		missing = append(missing, out)
	}
	return missing
}

// shortly is the text of err without the name and address of a peer that are
// told beside it.
func shortly(err error) string {
	if p, ok := errors.AsType[*link.PeerError](err); ok {
		return p.Cause()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func (n *Node) problems(s Status, members []membership.Member) []string {
	var found []string
	tell := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if n.work.Err() != nil {
		tell("this node has ended: %v", n.cause())
	}
	if s.PeersError != "" {
		tell("the newest list of peers is not in force: %s", s.PeersError)
	}
	if s.Sync != nil && s.Sync.LastError != "" {
		tell("%s does not deliver the list of peers (%s old): %s", s.Sync.URL, s.Sync.Age.Round(time.Second), s.Sync.LastError)
	}
	if remote := slices.ContainsFunc(n.list.get().Peers, func(p *peers.Peer) bool { return !p.IsLoopback() && p.Name != s.Name }); remote && s.ControlAddr.Addr().IsLoopback() {
		tell("this node tells others to dial %s, which only works on its own host: give it an ip_address in the peers file", s.ControlAddr)
	}
	if !listed(n.list.get(), s.Name) {
		tell("%s is not in the list of peers any more: stop it, or put it back", s.Name)
	}
	for _, m := range s.Missing {
		was := "was never seen"
		if m.Status != 0 {
			was = m.Status.String()
		}
		why := m.LastError
		if why == "" {
			why = "not tried yet"
		}
		if silent(m.err) {
			why += "; start it, or take it off the list"
		}
		tell("%s at %s is missing (%s): %s", m.Name, m.Addr, was, why)
	}
	list := n.list.get()
	for _, m := range members {
		p, _ := list.Get(m.Name)
		if p != nil && m.Status == membership.StatusAlive && elsewhere(p, m.Addr) {
			tell("%s is at %s, the list says %s: it cannot follow the list, or has another; see its own status", m.Name, m.Addr, p.ControlEndpoint())
		}
		if m.Unreachable {
			tell("%s at %s is alive and cannot be reached from here: %s; check the network between the two", m.Name, m.Addr, m.Reason)
		}
	}
	if s.Agreement != nil {
		view := membership.View{Members: members}
		found = append(found, s.Agreement.problems(func(name string) membership.Status {
			m, _ := view.Find(name)
			return m.Status
		})...)
	}
	return found
}

// silent reports whether err is what a node that does not run provokes, rather
// than a node that does and refuses.
func silent(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return err == nil || network || errors.Is(err, context.DeadlineExceeded)
}

// elsewhere reports whether a live member is certainly not where the list has it.
func elsewhere(p *peers.Peer, addr netip.AddrPort) bool {
	if p.Control() != 0 && p.Control() != addr.Port() {
		return true
	}
	ip, err := netip.ParseAddr(p.Host())
	return err == nil && ip.Unmap() != addr.Addr()
}

// cause tells why the node ended, or is about to.
func (n *Node) cause() error {
	if n.ctx.Err() != nil {
		return context.Cause(n.ctx)
	}
	return ErrClosed
}
