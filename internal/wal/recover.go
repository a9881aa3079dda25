package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kith-go/kith/internal/disk"
)

// Recovered is what [Open] found.
type Recovered struct {
	Index, Term uint64  // of the entry before the first: 0, 0, or what Compact or Reset said last
	Entries     []Entry // from Index+1 on, without a gap; the caller's to keep
	State       State
	Torn        *Torn // nil, or where an unfinished batch was cut off
}

// Torn says where an unfinished batch was cut off: one that no Append with sync
// had acknowledged.
type Torn struct {
	File   string
	Offset int64 // in bytes
}

// Open opens the log in dir, making the directory and the log if there is none,
// and returns it with all it holds. It reads the whole log, cuts off what a crash
// left unfinished, and makes the rest durable: what it returns will be there the
// next time too, unless it is changed.
//
// A log that is not as a crash may leave it is a *DamageError, one of a newer
// release an error that wraps [ErrVersion]; the files are then as they were. The
// caller sees to it that nobody else uses dir (disk.FS.Lock), and that a log which
// failed is not opened again as if nothing had happened: what its last sync could
// not save may still be readable (SAFETY.md, S3 and S4).
func Open(fs disk.FS, dir string, opts Options) (*Log, *Recovered, error) {
	l := &Log{
		opts: opts.ready(),
		shop: shop{fs, dir},
		turn: make(chan struct{}, 1),
		made: make(chan making, 1),
	}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, nil, fmt.Errorf("wal: %w", err)
	}
	r, err := l.recover()
	if err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, nil, err
	}
	l.observe()
	return l, r, nil
}

// recover reads the log, and mends what a crash left behind.
func (l *Log) recover() (*Recovered, error) {
	found, err := l.survey()
	if err != nil {
		return nil, err
	}
	r := &replay{ledger: &l.ledger}
	end, cut, err := l.read(found.segments, r)
	if err != nil {
		return nil, err
	}
	if cut.segment != nil {
		if err := l.shop.wipe(cut); err != nil {
			return nil, err
		}
	}
	if err := l.resume(end, r.chain); err != nil {
		return nil, err
	}
	if err := l.clearAway(found); err != nil {
		return nil, err
	}
	out := &Recovered{Index: l.base.index, Term: l.base.term, Entries: r.entries, State: l.state}
	if cut.segment != nil {
		out.Torn = &Torn{File: cut.segment.path, Offset: cut.offset()}
		l.opts.Log.Warn("cut an unfinished batch off the log, as a crash leaves one", "file", out.Torn.File, "offset", out.Torn.Offset)
	}
	return out, nil
}

// files are those of the directory that are ours.
type files struct {
	segments  []*segment // in a row; oldest first
	forgotten []string   // segments before these: already removed once
	spares    []*segment
	temps     []string
}

// survey lists the directory. Segments are removed oldest first, but a file system
// may forget one removal and remember a later one: what precedes a gap was removed.
// If it was not, the gap shows when the rest is read.
func (l *Log) survey() (files, error) {
	names, err := l.shop.fs.List(l.shop.dir)
	if err != nil {
		return files{}, fmt.Errorf("wal: %w", err)
	}
	var found files
	for _, name := range names { // sorted, and so in the order of generations
		generation, suffix, ok := parseName(name)
		if !ok {
			continue
		}
		path := l.shop.path(generation, suffix)
		switch suffix {
		case segmentSuffix:
			if n := len(found.segments); n > 0 && found.segments[n-1].generation+1 != generation {
				for _, seg := range found.segments {
					found.forgotten = append(found.forgotten, seg.path)
				}
				found.segments = nil
			}
			found.segments = append(found.segments, &segment{generation: generation, path: path})
		case spareSuffix:
			found.spares = append(found.spares, &segment{generation: generation, path: path})
		case tempSuffix:
			found.temps = append(found.temps, path)
		}
	}
	if len(found.segments) == 0 && len(found.spares) > 0 {
		return files{}, &DamageError{File: l.shop.dir, What: "there are spare segments, but none in use"}
	}
	return found, nil
}

// read reads segments one after the other: those with something in them go to the
// ledger, empty ones, which there may be at the end, to l.ready. It returns where
// the log ends, and where it is torn: there, or in the empty segment behind.
func (l *Log) read(segments []*segment, r *replay) (end, cut tail, err error) {
	for _, seg := range segments {
		s, err := l.shop.scan(seg, r.buffer)
		if err != nil {
			return tail{}, tail{}, err
		}
		r.buffer = s.sectors
		t, err := r.segment(s)
		if err != nil {
			return tail{}, tail{}, err
		}
		if t.written > 1 { // then all before it was whole and synced
			if cut.segment != nil {
				return tail{}, tail{}, &DamageError{File: cut.segment.path, Offset: cut.offset(), What: "a batch is unfinished, but there are later ones"}
			}
			if len(l.ready) > 0 {
				return tail{}, tail{}, &DamageError{File: l.ready[0].path, Offset: sectorSize, What: "the segment is empty, but a later one is not"}
			}
		}
		if t.torn() {
			cut = t
		}
		if t.end == 1 {
			l.ready = append(l.ready, seg)
		} else {
			end = t
		}
	}
	if end.segment == nil && len(segments) > 0 && segments[0].generation != 1 {
		return tail{}, tail{}, &DamageError{File: segments[0].path, Offset: sectorSize, What: "the segment is empty, and those before it are missing"}
	}
	return end, cut, r.finish()
}

// wipe puts zeros where a batch was left unfinished, durably: what is left of it
// must not be taken for a part of later ones.
func (s shop) wipe(t tail) error {
	f, err := s.fs.Open(t.segment.path)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	_, err = f.WriteAt(make([]byte, (t.written-t.end)*sectorSize), t.offset())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return nil
}

// resume makes the end of the log the place to write on, and durable: what was
// read may have been written by a process that died before it synced.
func (l *Log) resume(end tail, chain uint32) error {
	if end.segment == nil {
		return nil
	}
	f, err := l.shop.fs.Open(end.segment.path)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	l.file, l.at, l.synced, l.chain = f, end.end, end.end, chain
	if err := f.Sync(); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return nil
}

// clearAway gives up the files that nothing needs, and makes the names durable
// that are there: a process may have died before it did so.
func (l *Log) clearAway(found files) error {
	for len(found.spares) > maxSpares {
		found.forgotten = append(found.forgotten, found.spares[0].path)
		found.spares = found.spares[1:]
	}
	for _, path := range slices.Concat(found.forgotten, found.temps) {
		if err := l.shop.fs.Remove(path); err != nil {
			return fmt.Errorf("wal: %w", err)
		}
	}
	if err := l.shop.fs.SyncDir(l.shop.dir); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	for _, spare := range found.spares {
		sectors, err := l.shop.measure(spare.path)
		if err != nil {
			return err
		}
		spare.sectors = sectors
		l.spares = append(l.spares, spare)
	}
	if len(l.segments)+len(l.ready) == 0 {
		seg, err := l.shop.make(1, nil, l.opts.sectors())
		if err != nil {
			return fmt.Errorf("wal: %w", err)
		}
		l.ready = append(l.ready, seg)
	}
	return l.release()
}

// measure returns how many sectors a file has.
func (s shop) measure(path string) (sectors int, err error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return 0, fmt.Errorf("wal: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, fmt.Errorf("wal: %w", err)
	}
	return int(size / sectorSize), nil
}
