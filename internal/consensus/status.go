package consensus

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Status is how agreement fares on this node, at most a tick ago.
type Status struct {
	// Role is "leader", "follower", "candidate" or "learner"; "halted" after a failure.
	Role   string
	RaftID uint64
	Term   uint64
	// Leader is the leader's name, "" while there is none.
	Leader string
	// Members are sorted by Raft ID.
	Members []MemberStatus

	Applied, Committed, Revision uint64
	Keys                         int
	// StateBytes is by the quota's reckoning; LogBytes and SnapshotBytes are on disk.
	StateBytes, LogBytes, SnapshotBytes int64
	SnapshotIndex                       uint64
	SyncP50, SyncP99                    time.Duration
	// Trouble is what stands in the way on this node, in words; "" if nothing does.
	Trouble string
}

// MemberStatus is one member as this node sees it.
type MemberStatus struct {
	Name   string
	RaftID uint64
	PID    uint32
	Voter  bool
	// Connected tells whether this node's connection to it stands and, while there is
	// no leader, whether it was heard since the last one was lost. Always true of this
	// node itself.
	Connected bool
	// Match is the last entry that it is known to have, Lag how many it lacks, and
	// Active whether it has answered lately. Only a leader knows them.
	Match, Lag uint64
	Active     bool
	// SnapshotSent and SnapshotTotal are bytes of a snapshot on its way to it.
	SnapshotSent, SnapshotTotal int64
}

// Status returns how agreement fares. It does not block.
func (r *Replica) Status() Status {
	s := *r.published.Load()
	s.Members = slices.Clone(s.Members)
	if r.wal != nil {
		stats := r.wal.Stats()
		s.LogBytes, s.SyncP50, s.SyncP99 = stats.DiskBytes, stats.SyncP50, stats.SyncP99
		if meta, any := r.snaps.Latest(); any {
			s.SnapshotBytes = meta.Size
		}
	}
	return s
}

// publish lets others see the loop's state. It belongs to the loop.
//
// What log and snapshots tell by themselves is added by Status.
func (r *Replica) publish() {
	basic := r.node.BasicStatus()
	s := &Status{
		Role:          role(basic, r.isLearner()),
		RaftID:        r.id,
		Term:          r.term,
		Leader:        r.name(r.lead),
		Applied:       r.applied,
		Committed:     basic.GetCommit(),
		Revision:      r.machine.Revision(),
		Keys:          r.machine.Len(),
		StateBytes:    r.machine.Size(),
		SnapshotIndex: r.store.snapIndex,
		Trouble:       r.trouble,
	}
	if r.ctx != nil && r.ctx.Err() != nil {
		s.Role, s.Leader, s.Trouble = "halted", "", context.Cause(r.ctx).Error()
	}
	s.Members = r.memberStatus(basic)
	r.published.Store(s)
}

func role(s raft.BasicStatus, learner bool) string {
	switch s.RaftState {
	case raft.StateLeader:
		return "leader"
	case raft.StateCandidate, raft.StatePreCandidate:
		return "candidate"
	}
	if learner {
		return "learner"
	}
	return "follower"
}

func (r *Replica) isLearner() bool {
	return slices.Contains(r.store.conf.GetLearners(), r.id)
}

func (r *Replica) memberStatus(basic raft.BasicStatus) []MemberStatus {
	var all []MemberStatus
	for _, m := range r.cfg.Cluster.GetMembers() {
		s := MemberStatus{Name: m.GetName(), RaftID: m.GetRaftId(), PID: m.GetPid(), Voter: m.GetVoter(), Connected: m.GetRaftId() == r.id}
		if other := r.members[s.RaftID]; other != nil {
			s.Connected = other.pipe.Up() && (r.lead != raft.None || other.heard > r.leaderless)
		}
		if t := r.snapshots.sending[s.RaftID]; t != nil {
			s.SnapshotSent, s.SnapshotTotal = t.Sent, t.Total
		}
		all = append(all, s)
	}
	if basic.RaftState == raft.StateLeader {
		last := r.store.last()
		r.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			i := slices.IndexFunc(all, func(s MemberStatus) bool { return s.RaftID == id })
			if i < 0 {
				return
			}
			other := r.members[id]
			all[i].Match, all[i].Active = p.Match, other == nil || other.heard+electionTicks > r.tick
			all[i].Lag = last - min(last, p.Match)
		})
	}
	slices.SortFunc(all, func(a, b MemberStatus) int { return cmp.Compare(a.RaftID, b.RaftID) })
	return all
}
