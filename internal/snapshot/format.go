package snapshot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	magic        = "kithsnap"
	version      = 1
	headerBytes  = len(magic) + 4 + 8 + 8 + 4
	prefixBytes  = 4 + 4   // of a block: length and checksum
	maxBlock     = 1 << 20 // bytes of data in a block
	trailerBytes = prefixBytes + 8
)

// extend carries the chain of checksums on.
func extend(sum uint32, parts ...[]byte) uint32 {
	for _, p := range parts {
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), p)
	}
	return sum
}

// header encodes a header; its checksum begins the chain.
func header(index, term uint64) (b []byte, sum uint32) {
	b = append(make([]byte, 0, headerBytes), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, index)
	b = binary.LittleEndian.AppendUint64(b, term)
	sum = extend(0, b)
	return binary.LittleEndian.AppendUint32(b, sum), sum
}

// parseHeader checks a header of the right length; what says what is wrong.
func parseHeader(b []byte, m Meta) (sum uint32, what string, err error) {
	sum = binary.LittleEndian.Uint32(b[headerBytes-4:])
	if string(b[:len(magic)]) != magic || extend(0, b[:headerBytes-4]) != sum {
		return 0, "the header is not one of a snapshot", nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return 0, "", fmt.Errorf("%w: version %d, this release reads %d", ErrVersion, v, version)
	}
	index, term := binary.LittleEndian.Uint64(b[12:]), binary.LittleEndian.Uint64(b[20:])
	if index != m.Index || term != m.Term {
		return 0, fmt.Sprintf("it is the snapshot of index %d and term %d, not of %d and %d", index, term, m.Index, m.Term), nil
	}
	return sum, "", nil
}

// putPrefix fills in the first bytes of a block or of a trailer, whose data follow
// in b; length is what it says of them.
func putPrefix(b []byte, length int, sum uint32) uint32 {
	binary.LittleEndian.PutUint32(b, uint32(length))
	sum = extend(sum, b[:4], b[prefixBytes:])
	binary.LittleEndian.PutUint32(b[4:], sum)
	return sum
}
