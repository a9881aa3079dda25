package transport

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how a messenger is to be. Name and Engine are needed; what is zero
// otherwise has a default.
type Config struct {
	// Name is this node's name. Requests to it are answered here.
	Name string
	// Incarnation is greater than that of every earlier run under this name. Zero
	// means the present time in nanoseconds.
	Incarnation uint64
	// Engine moves the packets. It belongs to the messenger from then on.
	Engine Engine
	// Absent tells why this node carries no messages, nil for one that does. All calls to
	// peers, this node too, then fail with it at once.
	Absent error
	// Limits bound what is under way.
	Limits Limits
	// Handlers wrap every handler, the first outermost. Callers wrap every request
	// in the same way.
	Handlers []Middleware
	Callers  []CallerMiddleware
	// Version is told by the subject kith.info.
	Version string
	// Log hears of panics, refused packets and connections. Nil means nobody.
	Log *slog.Logger
}

// Limits bound what is under way. A zero field means its default.
type Limits struct {
	// Message is the most bytes of a body: 64 MiB.
	Message int
	// Backlog is about how many bytes may wait to be sent in one connection before
	// calls fail with ErrOverloaded: 64 MiB. At least four times Message is wise if
	// such messages come together.
	Backlog int
	// PublishBacklog is the part of Backlog that publications may fill; what is
	// published beyond it is lost to that subscriber, and told: 8 MiB.
	PublishBacklog int
	// InFlight is how many requests to one peer may wait for replies: 65,536.
	InFlight int
	// Inbound is how many bytes of requests may wait for handlers, or be in their
	// hands, before callers are told ErrOverloaded: 256 MiB.
	Inbound int
	// StreamWindow is how many bytes of one stream may wait for their reader: 1 MiB.
	StreamWindow int
	// Streams is how many streams one connection may have open: 1024.
	Streams int
	// Prefixes is how many prefixes one subscribing connection may name: 100,000.
	Prefixes int
}

const mebi = 1 << 20

func (l Limits) ready() (Limits, error) {
	for _, f := range []struct {
		name  string
		value *int
		none  int
		least int
		most  int
	}{
		{"Message", &l.Message, 64 * mebi, 1, 1 << 30},
		{"Backlog", &l.Backlog, 64 * mebi, MaxHead, 1 << 40},
		{"PublishBacklog", &l.PublishBacklog, 8 * mebi, 1, 1 << 40},
		{"InFlight", &l.InFlight, 1 << 16, 1, 1 << 24},
		{"Inbound", &l.Inbound, 256 * mebi, 1, 1 << 40},
		{"StreamWindow", &l.StreamWindow, mebi, 1 << 10, 1 << 30},
		{"Streams", &l.Streams, 1 << 10, 1, 1 << 20},
		{"Prefixes", &l.Prefixes, 100_000, 1, 1 << 24},
	} {
		*f.value = cmp.Or(*f.value, f.none)
		if *f.value < f.least || *f.value > f.most {
			return l, fmt.Errorf("limit %s is %d; it must be from %d to %d", f.name, *f.value, f.least, f.most)
		}
	}
	return l, nil
}

// Messenger carries messages between this node and its peers over one engine. Its
// methods may be called by any number of goroutines.
type Messenger struct {
	self     atomic.Pointer[Identity]
	engine   Engine
	absent   error
	limits   Limits
	callers  []CallerMiddleware
	wrap     []Middleware
	version  string
	log      *slog.Logger
	started  time.Time
	ids      atomic.Uint64 // of requests, streams and subscriptions: never used twice
	inbound  atomic.Int64  // bytes in the hands of handlers, or waiting for one
	refused  atomic.Uint64 // malformed packets, and those that made no sense
	dropped  atomic.Uint64 // one-way messages that no handler took, answers nobody reads
	services services
	crew     crew          // runs the handlers
	topics   topics        // who subscribes to what is published here
	subs     subscriptions // what this node subscribes to

	packets sync.Pool // of *packet
	waits   sync.Pool // of chan answer, empty

	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when Close has ended
	ended   error         // what Close returned; once closed

	work sync.WaitGroup // all goroutines of the messenger

	listing sync.Mutex // SetPeers and Rename, one at a time
	own     [2]*line   // this node's connection with itself; listing's

	mu    sync.Mutex
	shut  bool // no new work
	lines map[*line]struct{}

	peers sync.Map // names to *Peer; read without mu, added to with it
}

// New starts the engine and returns a messenger that has no peers yet. It has
// handlers for kith.ping and kith.info.
func New(c Config) (*Messenger, error) {
	if err := checkSubject(c.Name, false); err != nil {
		return nil, fmt.Errorf("kith: messenger: name %.40q: %w", c.Name, err)
	}
	if c.Engine == nil {
		return nil, errors.New("kith: messenger: no engine")
	}
	limits, err := c.Limits.ready()
	if err != nil {
		return nil, fmt.Errorf("kith: messenger: %w", err)
	}
	m := &Messenger{
		engine:  c.Engine,
		absent:  c.Absent,
		limits:  limits,
		callers: slices.Clone(c.Callers),
		wrap:    slices.Clone(c.Handlers),
		version: c.Version,
		log:     c.Log,
		started: time.Now(),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		lines:   map[*line]struct{}{},
	}
	m.self.Store(&Identity{c.Name, cmp.Or(c.Incarnation, uint64(time.Now().UnixNano()))})
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.services.init()
	m.crew.work = &m.work
	m.topics.init()
	m.subs.init()
	m.builtin()
	m.own = m.loopback()
	err = c.Engine.Start(Setup{
		Self:       m.Self(),
		MaxPacket:  limits.Message + MaxHead,
		MaxBacklog: limits.Backlog,
		Log:        m.log,
		Events:     events{m},
	})
	if err != nil {
		_ = m.end(func() error { return nil })
		return nil, fmt.Errorf("kith: messenger: %w", err)
	}
	return m, nil
}

// clock reads the monotonic clock, for what is measured often: time.Now reads two.
func (m *Messenger) clock() time.Duration { return time.Since(m.started) }

// Self returns this node's name and incarnation.
func (m *Messenger) Self() Identity { return *m.self.Load() }

// SetPeers tells who the peers are. This node may be among them, or not. Handles of
// peers that are no longer listed stay valid: their calls fail with ErrNoPeer until the
// peer is listed again. It does not block.
func (m *Messenger) SetPeers(list []Address) {
	m.listing.Lock()
	defer m.listing.Unlock()
	self := m.Self().Name
	listed := make(map[string]string, len(list))
	for _, a := range list {
		if a.Name != self {
			listed[a.Name] = a.Endpoint
		}
	}
	m.mu.Lock()
	if m.shut {
		m.mu.Unlock()
		return
	}
	for p := range m.everyPeer() {
		if endpoint, ok := listed[p.name]; p.name != self {
			p.list(ok, endpoint)
		}
	}
	others := make([]Address, 0, len(listed))
	for name, endpoint := range listed {
		m.peerLocked(name).list(true, endpoint)
		others = append(others, Address{name, endpoint})
	}
	m.mu.Unlock()
	slices.SortFunc(others, func(a, b Address) int { return cmp.Compare(a.Name, b.Name) })
	m.engine.SetPeers(others)
	m.subs.stir()
}

// Peer returns the handle of the peer with this name. It is always the same one, and
// it is valid for ever: also before the peer is listed, when it is down, restarted,
// or has moved. This node's own name is a peer too, and always up.
func (m *Messenger) Peer(name string) *Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peerLocked(name)
}

func (m *Messenger) peerLocked(name string) *Peer {
	p := m.find(name)
	if p == nil {
		p = newPeer(m, name)
		m.peers.Store(name, p)
	}
	return p
}

// find returns the handle of a peer that was listed or asked for once, or nil.
func (m *Messenger) find(name string) *Peer {
	p, _ := m.peers.Load(name)
	peer, _ := p.(*Peer)
	return peer
}

// everyPeer yields the handles of all peers that were listed or asked for once.
func (m *Messenger) everyPeer() iter.Seq[*Peer] {
	return func(yield func(*Peer) bool) {
		m.peers.Range(func(_, p any) bool { return yield(p.(*Peer)) })
	}
}

// Peers returns the handles of all listed peers but this node, by name.
func (m *Messenger) Peers() []*Peer {
	self := m.Self().Name
	var out []*Peer
	for p := range m.everyPeer() {
		if p.name != self && p.isListed() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Peer) int { return cmp.Compare(a.name, b.name) })
	return out
}

// Close ends everything: requests under way fail with ErrClosed, streams and
// subscriptions too, the contexts of running handlers end, and Close waits for those
// handlers, for all goroutines and for the engine. It must not be called by a
// handler. A second Close returns what the first does, when it does.
func (m *Messenger) Close() error { return m.end(m.engine.Close) }

func (m *Messenger) end(closeEngine func() error) error {
	m.mu.Lock()
	if m.shut {
		m.mu.Unlock()
		<-m.closed
		return m.ended
	}
	m.shut = true
	lines, peers := m.snapshotLocked()
	m.mu.Unlock()
	close(m.closing)
	m.services.shut()
	m.crew.shut()
	for _, p := range peers {
		p.shut()
	}
	m.subs.shut()
	for _, l := range lines {
		l.end(ErrClosed) // handlers hear of it by their contexts
	}
	m.ended = closeEngine()
	m.work.Wait()
	close(m.closed)
	return m.ended
}

func (m *Messenger) snapshotLocked() (lines []*line, peers []*Peer) {
	for l := range m.lines {
		lines = append(lines, l)
	}
	return lines, slices.Collect(m.everyPeer())
}

// spawn runs f in a goroutine that Close waits for; not any more once it closes.
func (m *Messenger) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut {
		return false
	}
	m.work.Go(f)
	return true
}
