package transport

import "bytes"

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
func (m *Messenger) loopback() {
	there, back := &loopConn{}, &loopConn{}
	p := m.Peer(m.self.Name)
	ours := newLine(m, there, Remote{Identity: m.self, Ours: true})
	theirs := newLine(m, back, Remote{Identity: m.self})
	ours.peer, theirs.peer = p, p
	there.to, back.to = theirs, ours
	m.mu.Lock()
	m.lines[ours], m.lines[theirs] = struct{}{}, struct{}{}
	m.mu.Unlock()
	p.list(true, "")
	p.opened(ours)
	m.subs.opened(ours)
}
