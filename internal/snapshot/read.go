package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/kith-go/kith/internal/disk"
)

// Reader reads the content of a snapshot. What Read has returned was verified;
// that it is all is known when it returns io.EOF. It is for one goroutine at a time.
type Reader struct {
	source
	rest  []byte // of the current block
	err   error  // the end, for whatever reason
	close func() error
}

// Read implements io.Reader. A file that is not what was written is a *DamageError,
// one of a newer release an error that wraps [ErrVersion].
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && len(p) > 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends reading. A second Close returns os.ErrClosed.
func (r *Reader) Close() error { return r.close() }

// source takes a snapshot's file apart.
type source struct {
	f        disk.File
	m        Meta
	received bool
	offset   int64 // of what comes next; 0 before the header
	block    []byte
	total    uint64
	sum      uint32
}

// next returns the data of the next block, valid until the next call; io.EOF after
// the last one and a right trailer.
func (s *source) next() ([]byte, error) {
	if s.offset == 0 {
		head, err := s.take(headerBytes)
		if err != nil {
			return nil, err
		}
		sum, what, err := parseHeader(head, s.m)
		switch {
		case err != nil:
			return nil, fmt.Errorf("snapshot: %s: %w", s.f.Name(), err)
		case what != "":
			return nil, s.damage(what)
		}
		s.offset, s.sum = int64(headerBytes), sum
	}
	prefix, err := s.take(prefixBytes)
	if err != nil {
		return nil, err
	}
	length := int(binary.LittleEndian.Uint32(prefix))
	if length > maxBlock {
		return nil, s.damage(fmt.Sprintf("a block claims %d bytes", length))
	}
	whole := prefixBytes + length
	if length == 0 {
		whole = trailerBytes
	}
	b, err := s.take(whole)
	if err != nil {
		return nil, err
	}
	sum := extend(s.sum, b[:4], b[prefixBytes:])
	if sum != binary.LittleEndian.Uint32(b[4:]) {
		return nil, s.damage("the checksum is wrong")
	}
	if length == 0 {
		return nil, s.finish(b)
	}
	s.offset += int64(whole)
	s.total += uint64(length)
	s.sum = sum
	return b[prefixBytes:], nil
}

// finish judges the trailer.
func (s *source) finish(trailer []byte) error {
	if total := binary.LittleEndian.Uint64(trailer[prefixBytes:]); total != s.total {
		return s.damage(fmt.Sprintf("the blocks hold %d bytes, the trailer says %d", s.total, total))
	}
	if end := s.offset + trailerBytes; end != s.m.Size {
		return s.damage(fmt.Sprintf("the snapshot ends at %d, the file at %d", end, s.m.Size))
	}
	return io.EOF
}

// take reads n bytes from the offset on, which must be there.
func (s *source) take(n int) ([]byte, error) {
	if int64(n) > s.m.Size-s.offset {
		return nil, s.damage(fmt.Sprintf("the file ends at %d, in the middle of what begins here", s.m.Size))
	}
	s.block = slices.Grow(s.block[:0], n)[:n]
	read, err := s.f.ReadAt(s.block, s.offset)
	switch {
	case read == n:
		return s.block, nil
	case errors.Is(err, io.EOF):
		return nil, s.damage(fmt.Sprintf("the file ends at %d, in the middle of what begins here", s.offset+int64(read)))
	}
	return nil, fmt.Errorf("snapshot: %w", err)
}

func (s *source) damage(what string) error {
	return &DamageError{File: s.f.Name(), Offset: s.offset, What: what, received: s.received}
}
