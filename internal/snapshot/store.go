package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/kith-go/kith/internal/disk"
)

// Meta names a snapshot.
type Meta struct {
	Index, Term uint64 // of the last entry in it
	Size        int64  // of its file, in bytes
}

// Store is a directory of snapshots. It is safe for concurrent use; its methods
// block while the disk works, except Latest and List.
type Store struct {
	fs  disk.FS
	dir string

	mu     sync.Mutex   // guards all below; nothing touches the disk under it
	have   []Meta       // newest first
	inUse  map[Meta]int // how often each is open
	drafts int          // counts them, for their names
}

const (
	fileSuffix = ".snap"
	tempSuffix = ".tmp"
)

func (m Meta) name() string { return fmt.Sprintf("%016x-%016x%s", m.Index, m.Term, fileSuffix) }

// OpenStore opens the snapshots in dir, making the directory if there is none, and
// removes unfinished ones. Contents are not read: damage shows when a snapshot is.
// Nobody else may use dir meanwhile.
func OpenStore(fs disk.FS, dir string) (*Store, error) {
	s := &Store{fs: fs, dir: dir, inUse: map[Meta]int{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return s, nil
}

func (s *Store) load() error {
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		if strings.HasSuffix(name, fileSuffix+tempSuffix) {
			if err := s.fs.Remove(path); err != nil {
				return err
			}
			continue
		}
		var m Meta
		if _, err := fmt.Sscanf(name, "%x-%x"+fileSuffix, &m.Index, &m.Term); err != nil || m.name() != name {
			continue // not ours
		}
		if m.Size, err = s.measure(path); err != nil {
			return err
		}
		s.have = append(s.have, m)
	}
	slices.SortFunc(s.have, newestFirst)
	return s.fs.SyncDir(s.dir)
}

func (s *Store) measure(path string) (int64, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() // nothing was written
	return f.Size()
}

// same reports whether both are of the same entry, and so the same state.
func (m Meta) same(o Meta) bool { return m.Index == o.Index && m.Term == o.Term }

func newestFirst(a, b Meta) int {
	return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.Term, a.Term))
}

// Latest returns the newest snapshot; ok is false if there is none.
func (s *Store) Latest() (m Meta, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.have) == 0 {
		return Meta{}, false
	}
	return s.have[0], true
}

// List returns all snapshots, newest first. The slice is the caller's.
func (s *Store) List() []Meta {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.have)
}

// Open opens the snapshot of m's index and term for reading what was written to
// it. One that is not there is os.ErrNotExist.
func (s *Store) Open(m Meta) (*Reader, error) {
	m, f, err := s.acquire(m)
	if err != nil {
		return nil, err
	}
	return &Reader{source: source{f: f, m: m}, close: func() error { return s.release(m, f) }}, nil
}

// Raw opens the file of the snapshot of m's index and term as it is, to be sent to
// another node, and returns its length. One that is not there is os.ErrNotExist.
// The receiver verifies it.
func (s *Store) Raw(m Meta) (io.ReadSeekCloser, int64, error) {
	m, f, err := s.acquire(m)
	if err != nil {
		return nil, 0, err
	}
	return &raw{io.NewSectionReader(f, 0, m.Size), func() error { return s.release(m, f) }}, m.Size, nil
}

type raw struct {
	*io.SectionReader
	close func() error
}

func (r *raw) Close() error { return r.close() }

// acquire opens the file of the snapshot of m's index and term, and keeps Prune
// from it until release.
func (s *Store) acquire(m Meta) (Meta, disk.File, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.have, m.same)
	if i >= 0 {
		m = s.have[i]
		s.inUse[m]++
	}
	s.mu.Unlock()
	path := filepath.Join(s.dir, m.name())
	if i < 0 {
		return m, nil, fmt.Errorf("snapshot: %w", &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist})
	}
	f, err := s.fs.Open(path)
	if err != nil {
		s.forget(m)
		return m, nil, fmt.Errorf("snapshot: %w", err)
	}
	return m, f, nil
}

func (s *Store) release(m Meta, f disk.File) error {
	err := f.Close()
	if errors.Is(err, os.ErrClosed) {
		return err // a second Close must not count twice
	}
	s.forget(m)
	return err
}

func (s *Store) forget(m Meta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse[m]--; s.inUse[m] == 0 {
		delete(s.inUse, m)
	}
}

// Prune removes all snapshots but the newest ones, of which it keeps that many, and
// one at least. Those that are open for reading or sending stay for now; the next
// Prune will have them.
func (s *Store) Prune(keep int) error {
	s.mu.Lock()
	var victims []Meta
	for _, m := range s.have[min(len(s.have), max(keep, 1)):] {
		if s.inUse[m] == 0 {
			victims = append(victims, m)
		}
	}
	s.have = slices.DeleteFunc(s.have, func(m Meta) bool { return slices.Contains(victims, m) })
	s.mu.Unlock()
	if len(victims) == 0 {
		return nil
	}
	var failed []error
	for _, m := range victims {
		if err := s.fs.Remove(filepath.Join(s.dir, m.name())); err != nil {
			failed = append(failed, err)
			s.add(m) // still there
		}
	}
	failed = append(failed, s.fs.SyncDir(s.dir))
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// Remove removes a snapshot that turned out to be of no use. One that is open for
// reading stays readable to those that have it open.
func (s *Store) Remove(m Meta) error {
	s.mu.Lock()
	s.have = slices.DeleteFunc(s.have, m.same)
	s.mu.Unlock()
	if err := errors.Join(s.fs.Remove(filepath.Join(s.dir, m.name())), s.fs.SyncDir(s.dir)); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

func (s *Store) add(m Meta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have = slices.DeleteFunc(s.have, m.same)
	s.have = append(s.have, m)
	slices.SortFunc(s.have, newestFirst)
}
