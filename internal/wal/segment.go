package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kith-go/kith/internal/disk"
)

// segment is a file that holds a part of the log.
type segment struct {
	generation uint32 // its place in the sequence of segments
	path       string
	sectors    int    // its length
	last       uint64 // no entry in it with a higher index is part of the log
	dataBytes  int64  // of the entries in it
}

func (s *segment) bytes() int64 { return int64(s.sectors) * sectorSize }

// Files are named by generation; what else is in the directory is not ours.
const (
	segmentSuffix = ".wal"
	spareSuffix   = ".spare" // was a segment and may become one again
	tempSuffix    = ".tmp"   // is about to become one
)

func fileName(generation uint32, suffix string) string {
	return fmt.Sprintf("%08x%s", generation, suffix)
}

// parseName takes a file's name apart; ok is false for one that is not ours.
func parseName(name string) (generation uint32, suffix string, ok bool) {
	base, suffix, _ := strings.Cut(name, ".")
	n, err := strconv.ParseUint(base, 16, 32)
	generation = uint32(n)
	return generation, "." + suffix, err == nil && fileName(generation, "."+suffix) == name
}

// The first sector of a file is its header, alike in all versions of the format:
//
//	magic, 8 bytes | version, 4 | generation, 4 | number of sectors, 4 | zeros | checksum, 4
const (
	magic   = "kith-wal"
	version = 1

	headerSum   = sectorSize - 4 // where the checksum is
	maxSectors  = 1 << 24        // 8 GiB
	maxBatch    = 1 << 30
	fillBytes   = 1 << 20 // zeros written at once
	minSegment  = 8 << 10
	normalBytes = 16 << 20
)

func encodeHeader(generation uint32, sectors int) []byte {
	h := make([]byte, 0, sectorSize)
	h = append(h, magic...)
	h = binary.LittleEndian.AppendUint32(h, version)
	h = binary.LittleEndian.AppendUint32(h, generation)
	h = binary.LittleEndian.AppendUint32(h, uint32(sectors))
	h = h[:sectorSize]
	binary.LittleEndian.PutUint32(h[headerSum:], sumHeader(h))
	return h
}

func sumHeader(h []byte) uint32 {
	return crc32.Checksum(h[:headerSum], crc32.MakeTable(crc32.Castagnoli))
}

// readHeader returns how many sectors the segment in f has. A header that is not
// whole was damaged: it was synced before the file had its name.
func readHeader(f disk.File, path string, generation uint32) (sectors int, err error) {
	h := make([]byte, sectorSize)
	if err := readFull(f, h); err != nil {
		return 0, fmt.Errorf("wal: %w", err)
	}
	damage := func(what string) error { return &DamageError{File: path, What: what} }
	if binary.LittleEndian.Uint32(h[headerSum:]) != sumHeader(h) || string(h[:8]) != magic {
		return 0, damage("the header is not one of a segment")
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != version {
		return 0, fmt.Errorf("wal: %s: %w: version %d, this release reads %d", path, ErrVersion, v, version)
	}
	if g := binary.LittleEndian.Uint32(h[12:]); g != generation {
		return 0, damage(fmt.Sprintf("it is segment %d under the name of segment %d", g, generation))
	}
	size, err := f.Size()
	if err != nil {
		return 0, fmt.Errorf("wal: %w", err)
	}
	sectors = int(binary.LittleEndian.Uint32(h[16:]))
	if sectors > maxSectors {
		return 0, damage(fmt.Sprintf("the header claims %d sectors", sectors))
	}
	if size < int64(sectors)*sectorSize {
		return 0, &DamageError{File: path, Offset: size, What: fmt.Sprintf("the file ends here, instead of at %d", int64(sectors)*sectorSize)}
	}
	return sectors, nil
}

// readFull fills p from the file's beginning, with zeros where the file is shorter.
func readFull(f disk.File, p []byte) error {
	n, err := f.ReadAt(p, 0)
	clear(p[n:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// shop makes segments. It has no state, so that it can work in the background.
type shop struct {
	fs  disk.FS
	dir string
}

func (s shop) path(generation uint32, suffix string) string {
	return filepath.Join(s.dir, fileName(generation, suffix))
}

// make prepares a segment out of a spare one, or of a new file if that is nil. The segment has its name only when its zeros (or what else it held before)
// and its header are durable. An error leaves the log as it was.
func (s shop) make(generation uint32, spare *segment, sectors int) (*segment, error) {
	seg := &segment{generation: generation, path: s.path(generation, segmentSuffix), sectors: sectors}
	from := s.path(generation, tempSuffix)
	if spare != nil {
		from = spare.path
	}
	if err := s.prepare(seg, from, spare == nil); err != nil {
		s.fs.Remove(from) // best effort: Open clears away what is left
		return nil, err
	}
	if err := s.fs.Rename(from, seg.path); err != nil {
		return nil, err
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return nil, err
	}
	return seg, nil
}

func (s shop) prepare(seg *segment, path string, create bool) (err error) {
	var f disk.File
	if create {
		if err := s.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		f, err = s.fs.Create(path)
	} else {
		f, err = s.fs.Open(path)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size > seg.bytes() { // it was made for a large batch
		if err := f.Truncate(seg.bytes()); err != nil {
			return err
		}
	}
	if err := fill(f, size, seg.bytes()); err != nil {
		return err
	}
	if _, err := f.WriteAt(encodeHeader(seg.generation, seg.sectors), 0); err != nil {
		return err
	}
	return f.Sync()
}

// fill writes zeros from one offset to another, and syncs them little by little:
// the disk is to have time for the log meanwhile.
func fill(f disk.File, from, to int64) error {
	if from >= to {
		return nil
	}
	zeros := make([]byte, min(fillBytes, to-from))
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// grow lengthens a segment that holds nothing yet, for a batch that is larger than
// a segment. The header follows the zeros, so that it never claims too much.
func (s shop) grow(seg *segment, f disk.File, sectors int) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	if err := fill(f, size, int64(sectors)*sectorSize); err != nil {
		return err
	}
	if _, err := f.WriteAt(encodeHeader(seg.generation, sectors), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	seg.sectors = sectors
	return nil
}
