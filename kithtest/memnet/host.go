package memnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Host is one machine on a network, with one address, its loopback addresses, and one program. Its
// methods are safe for concurrent use.
//
// Errors are like those of package net: *net.OpError, which errors.Is sees through to net.ErrClosed,
// os.ErrDeadlineExceeded or the syscall.Errno.
type Host struct {
	net  *Network
	addr netip.Addr

	// Under the network's mutex:
	tcp   ports[*listener]
	udp   ports[*packetConn]
	paths map[netip.Addr]*path // from here, found so far

	paused bool
	off    bool // no power
	dead   bool // no program: it was killed, and none has listened since
}

// Addr returns the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Listen opens a TCP listener on "ip:port" or, for all of the host's addresses, ":port",
// "0.0.0.0:port" or "[::]:port"; a name stands for its first address. Port 0 picks a free port. It
// fails with EADDRINUSE, EADDRNOTAVAIL for an address of another host, or ENETDOWN without power.
// It does not wait, and ctx does not govern the listener.
//
// The kernel accepts up to 128 connections ahead of Accept; further dials are delayed until there
// is room.
func (h *Host) Listen(ctx context.Context, address string) (net.Listener, error) {
	at, err := h.resolveLocal(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if at, err = bindLocked(h, &h.tcp, at); err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: err}
	}
	l := &listener{net: h.net, host: h, local: at}
	l.gate.init(&h.net.mu)
	h.tcp.add(l)
	return l, nil
}

// ListenPacket opens a UDP socket; the address is as for Listen. Its WriteTo takes a *net.UDPAddr
// or any other net.Addr that prints as "ip:port", and reports EMSGSIZE beyond 65507 bytes.
func (h *Host) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	at, err := h.resolveLocal(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Err: err}
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if at, err = bindLocked(h, &h.udp, at); err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(at), Err: err}
	}
	c := &packetConn{net: h.net, host: h, local: at}
	c.rd.init(&h.net.mu)
	h.udp.add(c)
	return c, nil
}

// resolveLocal reads the address of a socket to be.
func (h *Host) resolveLocal(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := split(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		addrs, err := h.Resolve(ctx, host)
		if err != nil {
			return netip.AddrPort{}, err
		}
		addr = addrs[0]
	}
	return netip.AddrPortFrom(addr, port), ctx.Err()
}

// bindLocked settles the address of a new socket. That the program opens one shows that it runs.
func bindLocked[S socket](h *Host, p *ports[S], at netip.AddrPort) (netip.AddrPort, error) {
	if err := h.downLocked(); err != nil {
		return at, err
	}
	if addr := at.Addr(); !addr.IsUnspecified() && !addr.IsLoopback() && addr != h.addr {
		return at, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	at, err := p.choose(at)
	if err != nil {
		return at, os.NewSyscallError("bind", err)
	}
	h.dead = false
	return at, nil
}

// downLocked reports why the host cannot open sockets.
func (h *Host) downLocked() error {
	switch {
	case h.net.closed:
		return net.ErrClosed
	case h.off:
		return os.NewSyscallError("socket", syscall.ENETDOWN)
	}
	return nil
}

// pathTo returns the path to an address, which need not be that of a host.
func (h *Host) pathTo(to netip.Addr) *path {
	if to.IsLoopback() {
		to = h.addr
	}
	if p, ok := h.paths[to]; ok {
		return p
	}
	wires := pair{h.addr, to}
	p := &path{pair: wires, src: h, self: to == h.addr, dice: newDice(h.net.seed, wires)}
	h.net.refreshLocked(p)
	if h.paths == nil {
		h.paths = make(map[netip.Addr]*path)
	}
	h.paths[to] = p
	return p
}

// Kill is the death of the program; the machine lives on. Its listeners and packet sockets are
// closed and its connections reset: peers read ECONNRESET, and dials are refused. The program's own
// calls return net.ErrClosed, and so do its further dials, until Listen or ListenPacket is called:
// that is the program started again. A pause ends.
//
// What remains of the old program must be stopped before the new one starts; nothing else tells the
// two apart. A loop that goes on after net.ErrClosed spins.
func (h *Host) Kill() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if !h.off {
		h.paused = false
		h.closeLocked((*conn).abort)
	}
}

// PowerOff is the death of the machine. Nothing leaves it and nothing that arrives is answered:
// dials to it hang, connections neither close nor answer, packets vanish. The program's own calls
// return net.ErrClosed, and new ones ENETDOWN.
func (h *Host) PowerOff() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.off {
		return
	}
	h.off, h.paused = true, false
	for _, c := range h.net.connsLocked() {
		if c.peer.host == h && c.peer.closed {
			c.peer.gone = true // closed before; what its kernel still had to send is gone too
			c.peer.out.dropUnsent()
		}
	}
	h.closeLocked((*conn).vanish)
}

// PowerOn starts a machine that was off, with no program until Listen or ListenPacket is called.
// Connections from before are unknown to it: when something arrives on one, it is reset.
func (h *Host) PowerOn() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.off = false
	h.net.resumeLocked()
}

// Pause stops the program as SIGSTOP does; its kernel goes on. What arrives waits: connections up
// to the backlog, streams up to their window, packets up to the queue. Read, ReadFrom, Accept and
// Dial do not return before Resume, except when the socket is closed or a deadline or context ends
// the wait.
//
// A stopped program would do nothing more, but this one's goroutines and timers run on. What they
// write to streams is held until Resume, and so is the end of those they close; the packets they
// send are dropped.
func (h *Host) Pause() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.paused = !h.off
}

// Resume ends a pause.
func (h *Host) Resume() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.paused = false
	for _, l := range h.tcp.all() {
		l.gate.cond.Broadcast()
	}
	for _, c := range h.udp.all() {
		c.rd.cond.Broadcast()
	}
	for _, c := range h.net.connsLocked() {
		if c.host == h {
			c.rd.cond.Broadcast()
		}
	}
	h.net.resumeLocked()
}

// closeLocked closes all sockets, connections in the given way.
func (h *Host) closeLocked(closeConn func(*conn)) {
	h.dead = true
	for _, l := range h.tcp.all() {
		l.closeLocked(closeConn)
	}
	for _, c := range h.udp.all() {
		c.closeLocked()
	}
	for _, c := range h.net.connsLocked() {
		if c.host == h && !c.closed {
			closeConn(c)
		}
	}
}
