package founding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

// world is a number of nodes that found a cluster, in virtual time, over a network
// and on disks that are as bad as a test wants. It watches what is never to happen.
type world struct {
	t   *testing.T
	log *slog.Logger

	mu    sync.Mutex // guards all below, and what nodes say that it does
	rng   *rand.Rand
	nodes map[string]*node
	net   conditions
	// records are those that were committed anywhere, ever.
	records map[string]*Record
	several bool // these may be more than one
	// counted are the members, with their records and directories, whose votes and
	// acknowledgements may have been counted: a majority was born when they were.
	counted   map[seat]string
	overrides bool     // are made
	lists     [][]Peer // are given to nodes
	// admitted are the directories in the replicated state, by Raft ID.
	admitted map[seat]string
	faults   []string
}

// seat is a member's place in a cluster.
type seat struct{ record, name string }

// conditions are what happens to questions and answers.
type conditions struct {
	delay time.Duration // at most
	loss  float64       // of a question, and of an answer
	twice float64       // questions that arrive again, later
}

// node is a machine with one program.
type node struct {
	world    *world
	name     string
	list     []Peer
	override []string

	// Under the world's mutex:
	disk     *memdisk.Disk
	life     *life // nil when the program does not run
	cut      bool
	identity Identity // as it was seen last in this directory
}

// life is one run of a program.
type life struct {
	founder *Founder
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
	id      Identity // when done
	err     error
}

func peersOf(names ...string) []Peer {
	var list []Peer
	for i, name := range names {
		list = append(list, Peer{PID: uint32(i + 1), Name: name})
	}
	return list
}

func newWorld(t *testing.T, seed uint64, list []Peer) *world {
	w := &world{
		t: t, log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn + 1})),
		rng:      rand.New(rand.NewPCG(seed, 7)),
		nodes:    make(map[string]*node),
		records:  make(map[string]*Record),
		counted:  make(map[seat]string),
		admitted: make(map[seat]string),
	}
	for _, p := range list {
		w.add(p.Name, list)
	}
	return w
}

func (w *world) add(name string, list []Peer) *node {
	n := &node{world: w, name: name, list: list, disk: freshDisk()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[name] = n
	return n
}

const stateDir = "/state"

func freshDisk() *memdisk.Disk {
	d := memdisk.New()
	d.Mount().MkdirAll(stateDir)
	return d
}

func (w *world) all() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*node
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		all = append(all, w.nodes[name])
	}
	return all
}

// start runs the program, unless it runs.
func (n *node) start() {
	w := n.world
	w.mu.Lock()
	if n.life != nil {
		w.mu.Unlock()
		return
	}
	l := &life{done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	n.life = l
	mount, list, override := n.disk.Mount(), n.list, n.override
	w.mu.Unlock()
	go func() {
		defer close(l.done)
		l.id, l.err = n.run(l, mount, list, override)
	}()
}

func (n *node) run(l *life, mount disk.FS, list []Peer, override []string) (Identity, error) {
	w := n.world
	f, err := New(Config{
		Name: n.name, Peers: list, Override: override, Store: InDirectory(mount, stateDir, "wal"),
		Ask: func(ctx context.Context, to string, q []byte) ([]byte, error) { return w.carry(ctx, l, n.name, to, q) },
		Admit: func(_ context.Context, raftID uint64, directory string) error {
			return w.admit(n.name, raftID, directory)
		},
		Log: w.log.With("node", n.name),
	})
	if err != nil {
		return Identity{}, err
	}
	w.mu.Lock()
	l.founder = f
	w.mu.Unlock()
	w.observe(n, f.Identity())
	id, err := f.Run(l.ctx)
	if err == nil {
		w.observe(n, id)
	}
	return id, err
}

// admit is what the replicated state does.
func (w *world) admit(by string, raftID uint64, directory string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rec := w.nodes[by].identity.Record
	if rec == nil || len(w.votersLocked(rec)) <= len(rec.Voters())/2 {
		return errors.New("no majority")
	}
	place := seat{rec.Hash, fmt.Sprint(raftID)}
	if old, ok := w.admitted[place]; ok && old != directory {
		return ErrOtherDirectory
	}
	if w.rng.Float64() < w.net.loss {
		return errors.New("no leader")
	}
	w.admitted[place] = directory
	return nil
}

var errRefused, errReset = errors.New("connection refused"), errors.New("connection reset")

// carry takes a question there and the answer back, or not.
func (w *world) carry(ctx context.Context, from *life, sender, to string, q []byte) ([]byte, error) {
	w.mu.Lock()
	n := w.nodes[to]
	if n == nil {
		w.mu.Unlock()
		return nil, errors.New("no such peer")
	}
	there, back, again := w.delay(), w.delay(), w.delay()
	var l *life
	if n.life != nil && n.life.founder != nil {
		l = n.life
	}
	cut := n.cut || w.nodes[sender].cut
	lostThere, lostBack, twice := w.rng.Float64() < w.net.loss, w.rng.Float64() < w.net.loss, w.rng.Float64() < w.net.twice
	w.mu.Unlock()
	if l == nil && !cut {
		return nil, errRefused
	}
	if cut || lostThere {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if err := sleep(ctx, there); err != nil && !twice {
		return nil, err
	}
	answer := make(chan []byte, 1)
	go func() { // outlives its sender, as what is in the kernel does, but not its receiver
		if twice {
			defer func() {
				if sleep(l.ctx, again) == nil {
					l.founder.Answer(l.ctx, sender, q)
				}
			}()
		}
		a := l.founder.Answer(l.ctx, sender, q)
		if l.ctx.Err() == nil && !lostBack {
			answer <- a
		}
	}()
	select {
	case a := <-answer:
		return a, sleep(ctx, back)
	case <-l.ctx.Done():
		return nil, errReset
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (w *world) delay() time.Duration {
	if w.net.delay == 0 {
		return 0
	}
	d := time.Duration(w.rng.Int64N(int64(w.net.delay)))
	if w.rng.IntN(4) > 0 {
		d /= 10
	}
	return d
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// founder returns that of the program that runs, or nil.
func (n *node) founder() *Founder {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if n.life == nil {
		return nil
	}
	return n.life.founder
}

// stop ends the program: by a signal, or with the power when lost.
func (n *node) stop(power bool) {
	w := n.world
	w.mu.Lock()
	l, d := n.life, n.disk
	seed := w.rng.Uint64()
	w.mu.Unlock()
	if power {
		d.Crash(rand.New(rand.NewPCG(seed, 1)))
	} else {
		d.Kill()
	}
	if l == nil {
		return
	}
	l.cancel()
	<-l.done
	w.mu.Lock()
	n.life = nil
	w.mu.Unlock()
	n.look()
}

// look checks that what is in the directory can be read.
func (n *node) look() {
	w := n.world
	w.mu.Lock()
	d := n.disk.Clone()
	w.mu.Unlock()
	if _, _, err := InDirectory(d.Mount(), stateDir, "wal").Load(); err != nil {
		w.fault("%s: after a crash: %v", n.name, err)
	}
}

// wipe replaces the disk of a node that does not run.
func (n *node) wipe() {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	n.disk = freshDisk()
	n.identity = Identity{}
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// observe checks what must hold whenever a node is seen with an identity.
func (w *world) observe(n *node, id Identity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := n.identity
	n.identity = id
	say := func(format string, args ...any) {
		w.faults = append(w.faults, n.name+": "+fmt.Sprintf(format, args...))
	}
	if old.Directory != "" && old.Directory == id.Directory {
		switch {
		case old.Record != nil && !old.Record.Same(id.Record):
			say("was born in %s and is in %v", old.Record.ClusterID, id.Record)
		case old.Promise != nil && !old.Promise.Same(id.Promise) && !old.Promise.Same(id.Record):
			say("broke its promise of %s", old.Promise.ClusterID)
		}
	}
	if id.Record == nil {
		return
	}
	w.records[id.Record.Hash] = id.Record
	if d := w.counted[seat{id.Record.Hash, n.name}]; d != "" && d != id.Directory {
		say("came back as member %d with directory %s, after what it did with %s was counted", id.RaftID, id.Directory, d)
	}
	if born := w.votersLocked(id.Record); len(born) > len(id.Record.Voters())/2 {
		for _, b := range born {
			w.counted[seat{id.Record.Hash, b.name}] = b.identity.Directory
		}
	}
}

// votersLocked returns the voters that were born in rec.
func (w *world) votersLocked(rec *Record) []*node {
	var born []*node
	for _, n := range w.nodes {
		if m, _ := rec.Member(n.name); m.Voter && n.identity.Record.Same(rec) {
			born = append(born, n)
		}
	}
	return born
}

// settle makes the world good, starts everybody, and waits until all know what
// they are, or time is up.
func (w *world) settle(limit time.Duration) {
	w.mu.Lock()
	w.net = conditions{}
	for _, n := range w.nodes {
		n.cut = false
		n.disk.OnOp(nil)
	}
	w.mu.Unlock()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		waiting := false
		for _, n := range w.all() {
			n.revive()
			waiting = waiting || !n.over()
		}
		if !waiting {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// revive starts a program that does not run, or that ended for its disk.
func (n *node) revive() {
	w := n.world
	w.mu.Lock()
	l := n.life
	w.mu.Unlock()
	if l != nil {
		select {
		case <-l.done:
			if l.err == nil || errors.Is(l.err, ErrStateLost) {
				return // it is born, or out, and answers
			}
			n.stop(false)
		default:
			return
		}
	}
	n.start()
}

// over reports whether the node came to an end: born, lost or not a member.
func (n *node) over() bool {
	w := n.world
	w.mu.Lock()
	l := n.life
	w.mu.Unlock()
	if l == nil {
		return false
	}
	select {
	case <-l.done:
		return true
	default:
	}
	f := n.founder()
	return f != nil && f.State().Phase == NotMember
}

// end stops everybody and reports what went wrong.
func (w *world) end() {
	for _, n := range w.all() {
		n.stop(false)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.records) > 1 && !w.several {
		w.faults = append(w.faults, fmt.Sprintf("%d records were committed", len(w.records)))
	}
	for _, fault := range w.faults {
		w.t.Error(fault)
	}
}

// standing tells where everybody is, for failures.
func (w *world) standing() string {
	text := ""
	for _, n := range w.all() {
		text += "\n  " + n.name + ": " + w.state(n.name).String()
	}
	return text
}

// dice returns a source of its own for what runs beside the test.
func (w *world) dice() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.rng.Uint64(), 3))
}

// state returns how the named node stands.
func (w *world) state(name string) State {
	w.mu.Lock()
	n := w.nodes[name]
	w.mu.Unlock()
	if f := n.founder(); f != nil {
		return f.State()
	}
	return State{Phase: "down"}
}

// expectAll checks that each node is in one of the phases, some of them in the
// first.
func (w *world) expectAll(phases ...Phase) {
	w.t.Helper()
	some := false
	for _, n := range w.all() {
		phase := w.state(n.name).Phase
		some = some || phase == phases[0]
		if !slices.Contains(phases, phase) {
			w.t.Errorf("%s is %s, want one of %v%s", n.name, phase, phases, w.standing())
			return
		}
	}
	if !some {
		w.t.Errorf("nobody is %s%s", phases[0], w.standing())
	}
}
