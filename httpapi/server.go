package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// DefaultAddr is where an agent serves the API unless told otherwise.
const DefaultAddr = "127.0.0.1:2033"

const (
	headerTimeout   = 5 * time.Second
	requestTimeout  = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 3 * time.Second
	maxHeaderBytes  = 16 << 10
)

// ErrExposed is the refusal to serve other machines without a token.
var ErrExposed = errors.New("httpapi: refusing to serve other machines without a token")

// Listen opens a TCP listener for the API at addr, "host:port"; port 0 picks a
// free one. Without a token the address must be on the loopback, otherwise the
// error is [ErrExposed]. ctx bounds the look-up of a host name.
func Listen(ctx context.Context, addr, token string) (net.Listener, error) {
	return listen(ctx, addr, token, net.DefaultResolver.LookupNetIP)
}

// lookup finds the addresses of a host, as [net.Resolver.LookupNetIP] does.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

func listen(ctx context.Context, addr, token string, find lookup) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %q is not an address to listen on (want host:port, such as %s): %w", addr, DefaultAddr, err)
	}
	if token == "" {
		// The very address that was looked up is bound, so that a name cannot
		// mean something else a moment later.
		ip, err := loopbackOf(ctx, host, find)
		if errors.Is(err, errNotLoopback) {
			return nil, fmt.Errorf("%w at %s: %v; listen on %s, or set a token (kith agent: --http-token-file)", ErrExposed, addr, err, DefaultAddr)
		}
		if err != nil {
			return nil, fmt.Errorf("httpapi: cannot listen on %s: %w", addr, err)
		}
		addr = net.JoinHostPort(ip.String(), port)
	}
	network := "tcp"
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		network = "tcp4" // with "tcp", 0.0.0.0 would mean every IPv6 address as well
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("httpapi: cannot listen on %s: %w", addr, err)
	}
	return ln, nil
}

// errNotLoopback marks an address that other machines may reach.
var errNotLoopback = errors.New("not a loopback address")

// loopbackOf returns the loopback address that host means. The error is
// errNotLoopback if it means something else, any other if it means nothing.
func loopbackOf(ctx context.Context, host string, find lookup) (netip.Addr, error) {
	if host == "" {
		return netip.Addr{}, fmt.Errorf("an empty host means every interface, which is %w", errNotLoopback)
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = find(ctx, "ip", host); err != nil {
		return netip.Addr{}, err
	}
	var first netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); !ip.IsLoopback() {
			return netip.Addr{}, fmt.Errorf("%s is %w", ip, errNotLoopback)
		}
		if !first.IsValid() || ip.Is4() && !first.Is4() {
			first = ip
		}
	}
	if !first.IsValid() {
		return netip.Addr{}, fmt.Errorf("%s has no address", host)
	}
	return first, nil
}

// Serve answers requests on ln with h until ctx is done, then ends the event
// streams, waits a few seconds for requests under way, closes ln and returns
// nil. Meanwhile it keeps the sessions of the clients that hold something by their
// connections; those of connections end with them, the others last for their time. An
// error says why it ended earlier. Like [Listen] it refuses a listener
// that other machines reach when h has no token.
func Serve(ctx context.Context, ln net.Listener, h *Handler) error {
	if addr, ok := ln.Addr().(*net.TCPAddr); ok && h.guard.open && !addr.IP.IsLoopback() {
		ln.Close()
		return fmt.Errorf("%w at %s; listen on %s, or set a token", ErrExposed, addr, DefaultAddr)
	}
	requests, endStreams := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endStreams(errShutdown)
	desk := newDesk(h.node, h.clientTTL, h.log)
	attended, dismiss := context.WithCancel(context.WithoutCancel(ctx))
	var attending sync.WaitGroup
	attending.Go(func() { desk.run(attended) })
	defer attending.Wait()
	defer dismiss()
	var conns sync.WaitGroup
	srv := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       desk.context,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       h.timeout,
		WriteTimeout:      h.timeout,
		IdleTimeout:       h.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState: func(conn net.Conn, state http.ConnState) {
			desk.state(conn, state)
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(deskListener{ln, desk}) }()
	defer conns.Wait()
	select {
	case err := <-served:
		srv.Close()
		endStreams(errShutdown)
		return fmt.Errorf("httpapi: serving %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	endStreams(errShutdown)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if srv.Shutdown(patience) != nil {
		srv.Close() // somebody did not finish in time
	}
	<-served
	return nil
}
