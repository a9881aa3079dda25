package kith

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/consensus"
	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/founding"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/peers"
)

const (
	// DefaultSessionTTL is Config.SessionTTL when that is 0.
	DefaultSessionTTL = 5 * time.Second
	// MinSessionTTL is the least: three elections of the longest kind, about a second
	// each, and the grace of the holder.
	MinSessionTTL = 4 * time.Second
	// MaxSessionTTL is the most.
	MaxSessionTTL = 24 * time.Hour
)

// sessionGrace is how much earlier than the cluster a holder lets go: time for
// contexts to end and children to be killed (SAFETY.md, S11).
const sessionGrace = 500 * time.Millisecond

// agreement is the node's part in the agreed state: first its birth, then a
// replica. It outlives both: a node of one that adopts a list of several begins
// again, under the same agreement.
type agreement struct {
	node *Node
	hub  consensus.Hub

	ctx  context.Context // ends with the node, or when agreement halts here
	halt context.CancelCauseFunc

	mu      sync.Mutex // guards the fields below
	life    *life
	changed chan struct{} // closed and replaced whenever life changes
}

// life is one attempt to be a member: with one directory, until the node ends or
// begins again.
type life struct {
	dir     string // "" in memory
	name    string
	founder *founding.Founder
	replica *consensus.Replica // nil before birth
	moved   bool               // the node's address changed while there was none
	err     error              // why there is no replica and will be none
	quit    context.CancelFunc
	done    chan struct{} // closed when its goroutine has ended
}

func newAgreement(n *Node) *agreement {
	a := &agreement{node: n, changed: make(chan struct{})}
	a.ctx, a.halt = context.WithCancelCause(n.ctx)
	return a
}

// files returns the file system that the node keeps its state on: the system's,
// unless the network is a test's that brings its own.
func (c Config) files() disk.FS {
	if host, ok := c.Network.(interface{ Files() disk.FS }); ok {
		return host.Files()
	}
	return disk.System{}
}

// segmentBytes is the size of the log's files: small on a test's disk, which is in
// memory.
func (c Config) segmentBytes() int64 {
	if c.files() == disk.FS(disk.System{}) {
		return 0
	}
	return 256 << 10
}

// begin makes the node part of agreement, as self in list, with the state in dir.
// What an earlier begin started is ended first, if it was in memory and dir is not
// ""; otherwise it goes on and learns of the list.
func (a *agreement) begin(dir string, self string, list *peers.Peers) error {
	now := a.now()
	if now != nil && now.dir == dir && (now.name == self || dir != "") {
		if now.founder == nil {
			return nil
		}
		return now.founder.SetPeers(candidates(list))
	}
	if now != nil {
		a.node.log.Warn("this node was a cluster of its own, in memory; it forgets that state to be one of several")
		a.relocate()                        // the node lives: what it held ends with its session
		a.set(func() { now.replica = nil }) // calls wait for the next one
		now.end()
	}
	next := &life{dir: dir, name: self, done: make(chan struct{})}
	cfg := founding.Config{
		Name:  self,
		Peers: candidates(list),
		Ask:   a.node.askFounder,
		Admit: a.admit,

		Override: a.node.cfg.Founders,
		Log:      a.node.log,
	}
	if dir != "" {
		cfg.Store = founding.InDirectory(a.node.cfg.files(), dir, "log", "snapshots")
	}
	founder, err := founding.New(cfg)
	if _, damaged := errors.AsType[*founding.DamageError](err); damaged {
		// The node gossips all the same, and says what is wrong (S3).
		next.quit = func() {}
		close(next.done)
		a.set(func() { a.life = next })
		a.out(next, fmt.Errorf("%w: %w", outcome.ErrStateLost, err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("kith: %w", err)
	}
	next.founder = founder
	ctx, quit := context.WithCancel(a.node.work)
	next.quit = quit
	a.set(func() { a.life = next })
	a.node.wg.Go(func() {
		defer close(next.done)
		a.live(ctx, next)
	})
	return nil
}

// end ends a life and waits until nothing of it runs.
func (l *life) end() {
	l.quit()
	<-l.done
}

func candidates(list *peers.Peers) []founding.Peer {
	var all []founding.Peer
	for _, p := range list.Sorted() {
		all = append(all, founding.Peer{PID: p.PID, Name: p.Name})
	}
	return all
}

func (a *agreement) now() *life {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.life
}

func (a *agreement) set(edit func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	edit()
	close(a.changed)
	a.changed = make(chan struct{})
}

// live takes a node from before its birth to its end.
func (a *agreement) live(ctx context.Context, l *life) {
	id, err := l.founder.Run(ctx)
	if ctx.Err() != nil {
		return
	}
	var replica *consensus.Replica
	if err == nil {
		a.node.now().link.Bind(id.Record.ClusterID, id.RaftID)
		replica, err = a.raise(l, id)
	}
	if err != nil {
		a.out(l, err)
		return
	}
	a.tell(id)
	a.serve(l, replica)
	a.hub.WakeAll()
	select {
	case <-ctx.Done():
	case <-replica.Context().Done():
		a.out(l, context.Cause(replica.Context()))
	}
	if err := replica.Close(); err != nil {
		a.node.log.Error("the log was not closed properly", "error", err)
	}
}

// serve puts a life's replica into service. Others may have met it at the old address, if
// the node moved meanwhile: what they see there must not be about what it will hold.
func (a *agreement) serve(l *life, replica *consensus.Replica) {
	a.set(func() {
		l.replica = replica
		if l.moved {
			replica.Relocate()
		}
	})
}

// tell logs what the node was born into.
func (a *agreement) tell(id founding.Identity) {
	var voters, learners []string
	for _, m := range id.Record.Members {
		if m.Voter {
			voters = append(voters, m.Name)
		} else {
			learners = append(learners, m.Name)
		}
	}
	a.node.log.Info("member of the cluster", "cluster_id", id.Record.ClusterID, "raft_id", id.RaftID, "voters", voters, "learners", learners)
	if len(voters) == 1 && len(learners) > 0 {
		a.node.log.Warn("with two peers only the first one votes: while it is gone, nothing can be written", "voter", voters[0])
	}
}

// out notes that the node takes no part in agreement any more, for the given
// reason. It gossips on.
func (a *agreement) out(l *life, err error) {
	a.node.log.Error("this node stays out of agreement", "error", err)
	a.set(func() { l.err = lost(err) })
	a.halt(l.err)
}

// lost gives the errors that keep a node out for good their public name.
func lost(err error) error {
	if errors.Is(err, founding.ErrStateLost) {
		return fmt.Errorf("%w: %w", outcome.ErrStateLost, err)
	}
	return err
}

// bind lets a link that replaces another accept and open connections between
// members (S2).
func (a *agreement) bind(l *link.Link) {
	if now := a.now(); now != nil && now.founder != nil {
		if id := now.founder.Identity(); id.Record != nil {
			l.Bind(id.Record.ClusterID, id.RaftID)
		}
	}
}

func (a *agreement) raise(l *life, id founding.Identity) (*consensus.Replica, error) {
	n := a.node
	return consensus.Start(consensus.Config{
		Cluster:      cluster(id.Record),
		Self:         id.RaftID,
		Incarnation:  uint64(n.now().id),
		FS:           n.cfg.files(),
		Dir:          l.dir,
		Dial:         n.dialMember,
		Hub:          &a.hub,
		Clock:        n.cfg.clock(),
		Log:          n.log,
		SessionTTL:   cmp.Or(n.cfg.SessionTTL, DefaultSessionTTL),
		SessionGrace: sessionGrace,

		IgnoreRefusals: n.cfg.IgnoreRefusals,

		SegmentBytes:  n.cfg.segmentBytes(),
		SnapshotBytes: n.cfg.snapshotBytes,
		TrailBytes:    n.cfg.snapshotBytes / 4,
	})
}

// cluster is the first state of a cluster, as the founding record has it. It must
// come out alike on all members, so nothing of this node's own goes into it.
func cluster(r *founding.Record) *statepb.Cluster {
	c := &statepb.Cluster{Id: r.ClusterID, Feature: 1}
	for _, m := range r.Members {
		c.Members = append(c.Members, &statepb.Member{
			RaftId: m.RaftID, Name: m.Name, Pid: m.PID, Voter: m.Voter, Directory: m.Directory,
		})
	}
	return c
}

// admit notes through the log that a member has a directory (S3).
func (a *agreement) admit(ctx context.Context, id uint64, directory string) error {
	replica := a.born()
	if replica == nil {
		return errors.New("kith: this node has no replica")
	}
	result, err := replica.Propose(ctx, &statepb.Command{Op: &statepb.Command_Admit{
		Admit: &statepb.Admit{Member: id, Directory: directory},
	}})
	switch {
	case err != nil:
		return err
	case result.GetCode() == statepb.Result_OK:
		return nil
	case result.GetCode() == statepb.Result_OTHER_DIRECTORY:
		return founding.ErrOtherDirectory
	}
	return fmt.Errorf("the cluster does not admit member %d: %v %s", id, result.GetCode(), result.GetDetail())
}

// replica waits until there is one. Its errors are *outcome.Error and NotDone.
func (a *agreement) replica(ctx context.Context) (*consensus.Replica, error) {
	for {
		a.mu.Lock()
		l, changed := a.life, a.changed
		var replica *consensus.Replica
		var err error
		if l != nil {
			replica, err = l.replica, l.err
		}
		a.mu.Unlock()
		if replica != nil {
			return replica, nil
		}
		if err == nil && l != nil && l.founder.State().Phase == founding.NotMember {
			err = ErrNotMember
		}
		if err != nil {
			return nil, &outcome.Error{Op: "agreement", Err: err, Hint: a.waiting(l)}
		}
		retry := time.NewTimer(250 * time.Millisecond) // founding has no signal for its phases
		select {
		case <-changed:
		case <-retry.C:
		case <-a.node.ctx.Done():
			err = a.node.cause()
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ErrNoQuorum, context.Cause(ctx))
		}
		retry.Stop()
		if err != nil {
			return nil, &outcome.Error{Op: "agreement", Err: err, Hint: a.waiting(l)}
		}
	}
}

// waiting tells in words what stands between a node and its birth.
func (a *agreement) waiting(l *life) string {
	if l == nil || l.founder == nil {
		return ""
	}
	s := l.founder.State()
	var words []string
	if s.Err != nil {
		words = append(words, s.Err.Error())
	}
	for _, w := range s.Waiting {
		words = append(words, w.Name+": "+w.Why)
	}
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf("this node is %s; %s", s.Phase, strings.Join(words, "; "))
}

// lockDir makes sure that nobody else uses dir.
func (n *Node) lockDir(dir string) (io.Closer, error) {
	lock, err := n.cfg.files().Lock(filepath.Join(dir, "lock"))
	if held, ok := errors.AsType[*disk.LockedError](err); ok {
		return nil, fmt.Errorf("kith: the state directory %s is in use: %w; stop that process, or give this node a directory of its own (Config.Dir, kith agent --dir)", dir, held)
	}
	if err != nil {
		return nil, fmt.Errorf("kith: state directory: %w; name one that this user may write with Config.Dir (kith agent --dir) or $STATE_DIRECTORY", err)
	}
	return lock, nil
}
