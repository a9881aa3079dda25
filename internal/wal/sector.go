package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// A sector is what a disk writes whole or not at all. Each begins with
//
//	checksum, 4 bytes | generation, 4 | mark, 4
const (
	sectorSize  = 512
	sectorHead  = 12
	sectorRoom  = sectorSize - sectorHead
	firstOfMany = 1 << 31 // in the mark: a batch begins here; the rest counts its bytes from here on
)

// condition is what a sector tells of itself.
type condition int

const (
	damaged condition = iota // neither of the others: no crash does that
	stale                    // not written in this generation: zeros, or of an older one
	current                  // written in this generation
)

// checksum starts from the sector's number, so that a sector is right in one place
// only.
func checksum(sector []byte, number int) uint32 {
	return crc32.Update(uint32(number), crc32.MakeTable(crc32.Castagnoli), sector[4:sectorSize])
}

// inspect judges the sector of that number in a segment of that generation. A
// current one has its mark taken apart: whether a batch begins in it, and how
// many bytes of its batch there are from here on.
func inspect(sector []byte, number int, generation uint32) (c condition, first bool, left int) {
	if binary.LittleEndian.Uint32(sector) != checksum(sector, number) {
		if allZero(sector) {
			return stale, false, 0
		}
		return damaged, false, 0
	}
	switch g := binary.LittleEndian.Uint32(sector[4:]); {
	case g > generation:
		return damaged, false, 0 // from another file
	case g < generation:
		return stale, false, 0
	}
	mark := binary.LittleEndian.Uint32(sector[8:])
	return current, mark&firstOfMany != 0, int(mark &^ firstOfMany)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// sectorsFor returns how many sectors a batch of n bytes takes.
func sectorsFor(n int) int { return (n + sectorRoom - 1) / sectorRoom }

// seal appends a batch to dst as sectors, the first of which will be the one of
// that number in its segment, and returns it with the chain carried on.
func seal(dst, batch []byte, number int, generation, chain uint32) ([]byte, uint32) {
	var padding [sectorRoom]byte
	mark := uint32(len(batch)) | firstOfMany
	for len(batch) > 0 {
		start := len(dst)
		dst = binary.LittleEndian.AppendUint32(dst, 0)
		dst = binary.LittleEndian.AppendUint32(dst, generation)
		dst = binary.LittleEndian.AppendUint32(dst, mark)
		n := min(len(batch), sectorRoom)
		dst = append(dst, batch[:n]...)
		dst = append(dst, padding[:sectorRoom-n]...)
		batch = batch[n:]
		mark = uint32(len(batch))

		sector := dst[start:]
		binary.LittleEndian.PutUint32(sector, checksum(sector, number))
		chain = link(chain, sector)
		number++
	}
	return dst, chain
}

// link carries the chain of checksums on over one sector.
func link(chain uint32, sector []byte) uint32 {
	return crc32.Update(chain, crc32.MakeTable(crc32.Castagnoli), sector[:4])
}
