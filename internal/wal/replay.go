package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// scan is a segment that is read.
type scan struct {
	*segment
	sectors []byte // of the whole file
}

// scan reads a segment's file; buffer is used if it is large enough.
func (s shop) scan(seg *segment, buffer []byte) (scan, error) {
	f, err := s.fs.Open(seg.path)
	if err != nil {
		return scan{}, fmt.Errorf("wal: %w", err)
	}
	defer f.Close() // only read: nothing is lost
	seg.sectors, err = readHeader(f, seg.path, seg.generation)
	if err != nil {
		return scan{}, err
	}
	content := slices.Grow(buffer[:0], int(seg.bytes()))[:seg.bytes()]
	if err := readFull(f, content); err != nil {
		return scan{}, fmt.Errorf("wal: %w", err)
	}
	return scan{seg, content}, nil
}

func (s scan) sector(number int) []byte {
	return s.sectors[number*sectorSize : (number+1)*sectorSize]
}

func (s scan) inspect(number int) (c condition, first bool, left int) {
	return inspect(s.sector(number), number, s.generation)
}

func (s scan) damage(number int, format string, args ...any) error {
	return &DamageError{File: s.path, Offset: int64(number) * sectorSize, What: fmt.Sprintf(format, args...)}
}

// batch returns the batch that begins at a sector, and where the next one does. It
// returns nil where there is none that was ever finished: one of its sectors still
// holds what was there before. Where none does and yet not all are right, it is
// damage.
func (s scan) batch(at int) (payload []byte, next int, err error) {
	if at == s.segment.sectors {
		return nil, at, nil
	}
	c, first, length := s.inspect(at)
	switch {
	case c == stale:
		return nil, at, nil
	case c == damaged:
		return nil, at, s.damage(at, "the checksum of the sector is wrong")
	case !first:
		return nil, at, s.damage(at, "no batch begins here")
	}
	next = at + sectorsFor(length)
	if length < headLength || next > s.segment.sectors {
		return nil, at, s.damage(at, "a batch of %d bytes cannot be here", length)
	}
	for n, left := at+1, length-sectorRoom; n < next; n, left = n+1, left-sectorRoom {
		c, first, l := s.inspect(n)
		switch {
		case c == stale:
			return nil, at, nil
		case err == nil && c == damaged:
			err = s.damage(n, "the checksum of the sector is wrong")
		case err == nil && (first || l != left):
			err = s.damage(n, "the sector does not belong to the batch at %d", at*sectorSize)
		}
	}
	if err != nil {
		return nil, at, err
	}
	payload = make([]byte, 0, (next-at)*sectorRoom)
	for n := at; n < next; n++ {
		payload = append(payload, s.sector(n)[sectorHead:]...)
	}
	return payload[:length], next, nil
}

// written returns the number of the sector after the last one that was written in
// this generation, from a sector on where no whole batch begins. It is an error if
// a batch among them says that all before that sector had been synced: then what
// is missing was lost after that.
func (s scan) written(from int) (int, error) {
	end := from
	for n := from; n < s.segment.sectors; n++ {
		if binary.LittleEndian.Uint32(s.sector(n)[4:]) != s.generation {
			continue // most sectors, without a look at all of it
		}
		c, first, length := s.inspect(n)
		if c != current {
			continue // it comes after the end: whatever it was, nobody relied on it
		}
		end = n + 1
		if first && length >= headLength {
			if synced := int(binary.LittleEndian.Uint32(s.sector(n)[sectorHead+5:])); synced > from {
				return 0, s.damage(from, "a batch is missing that was synced before the one at %d was written", n*sectorSize)
			}
		}
	}
	return end, nil
}

// tail is where a segment's last whole batch ends.
type tail struct {
	segment *segment // nil: there is none
	end     int      // number of the sector after that batch
	written int      // number of the sector after the last one written in this generation
}

// torn reports whether something was begun after the end.
func (t tail) torn() bool { return t.written > t.end }

func (t tail) offset() int64 { return int64(t.end) * sectorSize }

// replay brings the ledger to where it was, and the entries back.
type replay struct {
	*ledger
	chain   uint32  // over all batches read
	end     int     // number of the sector where the segment before ended
	first   uint64  // index of entries[0], or of the entry that would be
	entries []Entry // up to ledger.last
	buffer  []byte
}

// segment goes through a segment and returns where it ends.
func (r *replay) segment(s scan) (tail, error) {
	at := 1
	for {
		payload, next, err := s.batch(at)
		if err != nil {
			return tail{}, err
		}
		if payload == nil {
			break
		}
		b, err := decode(payload)
		if err == nil {
			err = r.apply(b, s.segment, at == 1)
		}
		if err != nil {
			return tail{}, s.damage(at, "%v", err)
		}
		for n := at; n < next; n++ {
			r.chain = link(r.chain, s.sector(n))
		}
		at = next
	}
	written, err := s.written(at)
	if err != nil {
		return tail{}, err
	}
	r.end = at
	return tail{s.segment, at, written}, nil
}

// apply takes in a batch; first is whether it is the first of its segment.
func (r *replay) apply(b batch, seg *segment, first bool) error {
	if begins := b.kind == kindBegin || b.kind == kindReset; begins != first {
		return fmt.Errorf("a batch of kind %d cannot be here", b.kind)
	}
	oldest := len(r.segments) == 0
	if first {
		if oldest {
			r.chain = b.chain
		} else if int64(b.before) != int64(r.end) {
			return fmt.Errorf("the segment before this one ended at %d, now it ends at %d", int64(b.before)*sectorSize, int64(r.end)*sectorSize)
		}
		r.segments = append(r.segments, seg)
	}
	if b.chain != r.chain {
		return errors.New("what precedes this batch is not what preceded it when it was written")
	}
	switch b.kind {
	case kindBegin:
		return r.begin(b, oldest)
	case kindReset:
		if b.last != b.base.index || b.last == math.MaxUint64 {
			return fmt.Errorf("the log begins anew after %d, but the last entry is %d", b.base.index, b.last)
		}
		r.reset(b.base, *b.state)
		r.first, r.entries = b.last+1, nil
	case kindAppend:
		return r.append(b)
	case kindCompact:
		if b.base.index <= r.base.index || b.base.index > r.last {
			return fmt.Errorf("entries up to %d were dropped, out of those after %d up to %d", b.base.index, r.base.index, r.last)
		}
		r.compact(b.base)
		if after := b.base.index + 1; after > r.first {
			r.entries = slices.Delete(r.entries, 0, int(after-r.first))
			r.first = after
		}
	}
	return nil
}

// begin takes in what the first batch of a segment says: of the oldest one it is
// all that is known, in others it must agree.
func (r *replay) begin(b batch, oldest bool) error {
	switch {
	case !oldest && (b.base != r.base || b.last != r.last || *b.state != r.state):
		return errors.New("the segment does not go on from the one before it")
	case b.last < b.base.index || b.last == math.MaxUint64:
		return fmt.Errorf("the log begins after %d, but the last entry is %d", b.base.index, b.last)
	case oldest:
		r.base, r.last, r.state = b.base, b.last, *b.state
		r.first = b.last + 1
	}
	return nil
}

func (r *replay) append(b batch) error {
	if err := r.admits(b.entries); err != nil {
		return err
	}
	r.add(b.state, b.entries)
	if len(b.entries) == 0 {
		return nil
	}
	if first := b.entries[0].Index; first >= r.first {
		r.entries = r.entries[:first-r.first]
	} else { // in place of some whose segment was given up
		r.first, r.entries = first, r.entries[:0]
	}
	r.entries = append(r.entries, b.entries...)
	return nil
}

// finish checks that nothing is missing.
func (r *replay) finish() error {
	if len(r.segments) == 0 || r.first <= r.base.index+1 {
		return nil
	}
	return &DamageError{File: r.segments[0].path, What: fmt.Sprintf(
		"entries %d to %d are missing: they were in a segment before this one", r.base.index+1, r.first-1)}
}
