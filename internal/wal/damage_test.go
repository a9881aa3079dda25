package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

var small = Options{SegmentBytes: minSegment, Foreground: true}

func open(t testing.TB, fs disk.FS) (*Log, *Recovered) {
	t.Helper()
	l, r, err := Open(fs, dir, small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry makes an entry of one term whose data tell it from others.
func entry(index uint64, size int) Entry {
	return Entry{Index: index, Term: 1, Data: bytes.Repeat([]byte{byte(index)}, size)}
}

// lived returns a disk with a log that has lived through all that can be in one:
// states, conflicts, a compaction, a recycled segment. It was closed; what it holds
// is returned too.
func lived(t testing.TB) (*memdisk.Disk, image) {
	t.Helper()
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	m := image{}
	appended := func(st *State, sync bool, entries ...Entry) {
		t.Helper()
		must(t, l.Append(st, entries, sync))
		m = m.with(st, entries)
	}
	for i := range uint64(9) {
		appended(&State{1, 2, i}, true, entry(i+1, 700))
	}
	must(t, l.Compact(6, 1))
	m.base, m.entries = position{6, 1}, m.entries[6:]
	for i := uint64(10); i < 13; i++ {
		appended(nil, i%2 == 0, entry(i, 500), entry(i+1, 0))
	}
	appended(&State{2, 1, 9}, false, Entry{Index: 12, Term: 2, Type: 1, Data: []byte("other")})
	appended(&State{3, 1, 9}, true)
	appended(nil, true, Entry{Index: 13, Term: 3, Data: bytes.Repeat([]byte("x"), 1300)})
	must(t, l.Close())
	return d, m
}

// contents returns the log's segments by path.
func contents(t testing.TB, fs disk.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List(dir)
	must(t, err)
	files := map[string][]byte{}
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			path := filepath.Join(dir, name)
			f, err := fs.Open(path)
			must(t, err)
			size, _ := f.Size()
			files[path] = make([]byte, size)
			must(t, readFull(f, files[path]))
			must(t, f.Close())
		}
	}
	return files
}

func change(t testing.TB, fs disk.FS, path string, offset int64, b []byte) {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	_, err = f.WriteAt(b, offset)
	must(t, errors.Join(err, f.Close()))
}

// end returns the number of the first sector of a segment that is not in use.
func end(content []byte) int {
	generation := binary.LittleEndian.Uint32(content[12:])
	n := 1
	for ; n < len(content)/sectorSize; n++ {
		if c, _, _ := inspect(content[n*sectorSize:(n+1)*sectorSize], n, generation); c != current {
			break
		}
	}
	return n
}

// verdict opens the log of a disk and says what came of it.
func verdict(d *memdisk.Disk) (image, *DamageError, error) {
	l, r, err := Open(d.Mount(), dir, small)
	if damage, ok := errors.AsType[*DamageError](err); ok {
		return image{}, damage, nil
	}
	if err != nil {
		return image{}, nil, err
	}
	return imageOf(r), nil, l.Close()
}

// TestEveryFlippedBit: no change of a single byte in what was written goes
// unnoticed, wherever it is (S4); one behind the end never changes what is read.
func TestEveryFlippedBit(t *testing.T) {
	d, want := lived(t)
	for path, content := range contents(t, d.Mount()) {
		used := end(content) * sectorSize
		for offset := 0; offset < len(content); offset++ {
			if offset >= used+2*sectorSize {
				offset += 20 // what is there nobody looks at
			}
			offset = min(offset, len(content)-1)
			c := d.Clone()
			change(t, c.Mount(), path, int64(offset), []byte{content[offset] ^ 1<<(offset%8)})
			got, damage, err := verdict(c)
			switch {
			case err != nil:
				t.Fatalf("%s, byte %d: %v", path, offset, err)
			case damage == nil && offset < used:
				t.Fatalf("%s, byte %d of %d in use: not noticed; got %v", path, offset, used, got)
			case damage == nil && !got.equal(want):
				t.Fatalf("%s, byte %d: got %v, want %v", path, offset, got, want)
			case damage != nil && (damage.File != path || damage.Offset/sectorSize != int64(offset/sectorSize)):
				t.Fatalf("byte %d of %s: blamed byte %d of %s", offset, path, damage.Offset, damage.File)
			}
		}
	}
}

// TestLostSectors: a sector that lost what was synced to it is missed, unless it
// belongs to the very last batch, and a file that was cut short in any case.
func TestLostSectors(t *testing.T) {
	d, want := lived(t)
	files := contents(t, d.Mount())
	newest := slices.Max(slices.Collect(maps.Keys(files)))
	for path, content := range files {
		used := end(content)
		for n := range used {
			c := d.Clone()
			change(t, c.Mount(), path, int64(n)*sectorSize, make([]byte, sectorSize))
			got, damage, err := verdict(c)
			last := path == newest && n >= used-sectorsFor(1300) // the last batch has that many sectors
			switch {
			case err != nil:
				t.Fatal(err)
			case damage == nil && !last:
				t.Errorf("%s: the loss of sector %d of %d went unnoticed", path, n, used)
			case damage == nil && (got.last() != want.last()-1 || len(got.entries) != len(want.entries)-1):
				t.Errorf("%s: after the loss of sector %d: %v", path, n, got)
			}
		}
		for size := range int64(len(content)) / sectorSize {
			c := d.Clone()
			f, err := c.Mount().Open(path)
			must(t, err)
			must(t, f.Truncate(size*sectorSize))
			if got, damage, err := verdict(c); damage == nil || damage.File != path {
				t.Errorf("%s, cut to %d sectors: %v, %v, %v", path, size, got, damage, err)
			}
		}
	}
}

// TestForeignFiles: segments that are missing, of another log, or in the wrong
// place are refused.
func TestForeignFiles(t *testing.T) {
	d, _ := lived(t)
	files := contents(t, d.Mount())
	paths := slices.Sorted(maps.Keys(files))
	if len(paths) < 2 {
		t.Fatal("too few segments: ", paths)
	}
	oldest, newest := paths[0], paths[len(paths)-1]
	t.Run("the oldest is missing", func(t *testing.T) {
		c := d.Clone()
		must(t, c.Mount().Remove(oldest))
		if _, damage, err := verdict(c); damage == nil || !strings.Contains(damage.What, "missing") {
			t.Error(damage, err)
		}
	})
	t.Run("only spares are left", func(t *testing.T) {
		c := d.Clone()
		must(t, c.Mount().Rename(oldest, strings.TrimSuffix(oldest, segmentSuffix)+spareSuffix))
		for _, path := range paths[1:] {
			must(t, c.Mount().Remove(path))
		}
		if _, damage, err := verdict(c); damage == nil {
			t.Error(damage, err)
		}
	})
	t.Run("another name", func(t *testing.T) {
		c := d.Clone()
		must(t, c.Mount().Rename(newest, filepath.Join(dir, "00000099.wal")))
		if _, damage, err := verdict(c); damage == nil || !strings.Contains(damage.Error(), "00000099.wal is damaged at offset 0: it is segment") {
			t.Error(damage, err)
		}
	})
	t.Run("of another log", func(t *testing.T) {
		other := memdisk.New()
		l, _ := open(t, other.Mount())
		for i := range uint64(20) {
			must(t, l.Append(nil, []Entry{entry(i+1, 800)}, true))
		}
		theirs := contents(t, other.Mount())[newest]
		if theirs == nil {
			t.Fatal("the other log has no ", newest)
		}
		c := d.Clone()
		change(t, c.Mount(), newest, 0, theirs)
		if _, damage, err := verdict(c); damage == nil || damage.File != newest {
			t.Error(damage, err)
		}
	})
	t.Run("of a newer release", func(t *testing.T) {
		c := d.Clone()
		h := files[oldest][:sectorSize]
		binary.LittleEndian.PutUint32(h[8:], version+1)
		binary.LittleEndian.PutUint32(h[headerSum:], sumHeader(h))
		change(t, c.Mount(), oldest, 0, h)
		if _, _, err := verdict(c); !errors.Is(err, ErrVersion) {
			t.Error(err)
		}
	})
	t.Run("not ours", func(t *testing.T) {
		c := d.Clone()
		for _, name := range []string{"README", "1.wal", "0000000G.wal", "00000001.wal.bak", "+0000001.tmp"} {
			f, err := c.Mount().Create(filepath.Join(dir, name))
			must(t, errors.Join(err, f.Close()))
		}
		_, damage, err := verdict(c)
		names, _ := c.Mount().List(dir)
		if damage != nil || err != nil || !slices.Contains(names, "+0000001.tmp") {
			t.Error(damage, err, names)
		}
	})
}

// TestOldSegmentsComeBack: when the file system forgot the removal of the oldest
// segments but one, the log is as whole as ever, and they go for good.
func TestOldSegmentsComeBack(t *testing.T) {
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	for i := range uint64(40) {
		must(t, l.Append(nil, []Entry{entry(i+1, 800)}, true))
	}
	before := contents(t, d.Mount())
	must(t, l.Compact(30, 1))
	must(t, l.Close())
	first := filepath.Join(dir, "00000001.wal")
	f, err := d.Mount().Create(first)
	must(t, err)
	must(t, f.Close())
	change(t, d.Mount(), first, 0, before[first])
	_, r := open(t, d.Mount())
	if r.Index != 30 || len(r.Entries) != 10 {
		t.Fatalf("after %d: %d entries", r.Index, len(r.Entries))
	}
	if names, _ := d.Mount().List(dir); slices.Contains(names, filepath.Base(first)) {
		t.Error("still there: ", names)
	}
}

// TestStaleSectorsStayDead: what an older generation left at the very place where
// the log goes on is never taken for a part of it, whatever of a batch is torn.
func TestStaleSectorsStayDead(t *testing.T) {
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	var last uint64
	for range 200 { // each segment is used many times, always with batches of the same form
		last++
		must(t, l.Append(nil, []Entry{entry(last, 600)}, true))
		if last%20 == 0 {
			must(t, l.Compact(last-1, 1))
		}
	}
	must(t, l.Append(nil, []Entry{entry(last+1, 600)}, false))
	for seed := range uint64(50) {
		c := d.Clone()
		c.Crash(rand.New(rand.NewPCG(seed, 0)))
		got, damage, err := verdict(c)
		if damage != nil || err != nil || got.last() != last && got.last() != last+1 {
			t.Fatal(damage, err, got)
		}
		for i, e := range got.entries {
			if want := entry(got.base.index+1+uint64(i), 600); !bytes.Equal(e.Data, want.Data) || e.Index != want.Index {
				t.Fatalf("entry %d is another", want.Index)
			}
		}
	}
	must(t, l.Close())
}

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden: the log that an earlier release wrote is read, and written in the
// same way.
func TestGolden(t *testing.T) {
	d, want := lived(t)
	files := contents(t, d.Mount())
	if *update {
		must(t, os.MkdirAll("testdata/log", 0o755))
		for path, content := range files {
			must(t, os.WriteFile(filepath.Join("testdata/log", filepath.Base(path)), content[:end(content)*sectorSize], 0o644))
		}
	}
	golden, err := filepath.Glob("testdata/log/*.wal")
	must(t, err)
	if len(golden) != len(files) {
		t.Fatalf("%d files in testdata, %d written", len(golden), len(files))
	}
	old := memdisk.New()
	must(t, old.Mount().MkdirAll(dir))
	for _, path := range golden {
		content, err := os.ReadFile(path)
		must(t, err)
		f, err := old.Mount().Create(filepath.Join(dir, filepath.Base(path)))
		must(t, errors.Join(err, f.Truncate(minSegment)))
		_, err = f.WriteAt(content, 0)
		must(t, errors.Join(err, f.Close()))
		if now := files[filepath.Join(dir, filepath.Base(path))]; !bytes.HasPrefix(now, content) {
			t.Errorf("%s is written differently now", path)
		}
	}
	if got, damage, err := verdict(old); damage != nil || err != nil || !got.equal(want) {
		t.Errorf("%v, %v\ngot  %v\nwant %v", damage, err, got, want)
	}
}

// FuzzOpen: arbitrary segments are read or refused, never with a panic; what is
// read stays. Sealed, the checksums are right, so that what is in the batches counts.
func FuzzOpen(f *testing.F) {
	d, _ := lived(f)
	for _, content := range contents(f, d.Mount()) {
		body := content[sectorSize : end(content)*sectorSize]
		f.Add(body, binary.LittleEndian.Uint32(content[12:]), true)
		f.Add(body, binary.LittleEndian.Uint32(content[12:]), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, generation uint32, sealed bool) {
		body = body[:min(len(body), minSegment-sectorSize)]
		content := append(encodeHeader(generation, minSegment/sectorSize), body...)
		content = append(content, make([]byte, minSegment-len(content))...)
		chain := uint32(0)
		for n := 1; sealed && n < len(content)/sectorSize; n++ {
			sector := content[n*sectorSize : (n+1)*sectorSize]
			if allZero(sector) {
				continue
			}
			if binary.LittleEndian.Uint32(sector[8:])&firstOfMany != 0 {
				binary.LittleEndian.PutUint32(sector[sectorHead+1:], chain)
			}
			binary.LittleEndian.PutUint32(sector[4:], generation)
			binary.LittleEndian.PutUint32(sector, checksum(sector, n))
			chain = link(chain, sector)
		}
		d := memdisk.New()
		must(t, d.Mount().MkdirAll(dir))
		file, err := d.Mount().Create(filepath.Join(dir, fileName(generation, segmentSuffix)))
		must(t, err)
		_, err = file.WriteAt(content, 0)
		must(t, err)
		l, r, err := Open(d.Mount(), dir, small)
		if err != nil {
			return
		}
		want := imageOf(r)
		next := []Entry{entry(want.last()+1, 10)}
		if err := l.Append(nil, next, true); err != nil {
			t.Fatal(err)
		}
		want = want.with(nil, next)
		must(t, l.Close())
		if got, damage, err := verdict(d); damage != nil || err != nil || !got.equal(want) {
			t.Fatalf("%v, %v: %v, want %v", damage, err, got, want)
		}
	})
}

// FuzzDecode: a batch that decodes encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	f.Add(appendEntries(appendHead(nil, kindAppend), &State{1, 2, 3}, []Entry{entry(1, 3), entry(2, 0)}))
	f.Add(appendBegin(appendHead(nil, kindBegin), 1, 2, position{3, 4}, State{5, 6, 7}))
	f.Add(appendPosition(appendHead(nil, kindCompact), position{3, 4}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := decode(payload)
		if err != nil {
			return
		}
		again := appendHead(nil, b.kind)
		completeHead(again, b.chain, int(b.synced))
		switch b.kind {
		case kindBegin, kindReset:
			again = appendBegin(again, b.before, b.last, b.base, *b.state)
		case kindAppend:
			again = appendEntries(again, b.state, b.entries)
		case kindCompact:
			again = appendPosition(again, b.base)
		}
		// Numbers may be written longer than need be; then the meaning is the same.
		c, err := decode(again)
		if err != nil || len(again) > len(payload) || fmt.Sprint(b.entries) != fmt.Sprint(c.entries) {
			t.Fatalf("%x became %x: %v", payload, again, err)
		}
	})
}
