package founding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// How a node's founding can end otherwise than in a cluster.
var (
	// ErrStateLost: the cluster knows this node with another state directory. What it
	// promised and acknowledged there is lost, so it stays out (SAFETY.md, S3).
	ErrStateLost = errors.New("this node's state was lost or replaced")
	// ErrNotMember: there is a cluster, and it does not count this node in.
	ErrNotMember = errors.New("this node is not a member of cluster")
	// ErrConflict: the listed peers belong to several clusters, or are bound to several
	// records.
	ErrConflict = errors.New("the peers in the list belong to different clusters: correct the list, " +
		"or stop those whose state is not wanted and remove their state directories")
	// ErrOtherDirectory is what Config.Admit returns for a member that is known with
	// another directory.
	ErrOtherDirectory = errors.New("the member is known with another state directory")
	// ErrOtherNode: the state directory belongs to a node with another name.
	ErrOtherNode = errors.New("the state directory belongs to another node")
)

// Config describes a founder. Name, Peers, Ask and Admit are required.
type Config struct {
	// Name is this node's, one of Peers.
	Name  string
	Peers []Peer
	// Override names the founders when an operator decides to do without the other
	// voters: at least a majority of them. It has to be the same on all founders.
	// The package's text tells what it risks.
	Override []string
	// Store keeps the identity. nil means memory, with which a node can only be a
	// cluster of its own.
	Store Store
	// Ask puts a question to the node of a name, wherever the list of peers says that
	// it is; that node finds the answer with Answer. It returns when ctx ends.
	Ask func(ctx context.Context, name string, question []byte) (answer []byte, err error)
	// Admit notes in the replicated state that a member has a state directory, unless
	// it is known with another one already: ErrOtherDirectory. It is called only after
	// this node's birth; any other error means trying again.
	Admit func(ctx context.Context, raftID uint64, directory string) error
	// Log may be nil.
	Log *slog.Logger
}

// Founder is a node's part in founding its cluster, and later its witness of it.
// Its methods are safe for concurrent use.
type Founder struct {
	cfg Config
	log *slog.Logger

	// turn holds one token: whoever has it may decide on the identity and save it.
	turn chan struct{}
	// kick holds one token: something changed, ask again soon.
	kick chan struct{}

	mu      sync.Mutex // guards all below
	plan    plan
	id      Identity
	ended   error             // the store's failure, or ErrStateLost; final
	heard   map[string]report // the last word of listed peers, asked for or not
	rounds  int
	state   State             // as of the last decision
	told    string            // what was logged about it
	toldAt  time.Time         // and when
	foreign map[string]string // listed peers of other clusters, with the ID
}

// New loads this node's identity, or makes one, durably, for a directory that was
// never used. It blocks for the disk. The errors are those of the list and the
// override, *DamageError, ErrOtherNode, and the disk's.
func New(cfg Config) (*Founder, error) {
	f := &Founder{
		cfg:     cfg,
		log:     cfg.Log,
		turn:    make(chan struct{}, 1),
		kick:    make(chan struct{}, 1),
		plan:    newPlan(cfg.Peers, cfg.Override),
		heard:   make(map[string]report),
		foreign: make(map[string]string),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.turn <- struct{}{}
	if err := f.checkPlan(f.plan); err != nil {
		return nil, err
	}
	if f.cfg.Store == nil {
		f.cfg.Store = memory{}
	}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Founder) checkPlan(p plan) error {
	if f.inMemory() && len(p.Peers) > 1 {
		return ErrNoDirectory
	}
	return p.check(f.cfg.Name)
}

func (f *Founder) inMemory() bool { return f.cfg.Store == nil || f.cfg.Store == memory{} }

func (f *Founder) load() error {
	id, found, err := f.cfg.Store.Load()
	if err != nil {
		return err
	}
	if found && id.Name != f.cfg.Name && !id.fresh() {
		return fmt.Errorf("founding: %w: it is %s's, this node is %s", ErrOtherNode, id.Name, f.cfg.Name)
	}
	if !found || id.Name != f.cfg.Name {
		if !found {
			id.Directory = newID()
		}
		id.Name = f.cfg.Name
		if err := f.cfg.Store.Save(id); err != nil {
			return err
		}
	}
	f.id = id
	return nil
}

// Run founds the cluster together with the others, or joins it, and returns this
// node's identity once it was born: the identity holds the committed record,
// durably. A node that was born before returns at once, as does one that is alone
// in its list. Otherwise Run blocks until ctx ends; State tells what it waits for.
// It is to be called once.
//
// It returns ErrStateLost when the node is to stay out, the disk's error when that
// failed, and the context's cause.
func (f *Founder) Run(ctx context.Context) (Identity, error) {
	pause := minPause
	for {
		if id, err := f.outcome(); err != nil || id.born() {
			return id, err
		}
		if ctx.Err() != nil {
			return f.Identity(), context.Cause(ctx)
		}
		r := f.hear(ctx)
		if ctx.Err() != nil {
			continue
		}
		d := r.decide()
		if d.do == wait {
			f.note(d.state)
		} else if f.act(ctx, r, d) {
			pause = minPause
			continue
		}
		if d.state.Phase == NotMember {
			pause = slowPause
		}
		if f.rest(ctx, pause) {
			pause = minPause
		} else {
			pause = min(pause*3/2, maxPause)
		}
	}
}

// outcome returns how the founding ended, if it has.
func (f *Founder) outcome() (Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id, f.ended
}

// Identity returns what is known of this node.
func (f *Founder) Identity() Identity {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// SetPeers puts another list in force. The errors are ErrNotListed, ErrOverride and
// ErrNoDirectory, and the list in force then stays.
func (f *Founder) SetPeers(list []Peer) error {
	p := newPlan(list, f.cfg.Override)
	if err := f.checkPlan(p); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan.same(p) {
		return nil
	}
	f.plan = p
	for name := range f.heard {
		if !named(p.Peers, name) {
			delete(f.heard, name)
		}
	}
	for name := range f.foreign {
		if !named(p.Peers, name) {
			delete(f.foreign, name)
		}
	}
	token(f.kick)
	return nil
}

// token puts one into c, unless it is there already.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// change decides on the identity with turn, and saves what it decided on. It
// reports false, and does nothing, if decide does.
func (f *Founder) change(ctx context.Context, decide func(Identity, plan) (Identity, bool)) (bool, error) {
	select {
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	f.mu.Lock()
	id, p, ended := f.id, f.plan, f.ended
	f.mu.Unlock()
	if ended != nil {
		return false, ended
	}
	next, ok := decide(id, p)
	if !ok {
		return false, nil
	}
	err := f.cfg.Store.Save(next)
	f.mu.Lock()
	defer f.mu.Unlock()
	token(f.kick)
	if err != nil {
		// Nobody knows now what a restart would find: this process says no more.
		f.ended = fmt.Errorf("founding: the state directory failed: %w", err)
		return false, f.ended
	}
	f.id = next
	return true, nil
}

// install makes rec the cluster that this node was born in.
func install(id Identity, rec *Record) Identity {
	m, _ := rec.Member(id.Name)
	id.Promise, id.Record, id.RaftID = nil, rec, m.RaftID
	return id
}
