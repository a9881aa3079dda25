package consensus

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// storage is the tail of the log that raft reads, in memory: everything after
// the newest snapshot and some entries before it, for followers that lag. It
// belongs to the loop. The log on disk has at least the same entries.
type storage struct {
	hard *pb.HardState
	conf *pb.ConfState
	// snapshot is the newest that is complete on disk; its index is 0 in memory-only nodes
	// that never made one.
	snapIndex, snapTerm uint64
	// before is the entry before the first one here.
	beforeIndex, beforeTerm uint64
	entries                 []*pb.Entry
	bytes                   int64
}

var _ raft.Storage = (*storage)(nil)

func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) {
	return s.hard, s.conf, nil
}

func (s *storage) first() uint64 { return s.beforeIndex + 1 }
func (s *storage) last() uint64  { return s.beforeIndex + uint64(len(s.entries)) }

func (s *storage) FirstIndex() (uint64, error) { return s.first(), nil }
func (s *storage) LastIndex() (uint64, error)  { return s.last(), nil }

func (s *storage) Term(i uint64) (uint64, error) {
	switch {
	case i < s.beforeIndex:
		return 0, raft.ErrCompacted
	case i == s.beforeIndex:
		return s.beforeTerm, nil
	case i > s.last():
		return 0, raft.ErrUnavailable
	}
	return s.entries[i-s.first()].GetTerm(), nil
}

func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	switch {
	case lo < s.first():
		return nil, raft.ErrCompacted
	case hi > s.last()+1:
		return nil, raft.ErrUnavailable
	case lo >= hi:
		return nil, nil
	}
	found := s.entries[lo-s.first() : hi-s.first()]
	var size uint64
	for i, e := range found {
		size += uint64(entrySize(e))
		if size > maxSize && i > 0 {
			found = found[:i]
			break
		}
	}
	return found[:len(found):len(found)], nil
}

func (s *storage) Snapshot() (*pb.Snapshot, error) {
	if s.snapIndex == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return newSnapshot(s.snapIndex, s.snapTerm, s.conf), nil
}

// entrySize is the size raft reckons with: a generous bound of the encoded one.
func entrySize(e *pb.Entry) int { return len(e.GetData()) + 24 }

// append adds entries, which may replace a suffix.
func (s *storage) append(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	at := entries[0].GetIndex()
	if at < s.first() || at > s.last()+1 {
		return fmt.Errorf("entries from %d on do not fit a log of %d to %d", at, s.first(), s.last())
	}
	keep := at - s.first()
	for _, e := range s.entries[keep:] {
		s.bytes -= int64(entrySize(e))
	}
	if keep < uint64(len(s.entries)) {
		s.entries = s.entries[:keep:keep] // raft may hold slices of the old suffix: copy
	}
	s.entries = append(s.entries, entries...)
	for _, e := range entries {
		s.bytes += int64(entrySize(e))
	}
	return nil
}

// compact forgets the entries up to index.
func (s *storage) compact(index uint64) {
	if index <= s.beforeIndex || index > s.last() {
		return
	}
	n := index - s.beforeIndex
	s.beforeTerm = s.entries[n-1].GetTerm()
	s.beforeIndex = index
	for _, e := range s.entries[:n] {
		s.bytes -= int64(entrySize(e))
	}
	s.entries = append([]*pb.Entry(nil), s.entries[n:]...) // lets go of the memory
}

// install replaces everything by a snapshot.
func (s *storage) install(index, term uint64, conf *pb.ConfState) {
	s.snapIndex, s.snapTerm, s.conf = index, term, conf
	s.beforeIndex, s.beforeTerm = index, term
	s.entries, s.bytes = nil, 0
}
