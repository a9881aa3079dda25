package memdisk

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
)

// sector is what a device writes whole or not at all.
const sector = 512

// inode is a file's content as it is and as a crash would find it.
type inode struct {
	now, durable content
	pending      []change // from durable to now; the elements never change
}

// change is a write at an offset, or a new length.
type change struct {
	offset int64
	size   int64
	data   []byte // of that size; nil for zeros
	length bool   // offset is the new length
}

func (c change) apply(to *content) {
	if c.length {
		to.resize(c.offset)
		return
	}
	c.applyPart(to, c.offset, c.offset+c.size)
}

// applyPart applies what a write has from one offset to another.
func (c change) applyPart(to *content, from, end int64) {
	if c.data == nil {
		to.writeZeros(from, end)
		return
	}
	to.write(from, c.data[from-c.offset:end-c.offset])
}

// tear applies some sectors of a write. The file has its length also where the
// last ones are missing: they read as what was there, or as zeros.
func (c change) tear(to *content, rng *rand.Rand) {
	end := c.offset + c.size
	to.resize(max(to.size, end))
	for at := c.offset; at < end; {
		next := min(end, at/sector*sector+sector)
		if rng.IntN(2) == 0 {
			c.applyPart(to, at, next)
		}
		at = next
	}
}

func (n *inode) change(c change) {
	c.apply(&n.now)
	n.pending = append(n.pending, c)
}

func (n *inode) sync() {
	for _, c := range n.pending {
		c.apply(&n.durable)
	}
	n.pending = nil
}

// crash makes durable what rng lets survive. It is a matter of luck how much does,
// for the file as a whole and for each write, so that few as well as many survive
// often enough.
func (n *inode) crash(rng *rand.Rand) {
	luck := rng.IntN(4) // none, all, or each its own
	for _, c := range n.pending {
		fate := luck
		if luck > 1 {
			fate = rng.IntN(3)
		}
		switch {
		case fate == 1 || fate == 2 && c.length:
			c.apply(&n.durable)
		case fate == 2:
			c.tear(&n.durable, rng)
		}
	}
	n.now, n.pending = n.durable.clone(), nil
}

func (n *inode) clone() *inode {
	return &inode{n.now.clone(), n.durable.clone(), slices.Clone(n.pending)}
}

// handle is an open file.
type handle struct {
	m      *mount
	node   *inode
	path   string
	closed bool // guarded by m.d.mu
}

func (h *handle) do(kind Kind, name string, effect func(fault error) error) error {
	return h.m.d.do(h.m.life, kind, h.path, func(fault error) error {
		if h.closed {
			return &os.PathError{Op: name, Path: h.path, Err: os.ErrClosed}
		}
		err := effect(fault)
		if err != nil && !errors.Is(err, io.EOF) {
			return &os.PathError{Op: name, Path: h.path, Err: err}
		}
		return err
	})
}

var errNegative = errors.New("negative offset")

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(p []byte, offset int64) (n int, err error) {
	err = h.do(Read, "read", func(fault error) error {
		switch {
		case fault != nil:
			return fault
		case offset < 0:
			return errNegative
		}
		n = h.node.now.read(p, offset)
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// WriteAt implements io.WriterAt.
func (h *handle) WriteAt(p []byte, offset int64) (n int, err error) {
	err = h.do(Write, "write", func(fault error) error {
		if offset < 0 {
			return errNegative
		}
		if fault != nil {
			p = p[:len(p)/2]
		}
		if len(p) > 0 {
			c := change{offset: offset, size: int64(len(p))}
			if !allZero(p) {
				c.data = slices.Clone(p)
			}
			h.node.change(c)
		}
		n = len(p)
		return fault
	})
	return n, err
}

// Size implements disk.File.
func (h *handle) Size() (size int64, err error) {
	err = h.do(Read, "stat", func(fault error) error {
		size = h.node.now.size
		return fault
	})
	return size, err
}

// Truncate implements disk.File.
func (h *handle) Truncate(size int64) error {
	return h.do(Truncate, "truncate", func(fault error) error {
		if fault == nil && size < 0 {
			fault = errNegative
		}
		if fault == nil {
			h.node.change(change{offset: size, length: true})
		}
		return fault
	})
}

// Sync implements disk.File.
func (h *handle) Sync() error {
	return h.do(Sync, "sync", func(fault error) error {
		if fault != nil {
			h.node.pending = nil // the system reports them once and forgets them
			return fault
		}
		h.node.sync()
		return nil
	})
}

// Close implements disk.File.
func (h *handle) Close() error {
	h.m.d.mu.Lock()
	defer h.m.d.mu.Unlock()
	if h.closed {
		return &os.PathError{Op: "close", Path: h.path, Err: os.ErrClosed}
	}
	h.closed = true
	return nil
}

// Name implements disk.File.
func (h *handle) Name() string { return h.path }
