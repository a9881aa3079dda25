package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kith-go/kith/internal/disk"
)

// syncEvery bounds what the system gathers before it writes: all at once, at the
// end, would keep the log's syncs waiting.
const syncEvery = 4 << 20

// draft is a snapshot that is not finished.
type draft struct {
	s      *Store
	m      Meta // Size is what was written so far
	f      disk.File
	synced int64
	err    error // the first one; os.ErrClosed when it has ended
}

func (s *Store) draft(index, term uint64) (*draft, error) {
	d := &draft{s: s, m: Meta{Index: index, Term: term}}
	s.mu.Lock()
	s.drafts++
	n := s.drafts
	s.mu.Unlock()
	// Numbered, since a snapshot may be received while the same is made here.
	f, err := s.fs.Create(filepath.Join(s.dir, fmt.Sprintf("%d-%s%s", n, d.m.name(), tempSuffix)))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	d.f = f
	return d, nil
}

// write adds bytes to the file. After an error it returns only that.
func (d *draft) write(p []byte) error {
	if d.err != nil {
		return d.err
	}
	n, err := d.f.WriteAt(p, d.m.Size)
	d.m.Size += int64(n)
	if err == nil && d.m.Size-d.synced >= syncEvery {
		d.synced = d.m.Size
		err = d.f.Sync()
	}
	if err != nil {
		d.err = fmt.Errorf("snapshot: %w", err)
	}
	return d.err
}

// commit makes the file durable and gives it its name, in place of a snapshot of
// the same entry: that may be damaged, this one is not. Without success the draft
// is gone.
func (d *draft) commit() error {
	if d.err != nil {
		err := d.err
		d.abort()
		return err
	}
	if err := d.f.Sync(); err != nil {
		d.abort()
		return fmt.Errorf("snapshot: %w", err)
	}
	d.err = os.ErrClosed
	err := d.f.Close()
	if err == nil {
		err = d.s.fs.Rename(d.f.Name(), filepath.Join(d.s.dir, d.m.name()))
	}
	if err != nil {
		err = errors.Join(err, d.s.fs.Remove(d.f.Name()))
	} else {
		err = d.s.fs.SyncDir(d.s.dir)
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	d.s.add(d.m)
	return nil
}

// abort removes the file; what fails, OpenStore does the next time.
func (d *draft) abort() {
	if errors.Is(d.err, os.ErrClosed) {
		return
	}
	d.err = os.ErrClosed
	d.f.Close()
	d.s.fs.Remove(d.f.Name())
}
