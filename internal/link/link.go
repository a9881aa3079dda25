package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/secret"
)

// Network is the seam to the sockets; kith.Network documents it.
type Network interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, address string) (net.PacketConn, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

const (
	// handshakeTimeout bounds TLS, hello and welcome together.
	handshakeTimeout = 5 * time.Second
	// firstByteTimeout is how long an accepted connection may stay silent: who
	// dials speaks first, and at once.
	firstByteTimeout = time.Second
	// maxHandshakes bounds the strangers at the door. Past it, connections
	// wait in the kernel's backlog, which is bounded too.
	maxHandshakes = 128
	// maxPerHost bounds the handshakes under way with one IP address, so that it
	// takes many to keep others out. More are closed at once. Nodes that share
	// an address, on one machine or behind one translator, share this too.
	maxPerHost = 16
	// portAttempts is how often a free port is drawn until it is free for TCP
	// and UDP alike.
	portAttempts = 32
)

// Config describes a link. All fields but Key, Advertise and Log are required.
type Config struct {
	Network Network
	// Bind is "ip:port" or ":port"; port 0 draws one that is free for TCP and
	// UDP.
	Bind string
	// Advertise is the IP that others are told to dial; the bound one if invalid.
	Advertise netip.Addr

	Cluster     string
	Name        string
	Incarnation uint64
	Key         secret.Key // zero: no TLS

	// Admit is asked about every hello that is otherwise in order and may
	// refuse it. It may block for as long as a handshake may take; ctx ends
	// with the link.
	Admit func(ctx context.Context, h Hello) *Refusal
	// OnStream receives accepted connections of all purposes but Probe; it owns
	// conn. The link's Close waits for it, having closed conn.
	OnStream func(conn net.Conn, h Hello)
	// OnPacket receives datagrams; it owns b.
	OnPacket func(b []byte, from netip.AddrPort, at time.Time)

	Log *slog.Logger
}

// Link is an open control port. Its methods are safe for concurrent use.
type Link struct {
	cfg     Config
	self    Identity // but for what bound holds
	bound   atomic.Pointer[binding]
	server  *tls.Config // nil without a key
	client  *tls.Config
	tcp     net.Listener
	udp     net.PacketConn
	log     *slog.Logger
	reports throttle

	ctx    context.Context // ends with the link, cause ErrClosed
	cancel context.CancelCauseFunc
	shakes chan struct{} // one slot per handshake under way
	wg     sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	conns map[net.Conn]struct{}
	hosts map[netip.Addr]int // accepted handshakes under way, by remote address
}

// binding is what the agreement knows a node by.
type binding struct {
	clusterID string
	raftID    uint64
}

// Bind tells the link which member of which cluster this node is: a cluster ID of
// 32 hexadecimal digits and a Raft ID. From now on hellos and welcomes say so, and
// connections of members are served, if they are meant for this one. Until then
// they are refused with CodeUnborn.
func (l *Link) Bind(clusterID string, raftID uint64) {
	l.bound.Store(&binding{clusterID, raftID})
}

// identity returns what this node says of itself at the moment.
func (l *Link) identity() Identity {
	id := l.self
	if b := l.bound.Load(); b != nil {
		id.ClusterID, id.RaftID = b.clusterID, b.raftID
	}
	return id
}

// Listen opens the control port and starts to serve it. ctx bounds the opening
// only. The errors are those of the network, naming the address.
func Listen(ctx context.Context, cfg Config) (*Link, error) {
	l := &Link{
		cfg:    cfg,
		log:    cfg.Log,
		shakes: make(chan struct{}, maxHandshakes),
		conns:  make(map[net.Conn]struct{}),
		hosts:  make(map[netip.Addr]int),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if !cfg.Key.IsZero() {
		var err error
		if l.server, l.client, err = cfg.Key.TLS(cfg.Name); err != nil {
			return nil, err
		}
	}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.wg.Go(l.accept)
	l.wg.Go(l.receive)
	return l, nil
}

// open binds TCP and UDP to the same port.
func (l *Link) open(ctx context.Context) error {
	host, port, err := net.SplitHostPort(l.cfg.Bind)
	if err != nil {
		return fmt.Errorf("link: control address %q: %w", l.cfg.Bind, err)
	}
	attempts := 1
	if port == "0" {
		attempts = portAttempts
	}
	for range attempts {
		if err = l.openOnce(ctx, host); err == nil {
			return nil
		}
	}
	return err
}

func (l *Link) openOnce(ctx context.Context, host string) error {
	tcp, err := l.cfg.Network.Listen(ctx, l.cfg.Bind)
	if err != nil {
		return fmt.Errorf("link: control port: %w", err)
	}
	bound, err := netip.ParseAddrPort(tcp.Addr().String())
	if err != nil {
		tcp.Close()
		return fmt.Errorf("link: control port: listening on %v: %w", tcp.Addr(), err)
	}
	udp, err := l.cfg.Network.ListenPacket(ctx, net.JoinHostPort(host, fmt.Sprint(bound.Port())))
	if err != nil {
		tcp.Close()
		return fmt.Errorf("link: control port: %w", err)
	}
	growBuffer(udp)
	l.tcp, l.udp = tcp, udp
	ip := bound.Addr().Unmap()
	if l.cfg.Advertise.IsValid() {
		ip = l.cfg.Advertise.Unmap()
	}
	l.self = Identity{
		Cluster:     l.cfg.Cluster,
		Name:        l.cfg.Name,
		Incarnation: l.cfg.Incarnation,
		Addr:        netip.AddrPortFrom(ip, bound.Port()),
	}
	return nil
}

// Addr returns the advertised control address.
func (l *Link) Addr() netip.AddrPort { return l.self.Addr }

// Close closes the port and every connection made through it, and waits for the
// link's goroutines. Handlers must return for it to do so.
func (l *Link) Close() error {
	l.cancel(ErrClosed)
	err := errors.Join(l.tcp.Close(), l.udp.Close())
	l.mu.Lock()
	open := make([]net.Conn, 0, len(l.conns))
	for conn := range l.conns {
		open = append(open, conn)
	}
	l.mu.Unlock()
	for _, conn := range open {
		conn.Close()
	}
	l.wg.Wait()
	if errors.Is(err, net.ErrClosed) { // a second Close
		return nil
	}
	return err
}

// track registers a raw connection to be closed with the link. It refuses when
// the link is already closed, so that none slips through.
func (l *Link) track(raw net.Conn) (*conn, error) {
	c := &conn{Conn: raw, link: l, hungUp: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return nil, ErrClosed
	}
	l.conns[c] = struct{}{}
	return c, nil
}

// conn is a tracked connection.
type conn struct {
	net.Conn
	link   *Link
	peeked []byte // read already, and to be read again
	once   sync.Once
	hungUp chan struct{} // closed by Close
}

// HungUp returns a channel that is closed when this side closes c, for which a handler of
// the link's that does something else than to read from c can look; nil if c is no
// connection of a link's.
func HungUp(c net.Conn) <-chan struct{} {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if tracked, ok := c.(*conn); ok {
		return tracked.hungUp
	}
	return nil
}

// peek waits for the first byte and leaves it to be read.
func (c *conn) peek() error {
	first := make([]byte, 1)
	_, err := io.ReadFull(c.Conn, first)
	if err == nil {
		c.peeked = first
	}
	return err
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.peeked) > 0 {
		n := copy(b, c.peeked)
		c.peeked = c.peeked[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *conn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	c.once.Do(func() { close(c.hungUp) })
	return c.Conn.Close()
}
