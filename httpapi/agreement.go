package httpapi

import (
	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
)

// Agreement tells how a node fares in agreement. The meaning of its fields is that
// of [kith.AgreementStatus].
type Agreement struct {
	ClusterID     string            `json:"cluster_id"`
	State         string            `json:"state"`
	Waiting       []string          `json:"waiting,omitempty"`
	Term          uint64            `json:"term"`
	Leader        string            `json:"leader"`
	RaftID        uint64            `json:"raft_id"`
	Members       []AgreementMember `json:"members"`
	Applied       uint64            `json:"applied"`
	Committed     uint64            `json:"committed"`
	Revision      kv.Revision       `json:"revision"`
	Keys          int               `json:"keys"`
	StateBytes    int64             `json:"state_bytes"`
	LogBytes      int64             `json:"log_bytes"`
	SnapshotBytes int64             `json:"snapshot_bytes"`
	SnapshotIndex uint64            `json:"snapshot_index"`
	SyncP50       Millis            `json:"sync_p50_ms"`
	SyncP99       Millis            `json:"sync_p99_ms"`
	Problem       string            `json:"problem,omitempty"`
}

// AgreementMember is one member of the cluster. The meaning of its fields is that of
// [kith.AgreementMember]; Match, Lag and Active are there only if the leader tells them.
type AgreementMember struct {
	Name          string  `json:"name"`
	RaftID        uint64  `json:"raft_id"`
	PID           uint32  `json:"pid"`
	Voter         bool    `json:"voter"`
	Connected     bool    `json:"connected"`
	Match         *uint64 `json:"match,omitempty"`
	Lag           *uint64 `json:"lag,omitempty"`
	Active        *bool   `json:"active,omitempty"`
	SnapshotSent  int64   `json:"snapshot_sent,omitzero"`
	SnapshotTotal int64   `json:"snapshot_total,omitzero"`
}

// stateLeader is the state of the one node that knows how far the others are.
const stateLeader = "leader"

func newAgreement(s *kith.AgreementStatus) *Agreement {
	if s == nil {
		return nil
	}
	a := &Agreement{
		ClusterID: s.ClusterID, State: s.State, Waiting: s.Waiting, Term: s.Term, Leader: s.Leader, RaftID: s.RaftID,
		Members: make([]AgreementMember, len(s.Members)),
		Applied: s.Applied, Committed: s.Committed, Revision: kv.Revision(s.Revision), Keys: s.Keys,
		StateBytes: s.StateBytes, LogBytes: s.LogBytes, SnapshotBytes: s.SnapshotBytes, SnapshotIndex: s.SnapshotIndex,
		SyncP50: Millis(s.SyncP50), SyncP99: Millis(s.SyncP99), Problem: s.Problem,
	}
	for i, m := range s.Members {
		a.Members[i] = AgreementMember{
			Name: m.Name, RaftID: m.RaftID, PID: m.PID, Voter: m.Voter, Connected: m.Connected,
			SnapshotSent: m.SnapshotSent, SnapshotTotal: m.SnapshotTotal,
		}
		if s.State == stateLeader {
			a.Members[i].Match, a.Members[i].Lag, a.Members[i].Active = new(m.Match), new(m.Lag), new(m.Active)
		}
	}
	return a
}
