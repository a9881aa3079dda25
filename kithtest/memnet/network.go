package memnet

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Network connects hosts. Its methods are safe for concurrent use, do not wait, and take effect
// before they return: what a cut stops is stopped even if it was under way. IPv4 addresses in IPv6
// form and zones are made plain wherever addresses are given.
type Network struct {
	seed  uint64
	epoch time.Time

	// mu guards everything below, and all that the network's hosts and sockets hold. One mutex for
	// all keeps faults atomic; it is never held while anything waits.
	mu       sync.Mutex
	hosts    map[netip.Addr]*Host
	names    map[string][]netip.Addr
	common   Conditions
	own      map[pair]Conditions
	cuts     cuts
	conns    map[*conn]struct{} // that a program may use
	lastConn uint64
	agenda   agenda
	spare    []*packet
	stats    Stats
	closed   bool
}

// Stats count what happened on a network since its beginning. Once nothing is under way,
// PacketsSent + PacketsDuplicated is PacketsDelivered and the five kinds of dropped packets together.
type Stats struct {
	PacketsSent, PacketBytesSent           uint64
	PacketsDelivered, PacketBytesDelivered uint64 // into a socket's queue
	PacketsDuplicated                      uint64
	DroppedByLoss                          uint64
	DroppedByCut                           uint64
	DroppedByPause                         uint64 // of the sender
	DroppedByFullQueue                     uint64
	DroppedUnheard                         uint64 // no such host, no power, or no socket

	StreamBytesSent, StreamBytesDelivered uint64
	Retransmissions                       uint64 // of stream segments

	Dials, DialsEstablished, DialsRefused uint64 // the rest failed otherwise or still waits
}

// New returns a network whose random decisions follow from seed. Until told otherwise it is
// perfect: nothing is lost, nothing takes time. In a testing/synctest bubble, call New inside it.
func New(seed uint64) *Network {
	return &Network{
		seed:  seed,
		epoch: time.Now(),
		hosts: make(map[netip.Addr]*Host),
		names: make(map[string][]netip.Addr),
		own:   make(map[pair]Conditions),
		cuts:  newCuts(),
		conns: make(map[*conn]struct{}),
	}
}

// Host returns the host with an address, which it creates at first. It panics if the address is
// invalid, unspecified or multicast. A host whose address is a loopback one reaches itself only.
func (n *Network) Host(addr netip.Addr) *Host {
	addr = canonical(addr)
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
		panic(fmt.Sprintf("memnet: no host can have the address %v", addr))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[addr]
	if h == nil {
		h = &Host{net: n, addr: addr}
		n.hosts[addr] = h
	}
	return h
}

// hostLocked returns the host a path leads to, or nil.
func (n *Network) hostLocked(p *path) *Host {
	if p.dst == nil {
		p.dst = n.hosts[p.to]
	}
	return p.dst
}

// AddName makes a name stand for addresses, in Resolve and Dial on every host. It replaces what
// the name stood for. Case and a final dot do not matter.
func (n *Network) AddName(name string, addrs ...netip.Addr) {
	if len(addrs) == 0 {
		n.RemoveName(name)
		return
	}
	plain := make([]netip.Addr, len(addrs))
	for i, addr := range addrs {
		plain[i] = canonical(addr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[canonicalName(name)] = plain
}

// RemoveName makes a name unknown.
func (n *Network) RemoveName(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.names, canonicalName(name))
}

// SetDefault sets the conditions of every path that has none of its own. They hold for what is
// sent from now on.
func (n *Network) SetDefault(c Conditions) {
	n.change(func() { n.common = c.clamped() })
}

// SetPath sets the conditions from one host to another, in this direction only. They hold for what
// is sent from now on.
func (n *Network) SetPath(from, to netip.Addr, c Conditions) {
	n.change(func() { n.own[pair{canonical(from), canonical(to)}] = c.clamped() })
}

// Cut cuts the path from one host to another, in this direction only: packets vanish, stream bytes
// are held, and dials hang, since they need both directions.
func (n *Network) Cut(from, to netip.Addr) {
	n.change(func() { n.cuts.paths[pair{canonical(from), canonical(to)}] = true })
}

// HealPath opens the path from one host to another, in this direction only, whatever had cut it.
func (n *Network) HealPath(from, to netip.Addr) {
	n.change(func() { n.cuts.paths[pair{canonical(from), canonical(to)}] = false })
}

// Partition cuts all paths between hosts of different groups. It replaces an earlier partition and
// leaves other cuts as they are. Hosts in no group keep all their paths; a host in several groups
// reaches all of them, and so does a bridge's work.
func (n *Network) Partition(groups ...[]netip.Addr) {
	n.change(func() {
		n.cuts.groups = make(map[netip.Addr][]int)
		for i, group := range groups {
			for _, addr := range group {
				addr = canonical(addr)
				n.cuts.groups[addr] = append(n.cuts.groups[addr], i)
			}
		}
		n.cuts.forgetHealed(func(p pair) bool { return n.cuts.apart(p.from, p.to) })
	})
}

// Isolate cuts all paths from and to a host, also those of hosts that do not exist yet.
func (n *Network) Isolate(addr netip.Addr) {
	addr = canonical(addr)
	n.change(func() {
		n.cuts.isolated[addr] = true
		n.cuts.forgetHealed(func(p pair) bool { return p.from == addr || p.to == addr })
	})
}

// Heal undoes every Cut, Partition and Isolate. Held stream bytes flow again; conditions stay.
func (n *Network) Heal() {
	n.change(func() { n.cuts = newCuts() })
}

// change applies f to what was set, and the outcome to all paths.
func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	for _, h := range n.hosts {
		for _, p := range h.paths {
			n.refreshLocked(p)
		}
	}
	n.resumeLocked()
}

// refreshLocked works out how a path now is.
func (n *Network) refreshLocked(p *path) {
	if p.self {
		return
	}
	p.conditions = n.common
	if own, ok := n.own[p.pair]; ok {
		p.conditions = own
	}
	p.cut = n.cuts.severed(p.pair)
}

// resumeLocked sends what was held and no longer need be.
func (n *Network) resumeLocked() {
	for _, c := range n.connsLocked() {
		for _, h := range []*half{&c.out, &c.peer.out} {
			h.acknowledge()
			h.pump()
		}
	}
}

// connsLocked returns the connections in the order they were made, so that faults happen in the
// same order in every run.
func (n *Network) connsLocked() []*conn {
	return slices.SortedFunc(maps.Keys(n.conns), func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
}

// Stats returns the counts so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Close closes every socket and stops every timer. All calls on the network's hosts and sockets,
// waiting or to come, then return net.ErrClosed. It returns nil.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.agenda.timer != nil {
		n.agenda.timer.Stop()
	}
	n.agenda.events = nil
	for _, h := range n.hosts {
		h.paused = false
		h.closeLocked((*conn).vanish)
	}
	return nil
}
