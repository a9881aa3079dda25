package kith

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/kith-go/kith/transport"
)

// mooring is an engine that moves with its node: an engine of its own kind at each berth,
// one after the other, under one messenger. To its peers the node is the same process at
// another address. Its methods are called one at a time, by whoever has the node's turn.
type mooring struct {
	build func(berth) transport.Engine

	setup  transport.Setup
	berth  berth            // where engine is, or was last
	engine transport.Engine // nil when a move failed and the old berth was gone, too
	peers  []transport.Address
}

// errMoved is why connections end when this node moves.
var errMoved = fmt.Errorf("%w: this node moves to another address", transport.ErrUnreachable)

// Start implements [transport.Engine].
func (m *mooring) Start(setup transport.Setup) error {
	m.setup = setup
	return m.land(m.berth)
}

// SetPeers implements [transport.Engine].
func (m *mooring) SetPeers(peers []transport.Address) {
	m.peers = peers
	if m.engine != nil {
		m.engine.SetPeers(peers)
	}
}

// Close implements [transport.Engine].
func (m *mooring) Close() error {
	if m.engine == nil {
		return nil
	}
	return m.engine.Close()
}

// open makes an engine at b that listens already.
func (m *mooring) open(b berth) (transport.Engine, berth, error) {
	setup := m.setup
	setup.Self.Name = b.name
	setup.Events = moored{m.setup.Events}
	engine := m.build(b)
	if err := engine.Start(setup); err != nil {
		return nil, b, err
	}
	if at, ok := engine.(interface{ Endpoint() string }); ok && b.port() == 0 {
		b = b.withPort(at.Endpoint()) // the engine may write the rest in another way
	}
	return engine, b, nil
}

// land opens an engine at b and makes it the one in use.
func (m *mooring) land(b berth) error {
	engine, at, err := m.open(b)
	if err == nil {
		m.engine, m.berth = engine, at
	}
	return err
}

// passage is a move of the messenger, of which the new berth is made sure of before the
// old one is given up, if it is on another port. A nil passage leads nowhere.
type passage struct {
	of     *messages
	to     berth
	engine transport.Engine // listens at the new berth; nil if the port must be given up first
}

// prepare makes sure that messages can be received at p, if that is not where they are
// already.
func (m *messages) prepare(p place) (*passage, error) {
	to := p.berth()
	if m.engine == nil && m.absent == nil || m.engine != nil && m.engine.engine != nil && m.engine.berth == to {
		return nil, nil
	}
	way := &passage{of: m, to: to}
	if m.engine == nil || m.engine.engine == nil || m.engine.berth.port() == to.port() {
		return way, nil
	}
	var err error
	if way.engine, way.to, err = m.engine.open(to); err != nil {
		return nil, unfit(to, err)
	}
	return way, nil
}

// enter gives the old berth up for the new one. After an error the messenger is where it was, if
// that could be had again.
func (w *passage) enter() error {
	if w == nil {
		return nil
	}
	if err := w.of.Rename(w.to.name); err != nil && !errors.Is(err, ErrClosed) {
		return fmt.Errorf("kith: %w", err)
	}
	m := w.of.engine
	if m == nil { // no messages are carried, at whichever berth
		return nil
	}
	old := m.engine
	m.engine = w.engine
	if old != nil {
		if err := old.Close(); err != nil {
			w.of.log.Warn("the old message port was not closed properly", "error", err)
		}
	}
	var err error
	if w.engine != nil {
		m.berth = w.to
	} else if err = m.land(w.to); err != nil {
		before := m.berth
		before.name = w.to.name
		err = errors.Join(unfit(w.to, err), m.land(before))
	}
	m.SetPeers(m.peers)
	w.of.log.Info("listening for messages", "name", m.berth.name, "endpoint", m.berth.endpoint)
	return err
}

// abandon closes what was prepared.
func (w *passage) abandon() {
	if w == nil || w.engine == nil {
		return
	}
	if err := w.engine.Close(); err != nil {
		w.of.log.Warn("a message port was not closed properly", "error", err)
	}
}

func unfit(b berth, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("kith: %s cannot listen for messages: %w; another program runs there already (see: ss -lntp)", b.name, err)
	}
	return fmt.Errorf("kith: %s cannot listen for messages: %w", b.name, err)
}

// moored tells a messenger of one of its engines that the end of the engine is not the
// messenger's own.
type moored struct{ transport.Events }

func (e moored) Opened(c transport.Conn, r transport.Remote) transport.Line {
	return mooredLine{e.Events.Opened(c, r)}
}

type mooredLine struct{ transport.Line }

func (l mooredLine) Closed(cause error) {
	if errors.Is(cause, transport.ErrClosed) { // by then a messenger that closes has ended its lines
		cause = errMoved
	}
	l.Line.Closed(cause)
}

// noEngine is the engine of a node that carries no messages.
type noEngine struct {
	why    error
	events transport.Events
}

// Start implements [transport.Engine].
func (e *noEngine) Start(s transport.Setup) error {
	e.events = s.Events
	return nil
}

// SetPeers implements [transport.Engine].
func (e *noEngine) SetPeers(peers []transport.Address) {
	for _, p := range peers {
		e.events.Failed(p.Name, e.why)
	}
}

// Close implements [transport.Engine].
func (e *noEngine) Close() error { return nil }
