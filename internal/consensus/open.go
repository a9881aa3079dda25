package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/snapshot"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/wal"
)

// A cluster begins as if a snapshot had been installed at this point: the founding
// record (S1).
const (
	foundingIndex = 1
	foundingTerm  = 1
)

// poisonFile is written when the disk can no longer be trusted. Its presence keeps
// the node out of agreement (S3, S4).
const poisonFile = "damaged"

// readOnly is how raft confirms reads. Never by lease: that went stale around
// paused leaders (S10).
func readOnly() raft.ReadOnlyOption {
	if planted.Bug(planted.LeaseRead) {
		return raft.ReadOnlyLeaseBased
	}
	return raft.ReadOnlySafe
}

// open brings log, snapshots and machine to where they were.
func (r *Replica) open() error {
	conf := &pb.ConfState{AutoLeave: new(false)}
	for _, m := range r.cfg.Cluster.GetMembers() {
		if m.GetVoter() {
			conf.Voters = append(conf.Voters, m.GetRaftId())
		} else {
			conf.Learners = append(conf.Learners, m.GetRaftId())
		}
	}
	founded, err := state.Found(r.cfg.Cluster, foundingIndex, foundingTerm)
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	r.machine, r.applied = founded, foundingIndex
	r.store = &storage{
		hard: &pb.HardState{Term: new(uint64(foundingTerm)), Vote: new(uint64), Commit: new(uint64(foundingIndex))},
		conf: conf, beforeIndex: foundingIndex, beforeTerm: foundingTerm,
	}
	if r.cfg.Dir == "" {
		if len(conf.Voters)+len(conf.Learners) != 1 {
			return errors.New("consensus: a member of several needs a state directory")
		}
		return nil
	}
	if err := r.checkPoison(); err != nil {
		return err
	}
	if err := r.openSnapshots(); err != nil {
		return damaged(err)
	}
	return damaged(r.openLog())
}

// damaged gives the errors that mean lost state their name.
func damaged(err error) error {
	if _, ok := errors.AsType[*wal.DamageError](err); ok {
		return fmt.Errorf("%w: %w", outcome.ErrStateLost, err)
	}
	if _, ok := errors.AsType[*snapshot.DamageError](err); ok {
		return fmt.Errorf("%w: %w", outcome.ErrStateLost, err)
	}
	if _, ok := errors.AsType[*state.CorruptError](err); ok {
		return fmt.Errorf("%w: %w", outcome.ErrStateLost, err)
	}
	return err
}

func (r *Replica) openSnapshots() (err error) {
	if r.snaps, err = snapshot.OpenStore(r.cfg.FS, filepath.Join(r.cfg.Dir, "snapshots")); err != nil {
		return err
	}
	meta, any := r.snaps.Latest()
	if !any {
		return nil
	}
	began := time.Now()
	if r.machine, err = r.restore(meta); err != nil {
		return err
	}
	r.log.Info("restored a snapshot", "index", meta.Index, "keys", r.machine.Len(), "took", time.Since(began))
	r.applied = meta.Index
	r.store.install(meta.Index, meta.Term, r.store.conf)
	return nil
}

// openLog reads the log and fits it to the state as of the snapshot.
func (r *Replica) openLog() error {
	log, found, err := wal.Open(r.cfg.FS, filepath.Join(r.cfg.Dir, "log"), wal.Options{SegmentBytes: r.cfg.SegmentBytes, Log: r.log})
	if err != nil {
		return err
	}
	r.wal = log
	if t := found.Torn; t != nil {
		r.log.Info("cut off what a crash left half-written and nobody was promised", "file", t.File, "offset", t.Offset)
	}
	if err := r.fit(found); err != nil {
		return errors.Join(err, log.Close())
	}
	return nil
}

func (r *Replica) fit(found *wal.Recovered) error {
	base, baseTerm := r.store.beforeIndex, r.store.beforeTerm
	hard := found.State
	hard.Term, hard.Commit = max(hard.Term, baseTerm), max(hard.Commit, base)
	last := found.Index + uint64(len(found.Entries))
	if found.State == (wal.State{}) && last == 0 {
		if err := r.checkEmpty(); err != nil {
			return err
		}
	}
	switch {
	case found.Index > base:
		return fmt.Errorf("%w: the log begins after %d and the newest snapshot is of %d", outcome.ErrStateLost, found.Index, base)
	case last < base || termAt(found, base) != baseTerm:
		// New, or the crash came between a snapshot's arrival and the log's reset.
		if err := r.wal.Reset(base, baseTerm, hard); err != nil {
			return err
		}
		last = base
	default:
		r.store.beforeIndex, r.store.beforeTerm = found.Index, found.Term
		if err := r.store.append(raftEntries(found.Entries)); err != nil {
			return err
		}
		r.snapshots.grown = r.store.bytes
	}
	if hard.Commit > last {
		return fmt.Errorf("%w: the log ends at %d and %d was committed", outcome.ErrStateLost, last, hard.Commit)
	}
	r.store.hard = &pb.HardState{Term: new(hard.Term), Vote: new(hard.Vote), Commit: new(hard.Commit)}
	return r.sign()
}

// memberFile says that this directory has had a log. It is written as soon as the log
// holds something that must not be lost, and before anybody is told of it.
const memberFile = "member"

// signed reports whether this directory has had a log.
func (r *Replica) signed() (bool, error) {
	f, err := r.cfg.FS.Open(filepath.Join(r.cfg.Dir, memberFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// checkEmpty makes sure that an empty log is this member's first, and not one whose
// files were taken away: who has voted and acknowledged must remember (S3).
func (r *Replica) checkEmpty() error {
	had, err := r.signed()
	if err == nil && (had || r.applied != foundingIndex) {
		err = fmt.Errorf("%w: the log in %s is gone; put it back, or remove the whole directory",
			outcome.ErrStateLost, filepath.Join(r.cfg.Dir, "log"))
	}
	return err
}

// sign notes that there is a log.
func (r *Replica) sign() error {
	if had, err := r.signed(); had || err != nil {
		return err
	}
	text := fmt.Appendf(nil, "cluster %s\nraft id %d\n", r.cfg.Cluster.GetId(), r.id)
	return disk.WriteFile(r.cfg.FS, filepath.Join(r.cfg.Dir, memberFile), text)
}

// termAt returns the term of an entry of what was found, 0 if it is not there.
func termAt(found *wal.Recovered, index uint64) uint64 {
	if index == found.Index {
		return found.Term
	}
	return found.Entries[index-found.Index-1].Term
}

func raftEntries(found []wal.Entry) []*pb.Entry {
	block := make([]wireEntry, len(found))
	entries := make([]*pb.Entry, len(found))
	for i, f := range found {
		e := &block[i]
		e.kind, e.term, e.index = pb.EntryType(f.Type), f.Term, f.Index
		e.Type, e.Term, e.Index = &e.kind, &e.term, &e.index
		e.Data = f.Data
		entries[i] = &e.Entry
	}
	return entries
}

// poison notes in the directory that the disk failed, since the next start could
// not tell: what it reads then may never have reached the disk (S3, S4). It
// returns err.
func (r *Replica) poison(err error) error {
	if err == nil || !errors.Is(err, wal.ErrFailed) {
		return err
	}
	text := fmt.Sprintf("%s\n%v\n\nThis node's part of the log cannot be trusted any more. It stays out of agreement.\n", time.Now().Format(time.RFC3339), err)
	if failed := disk.WriteFile(r.cfg.FS, filepath.Join(r.cfg.Dir, poisonFile), []byte(text)); failed != nil {
		r.log.Error("the state directory cannot be marked as damaged", "dir", r.cfg.Dir, "error", failed)
	}
	return err
}

func (r *Replica) checkPoison() error {
	path := filepath.Join(r.cfg.Dir, poisonFile)
	f, err := r.cfg.FS.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text := make([]byte, 512)
	n, _ := f.ReadAt(text, 0)
	return fmt.Errorf("%w: writing to its disk failed earlier (%s): %.200q", outcome.ErrStateLost, path, text[:n])
}
