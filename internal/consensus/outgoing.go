package consensus

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/link"
)

// early reports whether a leader may send m before its own disk has what m
// carries: followers do not mind, and the leader counts itself only once it has
// written (Ongaro's thesis, 10.2.1).
func early(m *pb.Message) bool {
	return m.GetType() == pb.MsgApp || m.GetType() == pb.MsgHeartbeat
}

func (r *Replica) sendEarly(messages []*pb.Message) (n int) {
	for _, m := range messages {
		if early(m) {
			r.queue(m)
			n++
		}
	}
	r.flush()
	return n
}

func (r *Replica) sendRest(messages []*pb.Message, sentEarly bool) {
	for _, m := range messages {
		if sentEarly && early(m) || r.echoes.redundant(m) {
			continue
		}
		if m.GetType() == pb.MsgSnap {
			r.sendSnapshot(m)
			continue
		}
		r.queue(m)
	}
	r.echoes.commits = 0
	r.flush()
}

// maxFrame is about how large a frame of messages becomes.
const maxFrame = 4 << 20

// queue adds m to the frame for its receiver.
func (r *Replica) queue(m *pb.Message) {
	if r.scratch.frames == nil {
		r.scratch.frames = make(map[uint64][]byte)
	}
	to := m.GetTo()
	frame := appendMessage(r.scratch.frames[to], m)
	if len(frame) > maxFrame {
		r.sendFrame(to, frame)
		frame = nil
	}
	r.scratch.frames[to] = frame
}

func (r *Replica) flush() {
	for to, frame := range r.scratch.frames {
		if len(frame) > 0 {
			r.sendFrame(to, frame)
			r.scratch.frames[to] = nil
		}
	}
}

func (r *Replica) sendFrame(to uint64, frame []byte) {
	if !r.send(to, link.KindRaft, frame) {
		r.node.ReportUnreachable(to)
	}
}
