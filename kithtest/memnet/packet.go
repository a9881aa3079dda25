package memnet

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	maxDatagram    = 65507
	packetQueue    = 1024 // packets a socket holds for its reader
	sparePackets   = 1024 // used packets kept for reuse,
	spareBodyLimit = 4096 // unless they are this large
)

type packet struct {
	path     *path
	from, to netip.AddrPort
	body     []byte
}

// packetConn is a packet socket. All but the first group of fields needs the network's mutex.
type packetConn struct {
	net   *Network
	host  *Host
	local netip.AddrPort

	queue  queue[*packet]
	rd     gate
	closed bool

	writeDeadline time.Time
}

var _ net.PacketConn = (*packetConn)(nil)

func (c *packetConn) bound() netip.AddrPort { return c.local }
func (c *packetConn) LocalAddr() net.Addr   { return net.UDPAddrFromAddrPort(c.local) }

func (c *packetConn) fail(op string, to net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: to, Err: err}
}

// ReadFrom cuts off what of the packet does not fit into b, as UDP does.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.readFrom(b)
	if err != nil {
		return 0, nil, c.fail("read", nil, err)
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

func (c *packetConn) readFrom(b []byte) (int, netip.AddrPort, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, net.ErrClosed
		case c.rd.expired():
			return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
		case !c.host.paused && c.queue.len() > 0:
			p := c.queue.pop()
			n, from := copy(b, p.body), p.from
			c.net.recycle(p)
			return n, from, nil
		}
		c.rd.wait()
	}
}

// WriteTo does not wait.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := destination(addr)
	if err == nil {
		err = c.writeTo(b, to)
	}
	if err != nil {
		return 0, c.fail("write", addr, err)
	}
	return len(b), nil
}

func (c *packetConn) writeTo(b []byte, to netip.AddrPort) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case past(c.writeDeadline):
		return os.ErrDeadlineExceeded
	case len(b) > maxDatagram:
		return os.NewSyscallError("sendto", syscall.EMSGSIZE)
	}
	return c.send(b, to)
}

// send settles where the packet is from and to.
func (c *packetConn) send(b []byte, to netip.AddrPort) error {
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(loopback(to.Addr()), to.Port())
	}
	from, path := c.local.Addr(), c.host.pathTo(to.Addr())
	switch {
	case from.IsUnspecified() && to.Addr().IsLoopback():
		from = to.Addr()
	case from.IsUnspecified():
		from = c.host.addr
	case from.IsLoopback() && !path.self:
		return os.NewSyscallError("sendto", syscall.EINVAL)
	}
	c.net.sendLocked(b, netip.AddrPortFrom(from, c.local.Port()), to, path)
	return nil
}

// sendLocked decides the fate of a packet. Every packet takes the same four random numbers,
// whatever the conditions: so the n-th packet's fate does not depend on what befell the others.
func (n *Network) sendLocked(b []byte, from, to netip.AddrPort, path *path) {
	n.stats.PacketsSent++
	n.stats.PacketBytesSent += uint64(len(b))
	c, d := &path.conditions, &path.dice
	loss, jitter, twice, jitter2 := d.roll(), d.roll(), d.roll(), d.roll()
	switch {
	case path.src.paused:
		n.stats.DroppedByPause++
		return
	case path.cut:
		n.stats.DroppedByCut++
		return
	case loss < c.Loss:
		n.stats.DroppedByLoss++
		return
	}
	n.conveyLocked(b, from, to, path, c.Delay+spread(c.Jitter, jitter))
	if twice < c.Duplicate {
		n.stats.PacketsDuplicated++
		n.conveyLocked(b, from, to, path, c.Delay+spread(c.Jitter, jitter2))
	}
}

func (n *Network) conveyLocked(b []byte, from, to netip.AddrPort, path *path, delay time.Duration) {
	var p *packet
	if last := len(n.spare) - 1; last >= 0 {
		p, n.spare = n.spare[last], n.spare[:last]
	} else {
		p = new(packet)
	}
	p.path, p.from, p.to, p.body = path, from, to, append(p.body[:0], b...)
	if delay == 0 {
		n.deliverLocked(p)
		return
	}
	n.scheduleLocked(event{at: n.now() + delay, pkt: p})
}

// deliverLocked hands an arriving packet to its socket, if there is one. What is cut now, is cut
// for what was under way as well.
func (n *Network) deliverLocked(p *packet) {
	var socket *packetConn
	if to := n.hostLocked(p.path); to != nil && !to.off {
		socket = to.udp.find(p.to)
	}
	switch {
	case p.path.cut:
		n.stats.DroppedByCut++
	case socket == nil:
		n.stats.DroppedUnheard++
	case socket.queue.len() >= packetQueue:
		n.stats.DroppedByFullQueue++
	default:
		n.stats.PacketsDelivered++
		n.stats.PacketBytesDelivered += uint64(len(p.body))
		socket.queue.push(p)
		socket.rd.cond.Broadcast()
		return
	}
	n.recycle(p)
}

func (n *Network) recycle(p *packet) {
	if len(n.spare) < sparePackets && cap(p.body) <= spareBodyLimit {
		n.spare = append(n.spare, p)
	}
}

func (c *packetConn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fail("close", nil, net.ErrClosed)
	}
	c.closeLocked()
	return nil
}

func (c *packetConn) closeLocked() {
	c.closed = true
	c.host.udp.remove(c)
	for c.queue.len() > 0 {
		c.net.recycle(c.queue.pop())
	}
	c.rd.close()
}

func (c *packetConn) SetDeadline(t time.Time) error      { return c.setDeadline(t, true, true) }
func (c *packetConn) SetReadDeadline(t time.Time) error  { return c.setDeadline(t, true, false) }
func (c *packetConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, false, true) }

func (c *packetConn) setDeadline(t time.Time, read, write bool) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fail("set", nil, net.ErrClosed)
	}
	if read {
		c.rd.setDeadline(t)
	}
	if write {
		c.writeDeadline = t
	}
	return nil
}
