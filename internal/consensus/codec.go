package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
)

// On the wire a Raft message is
//
//	type, 1 byte | flags, 1 byte | to, from, term, log term, index, commit, vote,
//	reject hint: a varint each | context: length and bytes |
//	count of entries, each: type, 1 byte | term, index: varints | length and bytes
//	with flag 2: the snapshot's index, term, voters and learners
//
// and a frame of kind Raft is a number of messages, each after its length.
// Protobuf, in which raftpb is defined, would cost an allocation per field here
// and reflection per message; nothing of this is on disk.

const (
	flagReject   = 1 << 0
	flagSnapshot = 1 << 1
	flagsKnown   = flagReject | flagSnapshot
)

var errMessage = errors.New("malformed raft message")

// appendMessage appends m to dst, after its length.
func appendMessage(dst []byte, m *pb.Message) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	var flags byte
	if m.GetReject() {
		flags |= flagReject
	}
	snapshot := m.GetSnapshot().GetMetadata()
	if snapshot.GetIndex() > 0 {
		flags |= flagSnapshot
	}
	dst = append(dst, byte(m.GetType()), flags)
	for _, v := range [...]uint64{m.GetTo(), m.GetFrom(), m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetVote(), m.GetRejectHint()} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = appendBytes(dst, m.GetContext())
	dst = binary.AppendUvarint(dst, uint64(len(m.GetEntries())))
	for _, e := range m.GetEntries() {
		dst = append(dst, byte(e.GetType()))
		dst = binary.AppendUvarint(dst, e.GetTerm())
		dst = binary.AppendUvarint(dst, e.GetIndex())
		dst = appendBytes(dst, e.GetData())
	}
	if flags&flagSnapshot != 0 {
		dst = binary.AppendUvarint(dst, snapshot.GetIndex())
		dst = binary.AppendUvarint(dst, snapshot.GetTerm())
		dst = appendIDs(dst, snapshot.GetConfState().GetVoters())
		dst = appendIDs(dst, snapshot.GetConfState().GetLearners())
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendIDs(dst []byte, ids []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = binary.AppendUvarint(dst, id)
	}
	return dst
}

// wireMessage is a message together with what its pointers point to, so that
// decoding one takes one allocation, and another for entries.
type wireMessage struct {
	pb.Message
	kind   pb.MessageType
	reject bool
	fields [8]uint64
}

type wireEntry struct {
	pb.Entry
	kind        pb.EntryType
	term, index uint64
}

// decodeMessages calls yield for each message of a frame's body, which the
// messages alias. What raft would panic about is an error here, as far as a message
// alone can tell.
func decodeMessages(body []byte, yield func(*pb.Message) error) error {
	for len(body) > 0 {
		if len(body) < 4 {
			return fmt.Errorf("%w: %d bytes left over", errMessage, len(body))
		}
		n := binary.BigEndian.Uint32(body)
		body = body[4:]
		if uint64(n) > uint64(len(body)) {
			return fmt.Errorf("%w: %d bytes announced, %d there", errMessage, n, len(body))
		}
		m, err := decodeMessage(body[:n:n])
		if err != nil {
			return err
		}
		if err := yield(m); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// reader takes a message apart; after the first fault it yields zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	if n == 0 {
		return nil
	}
	return v
}

// count reads the number of things of at least size bytes each that follow.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func decodeMessage(b []byte) (*pb.Message, error) {
	r := reader{b: b}
	w := &wireMessage{}
	w.kind = pb.MessageType(r.byte())
	flags := r.byte()
	w.reject = flags&flagReject != 0
	for i := range w.fields {
		w.fields[i] = r.uvarint()
	}
	m := &w.Message
	m.Type, m.Reject = &w.kind, &w.reject
	m.To, m.From, m.Term, m.LogTerm = &w.fields[0], &w.fields[1], &w.fields[2], &w.fields[3]
	m.Index, m.Commit, m.Vote, m.RejectHint = &w.fields[4], &w.fields[5], &w.fields[6], &w.fields[7]
	m.Context = r.bytes()
	m.Entries = decodeEntries(&r)
	if flags&flagSnapshot != 0 {
		m.Snapshot = decodeSnapshot(&r)
	}
	if r.bad || len(r.b) > 0 || flags&^byte(flagsKnown) != 0 {
		return nil, fmt.Errorf("%w of %d bytes, type %d", errMessage, len(b), byte(w.kind))
	}
	return m, validate(m)
}

func decodeEntries(r *reader) []*pb.Entry {
	n := r.count(4)
	if n == 0 {
		return nil
	}
	block := make([]wireEntry, n)
	entries := make([]*pb.Entry, n)
	for i := range block {
		e := &block[i]
		e.kind = pb.EntryType(r.byte())
		e.term, e.index = r.uvarint(), r.uvarint()
		e.Type, e.Term, e.Index = &e.kind, &e.term, &e.index
		e.Data = r.bytes()
		entries[i] = &e.Entry
	}
	return entries
}

func decodeSnapshot(r *reader) *pb.Snapshot {
	index, term := r.uvarint(), r.uvarint()
	return newSnapshot(index, term, &pb.ConfState{Voters: decodeIDs(r), Learners: decodeIDs(r), AutoLeave: new(false)})
}

func decodeIDs(r *reader) []uint64 {
	ids := make([]uint64, r.count(1))
	for i := range ids {
		ids[i] = r.uvarint()
	}
	return ids
}

func newSnapshot(index, term uint64, conf *pb.ConfState) *pb.Snapshot {
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: conf}}
}

// validate refuses what an honest node never sends and raft would panic about or
// take for its own.
func validate(m *pb.Message) error {
	fail := func(what string) error {
		return fmt.Errorf("%w: %v from %x: %s", errMessage, m.GetType(), m.GetFrom(), what)
	}
	fromLeader := false
	switch m.GetType() {
	case pb.MsgApp:
		fromLeader = true
		for i, e := range m.GetEntries() {
			if e.GetIndex() != m.GetIndex()+1+uint64(i) || e.GetTerm() == 0 || e.GetTerm() > m.GetTerm() {
				return fail("its entries do not follow one another")
			}
			if e.GetType() != pb.EntryNormal { // S5: the configuration does not change in this release
				return fail("it carries a configuration change")
			}
		}
	case pb.MsgSnap:
		fromLeader = true
		if m.GetSnapshot().GetMetadata().GetIndex() == 0 {
			return fail("it has no snapshot")
		}
	case pb.MsgHeartbeat:
		fromLeader = true
	case pb.MsgHeartbeatResp:
		if n := len(m.GetContext()); n != 0 && n != 8 { // raft reads 8 bytes without looking
			return fail("its context is not one of ours")
		}
	case pb.MsgReadIndex:
		if len(m.GetEntries()) != 1 {
			return fail("it has no context")
		}
	case pb.MsgReadIndexResp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp, pb.MsgTimeoutNow:
	default:
		return fail("not a message between nodes")
	}
	if m.GetTerm() == 0 && m.GetType() != pb.MsgReadIndex {
		return fail("it has no term")
	}
	if fromLeader && m.GetFrom() == 0 {
		return fail("it has no sender")
	}
	return nil
}
