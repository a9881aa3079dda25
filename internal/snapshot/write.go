package snapshot

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Create begins a snapshot of the state after the entry of that index and term. It
// becomes visible with Commit; either that or Abort must end it.
func (s *Store) Create(index, term uint64) (*Writer, error) {
	d, err := s.draft(index, term)
	if err != nil {
		return nil, err
	}
	w := &Writer{d: d, block: make([]byte, prefixBytes, prefixBytes+maxBlock)}
	head, sum := header(index, term)
	w.sum = sum
	if err := d.write(head); err != nil {
		d.abort()
		return nil, err
	}
	return w, nil
}

// Writer takes the content of a snapshot. It is for one goroutine at a time.
type Writer struct {
	d     *draft
	block []byte // room for the prefix, and data not yet written
	total uint64
	sum   uint32
}

// Write adds content. After an error the snapshot cannot be committed.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.d.err == nil {
		take := min(len(p), cap(w.block)-len(w.block))
		w.block = append(w.block, p[:take]...)
		p = p[take:]
		n += take
		if len(w.block) == cap(w.block) {
			w.flush()
		}
	}
	return n, w.d.err
}

func (w *Writer) flush() error {
	length := len(w.block) - prefixBytes
	if length == 0 {
		return w.d.err
	}
	w.total += uint64(length)
	w.sum = putPrefix(w.block, length, w.sum)
	err := w.d.write(w.block)
	w.block = w.block[:prefixBytes]
	return err
}

// Commit makes the snapshot durable, and then visible. After an error it is not
// there, unless the directory's sync failed: then it may be after a restart. Later
// calls return os.ErrClosed.
func (w *Writer) Commit() error {
	w.flush()
	trailer := binary.LittleEndian.AppendUint64(make([]byte, prefixBytes), w.total)
	putPrefix(trailer, 0, w.sum)
	w.d.write(trailer)
	return w.d.commit() // with the first error of all
}

// Abort drops the snapshot; after Commit it does nothing.
func (w *Writer) Abort() { w.d.abort() }

// Receive begins to take a snapshot's file that another node sends, byte by byte
// as [Store.Raw] reads it there. m is what that node says of it.
func (s *Store) Receive(m Meta) (*Receiver, error) {
	if m.Size < int64(headerBytes+trailerBytes) {
		return nil, fmt.Errorf("snapshot: a file of %d bytes is announced: no snapshot is that short", m.Size)
	}
	d, err := s.draft(m.Index, m.Term)
	if err != nil {
		return nil, err
	}
	return &Receiver{d, m}, nil
}

// Receiver takes the bytes of a snapshot's file. It is for one goroutine at a time.
type Receiver struct {
	d *draft
	m Meta
}

// Write adds bytes. More than were announced is an error.
func (r *Receiver) Write(p []byte) (int, error) {
	if r.d.err == nil && r.d.m.Size+int64(len(p)) > r.m.Size {
		r.d.err = r.damage("the file goes on behind its announced end")
	}
	if err := r.d.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Commit verifies what was received, makes it durable, and then visible. After an
// error, a *DamageError above all, it is not there, unless the directory's sync
// failed: then it may be after a restart. Later calls return os.ErrClosed.
func (r *Receiver) Commit() error {
	if r.d.err == nil && r.d.m.Size < r.m.Size {
		r.d.err = r.damage(fmt.Sprintf("the file ends before its announced end at %d", r.m.Size))
	}
	if r.d.err == nil {
		_, r.d.err = io.Copy(io.Discard, &Reader{source: source{f: r.d.f, m: r.m, received: true}})
	}
	return r.d.commit()
}

// Abort drops what was received; after Commit it does nothing.
func (r *Receiver) Abort() { r.d.abort() }

func (r *Receiver) damage(what string) error {
	return &DamageError{File: r.d.f.Name(), Offset: r.d.m.Size, What: what, received: true}
}
