package transport

import (
	"context"
	"errors"
	"log/slog"
)

// Identity is one run of one node.
type Identity struct {
	// Name is the peer's name. A program that only calls, and is no peer, has none.
	Name string
	// Incarnation grows with every start of the node of that name; two runs never
	// have the same.
	Incarnation uint64
}

// Address tells where a peer listens, in the engine's own terms:
// "tcp://10.0.0.7:7000" for ZeroMQ.
type Address struct {
	Name, Endpoint string
}

// Engine moves packets between this node and its peers, and tells when connections
// come and go. It knows nothing of requests, subjects or streams.
//
// Between two nodes there are two connections, one begun by each. What a node asks
// goes along the one that it began, and the answers come back along the same: so
// those who only call need not listen.
type Engine interface {
	// Start binds, and begins to receive. Until it has returned there are no peers.
	// It is called once.
	Start(Setup) error
	// SetPeers tells whom to be connected to: all of these, and nobody else any
	// more. The engine dials, and dials again, until Close. A peer whose endpoint
	// changed is dialled at the new one and disconnected from the old one. This
	// node is not among them. It does not block.
	SetPeers(peers []Address)
	// Close ends all connections and waits for the engine's goroutines. Connections
	// that are open are Closed with ErrClosed before it returns; no calls follow.
	Close() error
}

// Setup is what an engine is started with.
type Setup struct {
	Self Identity
	// MaxPacket is the most bytes of one packet, head and body together. Larger ones
	// that come in end their connection; none goes out.
	MaxPacket int
	// MaxBacklog is about how many bytes may wait in one connection until Send
	// answers ErrFull.
	MaxBacklog int
	Log        *slog.Logger // never nil
	// Events hears what happens.
	Events Events
}

// Events is what an engine reports to. The calls return soon, and may call Send of
// any connection: the engine holds no lock of its own while it calls.
type Events interface {
	// Opened tells of a connection along which packets can be sent from now on, and
	// returns who hears of it. For one that this node began the remote has told who
	// it is: c is open for that incarnation only. When the process behind the
	// endpoint turns out to be another one, that is Closed with ErrPeerRestarted,
	// and a new one Opened.
	Opened(c Conn, r Remote) Line
	// Failed tells that a connection to a peer could not be made, and why. The
	// engine goes on trying.
	Failed(peer string, cause error)
}

// Remote is the other end of a connection.
type Remote struct {
	// Identity has no name for a program that is none of the peers.
	Identity
	// Endpoint is where it was found, or came from; may be empty.
	Endpoint string
	// Ours tells that this node began the connection.
	Ours bool
}

// Line hears about one connection. Its calls come one at a time and in order;
// Closed is the last.
type Line interface {
	// Received takes a packet. The body is the receiver's from now on, for as long as
	// it likes, and keeps little else in memory; the head is lent until Received
	// returns.
	Received(head, body []byte)
	// Closed tells that the connection is gone, and why: an error that says what
	// happened, ErrPeerRestarted if the process is known to be another one,
	// ErrClosed after Close. What was sent and not answered may have arrived.
	//
	// An engine that cannot see the end of a connection that others began, as a
	// ROUTER cannot, takes the end of its own connection to the same incarnation
	// for it, and, for who is no peer, a long silence.
	Closed(cause error)
}

// Conn is the sending side of one connection.
type Conn interface {
	// Send queues packets, all or none, in order, and does not block; any number of
	// goroutines may call it. The heads are free to be used again when it returns.
	// The bodies are the engine's from then on: it only reads them, and nobody
	// changes them any more. Its errors, after which nothing was and nothing will be
	// sent, are ErrUnreachable, ErrFull and ErrTooLarge.
	Send(packets ...Packet) error
	// Backlog is about how many bytes wait to be sent.
	Backlog() int
}

// SoonSender is a Conn that can also send a little later, for less.
type SoonSender interface {
	// SendSoon is Send for who has more to send right away and waits for none of it:
	// a goroutine of the engine's sends the packets, together with those that come
	// meanwhile.
	SendSoon(packets ...Packet) error
}

// PromptSender is a Conn that can also send without delay, for more.
type PromptSender interface {
	// SendNow is Send for who knows that nobody else is about to send: it waits for none
	// that could share the way.
	SendNow(packets ...Packet) error
}

// Attender is a Conn whose receiver can be stood in for, by a caller that is the only one
// to wait for something: who receives its answer itself need not be woken by another
// goroutine.
type Attender interface {
	// Attend receives what comes along the connection, and has its Line hear of it on the
	// caller's goroutine, until done reports true, ctx ends or the connection does. Done
	// is asked at first and whenever something came, and not when the Line's owner has given
	// up the connection by itself. It returns at once if somebody receives already, or
	// nobody may.
	Attend(ctx context.Context, done func() bool)
}

// Packet is what engines move: a head, which the messenger wrote, of at most
// MaxHead bytes and never empty, and a body. The first byte of a head is below 128;
// those from 128 on are the engine's own.
type Packet struct {
	Head, Body []byte
}

// Size is the number of bytes of the packet.
func (p Packet) Size() int { return len(p.Head) + len(p.Body) }

// ErrFull is returned by Conn.Send when the connection's queue is full. Callers of
// a Messenger see ErrOverloaded instead.
var ErrFull = errors.New("kith: the connection's send queue is full")
