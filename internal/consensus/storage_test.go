package consensus

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"
)

func entriesFrom(first, term uint64, n int) []*pb.Entry {
	var entries []*pb.Entry
	for i := range n {
		entries = append(entries, &pb.Entry{Index: new(first + uint64(i)), Term: new(term), Data: make([]byte, i%7)})
	}
	return entries
}

// The storage behaves like a map of entries, whatever is appended over the end,
// compacted or installed; and slices that were handed out keep what they had.
func TestStorageIsAMapOfEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &storage{beforeIndex: 1, beforeTerm: 1}
		model := map[uint64]uint64{} // index to term
		before, last, term := uint64(1), uint64(1), uint64(1)
		type loan struct {
			entries []*pb.Entry
			terms   []uint64
		}
		var loans []loan
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				at := rapid.Uint64Range(before+1, last+1).Draw(t, "at")
				n := rapid.IntRange(1, 5).Draw(t, "n")
				term++
				if err := s.append(entriesFrom(at, term, n)); err != nil {
					t.Fatal(err)
				}
				for i := at; i <= last; i++ {
					delete(model, i)
				}
				last = at + uint64(n) - 1
				for i := at; i <= last; i++ {
					model[i] = term
				}
			},
			"compact": func(t *rapid.T) {
				to := rapid.Uint64Range(before, last).Draw(t, "to")
				s.compact(to)
				for before < to {
					before++
					delete(model, before)
				}
			},
			"install": func(t *rapid.T) {
				before, term = last+rapid.Uint64Range(1, 9).Draw(t, "skip"), term+1
				last = before
				clear(model)
				s.install(before, term, &pb.ConfState{})
			},
			"borrow": func(t *rapid.T) {
				got, err := s.Entries(before+1, last+1, rapid.Uint64Range(0, 200).Draw(t, "size"))
				if err != nil {
					t.Fatal(err)
				}
				l := loan{entries: got}
				for _, e := range got {
					l.terms = append(l.terms, e.GetTerm())
				}
				loans = append(loans, l)
			},
			"": func(t *rapid.T) {
				if s.first() != before+1 || s.last() != last {
					t.Fatalf("holds %d to %d, want %d to %d", s.first(), s.last(), before+1, last)
				}
				var bytes int64
				for i := before + 1; i <= last; i++ {
					if got, err := s.Term(i); err != nil || got != model[i] {
						t.Fatalf("term of %d: %d, %v, want %d", i, got, err, model[i])
					}
					bytes += int64(entrySize(s.entries[i-s.first()]))
				}
				if bytes != s.bytes {
					t.Fatalf("counts %d bytes, has %d", s.bytes, bytes)
				}
				for _, l := range loans {
					for i, e := range l.entries {
						if e.GetTerm() != l.terms[i] {
							t.Fatal("a slice that was handed out has changed")
						}
					}
				}
			},
		})
	})
}

func TestStorageRefusesWhatDoesNotFit(t *testing.T) {
	s := &storage{beforeIndex: 10, beforeTerm: 2}
	if err := s.append(entriesFrom(12, 2, 1)); err == nil {
		t.Error("a gap was accepted")
	}
	if err := s.append(entriesFrom(10, 2, 1)); err == nil {
		t.Error("an entry that was compacted was accepted")
	}
	if _, err := s.Term(9); !errors.Is(err, raft.ErrCompacted) {
		t.Error(err)
	}
	if _, err := s.Term(11); !errors.Is(err, raft.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := s.Entries(10, 11, 1); !errors.Is(err, raft.ErrCompacted) {
		t.Error(err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) {
		t.Error(err)
	}
}
