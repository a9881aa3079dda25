package kithtest

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/inproc"
)

// redial is the pause of virtual nodes between attempts to connect for messages. It is
// longer than in life, so that hours without a peer do not take long.
const redial = 250 * time.Millisecond

// newMessageNetwork makes the network that virtual nodes exchange messages over. Its
// delays are those that the cluster begins with.
func newMessageNetwork(o Options) *inproc.Network {
	return inproc.New(inproc.Options{
		Seed: o.Seed, Redial: redial,
		MinDelay: o.Conditions.Delay, MaxDelay: o.Conditions.Delay + o.Conditions.Jitter,
	})
}

// Engine returns what carries messages to and from the machine; package kith looks for it.
func (m machine) Engine(endpoint string) transport.Engine {
	return m.messages.Engine(m.endpoint(endpoint))
}

// endpoint is where others find what listens at an address of this machine.
func (m machine) endpoint(bind string) string {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(bind, "tcp://"))
	if err != nil {
		return bind
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
		return m.Addr().String() + "/" + bind // nobody else's loopback
	}
	return "tcp://" + net.JoinHostPort(m.Addr().String(), port)
}
