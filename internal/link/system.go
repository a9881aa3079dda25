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
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// listener makes its connections prompt.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return prompt(c), nil
}

// ListenPacket opens a UDP socket.
func (System) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	return (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
}

// Dial opens a TCP connection, resolving names.
func (System) Dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Control: tune}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return prompt(c), nil
}

// Resolve returns the addresses of a host name or IP literal.
func (System) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
