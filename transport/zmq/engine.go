//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	libzmq "github.com/pebbe/zmq4"

	"github.com/kith-go/kith/transport"
)

const (
	defaultHeartbeat = time.Second
	// maxName bounds a name in a hello.
	maxName = 255
)

// Engine carries messages with ZeroMQ. Make one with New; all methods may be called
// by any goroutine, after Start has returned.
type Engine struct {
	cfg   Config
	setup transport.Setup

	zctx     *libzmq.Context
	accept   *acceptor
	door     *door // nil without a key
	endpoint string
	bundles  sync.Pool // of *[]byte with room for a bundle
	inboxes  sync.Pool // of *inbox, empty
	monitors atomic.Uint64

	closing context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup // all goroutines but the receivers of ROUTER and door
	receive sync.WaitGroup // those
	closed  func() error

	mu    sync.Mutex
	peers map[string]*peer // guarded by mu

	forgetful bool // see socket
	doorless  bool // without the ZAP handler: for the test that shows why it is there
}

// New returns an engine that Start brings to life.
func New(cfg Config) *Engine {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	e := &Engine{cfg: cfg, peers: map[string]*peer{}}
	e.bundles.New = func() any { return new(make([]byte, 0, bundleSize+transport.MaxHead)) }
	e.inboxes.New = func() any { return new(inbox) }
	e.closing, e.stop = context.WithCancel(context.Background())
	e.closed = sync.OnceValue(e.close)
	return e
}

// Start binds Config.Endpoint and begins to receive. Its error says what stands in
// the way: an endpoint in use, a libzmq without CURVE, a name too long.
func (e *Engine) Start(setup transport.Setup) (err error) {
	if n := len(setup.Self.Name); n == 0 || n > maxName {
		return fmt.Errorf("zmq: the name of a node has 1 to %d bytes, not %d", maxName, n)
	}
	if !e.cfg.Key.IsZero() && !libzmq.HasCurve() {
		return errors.New("zmq: this libzmq was built without CURVE, and the cluster has a key")
	}
	e.setup = setup
	if e.zctx, err = libzmq.NewContext(); err != nil {
		return fmt.Errorf("zmq: making a context: %w", err)
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	// Term is to return, not to wait for what LINGER holds back.
	if err = errors.Join(e.zctx.SetBlocky(false), e.zctx.SetMaxSockets(maxSockets)); err != nil {
		return fmt.Errorf("zmq: %w", err)
	}
	if !e.cfg.Key.IsZero() && !e.doorless {
		// Before the ROUTER: without a handler, libzmq admits every key.
		if e.door, err = newDoor(e.zctx, e.setup.Log); err != nil {
			return err
		}
		e.door.admit(e.cfg.Key, nil, e.cfg.Clients)
		e.receive.Go(func() { e.door.socket.receive(e.door.turn) })
	}
	router, err := newSocket(e.zctx, libzmq.ROUTER, e.common, e.router)
	if err != nil {
		return err
	}
	router.forgetful = e.forgetful
	e.accept = &acceptor{engine: e, socket: router, routes: map[string]*accepted{}}
	err = router.use(func(z *libzmq.Socket) error {
		if err := z.Bind(e.cfg.Endpoint); err != nil {
			return fmt.Errorf("zmq: listening at %s: %w", e.cfg.Endpoint, systemError(err))
		}
		e.endpoint, err = z.GetLastEndpoint()
		return err
	})
	if err != nil {
		return err
	}
	e.receive.Go(func() { router.receive(e.accept.turn) })
	e.work.Go(e.pulse)
	return nil
}

// systemError is err as package syscall knows it, if it is the operating system's: callers
// shall not have to know libzmq to tell a port that is taken.
func systemError(err error) error {
	const firstOfLibzmq = 156384712 // ZMQ_HAUSNUMERO
	if errno := libzmq.AsErrno(err); errno < firstOfLibzmq {
		return syscall.Errno(errno)
	}
	return err
}

// release gives an inbox back that a turn has dealt with.
func (e *Engine) release(in *inbox) {
	in.clear()
	e.inboxes.Put(in)
}

// Endpoint is where the engine listens, with the port it was given.
func (e *Engine) Endpoint() string { return e.endpoint }

// SetPeers tells whom to be connected to, and whose connections to accept.
func (e *Engine) SetPeers(peers []transport.Address) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Err() != nil {
		return
	}
	names := make([]string, 0, len(peers))
	targets := make(map[string]string, len(peers))
	for _, address := range peers {
		if address.Name == e.setup.Self.Name || address.Name == "" || len(address.Name) > maxName {
			continue
		}
		targets[address.Name] = address.Endpoint
		names = append(names, address.Name)
	}
	if e.door != nil {
		e.door.admit(e.cfg.Key, names, e.cfg.Clients)
	}
	var removed []string
	for name, p := range e.peers {
		if _, stays := targets[name]; !stays {
			removed = append(removed, name)
			p.aim("")
		}
	}
	for name, target := range targets {
		if p := e.peers[name]; p != nil {
			p.aim(target)
			continue
		}
		p := &peer{engine: e, name: name, target: target, changed: make(chan struct{}, 1)}
		e.peers[name] = p
		e.work.Go(p.run)
	}
	if len(removed) > 0 {
		e.accept.dismiss(removed)
	}
}

// Close ends all connections and waits for all goroutines and libzmq's threads.
func (e *Engine) Close() error { return e.closed() }

func (e *Engine) close() error {
	e.mu.Lock()
	e.stop() // no goroutine begins from now on
	e.mu.Unlock()
	if e.zctx == nil {
		return nil
	}
	if e.accept != nil {
		e.accept.socket.shut()
	}
	if e.door != nil {
		e.door.socket.shut()
	}
	e.receive.Wait()
	if e.accept != nil {
		e.accept.closeAll() // its connections begin no more work
	}
	e.work.Wait()
	if e.accept != nil {
		e.accept.socket.close()
	}
	if e.door != nil {
		e.door.socket.close()
	}
	if err := e.zctx.Term(); err != nil {
		return fmt.Errorf("zmq: closing the context: %w", err)
	}
	return nil
}

// pulse has this node heard by its peers, and looks after those who are not.
func (e *Engine) pulse() {
	beat := e.cfg.Heartbeat
	every := time.NewTicker(beat)
	defer every.Stop()
	last, probed := time.Now(), time.Now()
	for {
		select {
		case <-e.closing.Done():
			return
		case <-every.C:
		}
		now := time.Now()
		paused := now.Sub(last) > 2*beat
		probe := now.Sub(probed) >= probeClients
		last = now
		if probe {
			probed = now
		}
		e.accept.socket.post(func() { e.accept.pulse(now, paused, probe) })
		e.mu.Lock()
		peers := slices.Collect(maps.Values(e.peers))
		e.mu.Unlock()
		for _, p := range peers {
			if d := p.connection(); d != nil {
				d.pulse(now, paused)
			}
		}
	}
}

// judge tells whether the connection of a peer that says hello, with the key of the
// given user, is to be accepted: 0, or why not.
func (e *Engine) judge(hello greeting, user string) (why reason, text string) {
	name := hello.from.Name
	switch {
	case hello.to != e.setup.Self.Name:
		return refusedNotMe, fmt.Sprintf("this is %s, not %s", e.setup.Self.Name, hello.to)
	case name == e.setup.Self.Name:
		return refusedIdentity, "there is one " + name + " already"
	case !e.cfg.Key.IsZero() && user != nodeUser+name:
		return refusedIdentity, fmt.Sprintf("the key is not that of %s", name)
	case e.peer(name) == nil:
		return refusedStranger, fmt.Sprintf("%s is not on the list of peers", name)
	}
	return 0, ""
}

func (e *Engine) isClient(user string) bool {
	return e.cfg.Key.IsZero() || strings.HasPrefix(user, clientUser)
}

func (e *Engine) peer(name string) *peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers[name]
}

// overtake ends this node's connection to an earlier run of the peer. It reports
// false if there is one to a later run.
func (e *Engine) overtake(id transport.Identity) bool {
	p := e.peer(id.Name)
	if p == nil {
		return true
	}
	switch incarnation, open := p.incarnation(); {
	case open && incarnation > id.Incarnation:
		return false
	case open && incarnation < id.Incarnation:
		p.overtaken(id)
	}
	return true
}

// maxSockets is the most sockets of a context; each peer needs three.
const maxSockets = 1 << 14

// pipeDepth is how many messages to one connection libzmq holds before we keep them
// ourselves, and in fewer pieces.
const pipeDepth = 1000

// common sets what ROUTER and DEALER share.
//
// Libzmq 4.3 aborts the process ("Assertion failed: !_io_error", issues 3937, 4364 and
// 4767 there) when a connection on which it stopped reading, because RCVHWM was
// reached, ends, and then a heartbeat of ZMTP is due or comes out of what was read
// already. So it never stops reading: RCVHWM is unlimited, and peers are bounded by
// the window of conn. And heartbeats are ours, which also shows that the process
// behind the socket does its work.
func (e *Engine) common(z *libzmq.Socket) error {
	return errors.Join(
		z.SetLinger(0),
		z.SetIpv6(true),
		z.SetSndhwm(pipeDepth),
		z.SetRcvhwm(0),
		z.SetHandshakeIvl(greetTimeout),
		z.SetMaxmsgsize(int64(max(e.setup.MaxPacket, bundleSize)+2*transport.MaxHead)),
		// For clients that are gone without a word.
		z.SetTcpKeepalive(1), z.SetTcpKeepaliveIdle(15), z.SetTcpKeepaliveIntvl(5), z.SetTcpKeepaliveCnt(3),
	)
}

func (e *Engine) router(z *libzmq.Socket) error {
	err := z.SetRouterMandatory(1)
	if e.cfg.Key.IsZero() {
		return err
	}
	pair := e.cfg.Key.CurveServer()
	return errors.Join(err, z.SetCurveServer(1), z.SetCurveSecretkey(pair.Secret), z.SetZapDomain(zapDomain))
}

func (e *Engine) dealer(z *libzmq.Socket) error {
	err := errors.Join(
		// One connection, and no other: see the package's comment.
		z.SetReconnectIvl(-time.Millisecond),
		z.SetConnectTimeout(connectTimeout),
	)
	if e.cfg.Key.IsZero() {
		return err
	}
	pair := e.cfg.Key.CurveNode(e.setup.Self.Name)
	return errors.Join(err,
		z.SetCurveServerkey(e.cfg.Key.CurveServer().Public),
		z.SetCurvePublickey(pair.Public), z.SetCurveSecretkey(pair.Secret))
}

// watch returns a socket on which libzmq tells what becomes of s's connection.
func (e *Engine) watch(s *socket) (*socket, error) {
	name := fmt.Sprintf("inproc://monitor-%d", e.monitors.Add(1))
	err := s.use(func(z *libzmq.Socket) error {
		return z.Monitor(name, libzmq.EVENT_CLOSED|libzmq.EVENT_DISCONNECTED|libzmq.EVENT_HANDSHAKE_FAILED_AUTH|
			libzmq.EVENT_HANDSHAKE_FAILED_PROTOCOL|libzmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
	})
	if err != nil {
		return nil, fmt.Errorf("zmq: watching a socket: %w", err)
	}
	monitor, err := newSocket(e.zctx, libzmq.PAIR, func(z *libzmq.Socket) error { return z.Connect(name) })
	if err != nil {
		s.use(stopMonitor)
	}
	return monitor, err
}

// unwatch closes a socket that watch returned, after libzmq was told: to tell of an
// event when nobody listens, its only thread for all connections waits for ever.
func unwatch(s, monitor *socket) {
	s.use(stopMonitor)
	monitor.close()
}

func stopMonitor(z *libzmq.Socket) error { return z.Monitor("", 0) }

var _ transport.Engine = (*Engine)(nil)
