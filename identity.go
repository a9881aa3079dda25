package kith

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/kith-go/kith/peers"
)

// whoAmI finds this node in the list; see Config.Name. own are the addresses
// of this host.
func whoAmI(list *peers.Peers, name string, pid uint32, own []netip.Addr) (*peers.Peer, error) {
	if name != "" || pid != 0 {
		return named(list, name, pid)
	}
	candidates := list.Local("")
	how := "have this host's name"
	if len(candidates) == 0 {
		candidates = byAddress(list, own)
		how = "have an address of this host"
	}
	switch len(candidates) {
	case 1:
		return candidates[0].Clone(), nil
	case 0:
		return nil, fmt.Errorf("%w no peer has this host's name or one of its addresses; set Config.Name (kith agent --name) to one of: %s",
			ErrWhoAmI, describe(list.Peers))
	}
	return nil, fmt.Errorf("%w %d peers %s; set Config.Name (kith agent --name) to one of: %s",
		ErrWhoAmI, len(candidates), how, describe(candidates))
}

func named(list *peers.Peers, name string, pid uint32) (*peers.Peer, error) {
	i := slices.IndexFunc(list.Peers, func(p *peers.Peer) bool {
		return (name == "" || p.Name == name) && (pid == 0 || p.PID == pid)
	})
	if i >= 0 {
		return list.Peers[i].Clone(), nil
	}
	var wanted []string
	if name != "" {
		wanted = append(wanted, fmt.Sprintf("named %q", name))
	}
	if pid != 0 {
		wanted = append(wanted, fmt.Sprintf("with PID %d", pid))
	}
	return nil, fmt.Errorf("%w no peer %s; the list has: %s", ErrWhoAmI, strings.Join(wanted, " and "), describe(list.Peers))
}

func byAddress(list *peers.Peers, own []netip.Addr) []*peers.Peer {
	var found []*peers.Peer
	for _, p := range list.Peers {
		ip, err := netip.ParseAddr(p.IPAddr)
		if err == nil && (ip.IsLoopback() || slices.Contains(own, ip.Unmap())) {
			found = append(found, p)
		}
	}
	return found
}

func describe(list []*peers.Peer) string {
	const most = 10
	var words []string
	for i, p := range list {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		words = append(words, fmt.Sprintf("%s (pid %d, %s)", p.Name, p.PID, p.Host()))
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, ", ")
}

// ownAddresses lists this host's addresses; empty if the system does not tell.
func ownAddresses() []netip.Addr {
	addrs, _ := net.InterfaceAddrs()
	var own []netip.Addr
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own
}

// alone makes the list for a node without one: itself, on loopback.
func alone(name string) (*peers.Peers, error) {
	if name == "" {
		host, _ := os.Hostname()
		name, _, _ = strings.Cut(host, ".")
	}
	if name == "" {
		name = "local"
	}
	self := &peers.Peer{PID: 1, Name: name, IPAddr: "127.0.0.1", Port: 1}
	list := &peers.Peers{Peers: []*peers.Peer{self}}
	if err := list.Validate(); err != nil { // of the name, the rest is right
		return nil, fmt.Errorf("kith: Config.Name: %w", err)
	}
	self.Port = 0 // chosen when something listens
	return list, nil
}
