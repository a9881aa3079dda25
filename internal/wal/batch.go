package wal

import (
	"encoding/binary"
	"fmt"
)

// kind tells batches apart.
type kind uint8

const (
	kindBegin   kind = 1 + iota // the first of a segment: what held where the one before ended
	kindReset                   // likewise, but the log begins anew with it
	kindAppend                  // entries, or a state, or both
	kindCompact                 // nothing up to an index is needed any more
)

// position names an entry.
type position struct{ index, term uint64 }

// batch is one batch, decoded. Which fields count depends on its kind.
type batch struct {
	kind   kind
	chain  uint32 // over all batches before this one
	synced uint32 // number of the first sector of this segment that was not yet synced when this was written

	// begin and reset
	before uint32   // number of the sector where the segment before ended; 0 for none
	last   uint64   // index of the last entry
	base   position // also compact: the entry before the first
	state  *State   // always set; in append: nil for unchanged

	entries []Entry // append; their data share the batch's memory
}

// headLength is what every batch begins with: kind, chain and synced.
const headLength = 1 + 4 + 4

// appendHead leaves room for what is known only where the batch has its place.
func appendHead(dst []byte, k kind) []byte {
	return append(dst, byte(k), 0, 0, 0, 0, 0, 0, 0, 0)
}

// completeHead fills in what appendHead left open.
func completeHead(b []byte, chain uint32, synced int) {
	binary.LittleEndian.PutUint32(b[1:], chain)
	binary.LittleEndian.PutUint32(b[5:], uint32(synced))
}

func appendState(dst []byte, st State) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, st.Term)
	dst = binary.LittleEndian.AppendUint64(dst, st.Vote)
	return binary.LittleEndian.AppendUint64(dst, st.Commit)
}

func appendPosition(dst []byte, p position) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, p.index)
	return binary.LittleEndian.AppendUint64(dst, p.term)
}

// appendBegin appends what follows the head of a begin or reset batch.
func appendBegin(dst []byte, before uint32, last uint64, base position, st State) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, before)
	dst = binary.LittleEndian.AppendUint64(dst, last)
	dst = appendPosition(dst, base)
	return appendState(dst, st)
}

// appendEntries appends what follows the head of an append batch.
func appendEntries(dst []byte, st *State, entries []Entry) []byte {
	if st == nil {
		dst = append(dst, 0)
	} else {
		dst = appendState(append(dst, 1), *st)
	}
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	if len(entries) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, entries[0].Index)
	for i := range entries {
		e := &entries[i]
		dst = binary.AppendUvarint(dst, e.Term)
		dst = append(dst, e.Type)
		dst = binary.AppendUvarint(dst, uint64(len(e.Data)))
		dst = append(dst, e.Data...)
	}
	return dst
}

// entryOverhead is more than an entry takes besides its data.
const entryOverhead = 2*binary.MaxVarintLen64 + 1

// decode takes a batch apart; the checksums have been found right. The result
// keeps b.
func decode(b []byte) (batch, error) {
	d := decoder{rest: b}
	out := batch{kind: kind(d.byte()), chain: d.uint32(), synced: d.uint32()}
	switch out.kind {
	case kindBegin, kindReset:
		out.before = d.uint32()
		out.last = d.uint64()
		out.base = d.position()
		out.state = d.state()
	case kindAppend:
		if d.byte() != 0 {
			out.state = d.state()
		}
		out.entries = d.entries()
	case kindCompact:
		out.base = d.position()
	default:
		return batch{}, fmt.Errorf("a batch of unknown kind %d", out.kind)
	}
	if d.short || len(d.rest) > 0 {
		return batch{}, fmt.Errorf("a batch of kind %d has the wrong length", out.kind)
	}
	return out, nil
}

// decoder takes values off rest. Once rest is too short it only returns zeros.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) take(n uint64) []byte {
	if uint64(len(d.rest)) < n {
		d.rest, d.short = nil, true
		return nil
	}
	taken := d.rest[:n:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.rest, d.short = nil, true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) position() position { return position{d.uint64(), d.uint64()} }

func (d *decoder) state() *State { return &State{d.uint64(), d.uint64(), d.uint64()} }

func (d *decoder) entries() []Entry {
	count := d.uvarint()
	if count == 0 {
		return nil
	}
	if count > uint64(len(d.rest))/3 { // an entry takes three bytes at least
		d.short = true
		return nil
	}
	entries := make([]Entry, 0, count)
	for index := d.uvarint(); uint64(len(entries)) < count && !d.short; index++ {
		entries = append(entries, Entry{Index: index, Term: d.uvarint(), Type: d.byte(), Data: d.take(d.uvarint())})
	}
	return entries
}
