package kith

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/kith-go/kith/internal/founding"
	"github.com/kith-go/kith/membership"
)

// AgreementStatus is how a node fares in agreement, at most a moment ago.
type AgreementStatus struct {
	// ClusterID is what the cluster was founded as, "" before.
	ClusterID string
	// State is "founding" before the cluster's birth, "joining" while a node that
	// is counted in is let in, "leader", "follower", "candidate" or "learner" in it, and
	// "not a member", "lost" or "halted" for a node that is out.
	State string
	// Waiting tells whom the node waits for before its birth, and why, a line each.
	Waiting []string
	Term    uint64
	// Leader is the leader's name, "" while there is none.
	Leader string
	RaftID uint64
	// Members are those that the cluster counts, sorted by Raft ID.
	Members []AgreementMember
	// Applied and Committed are entries of the log. Revision is that of the newest
	// change applied here.
	Applied, Committed, Revision uint64
	Keys                         int
	// StateBytes is by the quota's reckoning; LogBytes and SnapshotBytes are on disk.
	StateBytes, LogBytes, SnapshotBytes int64
	SnapshotIndex                       uint64
	// SyncP50 and SyncP99 tell how long the disk has taken lately to make a write
	// durable.
	SyncP50, SyncP99 time.Duration
	// Problem is what stands in the way, "" if nothing does.
	Problem string
}

// AgreementMember is one member of the cluster, as the answering node sees it.
type AgreementMember struct {
	Name   string
	RaftID uint64
	PID    uint32
	// Voter is false of learners, which have a full copy and no vote.
	Voter bool
	// Connected tells whether this node has a connection to it and, while there is no
	// leader, whether it was heard since the last one was lost.
	Connected bool
	// Match is the last entry it is known to have, Lag how many it lacks, Active
	// whether it has answered lately. Only the leader knows them.
	Match, Lag uint64
	Active     bool
	// SnapshotSent of SnapshotTotal bytes of a snapshot are on their way to it; 0
	// without one.
	SnapshotSent, SnapshotTotal int64
}

// status tells how things stand.
func (a *agreement) status() *AgreementStatus {
	l := a.now()
	if l == nil {
		return nil
	}
	s := &AgreementStatus{State: "founding"}
	if l.founder != nil {
		a.founding(s, l.founder.State())
	}
	a.mu.Lock()
	replica, err := l.replica, l.err
	a.mu.Unlock()
	if err != nil {
		s.State, s.Problem = "lost", err.Error()
	}
	if replica == nil {
		return s
	}
	r := replica.Status()
	s.State, s.Waiting = r.Role, nil
	s.Term, s.Leader, s.RaftID = r.Term, r.Leader, r.RaftID
	s.Applied, s.Committed, s.Revision, s.Keys = r.Applied, r.Committed, r.Revision, r.Keys
	s.StateBytes, s.LogBytes, s.SnapshotBytes, s.SnapshotIndex = r.StateBytes, r.LogBytes, r.SnapshotBytes, r.SnapshotIndex
	s.SyncP50, s.SyncP99, s.Problem = r.SyncP50, r.SyncP99, cmp.Or(r.Trouble, s.Problem)
	for _, m := range r.Members {
		s.Members = append(s.Members, AgreementMember(m))
	}
	return s
}

func (a *agreement) founding(s *AgreementStatus, f founding.State) {
	s.ClusterID = f.ClusterID
	switch f.Phase {
	case founding.Joining, founding.NotMember, founding.Lost:
		s.State = string(f.Phase)
	}
	for _, w := range f.Waiting {
		s.Waiting = append(s.Waiting, w.Name+": "+w.Why)
	}
	if f.Err != nil {
		s.Problem = f.Err.Error()
	}
	if f.Phase == founding.Born && f.Err != nil { // it is about those of other clusters
		s.Problem = strings.Join(s.Waiting, "; ") + ": " + s.Problem
	}
}

// problems lists the reasons not to be content with agreement, in words.
func (s *AgreementStatus) problems(alive func(name string) membership.Status) (found []string) {
	tell := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	switch s.State {
	case "founding", "joining":
		if len(s.Waiting) > 0 {
			tell("the cluster is not founded yet, or does not let this node in yet; it waits for %s", strings.Join(s.Waiting, "; "))
		}
		if s.Problem != "" {
			tell("agreement: %s", s.Problem)
		}
		return found
	case "not a member":
		tell("the cluster does not count this node in: it was founded without it; %s", s.Problem)
		return found
	case "lost", "halted":
		tell("this node is out of agreement: %s", s.Problem)
		return found
	}
	if s.Problem != "" {
		tell("agreement: %s", s.Problem)
	}
	if s.Leader == "" {
		tell("there is no leader: nothing can be written until a majority of the voters is back")
	}
	voters, gone := 0, []string{}
	for _, m := range s.Members {
		if !m.Voter {
			continue
		}
		voters++
		if alive(m.Name) != membership.StatusAlive || !m.Connected {
			gone = append(gone, m.Name)
		}
	}
	if len(gone) > 0 && len(gone) == (voters-1)/2 {
		tell("%s gone from agreement: with one more voter lost, nothing can be written", strings.Join(gone, ", "))
	}
	return found
}
