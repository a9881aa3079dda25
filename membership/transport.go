package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Transport is what gossip needs of the control port. The implementation must
// be safe for concurrent use.
type Transport interface {
	// Addr is the control address to advertise.
	Addr() netip.AddrPort
	// WritePacket sends one datagram, best effort, without blocking for long.
	WritePacket(b []byte, to netip.AddrPort) error
	// Dial opens a stream to the node called name at addr ("host:port") that the
	// other side hands to its Gossip.HandleStream. It fails when another node
	// answers there. The errors may match ErrNamePending or be *NameTakenError.
	Dial(ctx context.Context, name, addr string) (net.Conn, error)
	// Probe asks who is at addr, with the errors of Dial.
	Probe(ctx context.Context, name, addr string) (Greeting, error)
}

// Greeting is what a node says of itself when asked.
type Greeting struct {
	Name        string
	Incarnation Incarnation
	Addr        netip.AddrPort
}

// packetQueue is how many datagrams wait for the engine; more are dropped, as
// the kernel would.
const packetQueue = 512

// wire makes a Transport into memberlist's. memberlist calls it from many
// goroutines, some with its locks held.
type wire struct {
	transport Transport
	reached   func(name string, err error)
	packets   chan *memberlist.Packet
	streams   chan net.Conn
	ctx       context.Context // ends with Shutdown
	cancel    context.CancelFunc

	mu     sync.Mutex // guards all below
	failed map[string]error
	open   int           // streams, dialled and accepted
	quiet  chan struct{} // made by hush; closed when no stream is open
}

var _ memberlist.NodeAwareTransport = (*wire)(nil)

func newWire(t Transport, reached func(string, error)) *wire {
	w := &wire{
		transport: t,
		reached:   reached,
		packets:   make(chan *memberlist.Packet, packetQueue),
		streams:   make(chan net.Conn),
		failed:    make(map[string]error),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *wire) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	addr := w.transport.Addr()
	return addr.Addr().AsSlice(), int(addr.Port()), nil
}

func (w *wire) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("membership: packet address: %w", err)
	}
	err = w.transport.WritePacket(b, to)
	return time.Now(), err
}

func (w *wire) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return w.WriteTo(b, addr.Addr)
}

func (w *wire) PacketCh() <-chan *memberlist.Packet { return w.packets }
func (w *wire) StreamCh() <-chan net.Conn           { return w.streams }

func (w *wire) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return w.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (w *wire) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if !w.enter() {
		return nil, ErrLeaving
	}
	ctx, cancel := context.WithTimeoutCause(w.ctx, timeout, errors.New("no answer in time"))
	defer cancel()
	conn, err := w.transport.Dial(ctx, addr.Name, addr.Addr)
	if w.ctx.Err() == nil { // our own end says nothing of theirs
		w.note(addr.Name, err)
		w.reached(addr.Name, err)
	}
	if err != nil {
		w.exit()
		return nil, err
	}
	return w.own(conn), nil
}

// own makes conn a stream that ends with the wire, so that a peer that falls
// silent does not hold up the end of this node, and that is counted until then.
func (w *wire) own(conn net.Conn) net.Conn {
	return &stream{Conn: conn, stop: context.AfterFunc(w.ctx, func() { conn.Close() }), exit: sync.OnceFunc(w.exit)}
}

type stream struct {
	net.Conn
	stop func() bool
	exit func()
}

func (s *stream) Close() error {
	s.stop()
	defer s.exit()
	return s.Conn.Close()
}

// enter counts a stream in, unless the wire was hushed.
func (w *wire) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.quiet != nil {
		return false
	}
	w.open++
	return true
}

func (w *wire) exit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open--; w.open == 0 && w.quiet != nil {
		close(w.quiet)
	}
}

// hush lets no stream begin any more; the result is closed when those that have
// begun are over.
func (w *wire) hush() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.quiet == nil {
		if w.quiet = make(chan struct{}); w.open == 0 {
			close(w.quiet)
		}
	}
	return w.quiet
}

// note remembers how the latest dial of name went.
func (w *wire) note(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.failed, name); err != nil {
		w.failed[name] = err
	}
}

func (w *wire) lastError(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed[name]
}

func (w *wire) Shutdown() error {
	w.cancel()
	return nil
}

func (w *wire) packet(b []byte, from netip.AddrPort, at time.Time) {
	select {
	case w.packets <- &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(from), Timestamp: at}:
	default:
	}
}

func (w *wire) stream(conn net.Conn) {
	if !w.enter() {
		conn.Close()
		return
	}
	conn = w.own(conn)
	select {
	case w.streams <- conn:
	case <-w.ctx.Done():
		conn.Close()
	}
}
