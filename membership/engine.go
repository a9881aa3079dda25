package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// The tags in which a node carries what serf has no field for.
const (
	tagIncarnation = "_i"
	tagPID         = "_p"
	tagVersion     = "_v"
)

const (
	firstRoundLimit = 3 * time.Second
	goodbyeTimeout  = time.Second
	hushTimeout     = time.Second
	goodbyeSpread   = 500 * time.Millisecond
	refreshEvery    = time.Second
	// forgetAfter is how long members that left or failed stay in the view.
	// Contacts are looked for beyond that.
	forgetAfter = 6 * time.Hour
)

// engine is one run of serf, from Start to Stop.
type engine struct {
	g         *Gossip
	self      Self
	transport Transport
	log       *slog.Logger
	wire      *wire
	serf      *serf.Serf
	events    chan serf.Event
	workers   chan struct{}      // one slot per running query handler
	asks      chan chan struct{} // to pump: read now, then close
	query     chan struct{}      // one serf.Query at a time
	rivals    chan Greeting      // claims to our name, capacity 1
	joined    chan struct{}      // closed when the first contact is met
	joinOnce  sync.Once
	turn      chan struct{} // one join at a time
	settled   atomic.Bool   // the first round is over
	goodbye   atomic.Bool   // this node is leaving

	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	leaving sync.WaitGroup
}

func newEngine(g *Gossip, t Transport, self Self) (*engine, error) {
	e := &engine{
		g:         g,
		self:      self,
		transport: t,
		log:       g.log,
		events:    make(chan serf.Event, 1024),
		workers:   make(chan struct{}, queryWorkers),
		asks:      make(chan chan struct{}),
		query:     make(chan struct{}, 1),
		rivals:    make(chan Greeting, 1),
		joined:    make(chan struct{}),
		turn:      make(chan struct{}, 1),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.wire = newWire(t, func(name string, err error) { e.reached(name, err, false) })
	lines := newEngineLog(e.log)
	s, err := serf.Create(e.config(log.New(lines, "", 0)))
	if err != nil {
		e.cancel()
		return nil, fmt.Errorf("membership: starting gossip: %w", err)
	}
	e.serf = s
	e.refresh()
	e.wg.Go(func() { lines.run(e.ctx) })
	e.wg.Go(e.pump)
	e.wg.Go(func() { e.settle(e.ctx) })
	return e, nil
}

func (e *engine) config(logger *log.Logger) *serf.Config {
	cfg, timing := serf.DefaultConfig(), e.g.cfg.Timing
	cfg.NodeName = e.self.Name
	cfg.Tags = e.encodeTags()
	cfg.EventCh = e.events
	cfg.ProtocolVersion = serf.ProtocolVersionMax
	cfg.Merge = e
	cfg.Logger = logger
	// Ours tells which of two is right without a vote; see conflict.go.
	cfg.EnableNameConflictResolution = false
	cfg.BroadcastTimeout = goodbyeTimeout
	cfg.LeavePropagateDelay = goodbyeSpread
	cfg.UserEventSizeLimit = MaxBroadcast + broadcastOverhead
	cfg.QuerySizeLimit, cfg.QueryResponseSizeLimit = MaxQuery+queryOverhead, MaxQuery+queryOverhead
	cfg.ReapInterval = time.Minute
	cfg.ReconnectTimeout, cfg.TombstoneTimeout = forgetAfter, forgetAfter

	ml := memberlist.DefaultLANConfig()
	ml.Transport = e.wire
	ml.Label = e.self.Cluster
	ml.SecretKey = e.self.Key
	ml.Logger = logger
	ml.ProbeInterval = timing.ProbeInterval
	ml.ProbeTimeout = timing.ProbeTimeout
	ml.SuspicionMult = timing.SuspicionMult
	ml.GossipInterval = 100 * time.Millisecond
	ml.PushPullInterval = 15 * time.Second
	// With the default of 4, a given one of five nodes misses about every
	// thousandth broadcast even on a perfect network (by calculation: three
	// random targets a round, four sends each); with 8, every millionth.
	ml.RetransmitMult = 8
	ml.TCPTimeout = 5 * time.Second
	// An LZW table per packet was a third of the cost of gossip, garbage
	// included, and probes do not compress.
	ml.EnableCompression = false
	// A failed node's name is free for another address at once: that two live
	// ones do not share it is seen to elsewhere.
	ml.DeadNodeReclaimTime = time.Nanosecond
	cfg.MemberlistConfig = ml
	return cfg
}

func (e *engine) encodeTags() map[string]string {
	tags := maps.Clone(e.self.Tags)
	if tags == nil {
		tags = make(map[string]string, 3)
	}
	tags[tagIncarnation] = e.self.Incarnation.String()
	if e.self.PID != 0 {
		tags[tagPID] = strconv.FormatUint(uint64(e.self.PID), 10)
	}
	if e.self.Version != "" {
		tags[tagVersion] = e.self.Version
	}
	return tags
}

// decode turns serf's member into ours. What a foreign or hostile member's tags
// lack or garble stays zero.
func (e *engine) decode(m serf.Member) Member {
	ip, _ := netip.AddrFromSlice(m.Addr)
	out := Member{
		Name:    m.Name,
		Addr:    netip.AddrPortFrom(ip.Unmap(), m.Port),
		Version: m.Tags[tagVersion],
		Local:   m.Name == e.self.Name,
	}
	switch m.Status {
	case serf.StatusAlive:
		out.Status = StatusAlive
	case serf.StatusLeaving:
		out.Status = StatusLeaving
	case serf.StatusLeft:
		out.Status = StatusLeft
	default:
		out.Status = StatusFailed
	}
	if err := out.Incarnation.UnmarshalText([]byte(m.Tags[tagIncarnation])); err != nil {
		out.Incarnation = 0
	}
	if pid, err := strconv.ParseUint(m.Tags[tagPID], 10, 32); err == nil {
		out.PID = uint32(pid)
	}
	for name, value := range m.Tags {
		if strings.HasPrefix(name, "_") {
			continue
		}
		if out.Tags == nil {
			out.Tags = make(map[string]string, len(m.Tags))
		}
		out.Tags[name] = value
	}
	return out
}

// firstRound has every contact tried, which goes on in the background, and
// returns when the node knows where it belongs: one contact is met, or nobody is
// there.
func (e *engine) firstRound(ctx context.Context) error {
	defer e.settled.Store(true)
	limit := time.NewTimer(firstRoundLimit)
	defer limit.Stop()
	e.g.contacts.forgetAttempts()
	over := make(chan struct{})
	e.wg.Go(func() { e.seek(e.ctx, over) })
	select {
	case err := <-e.g.fatal:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.joined:
	case <-over:
	case <-limit.C:
	}
	select { // a refusal may have come in the same moment
	case err := <-e.g.fatal:
		return err
	default:
		return nil
	}
}

// pump makes the engine's state the view: whenever an event says that it
// changed, when somebody asks, and once a second for what has no events. It
// reads the state rather than the events, and nobody else does, so that what is
// read is never older than what was told before.
func (e *engine) pump() {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		var asked chan struct{}
		select {
		case <-e.ctx.Done():
			return
		case event := <-e.events:
			e.take(event)
		case asked = <-e.asks:
		case <-tick.C:
		}
		// First the events: the engine waits with its lock held when there is no
		// room for another one, and reading its state needs that lock.
		for range len(e.events) {
			e.take(<-e.events)
		}
		e.refresh()
		if asked != nil {
			close(asked)
		}
	}
}

// look has pump read the engine's state and waits for it.
func (e *engine) look() {
	asked := make(chan struct{})
	select {
	case e.asks <- asked:
	case <-e.ctx.Done():
		return
	}
	select {
	case <-asked:
	case <-e.ctx.Done():
	}
}

func (e *engine) take(event serf.Event) {
	switch event := event.(type) {
	case serf.UserEvent:
		e.g.talk.deliver(Broadcast{Name: event.Name, Payload: event.Payload})
	case *serf.Query:
		e.answer(event)
	}
}

func (e *engine) refresh() {
	members := e.serf.Members()
	next := make([]Member, len(members))
	for i, m := range members {
		next[i] = e.decode(m)
	}
	changes := e.g.board.update(next, time.Now())
	for _, c := range changes {
		e.tell(c)
		if !c.Member.Local && c.Member.Status == StatusAlive {
			e.joinOnce.Do(func() { close(e.joined) })
		}
		if c.Kind == Failed || c.Kind == Left {
			e.g.contacts.lost(c.Member.Name, c.Kind == Left, c.Member.Since)
		}
	}
}

// tell logs a change.
func (e *engine) tell(c Change) {
	if c.Member.Local {
		return
	}
	level := slog.LevelInfo
	if c.Kind == Failed || c.Kind == Unreachable {
		level = slog.LevelWarn
	}
	attrs := []any{"member", c.Member.Name, "addr", c.Member.Addr}
	if c.Member.Reason != "" {
		attrs = append(attrs, "reason", c.Member.Reason)
	}
	e.log.Log(e.ctx, level, "member "+c.Kind.String(), attrs...)
}

// reached records an attempt of our own to reach a member. One failure of a
// hasty attempt is not yet news, unless its kernel refused; see board.reach.
func (e *engine) reached(name string, err error, patient bool) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	c, ok := e.g.board.reach(name, reason, patient || errors.Is(err, syscall.ECONNREFUSED))
	if !ok {
		return
	}
	e.tell(c)
	if c.Kind == Unreachable {
		e.g.contacts.nudge()
	}
}

// join merges with a node that greeted us.
func (e *engine) join(greeting Greeting) error {
	// serf would queue on a mutex, which neither contexts nor virtual time know.
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-e.ctx.Done():
		return ErrClosed
	}
	if e.goodbye.Load() {
		return ErrLeaving
	}
	if e.g.hasMet(greeting) {
		return nil // gossip was faster, or it was only unreachable from here
	}
	if _, err := e.serf.Join([]string{greeting.Name + "/" + greeting.Addr.String()}, true); err != nil {
		if dial := e.wire.lastError(greeting.Name); dial != nil {
			return dial // memberlist keeps only its text
		}
		return fmt.Errorf("membership: joining %s: %w", greeting.Name, err)
	}
	e.look()
	return nil
}

func (g *Gossip) hasMet(greeting Greeting) bool {
	m, ok := g.board.get(greeting.Name)
	return ok && m.Status == StatusAlive && m.Incarnation == greeting.Incarnation
}

// rtt estimates the round trip to m by the distance of network coordinates.
func (e *engine) rtt(m Member) time.Duration {
	if m.Local {
		return 0
	}
	theirs, ok := e.serf.GetCachedCoordinate(m.Name)
	if !ok {
		return 0
	}
	ours, err := e.serf.GetCoordinate()
	if err != nil || !ours.IsCompatibleWith(theirs) {
		return 0
	}
	return ours.DistanceTo(theirs)
}

// fail reports the error that ends this node.
func (e *engine) fail(err error) {
	select {
	case e.g.fatal <- err:
	default: // one is enough
	}
}

// leave says goodbye; serf's part of it cannot be interrupted, so stop waits
// for it.
func (e *engine) leave(ctx context.Context) error {
	e.goodbye.Store(true)
	e.g.contacts.nudge()
	if !e.company() {
		return nil
	}
	// A join that ended after the goodbye would announce this node anew. Its turn
	// is taken and not given back.
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// So would a state exchanged while this node is leaving: serf tells in it when
	// the status last changed, and not to what. Those under way are waited for.
	patience := time.NewTimer(hushTimeout)
	defer patience.Stop()
	select {
	case <-e.wire.hush():
	case <-patience.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	e.leaving.Go(func() { done <- e.serf.Leave() })
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("membership: leaving: %w", err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// company reports whether there is anybody to say goodbye to.
func (e *engine) company() bool {
	return slices.ContainsFunc(e.g.board.snapshot(), func(m Member) bool { return !m.Local && m.Status == StatusAlive })
}

func (e *engine) stop() {
	e.cancel()
	e.leaving.Wait() // memberlist panics when shut down in the midst of a Leave
	e.serf.Shutdown()
	e.wg.Wait()
}
