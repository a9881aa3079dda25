package memnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// firstEphemeral is where the ports begin that are given to those who do not choose one.
const firstEphemeral = 49152

type socket interface {
	comparable
	bound() netip.AddrPort
}

// ports are the bound sockets of one protocol on one host.
type ports[S socket] struct {
	sockets map[uint16][]S
	last    uint16
}

// find returns the socket that receives what is sent to an address, or the zero value.
func (p *ports[S]) find(to netip.AddrPort) S {
	for _, s := range p.sockets[to.Port()] {
		if addr := s.bound().Addr(); addr == to.Addr() || addr.IsUnspecified() {
			return s
		}
	}
	var none S
	return none
}

// free returns a port without a socket, or 0. They go round, so that a port is not soon used again.
func (p *ports[S]) free() uint16 {
	for range 1<<16 - firstEphemeral {
		p.last = max(p.last+1, firstEphemeral)
		if len(p.sockets[p.last]) == 0 {
			return p.last
		}
	}
	return 0
}

// choose settles which address a socket is bound to.
func (p *ports[S]) choose(at netip.AddrPort) (netip.AddrPort, error) {
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), p.free())
	}
	taken := slices.ContainsFunc(p.sockets[at.Port()], func(s S) bool {
		addr := s.bound().Addr()
		return addr == at.Addr() || addr.IsUnspecified() || at.Addr().IsUnspecified()
	})
	if taken || at.Port() == 0 {
		return at, syscall.EADDRINUSE
	}
	return at, nil
}

func (p *ports[S]) add(s S) {
	if p.sockets == nil {
		p.sockets = make(map[uint16][]S)
	}
	p.sockets[s.bound().Port()] = append(p.sockets[s.bound().Port()], s)
}

func (p *ports[S]) remove(s S) {
	port := s.bound().Port()
	p.sockets[port] = slices.DeleteFunc(p.sockets[port], func(other S) bool { return other == s })
	if len(p.sockets[port]) == 0 {
		delete(p.sockets, port)
	}
}

// all returns the sockets in the order of their ports.
func (p *ports[S]) all() []S {
	var all []S
	for _, s := range p.sockets {
		all = append(all, s...)
	}
	slices.SortFunc(all, func(a, b S) int { return a.bound().Compare(b.bound()) })
	return all
}

func canonical(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// loopback is the loopback address of addr's family.
func loopback(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// destination is where a packet for addr goes.
func destination(addr net.Addr) (netip.AddrPort, error) {
	var to netip.AddrPort
	if udp, ok := addr.(*net.UDPAddr); ok && udp != nil {
		to = udp.AddrPort()
		if udp.IP == nil { // the unspecified address, as in package net
			to = netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())
		}
	} else if addr != nil {
		to, _ = netip.ParseAddrPort(addr.String())
	}
	if !to.Addr().IsValid() {
		return to, &net.AddrError{Err: "not an address with a port", Addr: fmt.Sprint(addr)}
	}
	return netip.AddrPortFrom(canonical(to.Addr()), to.Port()), nil
}

// split takes apart "host:port"; the port is a number.
func split(address string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return "", 0, &net.AddrError{Err: "invalid port", Addr: address}
	}
	return host, uint16(number), nil
}

// Resolve returns the addresses of a host: of an IP address itself; of a name what
// [Network.AddName] gave it, and the host's own loopback address for localhost. An unknown name is
// a *net.DNSError that says IsNotFound. Faults do not affect it. The caller owns the slice.
func (h *Host) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{canonical(addr)}, nil
	}
	name := canonicalName(host)
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if addrs, ok := h.net.names[name]; ok {
		return slices.Clone(addrs), nil
	}
	if name == "localhost" {
		return []netip.Addr{loopback(h.addr)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func canonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
