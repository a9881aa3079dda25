package link

import (
	"context"
	"net"
	"net/netip"
)

// System is the operating system's network. Its zero value is ready to use.
type System struct{}

// Listen opens a TCP listener.
func (System) Listen(ctx context.Context, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// ListenPacket opens a UDP socket.
func (System) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	return (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
}

// Dial opens a TCP connection, resolving names.
func (System) Dial(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{Control: tune}).DialContext(ctx, "tcp", address)
}

// Resolve returns the addresses of a host name or IP literal.
func (System) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
