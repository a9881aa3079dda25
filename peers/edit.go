package peers

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrExists is matched by the errors of [Peers.Add] and [Peers.Update] when
// another peer of the list has the name.
var ErrExists = errors.New("a peer of this name exists already")

// Keys of Info that services keep there. Add, Remove and Update keep them
// true in a list that has them, and add them to none.
const (
	infoCount   = "num_replicas"
	infoUpdated = "updated"
)

// Add appends a copy of the peer to the list. It returns an error that matches
// [ErrExists] if there is one of that name, and an [*InvalidError] if the peer
// would have faults; the list is then as before. Faults that the list had
// already are not in the way.
//
// Add, Remove and Update also set num_replicas and updated in Info, if they are
// there. None writes to disk; see [Peers.Dump].
func (p *Peers) Add(peer *Peer) error {
	if peer == nil {
		return errors.New("peers: cannot add a nil peer")
	}
	if p.index(peer.Name) >= 0 {
		return fmt.Errorf("peers: cannot add %q: %w", peer.Name, ErrExists)
	}
	if err := p.accepts(peer, -1); err != nil {
		return err
	}
	p.Peers = append(p.Peers, peer.newcomer())
	p.touch()
	return nil
}

// newcomer returns a copy of a peer for a list that it was not read with.
func (p *Peer) newcomer() *Peer {
	clone := p.Clone()
	clone.origin = p.origin.placeless()
	return clone
}

// Remove removes the first peer of that name, or returns an error that matches
// [ErrNotFound].
func (p *Peers) Remove(name string) error {
	i := p.index(name)
	if i < 0 {
		return fmt.Errorf("peers: cannot remove %q: %w", name, ErrNotFound)
	}
	p.Peers = slices.Delete(p.Peers, i, i+1)
	p.touch()
	return nil
}

// Update calls change with a copy of the first peer of that name and puts it in
// the peer's place; keys unknown to this package stay with it. It returns errors
// that match [ErrNotFound], or [ErrExists] if change gave it the name of
// another, and an [*InvalidError] if the changed peer has faults; the list is
// then as before.
func (p *Peers) Update(name string, change func(*Peer)) error {
	i := p.index(name)
	if i < 0 {
		return fmt.Errorf("peers: cannot update %q: %w", name, ErrNotFound)
	}
	peer := p.Peers[i].Clone()
	change(peer)
	if other := p.index(peer.Name); other >= 0 && peer.Name != name {
		return fmt.Errorf("peers: cannot rename %q to %q: %w", name, peer.Name, ErrExists)
	}
	if err := p.accepts(peer, i); err != nil {
		return err
	}
	p.Peers[i] = peer
	p.touch()
	return nil
}

// accepts returns the faults that peer would have in place of the one at index
// i, -1 for an additional one.
func (p *Peers) accepts(peer *Peer, i int) error {
	candidate := peer.Clone()
	candidate.origin = nil // its keys cannot be mended with an edit

	// Of two that collide the later one is at fault, so the candidate comes last;
	// those that cannot collide with it are left out, which makes building a list
	// peer by peer cheap.
	var trial Peers
	for j, other := range p.Peers {
		if j != i && other != nil && candidate.mayCollide(other) {
			trial.Peers = append(trial.Peers, other)
		}
	}
	last := len(trial.Peers)
	trial.Peers = append(trial.Peers, candidate)

	faults, _ := check(&trial)
	faults = slices.DeleteFunc(faults, func(f Fault) bool { return f.Index != last })
	for k := range faults {
		faults[k].Index = len(p.Peers)
		if i >= 0 {
			faults[k].Index = i
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &InvalidError{Faults: faults}
}

// mayCollide reports whether there is anything of which only one of p and other
// can be the owner.
func (p *Peer) mayCollide(other *Peer) bool {
	if p.PID == other.PID {
		return true
	}
	mine, theirs := p.Control(), other.Control()
	return (p.Port == other.Port || p.Port == theirs || mine == other.Port || mine == theirs) &&
		hostOf(p) == hostOf(other)
}

// touch keeps the metadata of an edited list true.
func (p *Peers) touch() {
	if _, ok := p.Info[infoCount]; ok {
		p.Info[infoCount] = float64(len(p.Peers))
	}
	if _, ok := p.Info[infoUpdated]; ok {
		p.Info[infoUpdated] = time.Now().Format(time.RFC3339Nano)
	}
}
