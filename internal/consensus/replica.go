package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/snapshot"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/internal/wal"
)

// Config describes a replica: this node as a member of a cluster that was founded.
type Config struct {
	// Cluster is the founding record; Self is this node's Raft ID in it.
	Cluster *statepb.Cluster
	Self    uint64
	// Incarnation grows with each start of this node; where the clock it was made
	// from went back, the replica finds a higher one by itself.
	Incarnation uint64

	// FS and Dir say where the log and the snapshots are. With an empty Dir they are in
	// memory, which only a cluster of one may have (S6).
	FS  disk.FS
	Dir string

	// Dial connects to another member for a purpose, does the handshake, and tells whom it
	// met: at the numeric address at, or wherever the member is now if that is "". A
	// probe's connection is nil.
	Dial func(ctx context.Context, to *statepb.Member, at string, purpose link.Purpose) (net.Conn, link.Identity, error)
	// Hub is told of changes; required.
	Hub *Hub
	// Clock is time that runs through suspend (S11), from any origin; required.
	Clock func() time.Duration
	Log   *slog.Logger

	// SessionTTL is how long the cluster waits for a silent session's holder,
	// SessionGrace how much earlier the holder lets go.
	SessionTTL, SessionGrace time.Duration
	// IgnoreRefusals leaves the sessions of crashed nodes to their time, where refused
	// connections prove nothing (S12).
	IgnoreRefusals bool
	// SegmentBytes is the size of the log's files; 0 means 16 MiB.
	SegmentBytes int64
	// SnapshotBytes is how much log calls for a snapshot; TrailBytes of it are kept for those
	// that lag. 0 means 64 MiB and 16 MiB.
	SnapshotBytes, TrailBytes int64
}

const (
	// tickEvery is raft's unit of time. A leader's silence for electionTicks
	// leads to an election (sooner after a crash, S15); sessions must outlast
	// three of them (S11).
	tickEvery      = 50 * time.Millisecond
	heartbeatTicks = 2
	electionTicks  = 10

	maxMessage     = 1 << 20  // bytes of entries in one MsgApp
	maxUncommitted = 32 << 20 // bytes of entries that are proposed and not committed
	maxInflight    = 256      // messages to a follower that are not acknowledged
)

// Replica is this node's copy of the agreed state and its voice in agreement. Its
// methods are safe for concurrent use.
type Replica struct {
	cfg         Config
	id          uint64
	incarnation uint64
	log         *slog.Logger
	clock       func() time.Duration

	ctx    context.Context // ends with the replica; the cause tells why
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	inbox     *inbox
	floor     chan struct{} // holds a token of who takes a turn: the loop, mostly
	proposals proposals
	reads     reads
	sessions  sessions
	asks      asks
	published atomic.Pointer[Status]
	readers   readers
	receiving chan struct{} // holds one token: one snapshot comes in at a time

	mu      sync.RWMutex // guards machine, which only who has the floor changes
	machine *state.Machine

	// Everything below belongs to the loop, or to who else has the floor.
	node    *raft.RawNode
	store   *storage
	wal     *wal.Log        // nil in memory
	snaps   *snapshot.Store // nil in memory
	members map[uint64]*member
	// unwritten: the log on disk has an older hard state than store.
	unwritten bool

	tick uint64
	term uint64
	lead uint64
	// leaderless is the tick at which the last leader was lost.
	leaderless uint64
	applied    uint64
	// settled: this node leads and has applied an entry of its own term.
	settled bool
	leases  leases

	backlog         [][]byte // batches that wait for room in raft
	backlogBytes    int
	backlogCommands int  // in them
	refused         bool // raft takes no proposals until the next tick
	underway        int  // entries proposed in this term and not applied
	company         company
	proposedAt      time.Duration
	alarm           *time.Timer // rings when queued proposals have waited long enough
	uncommitted     int64       // bytes proposed in this term and not applied
	registering     uint64      // tick of the last attempt to register, 0 for none in this era
	echoes          echoes

	snapshots snapshots
	crash     crash
	scratch   scratch
	trouble   string // what the disk makes us wait for, "" if nothing
}

// Start opens the replica's state and begins to take part. It blocks for as long
// as reading the state takes. The errors are wal's and snapshot's *DamageError, which
// outcome.ErrStateLost wraps, and those of files.
func Start(cfg Config) (*Replica, error) {
	r := &Replica{
		cfg:         cfg,
		id:          cfg.Self,
		incarnation: cfg.Incarnation,
		log:         cfg.Log,
		clock:       cfg.Clock,
		inbox:       newInbox(),
		floor:       make(chan struct{}, 1),
		sessions:    sessions{turn: make(chan struct{}, 1)},
		asks:        newAsks(),
		receiving:   make(chan struct{}, 1),
		members:     make(map[uint64]*member),
	}
	r.proposals.incarnation = cfg.Incarnation
	r.sessions.turn <- struct{}{}
	r.receiving <- struct{}{}
	if r.cfg.SnapshotBytes == 0 {
		r.cfg.SnapshotBytes, r.cfg.TrailBytes = 64<<20, 16<<20
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	if err := r.startRaft(); err != nil {
		return nil, errors.Join(err, r.closeFiles())
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.connect()
	r.publish()
	r.alarm = time.NewTimer(hold)
	r.wg.Go(r.loop)
	return r, nil
}

func (r *Replica) startRaft() (err error) {
	defer func() { // raft panics on a state that cannot be
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", outcome.ErrStateLost, p)
		}
	}()
	r.node, err = raft.NewRawNode(&raft.Config{
		ID:                        r.id,
		ElectionTick:              electionTicks,
		HeartbeatTick:             heartbeatTicks,
		Storage:                   r.store,
		Applied:                   r.applied,
		MaxSizePerMsg:             maxMessage,
		MaxCommittedSizePerReady:  4 << 20,
		MaxUncommittedEntriesSize: 2 * maxUncommitted, // we stop before
		MaxInflightMsgs:           maxInflight,
		MaxInflightBytes:          64 << 20,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            readOnly(),
		DisableProposalForwarding: true, // S7
		StepDownOnRemoval:         true,
		Logger:                    raftLog{r.log},
	})
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	r.term = r.store.hard.GetTerm()
	if voters := r.store.conf.GetVoters(); len(voters) == 1 && voters[0] == r.id {
		return r.node.Campaign() // nobody else could lead
	}
	return nil
}

// Close ends the replica at once and waits for everything it has started. Calls
// under way end with outcome.ErrClosed. A second Close waits for the first.
func (r *Replica) Close() error {
	r.cancel(outcome.ErrClosed)
	r.sessions.close()
	for _, m := range r.members {
		m.pipe.Close()
	}
	r.readers.end()
	r.wg.Wait()
	return r.closeFiles()
}

func (r *Replica) closeFiles() error {
	if r.wal == nil {
		return nil
	}
	return r.wal.Close()
}

// Context ends with the replica: after Close with the cause outcome.ErrClosed,
// otherwise with what halted it.
func (r *Replica) Context() context.Context { return r.ctx }

// fail halts the replica: it cannot go on without risking what it promised.
func (r *Replica) fail(err error) {
	if r.ctx.Err() != nil {
		return
	}
	r.log.Error("agreement halts on this node", "error", err)
	r.cancel(fmt.Errorf("%w: %w", outcome.ErrStateLost, err))
}

// View calls fn with the local state, which may lag behind the cluster's. fn must
// be quick, must not call the replica, and keeps nothing that can change.
func (r *Replica) View(fn func(*state.Machine)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	fn(r.machine)
}

// failed makes the error of a call.
func (r *Replica) failed(err error, what outcome.Outcome) error {
	return &outcome.Error{Op: "agreement", Outcome: what, Err: err, Hint: r.hint(err)}
}

// tooLate is the error of a call whose context ended first.
func (r *Replica) tooLate(ctx context.Context) error {
	cause := context.Cause(ctx)
	if s := r.published.Load(); s.Leader == "" && cause != context.Canceled {
		return fmt.Errorf("%w: %w", outcome.ErrNoQuorum, cause)
	}
	return cause
}

// hint names who is missing where that is what stands in the way.
func (r *Replica) hint(err error) string {
	s := r.published.Load()
	if s.Trouble != "" {
		return s.Trouble
	}
	if !errors.Is(err, outcome.ErrNoQuorum) {
		return ""
	}
	var missing []string
	for _, m := range s.Members {
		if m.Voter && !m.Connected && m.RaftID != r.id {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) == 0 {
		return "the voters answer, and have not elected a leader yet"
	}
	return "not answering: " + strings.Join(missing, ", ")
}

// raftLog writes raft's own log into ours. Raft's infos are our details.
type raftLog struct{ log *slog.Logger }

func (l raftLog) Debug(...any)                     {}
func (l raftLog) Debugf(string, ...any)            {}
func (l raftLog) Info(v ...any)                    { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLog) Infof(format string, v ...any)    { l.print(slog.LevelDebug, format, v...) }
func (l raftLog) Warning(v ...any)                 { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLog) Warningf(format string, v ...any) { l.print(slog.LevelDebug, format, v...) }
func (l raftLog) Error(v ...any)                   { l.log.Warn(fmt.Sprint(v...)) }
func (l raftLog) Errorf(format string, v ...any)   { l.print(slog.LevelWarn, format, v...) }
func (l raftLog) Fatal(v ...any)                   { panic(fmt.Sprint(v...)) }
func (l raftLog) Fatalf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
func (l raftLog) Panic(v ...any)                   { panic(fmt.Sprint(v...)) }
func (l raftLog) Panicf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
func (l raftLog) print(level slog.Level, format string, v ...any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "raft: "+fmt.Sprintf(format, v...))
	}
}

// Handover gives leadership to another voter, if this node has it, and waits until
// that is done or ctx ends. Who does not lead returns at once.
func (r *Replica) Handover(ctx context.Context) error {
	for {
		done := make(chan bool, 1)
		r.inbox.do(func() { done <- r.lead != r.id || !r.transfer() })
		select {
		case over := <-done:
			if over {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
		again := time.NewTimer(tickEvery / 2)
		select {
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
	}
}

// transfer begins to hand over to the voter that has most of the log. It reports
// false if there is none.
func (r *Replica) transfer() bool {
	var best, match uint64
	r.node.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		if id != r.id && kind == raft.ProgressTypePeer && p.RecentActive && p.Match > match {
			best, match = id, p.Match
		}
	})
	if best == 0 {
		return false
	}
	r.node.TransferLeader(best)
	return true
}
