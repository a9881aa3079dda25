package kith

import (
	"context"
	"net"
	"net/netip"

	"github.com/kith-go/kith/internal/link"
)

// Network is where a node's sockets come from: the operating system's network,
// or one that a test has made, such as kithtest/memnet's. It must be safe for
// concurrent use, and what it returns must keep to the contracts of package net,
// deadlines included.
type Network interface {
	// Listen opens a TCP listener on "ip:port" or, for all addresses, ":port".
	// Port 0 draws a free one.
	Listen(ctx context.Context, address string) (net.Listener, error)
	// ListenPacket opens a UDP socket, likewise.
	ListenPacket(ctx context.Context, address string) (net.PacketConn, error)
	// Dial opens a TCP connection to "host:port". A host name is resolved anew
	// each time. It returns when ctx ends, at the latest.
	Dial(ctx context.Context, address string) (net.Conn, error)
	// Resolve returns the addresses of a host name, or the address itself for
	// an IP literal.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

var _ Network = link.System{}
