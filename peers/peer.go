package peers

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// controlOffset is what is added to the message port for the control port of a
// peer that does not name one.
const controlOffset = 1000

// Peer represents a single instance of another replica process or host on the
// network that can be communicated with.
//
// The zero Peer is usable and has neither name nor address. JSON keys that are
// not listed here are kept from UnmarshalJSON to MarshalJSON; a copy of the
// struct keeps them too. A struct that embeds a Peer gets these methods with it,
// and so has no other fields in JSON: give it a field of this type instead. The
// methods accept a nil Peer and answer as for the zero Peer.
type Peer struct {
	PID         uint32 `json:"pid"`                   // the precedence id of the peer
	Name        string `json:"name"`                  // unique name of the peer
	Description string `json:"description,omitempty"` // a text description of the peer
	Hostname    string `json:"hostname,omitempty"`    // the hostname of the peer
	IPAddr      string `json:"ip_address"`            // the ip address of the peer
	Domain      string `json:"domain,omitempty"`      // the domain name of the host
	Port        uint16 `json:"port"`                  // the port the replica is listening on

	// Extra information that may be associated with the host
	AWSInstance map[string]string `json:"aws_instance,omitempty"`

	// ControlPort is the port of gossip and consensus, TCP and UDP. Zero means
	// Port+1000; use [Peer.Control] to read it.
	ControlPort uint16 `json:"control_port,omitempty"`

	extra  []member // unknown keys, in the order read; never changed in place
	origin *origin  // where the peer was read; nil when built in memory; never changed
}

// Clone returns a deep copy of the peer, nil for nil.
func (p *Peer) Clone() *Peer {
	if p == nil {
		return nil
	}
	clone := *p
	clone.AWSInstance = maps.Clone(p.AWSInstance)
	return &clone
}

// Endpoint returns host:port to connect to the peer's message port using TCP.
// The host is the domain if dns is true and there is one, and the IP address
// otherwise, in brackets if it is IPv6; a peer without IP address gets the host
// that [Peer.Host] chooses. Nothing is resolved.
func (p *Peer) Endpoint(dns bool) string {
	if p == nil {
		return ""
	}
	if dns && p.Domain != "" {
		return hostPort(p.Domain, p.Port)
	}
	return hostPort(p.Host(), p.Port)
}

// IsLocal returns true if the peer has the same host name as the system.
// Because either name can be fully qualified, only the parts before the first
// dot are compared. A peer without a host name is not local.
func (p *Peer) IsLocal() bool {
	hostname, err := os.Hostname()
	return err == nil && p.isOn(hostname)
}

// isOn reports whether the peer's host name means the host of the given name.
func (p *Peer) isOn(hostname string) bool {
	if p == nil || p.Hostname == "" || hostname == "" {
		return false
	}
	mine, _, _ := strings.Cut(p.Hostname, ".")
	theirs, _, _ := strings.Cut(hostname, ".")
	return mine != "" && mine == theirs
}

// ZMQEndpoint returns an endpoint to bind or connect on specifically for the
// ZMQ protocol, that is a TCP socket on the message port.
//
// If server is true, then the bind address tcp://*:port is returned so that
// messages received on any IP address at that port are handled. Otherwise it is
// tcp://localhost:port for a peer that [Peer.IsLocal], and tcp://host:port for
// any other, with the host of [Peer.Endpoint](false), IPv6 in brackets.
func (p *Peer) ZMQEndpoint(server bool) string {
	switch {
	case p == nil:
		return ""
	case server:
		return "tcp://" + hostPort("*", p.Port)
	case p.IsLocal():
		return "tcp://" + hostPort("localhost", p.Port)
	default:
		return "tcp://" + p.Endpoint(false)
	}
}

// Host returns the address at which to reach the peer: the IP address, else the
// domain, else the host name, without brackets and unresolved. It is empty if
// the peer has none of them.
func (p *Peer) Host() string {
	if p == nil {
		return ""
	}
	_, host := p.address()
	return host
}

// address returns the address of [Peer.Host] and the JSON key that holds it.
func (p *Peer) address() (key, host string) {
	switch {
	case p.IPAddr != "":
		return "ip_address", unbracket(p.IPAddr)
	case p.Domain != "":
		return "domain", p.Domain
	default:
		return "hostname", p.Hostname
	}
}

// Control returns the control port: ControlPort, or Port+1000 if that is zero.
// It returns 0 if there is neither, or if the sum is no port number.
func (p *Peer) Control() uint16 {
	switch {
	case p == nil:
		return 0
	case p.ControlPort != 0:
		return p.ControlPort
	case p.Port == 0 || p.Port > 65535-controlOffset:
		return 0
	default:
		return p.Port + controlOffset
	}
}

// ControlEndpoint returns host:port to dial the peer's control port, with the
// host of [Peer.Host], IPv6 in brackets. It is empty if the peer has no address
// or no control port.
func (p *Peer) ControlEndpoint() string {
	host, port := p.Host(), p.Control()
	if host == "" || port == 0 {
		return ""
	}
	return hostPort(host, port)
}

// IsLoopback reports whether the address of [Peer.Host] never leaves the
// machine: a loopback IP address or the name localhost. Nothing is resolved.
func (p *Peer) IsLoopback() bool {
	host := p.Host()
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func hostPort(host string, port uint16) string {
	return net.JoinHostPort(unbracket(host), strconv.Itoa(int(port)))
}

// unbracket removes the brackets that some write around an IPv6 address.
func unbracket(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
