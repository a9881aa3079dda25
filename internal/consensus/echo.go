package consensus

import pb "go.etcd.io/raft/v3/raftpb"

// echoes are acknowledgements that tell a leader nothing new. When an entry is committed
// raft tells every follower so in an append without entries, which each answers by
// acknowledging once more what it has acknowledged: of the messages that an entry costs a
// leader, the better part. Those answers are left out.
//
// A leader needs one where it is not sure any more what a follower has. That is so after a
// connection between them was lost, either way, which both sides notice; and when it could
// not send something, its queue being full. Then it asks again with its next heartbeat, with
// an append that tells of no commit, and that is answered.
//
// It belongs to who has the floor.
type echoes struct {
	to, term, index uint64 // of the last acknowledgement that went out, zero if it may be lost
	commits         int    // appends since the last answers that only told of a commit
}

// hear notes an append that is about to be answered, for a node that knows of entries up to
// committed as committed.
func (e *echoes) hear(m *pb.Message, committed uint64) {
	if m.GetType() == pb.MsgApp && len(m.GetEntries()) == 0 && m.GetCommit() > committed {
		e.commits++
	}
}

// redundant reports whether m, which is about to be sent, can be left out.
func (e *echoes) redundant(m *pb.Message) bool {
	if m.GetType() != pb.MsgAppResp || m.GetReject() {
		return false
	}
	last := echoes{m.GetTo(), m.GetTerm(), m.GetIndex(), e.commits}
	if last == *e && e.commits > 0 {
		e.commits--
		return true
	}
	*e = last
	return false
}

// forget is called when what was sent to a member may be lost, or it may not know any more
// what it was told.
func (e *echoes) forget(member uint64) {
	if e.to == member {
		*e = echoes{}
	}
}
