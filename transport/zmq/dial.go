//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	libzmq "github.com/pebbe/zmq4"

	"github.com/kith-go/kith/transport"
)

const (
	redialMin = 50 * time.Millisecond
	redialMax = time.Second
	// connectTimeout bounds the TCP connection, greetTimeout all from the dial to the
	// peer's welcome.
	connectTimeout = 2 * time.Second
	greetTimeout   = 5 * time.Second
)

var (
	errRemoved  = fmt.Errorf("%w: it is no peer any more", transport.ErrUnreachable)
	errMoved    = fmt.Errorf("%w: it has another address by now", transport.ErrUnreachable)
	errRefused  = fmt.Errorf("%w: nothing accepts connections there", transport.ErrUnreachable)
	errQuiet    = fmt.Errorf("%w: it was silent for too long", transport.ErrUnreachable)
	errBroken   = fmt.Errorf("%w: the connection ended", transport.ErrUnreachable)
	errSilent   = fmt.Errorf("%w: something accepts connections there, but does not greet", transport.ErrUnreachable)
	errStranger = fmt.Errorf("%w: it does not admit this node's key: another cluster key, or this node is not on its list of peers", transport.ErrUnreachable)
	errNoZMTP   = fmt.Errorf("%w: what is there speaks no ZeroMQ, or only one of the two has a cluster key, or they have different ones", transport.ErrUnreachable)
	// What speaks CURVE drops a stranger's connection without a word; so does a proxy
	// behind which nobody listens.
	errNoHandshake = fmt.Errorf("%w: the connection ended before the two had greeted, as when their cluster keys differ", transport.ErrUnreachable)
)

// peer is one that this node keeps a connection to.
type peer struct {
	engine *Engine
	name   string
	// changed is told when target is another one.
	changed chan struct{}

	mu      sync.Mutex
	target  string // where to dial; "" when it is no peer any more; guarded by mu
	current *dialled
}

// dialled is one connection that this node began, from the dial to its end.
type dialled struct {
	*conn
	peer     *peer
	endpoint string
	monitor  *socket

	mu     sync.Mutex
	cause  error              // why it ended, the first one; guarded by mu
	remote transport.Identity // who welcomed us
	heard  time.Time          // when something last came
	beat   time.Duration      // how often the peer makes itself heard, or we, if that is less often

	in reader // of who receives, then of whoever waited for it
}

// run dials, and dials again, until the peer is removed.
func (p *peer) run() {
	delay := time.Duration(0)
	for {
		target, ok := p.next()
		if !ok {
			return
		}
		opened, cause := p.connect(target)
		switch {
		case opened:
			delay = 0
		case cause != errRemoved && cause != errMoved && cause != transport.ErrClosed:
			p.engine.setup.Events.Failed(p.name, cause)
		}
		delay = min(max(2*delay, redialMin), redialMax)
		select {
		case <-p.changed:
			delay = 0
		case <-time.After(delay/2 + rand.N(delay)/2):
		case <-p.engine.closing.Done():
		}
	}
}

// next returns where to dial. When there is nowhere any more the peer is forgotten.
func (p *peer) next() (target string, ok bool) {
	e := p.engine
	e.mu.Lock() // first, so that nobody gives the peer a target while it is forgotten
	defer e.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target == "" || e.closing.Err() != nil {
		if e.peers[p.name] == p {
			delete(e.peers, p.name)
		}
		return "", false
	}
	select {
	case <-p.changed: // it is known now
	default:
	}
	return p.target, true
}

// aim changes where to dial; "" for nowhere any more.
func (p *peer) aim(target string) {
	p.mu.Lock()
	if p.target == target {
		p.mu.Unlock()
		return
	}
	p.target = target
	current := p.current
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
	if current == nil {
		return
	}
	if target == "" {
		current.end(errRemoved)
	} else {
		current.end(errMoved)
	}
}

// connect dials each address of target until one is connected, and returns when that
// connection has ended. It reports whether one was open, else why not.
func (p *peer) connect(target string) (opened bool, cause error) {
	addresses, err := resolve(p.engine.closing, target)
	if err != nil {
		return false, fmt.Errorf("%w: %w", transport.ErrUnreachable, err)
	}
	for _, address := range addresses {
		opened, cause = p.attempt(target, address)
		if !errors.Is(cause, errRefused) {
			break
		}
	}
	return opened, cause
}

// resolve looks up the host of an endpoint. Libzmq would do so too, but in the
// thread that moves all messages, and without telling when it fails.
func resolve(ctx context.Context, endpoint string) ([]string, error) {
	hostPort, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return []string{endpoint}, nil
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, 0, len(found))
	for _, ip := range found {
		addresses = append(addresses, "tcp://"+net.JoinHostPort(ip.Unmap().String(), port))
	}
	return addresses, nil
}

// attempt makes one connection and returns when it has ended, and why.
func (p *peer) attempt(target, address string) (opened bool, cause error) {
	d, err := p.dial(target, address)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	p.current = d
	moved := p.target != target
	p.mu.Unlock()
	if moved {
		d.end(errMoved)
	}
	stop := context.AfterFunc(p.engine.closing, func() { d.end(transport.ErrClosed) })
	giveUp := time.AfterFunc(greetTimeout, d.tooLate)

	var receiver sync.WaitGroup
	receiver.Go(func() { d.socket.receive(d.turn) })
	d.monitor.receive(d.watch)
	d.end(errBroken) // there is a cause already, unless the monitor itself failed

	giveUp.Stop()
	stop()
	d.conn.close()
	d.socket.shut()
	receiver.Wait()
	d.socket.relieved()
	for d.turn() { // what came before the end
	}
	p.mu.Lock()
	p.current = nil
	p.mu.Unlock()
	unwatch(d.socket, d.monitor)
	d.socket.close()
	if d.in.line == nil {
		return false, d.cause
	}
	if errors.Is(d.cause, errBroken) || errors.Is(d.cause, errQuiet) {
		p.engine.accept.ended(d.remote, d.cause)
	}
	d.in.line.Closed(d.cause)
	return true, d.cause
}

// dial makes the sockets of one connection, and has the hello wait in them.
func (p *peer) dial(target, address string) (*dialled, error) {
	e := p.engine
	s, err := newSocket(e.zctx, libzmq.DEALER, e.common, e.dealer)
	if err != nil {
		return nil, err
	}
	s.forgetful = e.forgetful
	if err := s.addGate(); err != nil {
		s.close()
		return nil, err
	}
	monitor, err := e.watch(s)
	if err != nil {
		s.close()
		return nil, err
	}
	d := &dialled{peer: p, endpoint: target, monitor: monitor, conn: &conn{engine: e, socket: s}}
	d.conn.turn = d.turn
	d.conn.lost = func() { d.end(errBroken) }
	hello := appendHello(nil, greeting{from: e.setup.Self, beat: e.cfg.Heartbeat, to: p.name})
	err = s.use(func(z *libzmq.Socket) error {
		if err := z.Connect(address); err != nil {
			return fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, address, err)
		}
		_, err := z.SendBytes(hello, libzmq.DONTWAIT)
		return err
	})
	if err != nil {
		unwatch(s, monitor)
		s.close()
		return nil, err
	}
	return d, nil
}

// end has the connection end, for the given cause unless there is one already.
func (d *dialled) end(cause error) {
	d.mu.Lock()
	if d.cause == nil {
		d.cause = cause
	}
	d.mu.Unlock()
	d.monitor.shut()
}

func (d *dialled) tooLate() {
	d.mu.Lock()
	welcome := d.remote.Name != ""
	d.mu.Unlock()
	if !welcome {
		d.end(errSilent)
	}
}

// watch is a turn of the monitor: libzmq tells there what happens to the connection.
func (d *dialled) watch() (more bool) {
	var cause error // the first thing that went wrong says most
	_, more = d.monitor.gather(func() bool {
		for range turnMessages {
			event, _, value, err := d.monitor.z.RecvEvent(libzmq.DONTWAIT)
			if err != nil {
				return false
			}
			if cause == nil {
				cause = meaning(event, value)
			}
		}
		return true
	})
	if cause != nil {
		d.end(cause)
	}
	return more
}

// meaning tells why the connection is at its end after the event, nil if it is not.
func meaning(event libzmq.Event, value int) error {
	switch event {
	case libzmq.EVENT_CLOSED:
		return errRefused
	case libzmq.EVENT_DISCONNECTED:
		return errBroken
	case libzmq.EVENT_HANDSHAKE_FAILED_AUTH:
		return fmt.Errorf("%w (%d)", errStranger, value)
	case libzmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
		return fmt.Errorf("%w (%#x)", errNoZMTP, value)
	case libzmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
		return fmt.Errorf("%w (%w)", errNoHandshake, syscall.Errno(value))
	}
	return nil
}

// turn is the receiver's: frames from the peer's ROUTER.
func (d *dialled) turn() (more bool) {
	in, posted, more := d.socket.turn(d.engine, mostParts-1, false)
	defer d.engine.release(in)
	for _, fn := range posted {
		fn()
	}
	if in.done() {
		return more
	}
	d.mu.Lock()
	d.heard = time.Now()
	d.mu.Unlock()
	d.cork()
	for !in.done() {
		first, _ := in.take(true)
		body, _ := in.take(false)
		d.take(first.data, body)
	}
	d.uncork()
	return more
}

// take deals with a frame from the peer.
func (d *dialled) take(first []byte, body part) {
	if d.ended() && d.in.line == nil {
		return
	}
	var err error
	switch {
	case len(first) == 0:
		err = fmt.Errorf("%w: an empty frame", errFrame)
	case first[0] == frameWelcome:
		err = d.welcome(first)
	case first[0] == frameRefusal:
		refusal, bad := parseRefusal(first)
		if err = bad; bad == nil {
			err = fmt.Errorf("%w: %w", transport.ErrUnreachable, refusal)
		}
	case d.in.line == nil:
		err = fmt.Errorf("%w: not a welcome", errFrame)
	case first[0] == frameBeat:
	case first[0] == frameTaken:
		err = d.arrived(first)
	default:
		err = d.in.take(first, body)
		d.took(len(first) + len(body.data))
	}
	if err != nil {
		d.end(err)
	}
}

func (d *dialled) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cause != nil
}

// welcome opens the connection.
func (d *dialled) welcome(first []byte) error {
	g, err := parseGreeting(first)
	switch {
	case err != nil:
		return err
	case d.in.line != nil:
		return fmt.Errorf("%w: a second welcome", errFrame)
	case g.from.Name != d.peer.name:
		return fmt.Errorf("%w: %s is there instead", transport.ErrUnreachable, g.from.Name)
	}
	d.mu.Lock()
	d.remote, d.beat = g.from, max(g.beat, d.engine.cfg.Heartbeat)
	d.mu.Unlock()
	d.engine.accept.met(g.from)
	d.in.maxPacket = d.engine.setup.MaxPacket
	d.in.line = d.engine.setup.Events.Opened(d.conn, transport.Remote{Identity: g.from, Endpoint: d.endpoint, Ours: true})
	return nil
}

// pulse makes this side heard, and looks after who was not heard for too long. After
// a pause of this process itself everybody gets another chance.
func (d *dialled) pulse(now time.Time, paused bool) {
	d.mu.Lock()
	open := d.remote.Name != ""
	if paused {
		d.heard = now
	}
	quiet := now.Sub(d.heard) > tooQuiet(d.beat)
	d.mu.Unlock()
	switch {
	case !open: // greetTimeout is for that
	case quiet:
		d.end(errQuiet)
	default:
		d.sendFrame([]byte{frameBeat})
	}
}

// tooQuiet is for how long nothing may come from a peer. With the beat in which it
// falls silent and the one in which that is noticed, it is given up after three and a
// half at most.
func tooQuiet(beat time.Duration) time.Duration { return beat * 5 / 2 }

// overtaken ends the connection if it is to an older run of the peer than id.
func (p *peer) overtaken(id transport.Identity) {
	d := p.connection()
	if d == nil {
		return
	}
	d.mu.Lock()
	older := d.remote.Name != "" && d.remote.Incarnation < id.Incarnation
	d.mu.Unlock()
	if older {
		d.end(transport.ErrPeerRestarted)
	}
}

// incarnation returns the run of the peer that this node's connection goes to, and
// whether there is one that is open.
func (p *peer) incarnation() (of uint64, open bool) {
	d := p.connection()
	if d == nil {
		return 0, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remote.Incarnation, d.remote.Name != "" && d.cause == nil
}

// connection returns the one that is being made or open, nil if there is none.
func (p *peer) connection() *dialled {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}
