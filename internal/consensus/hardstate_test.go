package consensus

import (
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/wal"
)

// onDisk returns the hard state that the log on a copy of d has.
func onDisk(t *testing.T, d *memdisk.Disk) wal.State {
	t.Helper()
	log, found, err := wal.Open(d.Clone().Mount(), "/state/log", wal.Options{Foreground: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return found.State
}

// appended is what the leader of term 5 says: an entry with that index, 0 for none, and
// what is committed.
func appended(previous, entry, commit uint64) *pb.Message {
	m := message(pb.MsgApp, 2, 5)
	m.Index, m.LogTerm, m.Commit = &previous, new(uint64(5)), &commit
	if previous == 1 {
		m.LogTerm = new(uint64(1)) // the founding's
	}
	if entry != 0 {
		data := state.AppendEntryHeader(nil, 5, 0, nil)
		m.Entries = []*pb.Entry{{Term: new(uint64(5)), Index: &entry, Type: new(pb.EntryNormal), Data: data}}
	}
	return m
}

// TestEveryStateIsWritten: what is committed comes to the disk with the next entries, at the
// next tick, or with Close, whichever is first (S4); and it does no harm if it did not.
func TestEveryStateIsWritten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := memdisk.New()
		r := begin(t, d)
		step := func(m *pb.Message) { inLoop(t, r, func() { r.step(m) }) }
		check := func(when string, commit, applied uint64) {
			t.Helper()
			if got := onDisk(t, d); got.Term != 5 || got.Commit != commit {
				t.Errorf("%s: %+v is on disk, want commit %d in term 5", when, got, commit)
			}
			inLoop(t, r, func() {
				if r.applied != applied {
					t.Errorf("%s: applied is %d, want %d", when, r.applied, applied)
				}
			})
		}
		step(appended(1, 2, 1))
		check("an entry", 1, 1)
		step(appended(2, 0, 2))
		check("it is committed", 1, 2)
		step(appended(2, 3, 2))
		check("the next entry", 2, 2)
		step(appended(3, 0, 3))
		check("that is committed", 2, 3)
		time.Sleep(2 * tickEvery)
		check("a tick", 3, 3)
		step(appended(3, 4, 4))
		check("an entry that is committed already", 4, 4)
		step(appended(4, 5, 4))
		step(appended(5, 0, 5))
		check("one more is committed", 4, 5)

		killed := d.Clone()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if got := onDisk(t, d); got.Commit != 5 {
			t.Errorf("closed: %+v is on disk, want commit 5", got)
		}
		again := begin(t, killed)
		inLoop(t, again, func() {}) // it applies what it knows of
		inLoop(t, again, func() {
			if again.applied != 4 || again.store.last() != 5 {
				t.Errorf("after a kill: applied %d of %d, want 4 of 5", again.applied, again.store.last())
			}
		})
		inLoop(t, again, func() { again.step(appended(5, 0, 5)) })
		inLoop(t, again, func() {
			if again.applied != 5 {
				t.Errorf("after a kill, told once more: applied %d, want 5", again.applied)
			}
		})
	})
}
