package transport

import (
	"bytes"
	"fmt"
)

// loopConn is the connection of a node with itself: what goes in comes out at once,
// on the sender's goroutine.
type loopConn struct{ to *line }

func (c *loopConn) Send(packets ...Packet) error {
	for _, p := range packets {
		if c.to.isGone() {
			return ErrUnreachable
		}
		c.to.Received(p.Head, bytes.Clone(p.Body)) // the receiver may keep it, and change it
	}
	return nil
}

func (c *loopConn) Backlog() int { return 0 }

// loopback connects this node with itself: two lines, as between any two.
func (m *Messenger) loopback() (own [2]*line) {
	self := m.Self()
	there, back := &loopConn{}, &loopConn{}
	p := m.Peer(self.Name)
	ours := newLine(m, there, Remote{Identity: self, Ours: true})
	theirs := newLine(m, back, Remote{Identity: self})
	ours.peer, theirs.peer = p, p
	there.to, back.to = theirs, ours
	m.mu.Lock()
	m.lines[ours], m.lines[theirs] = struct{}{}, struct{}{}
	m.mu.Unlock()
	p.list(true, "")
	p.opened(ours)
	m.subs.opened(ours)
	return [2]*line{ours, theirs}
}

var errRenamed = fmt.Errorf("%w: this node has another name by now", ErrUnreachable)

// Rename gives this node another name, for one that learns late what the others call
// it. From then on its own handle is that of the new name; what it has asked itself and
// waits for fails with ErrUnreachable. Its engine goes by the name that it was started with,
// and what has connected already, by the name that it was told. The error is ErrSubject or ErrClosed.
func (m *Messenger) Rename(name string) error {
	m.listing.Lock()
	defer m.listing.Unlock()
	before := m.Self()
	err := checkSubject(name, false)
	switch {
	case err == nil && m.isShut():
		err = ErrClosed
	case before.Name == name:
		return nil
	}
	if err != nil {
		return fmt.Errorf("rename %.40q: %w", name, err)
	}
	m.self.Store(&Identity{name, before.Incarnation})
	for _, l := range m.own {
		l.end(errRenamed)
	}
	m.Peer(before.Name).list(false, "")
	m.own = m.loopback()
	return nil
}
