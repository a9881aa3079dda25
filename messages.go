package kith

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/zmq"
)

// Messages says how a node exchanges messages; see [Node.Request] and package transport.
// The zero value suits most.
type Messages struct {
	// Off leaves the peer's message port to the program, which has sockets of its own
	// there. Calls fail with ErrNoMessages then.
	Off bool
	// Clients names the programs outside the cluster that may connect to the message
	// port, each with the keys that `kith keygen curve NAME` prints. Without a cluster
	// key it says nothing: whoever reaches the port is let in.
	Clients []string
	// Limits bound what is under way.
	Limits transport.Limits
	// Handlers wrap every handler, the first outermost; Callers wrap every request in
	// the same way. They log, trace, measure or authorize.
	Handlers []transport.Middleware
	Callers  []transport.CallerMiddleware
}

// ErrNoMessages: this node carries no messages. The text tells why: the program was
// built without libzmq, or Config says so. Nothing was sent.
var ErrNoMessages = errors.New("kith: this node carries no messages")

// Request asks the peer's handler of the subject and returns its reply. It waits for a
// connection, then for the reply, until ctx ends; the time left travels along, and when
// ctx is cancelled the handler's context is, too. The node's own name is a peer as well.
// The body is the node's from then on, which only reads it.
//
// A request runs at most once, and is never sent twice. The errors are those of
// [transport.Messenger.Request], and ErrNoMessages; [OutcomeOf] tells whether the
// handler has run.
func (n *Node) Request(ctx context.Context, peer, subject string, body []byte, opts ...transport.CallOption) (transport.Message, error) {
	if err := n.messages.refuse("request to "+peer, subject); err != nil {
		return transport.Message{}, err
	}
	return n.messages.Request(ctx, peer, subject, body, opts...)
}

// RequestAll asks all peers and this node at the same time, or those that [transport.To]
// names, and yields each reply or error as it comes; with [transport.First] it ends when
// enough have replied. Peers that are not connected yield ErrUnreachable at once. See
// [transport.Messenger.RequestAll].
func (n *Node) RequestAll(ctx context.Context, subject string, body []byte, opts ...transport.CallOption) iter.Seq2[transport.Message, error] {
	if err := n.messages.refuse("request to all", subject); err != nil {
		return func(yield func(transport.Message, error) bool) { yield(transport.Message{}, err) }
	}
	return n.messages.RequestAll(ctx, subject, body, opts...)
}

// Send hands a message to the peer's handler and expects no reply. It waits for a
// connection until ctx ends. Nil means that a live connection has taken the message, and no
// more; after an error nothing was sent. See [transport.Messenger.Send].
func (n *Node) Send(ctx context.Context, peer, subject string, body []byte, opts ...transport.CallOption) error {
	if err := n.messages.refuse("send to "+peer, subject); err != nil {
		return err
	}
	return n.messages.Send(ctx, peer, subject, body, opts...)
}

// Handle lets fn answer the requests for a subject, and take what is sent to it, from now
// on and wherever the node moves. fn runs on goroutines of the node's, several at once up
// to [transport.Concurrency]; Close waits for it, so it must not close the node. The errors
// are transport.ErrSubject, transport.ErrHandled, ErrClosed and ErrNoMessages.
func (n *Node) Handle(subject string, fn transport.Handler, opts ...transport.HandleOption) error {
	if err := n.messages.refuse("handle", subject); err != nil {
		return err
	}
	return n.messages.Handle(subject, fn, opts...)
}

// HandleStream lets fn serve the streams that are opened for a subject, likewise.
func (n *Node) HandleStream(subject string, fn transport.StreamHandler, opts ...transport.HandleOption) error {
	if err := n.messages.refuse("handle", subject); err != nil {
		return err
	}
	return n.messages.HandleStream(subject, fn, opts...)
}

// Unhandle takes a handler away, of requests or of streams. Calls that run go on. It
// does not block.
func (n *Node) Unhandle(subject string) { n.messages.Unhandle(subject) }

// OpenStream opens a stream to the peer's handler: bytes in both directions, in order,
// with half-close and deadlines. ctx bounds the opening only. The errors are those of
// [Node.Request].
func (n *Node) OpenStream(ctx context.Context, peer, subject string, opts ...transport.CallOption) (*transport.Stream, error) {
	if err := n.messages.refuse("stream to "+peer, subject); err != nil {
		return nil, err
	}
	return n.messages.OpenStream(ctx, peer, subject, opts...)
}

// Publish sends a message to all, on whichever node, who subscribe to a prefix of the
// topic now, and returns to how many connections it was handed. It does not block and
// keeps nothing. Who is too slow is told how much it missed. The errors, after which
// nobody got it, are transport.ErrSubject, transport.ErrTooLarge, ErrClosed and ErrNoMessages.
func (n *Node) Publish(ctx context.Context, topic string, body []byte, opts ...transport.CallOption) (reached int, err error) {
	if err := n.messages.refuse("publish", topic); err != nil {
		return 0, err
	}
	return n.messages.Publish(ctx, topic, body, opts...)
}

// Subscribe gives what any node of the list, this one too, publishes from now on under
// topics that begin with prefix, which may be empty. Peers are told in the background, also those
// that come later; [transport.Subscription.Ready] waits for those that are there. Close the
// subscription when it is of no use any more. It survives moves of this node and restarts
// of others.
func (n *Node) Subscribe(prefix string, opts ...transport.SubscribeOption) (*transport.Subscription, error) {
	if err := n.messages.refuse("subscribe", prefix); err != nil {
		return nil, err
	}
	return n.messages.Subscribe(prefix, opts...)
}

// Peer returns the handle of the peer with this name. It is always the same one, and stays
// valid for as long as this node: before the peer is listed, when it is down, restarted, or
// has moved. Its calls wait for the peer as long as their contexts allow, or with
// [transport.FailFast] not at all.
//
// On a node that carries no messages every other peer is down, the error of its status
// tells why, and the calls of all handles fail at once with ErrNoMessages.
func (n *Node) Peer(name string) *transport.Peer { return n.messages.Peer(name) }

// MessageStats returns counts of what went to and from each peer, and of the calls of each
// handler. It looks at every handler.
func (n *Node) MessageStats() transport.Stats { return n.messages.Stats() }

// messages is a node's part in exchanging messages: one messenger from its start to its
// end, over an engine that moves with the node.
type messages struct {
	cfg Config
	log *slog.Logger

	// Both are set once, before Start returns. Nil only on a node that did not start.
	*transport.Messenger
	engine *mooring
	absent error // why no messages are carried
}

// refuse is the error of every call on a node that carries no messages.
func (m *messages) refuse(op, name string) error {
	return outcome.With(op, name, m.absent, NotDone)
}

// begin starts the messenger of a node whose first place is p. It does nothing the next
// time.
func (m *messages) begin(p place, id membership.Incarnation) error {
	if m.Messenger != nil {
		return nil
	}
	cfg := transport.Config{
		Name: p.self.Name, Incarnation: uint64(id), Limits: m.cfg.Messages.Limits,
		Handlers: m.cfg.Messages.Handlers, Callers: m.cfg.Messages.Callers,
		Version: Version, Log: m.log,
	}
	build, err := m.cfg.engines()
	if err == nil {
		m.engine = &mooring{build: build, berth: p.berth()}
		cfg.Engine = m.engine
		m.Messenger, err = transport.New(cfg)
	}
	switch {
	case err == nil:
		m.log.Info("listening for messages", "name", p.self.Name, "endpoint", m.engine.berth.endpoint)
		return nil
	case errors.Is(err, zmq.ErrUnavailable):
		return m.abstain(cfg, zmq.ErrUnavailable)
	case errors.Is(err, errNoEngine), errors.Is(err, errSwitchedOff):
		return m.abstain(cfg, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("kith: %s cannot listen for messages: %w; this node, or another program, runs there already (see: ss -lntp); "+
			"a program that has its own sockets at the peer's port sets Config.Messages.Off", p.self.Name, err)
	}
	return fmt.Errorf("kith: %s cannot carry messages: %w", p.self.Name, err)
}

var (
	errSwitchedOff = errors.New("Config.Messages.Off is set")
	errNoEngine    = errors.New("Config.Network has no engine for them")
)

// abstain makes the messenger of a node that carries no messages.
func (m *messages) abstain(cfg transport.Config, why error) (err error) {
	m.log.Info("this node carries no messages", "reason", why)
	m.absent, m.engine = fmt.Errorf("%w: %w", ErrNoMessages, why), nil
	cfg.Engine, cfg.Absent = &noEngine{why: m.absent}, m.absent
	m.Messenger, err = transport.New(cfg)
	return err
}

// follow tells the messenger who the peers are.
func (m *messages) follow(list *peers.Peers) {
	var addresses []transport.Address
	for _, p := range list.Peers {
		if p.Port != 0 {
			addresses = append(addresses, transport.Address{Name: p.Name, Endpoint: "tcp://" + p.Endpoint(false)})
		}
	}
	m.SetPeers(addresses)
}

// close ends all calls and waits for handlers.
func (m *messages) close() error {
	if m.Messenger == nil {
		return nil
	}
	return m.Messenger.Close()
}

// port is where messages arrive, 0 if they do not.
func (m *messages) port() uint16 {
	if m.engine == nil {
		return 0
	}
	return m.engine.berth.port()
}

// engines returns what makes an engine for a place.
func (c Config) engines() (func(berth) transport.Engine, error) {
	if c.Messages.Off {
		return nil, errSwitchedOff
	}
	if host, ok := c.Network.(interface {
		Engine(endpoint string) transport.Engine
	}); ok { // a test's
		return func(b berth) transport.Engine { return host.Engine(b.endpoint) }, nil
	}
	if c.Network != Network(link.System{}) {
		return nil, errNoEngine
	}
	return func(b berth) transport.Engine {
		return zmq.New(zmq.Config{Endpoint: b.endpoint, Key: b.key, Clients: c.Messages.Clients})
	}, nil
}

// berth is where and as whom a node receives messages.
type berth struct {
	name     string
	endpoint string // as ZeroMQ writes it
	key      secret.Key
}

// berth is where messages arrive at p: on the peer's own address if that is on loopback,
// else on all of this host's, as on the control port.
func (p place) berth() berth {
	host, port := "*", "*"
	if p.self.IsLoopback() {
		host = p.advertise.String()
	}
	if p.self.Port != 0 {
		port = strconv.Itoa(int(p.self.Port))
	}
	return berth{p.self.Name, "tcp://" + net.JoinHostPort(host, port), p.key}
}

// port is the endpoint's; 0 if that is any free one.
func (b berth) port() uint16 {
	_, text := cutPort(b.endpoint)
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}

// withPort returns b with the port of another endpoint.
func (b berth) withPort(endpoint string) berth {
	host, _ := cutPort(b.endpoint)
	_, port := cutPort(endpoint)
	b.endpoint = host + ":" + port
	return b
}

// cutPort divides an endpoint at its last colon.
func cutPort(endpoint string) (host, port string) {
	i := strings.LastIndexByte(endpoint, ':')
	return endpoint[:max(i, 0)], endpoint[i+1:]
}
