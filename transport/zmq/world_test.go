//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for name, key := range map[string]secret.Key{"open": {}, "curve": secret.NewKey()} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, transporttest.Suite{
				World: func(t *testing.T) transporttest.World { return newWorld(t, key) },
				Seeds: 1,
			})
		})
	}
}

// world runs engines between which all connections go through wires, which it can cut,
// freeze and take away.
type world struct {
	t   *testing.T
	key secret.Key

	mu      sync.Mutex
	places  map[string]transport.Address // guarded by mu, as all below
	engines map[string]*wired
	wires   map[[2]string]*wire // by who dials whom
	frozen  map[string]bool
}

func newWorld(t *testing.T, key secret.Key) *world {
	w := &world{t: t, key: key, places: map[string]transport.Address{}, engines: map[string]*wired{}, wires: map[[2]string]*wire{}, frozen: map[string]bool{}}
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.wires {
		line.close()
	}
}

// wired is an engine that dials through wires.
type wired struct {
	*Engine
	world *world
	name  string
	dead  atomic.Bool // killed: it no longer sees what happens, not even its own end
}

func (e *wired) Start(s transport.Setup) error {
	s.Events = mortal{s.Events, e}
	return e.Engine.Start(s)
}

// mortal are events that end with the engine's death.
type mortal struct {
	transport.Events
	engine *wired
}

type mortalLine struct {
	transport.Line
	engine *wired
}

func (m mortal) Opened(c transport.Conn, r transport.Remote) transport.Line {
	return mortalLine{m.Events.Opened(c, r), m.engine}
}

func (l mortalLine) Closed(cause error) {
	if !l.engine.dead.Load() {
		l.Line.Closed(cause)
	}
}

func (w *world) Engine(name string) transport.Engine {
	at := w.Address(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &wired{Engine: New(Config{Endpoint: at.Endpoint, Key: w.key, Heartbeat: time.Second}), world: w, name: name}
	w.engines[name] = e
	return e
}

func (w *world) Address(name string) transport.Address {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.places[name]; !known {
		w.places[name] = transport.Address{Name: name, Endpoint: freeEndpoint(w.t)}
	}
	return w.places[name]
}

// freeEndpoint returns a place on loopback where nobody listens; of the ports that no
// system gives to those who ask for any, so that it is still free when it is bound.
func freeEndpoint(tb testing.TB) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12_000+rand.N(20_000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return "tcp://" + l.Addr().String()
	}
	tb.Fatal("no port is free")
	return ""
}

func (w *world) Move(name string) {
	to := freeEndpoint(w.t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[name] = transport.Address{Name: name, Endpoint: to}
}

func (w *world) Kill(name string) {
	w.mu.Lock()
	e := w.engines[name]
	w.mu.Unlock()
	e.dead.Store(true)
	w.each(name, (*wire).cut)
	e.Close()
}

func (w *world) Stop(name string) {
	w.mu.Lock()
	w.frozen[name] = true
	w.mu.Unlock()
	w.each(name, func(line *wire) { line.freeze(true) })
}

func (w *world) Continue(name string) {
	w.mu.Lock()
	delete(w.frozen, name)
	w.mu.Unlock()
	w.each(name, func(line *wire) { line.freeze(false) })
}

func (w *world) Break(a, b string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ends := range [][2]string{{a, b}, {b, a}} {
		if line := w.wires[ends]; line != nil {
			line.cut()
		}
	}
}

func (w *world) each(name string, do func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ends, line := range w.wires {
		if ends[0] == name || ends[1] == name {
			do(line)
		}
	}
}

// SetPeers has the engine dial the near ends of wires to its peers.
func (e *wired) SetPeers(peers []transport.Address) {
	through := make([]transport.Address, 0, len(peers))
	for _, p := range peers {
		if p.Name != e.name {
			p.Endpoint = e.world.wire(e.name, p)
		}
		through = append(through, p)
	}
	e.Engine.SetPeers(through)
}

// wire returns the near end of a wire to a peer.
func (w *world) wire(from string, to transport.Address) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ends := [2]string{from, to.Name}
	if line := w.wires[ends]; line != nil {
		if line.far == to.Endpoint {
			return line.near
		}
		line.close()
	}
	line := newWire(w.t, to.Endpoint)
	line.freeze(w.frozen[from] || w.frozen[to.Name])
	w.wires[ends] = line
	return line.near
}

// wire carries TCP connections from near to far.
type wire struct {
	near, far string
	listener  net.Listener
	work      sync.WaitGroup

	mu     sync.Mutex
	thawed *sync.Cond
	conns  map[net.Conn]bool // guarded by mu, as all below
	ice    bool
	closed bool
}

func newWire(tb testing.TB, far string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{near: "tcp://" + l.Addr().String(), far: far, listener: l, conns: map[net.Conn]bool{}}
	w.thawed = sync.NewCond(&w.mu)
	w.work.Go(w.accept)
	return w
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", strings.TrimPrefix(w.far, "tcp://"))
		if err != nil {
			near.(*net.TCPConn).SetLinger(0) // refused there, reset here
			near.Close()
			continue
		}
		if !w.keep(near, far) {
			continue
		}
		w.work.Go(func() { w.carry(near, far) })
		w.work.Go(func() { w.carry(far, near) })
	}
}

func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.closed {
			c.Close()
		} else {
			w.conns[c] = true
		}
	}
	return !w.closed
}

func (w *wire) carry(from, to net.Conn) {
	io.Copy(to, thawing{from, w})
	from.Close()
	to.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, from)
	delete(w.conns, to)
}

// thawing is a connection from which nothing is read while the wire is frozen.
type thawing struct {
	net.Conn
	wire *wire
}

func (c thawing) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	for c.wire.ice && !c.wire.closed && c.wire.conns[c.Conn] {
		c.wire.thawed.Wait()
	}
	return n, err
}

func (w *wire) freeze(ice bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ice = ice
	w.thawed.Broadcast()
}

// cut breaks the connections there are.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
		delete(w.conns, c)
	}
	w.thawed.Broadcast()
}

func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.listener.Close()
	w.cut()
	w.work.Wait()
}
