//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"bytes"
	"fmt"
	"time"

	"github.com/kith-go/kith/transport"
)

// acceptor is the ROUTER: the connections that others began. All of it but the
// socket belongs to the goroutine that receives; others post to it.
type acceptor struct {
	engine *Engine
	socket *socket

	routes map[string]*accepted // by what the ROUTER calls the other end
	frames [turnMessages]arrival
	// clients is how many of routes are no peers.
	clients int
}

// accepted is one connection that somebody else began.
type accepted struct {
	*conn
	remote transport.Identity // no name: no peer
	in     reader
	heard  time.Time     // when something last came
	beat   time.Duration // how often a peer makes itself heard, or we, if that is less often
}

// arrival is one message as it came from the ROUTER.
type arrival struct {
	route       []byte
	first, body part // first tells where a connection comes from, if it is its first message
}

const (
	// maxClients bounds the connections of programs that are no peers.
	maxClients = 10_000
	// probeClients is how often something is sent to clients: only then a ROUTER tells
	// that one is gone.
	probeClients = 10 * time.Second
)

var (
	errReplaced = fmt.Errorf("%w: the peer began another connection", transport.ErrUnreachable)
	errEnded    = fmt.Errorf("%w: the connection that it began ended", transport.ErrUnreachable)
)

// turn takes messages and what was posted, and deals with both.
func (a *acceptor) turn() (more bool) {
	in, posted, more := a.socket.turn(a.engine, mostParts, true)
	for _, fn := range posted {
		fn()
	}
	n := 0
	for ; !in.done(); n++ {
		a.frames[n] = a.arrive(in)
	}
	for i := 0; i < n; {
		i += a.take(a.frames[i:n])
	}
	clear(a.frames[:n])
	a.engine.release(in)
	return more
}

// arrive takes one message out of the inbox.
func (a *acceptor) arrive(in *inbox) (m arrival) {
	route, _ := in.take(true)
	m.route = route.data
	_, known := a.routes[string(m.route)]
	in.asking = !known
	m.first, _ = in.take(false)
	m.body, _ = in.take(false)
	return m
}

// take deals with the messages at the head of ms that came along one connection, and
// returns how many these are. What is answered meanwhile leaves in bundles.
func (a *acceptor) take(ms []arrival) int {
	n := 1
	for n < len(ms) && bytes.Equal(ms[n].route, ms[0].route) {
		n++
	}
	var corked *accepted
	now := time.Now()
	for i := range ms[:n] {
		c := a.routes[string(ms[i].route)]
		if c == nil {
			a.first(&ms[i])
			continue
		}
		if corked != c {
			corked, c.heard = c, now
			c.cork()
		}
		if err := c.receive(ms[i].first, ms[i].body); err != nil {
			a.malformed(c, err)
		}
	}
	if corked != nil {
		corked.uncork()
	}
	return n
}

// malformed closes a connection along which came what is not understood.
func (a *acceptor) malformed(c *accepted, err error) {
	a.refuse(c.route, refusedMalformed, err.Error())
	a.drop(c, fmt.Errorf("%w: %w", transport.ErrUnreachable, err))
}

// receive takes a message of a connection that is open.
func (c *accepted) receive(head, body part) error {
	first := head.data
	switch {
	case len(first) == 0:
		return fmt.Errorf("%w: an empty frame", errFrame)
	case c.remote.Name == "" && first[0] < ownFrames:
		if len(first)+len(body.data) > c.engine.setup.MaxPacket || len(first) > transport.MaxHead {
			return fmt.Errorf("%w: a message of %d bytes", transport.ErrTooLarge, len(first)+len(body.data))
		}
		c.in.line.Received(first, body.keep())
		return nil
	case c.remote.Name == "":
		return fmt.Errorf("%w: a client speaks the plain form only", errFrame)
	case first[0] == frameBeat:
		return nil
	case first[0] == frameTaken:
		return c.arrived(first)
	default:
		err := c.in.take(first, body)
		c.took(len(first) + len(body.data))
		return err
	}
}

// first deals with the first message along a connection: a hello, or that of a client.
func (a *acceptor) first(m *arrival) {
	switch {
	case len(m.first.data) == 0:
		a.refuse(m.route, refusedMalformed, "an empty frame")
	case m.first.data[0] == frameHello:
		a.hello(m)
	case m.first.data[0] < ownFrames:
		a.client(m)
	default:
		a.refuse(m.route, refusedUnknown, "say hello first")
	}
}

// hello opens a connection to a peer, or refuses it.
func (a *acceptor) hello(m *arrival) {
	g, err := parseGreeting(m.first.data)
	if err != nil {
		a.refuse(m.route, refusedVersion, err.Error())
		return
	}
	e := a.engine
	if why, text := e.judge(g, m.first.user); why != 0 {
		e.setup.Log.Debug("refused a peer's connection", "peer", g.from.Name, "from", m.first.from, "why", text)
		a.refuse(m.route, why, text)
		return
	}
	for _, c := range a.of(g.from.Name) {
		switch {
		case c.remote.Incarnation > g.from.Incarnation:
			a.refuse(m.route, refusedStale, "a later run of "+g.from.Name+" is connected")
			return
		case c.remote.Incarnation < g.from.Incarnation:
			a.drop(c, transport.ErrPeerRestarted)
		default:
			a.drop(c, errReplaced)
		}
	}
	if !e.overtake(g.from) {
		a.refuse(m.route, refusedStale, "a later run of "+g.from.Name+" is connected")
		return
	}
	c := a.open(m.route, g.from)
	c.beat = max(g.beat, e.cfg.Heartbeat)
	// The welcome goes out before anything that the line's owner says.
	c.sendFrame(appendWelcome(nil, greeting{from: e.setup.Self, beat: e.cfg.Heartbeat}))
	c.in.line = e.setup.Events.Opened(c.conn, transport.Remote{Identity: g.from, Endpoint: m.first.from})
}

// client opens a connection to a program that is no peer, with its first message.
func (a *acceptor) client(m *arrival) {
	if a.clients >= maxClients {
		a.refuse(m.route, refusedCrowded, "too many clients")
		return
	}
	if !a.engine.isClient(m.first.user) {
		a.refuse(m.route, refusedIdentity, "the key is a node's, and the message a client's")
		return
	}
	c := a.open(m.route, transport.Identity{})
	c.plain = true
	a.clients++
	c.in.line = a.engine.setup.Events.Opened(c.conn, transport.Remote{Endpoint: m.first.from})
	if err := c.receive(m.first, m.body); err != nil {
		a.malformed(c, err)
	}
}

func (a *acceptor) open(route []byte, remote transport.Identity) *accepted {
	c := &accepted{remote: remote, heard: time.Now(), conn: &conn{engine: a.engine, socket: a.socket, route: bytes.Clone(route)}}
	c.in.maxPacket = a.engine.setup.MaxPacket
	c.lost = func() { a.socket.post(func() { a.drop(c, errEnded) }) }
	a.routes[string(route)] = c
	return c
}

// drop closes a connection for the line's owner; the ROUTER cannot end it. What still
// comes along it is refused, so that the peer dials again.
func (a *acceptor) drop(c *accepted, cause error) {
	if a.routes[string(c.route)] != c {
		return
	}
	delete(a.routes, string(c.route))
	if c.remote.Name == "" {
		a.clients--
	}
	c.close()
	c.in.line.Closed(cause)
}

// refuse answers along a connection that is not open.
func (a *acceptor) refuse(route []byte, why reason, text string) {
	// There is nobody to tell if this cannot be sent.
	a.socket.send(route, []message{{first: appendRefusal(nil, why, text)}})
}

// of returns the connections that the peer of that name began.
func (a *acceptor) of(name string) (all []*accepted) {
	for _, c := range a.routes {
		if c.remote.Name == name && name != "" {
			all = append(all, c)
		}
	}
	return all
}

// ended posts that a connection that this node began, to that run of a peer, is at
// its end: so are those that the same run began.
func (a *acceptor) ended(id transport.Identity, cause error) {
	a.socket.post(func() {
		for _, c := range a.of(id.Name) {
			if c.remote.Incarnation == id.Incarnation {
				a.drop(c, cause)
			}
		}
	})
}

// met posts that this node reached a run of a peer: earlier ones are gone.
func (a *acceptor) met(id transport.Identity) {
	a.socket.post(func() {
		for _, c := range a.of(id.Name) {
			if c.remote.Incarnation < id.Incarnation {
				a.drop(c, transport.ErrPeerRestarted)
			}
		}
	})
}

// dismiss posts that names are no peers any more.
func (a *acceptor) dismiss(names []string) {
	a.socket.post(func() {
		for _, name := range names {
			for _, c := range a.of(name) {
				a.drop(c, errRemoved)
			}
		}
	})
}

// pulse has this side heard by peers, looks after those who are not, and now and then
// after clients that hung up unseen.
func (a *acceptor) pulse(now time.Time, paused, probe bool) {
	for _, c := range a.routes {
		peer := c.remote.Name != ""
		if peer && paused {
			c.heard = now
		}
		if peer && now.Sub(c.heard) > tooQuiet(c.beat) {
			a.drop(c, errQuiet)
		} else if peer || probe {
			c.sendFrame([]byte{frameBeat})
		}
	}
}

// closeAll closes every connection, when the receiver has ended.
func (a *acceptor) closeAll() {
	for _, c := range a.routes {
		a.drop(c, transport.ErrClosed)
	}
}
