package membership

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Timing is the pace of failure detection. The zero value means the defaults,
// which suit one data centre. All nodes of a cluster should have the same.
//
// A dead node is declared failed after about
//
//	ProbeInterval·(1…2) + SuspicionMult · max(1, log10 n) · ProbeInterval
//
// in a cluster of n: the probe that finds it, and the time it has to object (SWIM
// §4.2). In clusters of more than three that time begins six times as long and
// shrinks to this as others confirm the suspicion (Lifeguard), so that it takes
// longer when many die at once and few are left to confirm.
type Timing struct {
	// ProbeInterval is how often each node probes another; default 500 ms.
	ProbeInterval time.Duration
	// ProbeTimeout is how long it waits before it asks others to probe and
	// tries a connection; default half of ProbeInterval. It should exceed
	// the slowest ordinary round trip.
	ProbeTimeout time.Duration
	// SuspicionMult scales the time to object; default 4.
	SuspicionMult int
}

// WithDefaults returns t with zero fields filled in.
func (t Timing) WithDefaults() Timing {
	if t.ProbeInterval == 0 {
		t.ProbeInterval = 500 * time.Millisecond
	}
	if t.ProbeTimeout == 0 {
		t.ProbeTimeout = t.ProbeInterval / 2
	}
	if t.SuspicionMult == 0 {
		t.SuspicionMult = 4
	}
	return t
}

// Validate reports every impossible field and relation, joined.
func (t Timing) Validate() error {
	var errs []error
	t = t.WithDefaults()
	if t.ProbeInterval < 10*time.Millisecond {
		errs = append(errs, fmt.Errorf("ProbeInterval %v is below 10 ms", t.ProbeInterval))
	}
	if t.ProbeTimeout <= 0 || t.ProbeTimeout >= t.ProbeInterval {
		errs = append(errs, fmt.Errorf("ProbeTimeout %v must lie between 0 and ProbeInterval %v", t.ProbeTimeout, t.ProbeInterval))
	}
	if t.SuspicionMult < 1 {
		errs = append(errs, fmt.Errorf("SuspicionMult %d is below 1", t.SuspicionMult))
	}
	return errors.Join(errs...)
}

// Config describes a Gossip.
type Config struct {
	Timing Timing
	// Log receives what happens; nil discards it.
	Log *slog.Logger
}

// Self is who this node is: its cluster, and what it tells others of itself.
type Self struct {
	// Cluster labels every packet and stream; nodes of other labels are ignored.
	// See ValidateCluster.
	Cluster string
	// Key encrypts packets with AES-256-GCM; 32 bytes, or nil for plain text.
	Key []byte

	Name        string
	PID         uint32
	Incarnation Incarnation
	Version     string
	// Tags are labels for others to read; see ValidateTags.
	Tags map[string]string
}

// maxCluster leaves room in a packet behind the label for a query of MaxQuery.
const maxCluster = 128

// ValidateCluster returns the error that Start would for a cluster's name: it
// must have 1 to 128 bytes of printable UTF-8.
func ValidateCluster(name string) error {
	if name == "" || len(name) > maxCluster {
		return fmt.Errorf("membership: the cluster's name must have 1 to %d bytes, %.40q has %d", maxCluster, name, len(name))
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable) {
		return fmt.Errorf("membership: the cluster's name %q is not printable UTF-8", name)
	}
	return nil
}

// MaxTags bounds all tags together: the bytes of their names and values, and six
// more for each. Gossip carries them in every packet about the member.
const MaxTags = 400

// ValidateTags returns the error that Start would: ErrReserved or ErrTooLarge.
func ValidateTags(tags map[string]string) error {
	size := 0
	for name, value := range tags {
		if strings.HasPrefix(name, "_") {
			return fmt.Errorf("%w: tag %q", ErrReserved, name)
		}
		size += len(name) + len(value) + 6
	}
	if size > MaxTags {
		return fmt.Errorf("%w: the tags take %d bytes (limit %d)", ErrTooLarge, size, MaxTags)
	}
	return nil
}

// Gossip knows who is alive. It is made by [New], does nothing before
// [Gossip.Start], and can be stopped and started again with another transport
// and self while its readers and handlers stay. Methods are safe for concurrent
// use; Start, Stop, Leave and Close must not run at the same time as one another.
type Gossip struct {
	cfg      Config
	log      *slog.Logger
	board    *board
	contacts *contactBook
	talk     *talk
	fatal    chan error // capacity 1

	mu     sync.Mutex // guards engine
	engine *engine    // nil while stopped
}

// New returns a Gossip that is not started. It checks cfg.
func New(cfg Config) (*Gossip, error) {
	if err := cfg.Timing.Validate(); err != nil {
		return nil, fmt.Errorf("membership: timing: %w", err)
	}
	cfg.Timing = cfg.Timing.WithDefaults()
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Gossip{
		cfg:      cfg,
		log:      log,
		board:    newBoard(),
		contacts: newContactBook(),
		talk:     newTalk(log),
		fatal:    make(chan error, 1),
	}, nil
}

// Start begins to gossip over t as self, and tries the contacts. It returns once
// somebody was met, or each contact was tried, or three seconds have passed; the
// search goes on in the background. Nobody answering is no error. Errors are
// *NameTakenError, those of ValidateTags, and ctx's cause when it ends first;
// then nothing is left running.
func (g *Gossip) Start(ctx context.Context, t Transport, self Self) error {
	if err := ValidateCluster(self.Cluster); err != nil {
		return err
	}
	self.Tags = maps.Clone(self.Tags)
	if err := ValidateTags(self.Tags); err != nil {
		return err
	}
	e, err := newEngine(g, t, self)
	if err != nil {
		return err
	}
	g.mu.Lock()
	if g.engine != nil {
		g.mu.Unlock()
		e.stop()
		return errors.New("membership: already started")
	}
	g.engine = e
	g.mu.Unlock()
	if err := e.firstRound(ctx); err != nil {
		g.Stop()
		return err
	}
	return nil
}

// Stop ends gossiping without a word: to others this node failed. It waits for
// the goroutines, query handlers included. Streams go on with the next Start.
func (g *Gossip) Stop() {
	g.mu.Lock()
	e := g.engine
	g.engine = nil
	g.mu.Unlock()
	if e != nil {
		e.stop()
	}
}

// Leave says goodbye, so that others see this node as left, not failed; then it
// stops as Stop does. It takes a second or two, and no time when nobody else is
// alive. When ctx ends first it returns the context's cause, with the goodbye
// perhaps not heard by all; the step under way, three seconds at most, is ended
// nevertheless.
func (g *Gossip) Leave(ctx context.Context) error {
	g.mu.Lock()
	e := g.engine
	g.mu.Unlock()
	if e == nil {
		return ErrClosed
	}
	err := e.leave(ctx)
	g.Stop()
	return err
}

// Close stops and ends all streams with ErrClosed.
func (g *Gossip) Close() {
	g.Stop()
	g.board.close(ErrClosed)
	g.talk.close()
}

// running returns the engine, or nil.
func (g *Gossip) running() *engine {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.engine
}

// Running reports whether the Gossip is started and not stopped.
func (g *Gossip) Running() bool { return g.running() != nil }

// Fatal delivers the error that obliges this node to stop: *NameTakenError. The
// owner should then close.
func (g *Gossip) Fatal() <-chan error { return g.fatal }

// HandlePacket takes in a datagram from the control port; it owns b and never
// blocks.
func (g *Gossip) HandlePacket(b []byte, from netip.AddrPort, at time.Time) {
	if e := g.running(); e != nil {
		e.wire.packet(b, from, at)
	}
}

// HandleStream takes over an accepted gossip stream.
func (g *Gossip) HandleStream(conn net.Conn) {
	if e := g.running(); e != nil {
		e.wire.stream(conn)
		return
	}
	conn.Close()
}

// SetContacts replaces the nodes to look for, this node's own name ignored.
// New ones and ones with a new address are tried at once.
func (g *Gossip) SetContacts(contacts []Contact) { g.contacts.set(contacts) }

// Contacts tells how the search for each contact goes, sorted by name.
func (g *Gossip) Contacts() []ContactState { return g.contacts.states() }

// Members returns all known members, this node included, sorted by [Compare].
// The caller owns the slice.
func (g *Gossip) Members() []Member {
	view := View{Members: g.board.snapshot()}
	g.addRTT(&view)
	return view.Members
}

// Watch streams views: the current one first, then one after each change or,
// for a slow reader, after several. The stream ends when ctx does; after Close
// its last element is ErrClosed.
func (g *Gossip) Watch(ctx context.Context) iter.Seq2[View, error] {
	return g.board.watch(ctx, g.addRTT)
}

// addRTT fills in round trips, which the engine refines all the time.
func (g *Gossip) addRTT(v *View) {
	e := g.running()
	if e == nil {
		return
	}
	for i, m := range v.Members {
		if m.Status == StatusAlive {
			v.Members[i].RTT = e.rtt(m)
		}
	}
}
