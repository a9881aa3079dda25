package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const dir = "/state/snapshots"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func store(t testing.TB, fs disk.FS) *Store {
	t.Helper()
	s, err := OpenStore(fs, dir)
	must(t, err)
	return s
}

// content makes bytes that tell their place and seed.
func content(seed byte, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func put(s *Store, index, term uint64, content []byte) error {
	w, err := s.Create(index, term)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(content, 100_000) {
		if _, err := w.Write(chunk); err != nil {
			w.Abort()
			return err
		}
	}
	return w.Commit()
}

func get(s *Store, m Meta) ([]byte, error) {
	r, err := s.Open(m)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func TestRoundTrip(t *testing.T) {
	s := store(t, memdisk.New().Mount())
	for i, size := range []int{0, 1, 1000, maxBlock - 1, maxBlock, maxBlock + 1, 5*maxBlock + 7} {
		want := content(byte(i), size)
		must(t, put(s, uint64(i)+1, 9, want))
		m, ok := s.Latest()
		if !ok || m.Index != uint64(i)+1 || m.Term != 9 {
			t.Fatal(m, ok)
		}
		r, err := s.Open(m)
		must(t, err)
		got, err := io.ReadAll(iotest.HalfReader(r))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %v, %d bytes", size, err, len(got))
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Error("after the end: ", n, err)
		}
		must(t, r.Close())
		if err := r.Close(); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
}

// TestOrder: newest first, by index and then by term, also after a restart.
func TestOrder(t *testing.T) {
	d := memdisk.New()
	s := store(t, d.Mount())
	if m, ok := s.Latest(); ok {
		t.Error(m)
	}
	for _, m := range []Meta{{Index: 5, Term: 2}, {Index: 300, Term: 3}, {Index: 5, Term: 1}, {Index: 20, Term: 2}} {
		must(t, put(s, m.Index, m.Term, nil))
	}
	must(t, put(s, 20, 2, []byte("again"))) // takes the place of the other
	for range 2 {
		var order []string
		for _, m := range s.List() {
			order = append(order, fmt.Sprintf("%d/%d/%d", m.Index, m.Term, m.Size))
		}
		if got, want := fmt.Sprint(order), "[300/3/48 20/2/61 5/2/48 5/1/48]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		s = store(t, d.Mount())
	}
}

// TestCrashAnywhere: wherever the power goes, a snapshot is there whole or not at
// all, and once it was committed, it is there.
func TestCrashAnywhere(t *testing.T) {
	for seed := range uint64(5) {
		d := memdisk.New()
		contents := map[uint64][]byte{}
		for i := range uint64(6) {
			contents[i+1] = content(byte(i), int(i*1500))
		}
		var committed, pruned uint64 // indexes
		check := func(op memdisk.Op) {
			for _, power := range []bool{true, false} {
				c := d.Clone()
				if power {
					c.Crash(rand.New(rand.NewPCG(seed, uint64(op.N))))
				}
				s := store(t, c.Mount())
				list := s.List()
				for _, m := range list {
					if got, err := get(s, m); err != nil || !bytes.Equal(got, contents[m.Index]) {
						t.Fatalf("seed %d, before %+v: %+v: %v", seed, op, m, err)
					}
				}
				for index := pruned + 1; index <= committed; index++ {
					if !slices.ContainsFunc(list, func(m Meta) bool { return m.Index == index }) {
						t.Fatalf("seed %d, before %+v: %d is gone, there is %v", seed, op, index, list)
					}
				}
				if names, _ := c.Mount().List(dir); len(names) != len(list) {
					t.Fatalf("seed %d, before %+v: left over: %v", seed, op, names)
				}
				c.Crash(rand.New(rand.NewPCG(seed, uint64(op.N)))) // what was found stays
				if again := store(t, c.Mount()).List(); !slices.Equal(again, list) {
					t.Fatalf("seed %d, before %+v: found %v, then %v", seed, op, list, again)
				}
			}
		}
		d.OnOp(func(op memdisk.Op) error {
			if op.Kind.Changes() {
				check(op)
			}
			return nil
		})
		s := store(t, d.Mount())
		for index := range uint64(6) {
			index++
			if index%2 == 0 {
				must(t, receive(s, index, contents[index]))
			} else {
				must(t, put(s, index, 1, contents[index]))
			}
			committed = index
			if index > 2 {
				pruned = index - 2
			}
			must(t, s.Prune(2))
		}
	}
}

// receive takes a snapshot as from another node.
func receive(s *Store, index uint64, content []byte) error {
	fs := memdisk.New().Mount()
	other, err := OpenStore(fs, dir)
	if err != nil {
		return err
	}
	if err := put(other, index, 1, content); err != nil {
		return err
	}
	m, _ := other.Latest()
	raw, size, err := other.Raw(m)
	if err != nil || size != m.Size {
		return fmt.Errorf("%w: %d bytes, not %d", err, m.Size, size)
	}
	r, err := s.Receive(m)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{raw}, make([]byte, 300)); err != nil {
		r.Abort()
		return err
	}
	return errors.Join(r.Commit(), raw.Close())
}

// TestReceive: what another node sends is taken only if it is whole and right.
func TestReceive(t *testing.T) {
	from := memdisk.New()
	other := store(t, from.Mount())
	want := content(1, 3000)
	must(t, put(other, 7, 2, want))
	m, _ := other.Latest()
	raw, size, err := other.Raw(Meta{Index: 7, Term: 2}) // whoever asks need not know the size
	must(t, err)
	if size != m.Size {
		t.Errorf("%d bytes, not %d", size, m.Size)
	}
	whole, err := io.ReadAll(raw)
	must(t, err)
	if n, err := raw.Seek(5, io.SeekStart); n != 5 || err != nil { // a transfer that is taken up again
		t.Error(n, err)
	}
	rest, err := io.ReadAll(raw)
	if err != nil || !bytes.Equal(rest, whole[5:]) {
		t.Error(err)
	}
	must(t, raw.Close())
	flipped := slices.Clone(whole)
	flipped[1000] ^= 1
	for name, c := range map[string]struct {
		meta  Meta
		bytes []byte
		ok    bool
	}{
		"whole":             {m, whole, true},
		"cut off":           {m, whole[:len(whole)-1], false},
		"nothing":           {m, nil, false},
		"too much":          {m, append(slices.Clone(whole), 0), false},
		"announced shorter": {Meta{7, 2, m.Size - 1}, whole[:m.Size-1], false},
		"announced longer":  {Meta{7, 2, m.Size + 1}, append(slices.Clone(whole), 0), false},
		"flipped":           {m, flipped, false},
		"another index":     {Meta{8, 2, m.Size}, whole, false},
		"another term":      {Meta{7, 3, m.Size}, whole, false},
		"garbage":           {Meta{7, 2, 3000}, content(2, 3000), false},
	} {
		d := memdisk.New()
		s := store(t, d.Mount())
		r, err := s.Receive(c.meta)
		must(t, err)
		_, err = r.Write(c.bytes)
		err = errors.Join(err, r.Commit())
		if again := r.Commit(); !errors.Is(again, os.ErrClosed) {
			t.Errorf("%s: a second commit: %v", name, again)
		}
		if !c.ok {
			if _, ok := errors.AsType[*DamageError](err); !ok {
				t.Errorf("%s: %v", name, err)
			}
			if names, _ := d.Mount().List(dir); len(s.List())+len(names) > 0 {
				t.Errorf("%s: left %v", name, names)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := get(s, m); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := other.Receive(Meta{Index: 1, Term: 1, Size: 10}); err == nil {
		t.Error("a file of 10 bytes is no snapshot")
	}
}

// TestEveryFlippedBit: no change of a single byte, and no cut, goes unnoticed.
func TestEveryFlippedBit(t *testing.T) {
	d := memdisk.New()
	s := store(t, d.Mount())
	must(t, put(s, 3, 1, content(3, 700)))
	m, _ := s.Latest()
	path := filepath.Join(dir, m.name())
	damaged := func(what string, offset int64, spoil func(f disk.File) error) {
		t.Helper()
		c := d.Clone()
		f, err := c.Mount().Open(path)
		must(t, err)
		must(t, errors.Join(spoil(f), f.Close()))
		s := store(t, c.Mount())
		m, _ := s.Latest()
		_, err = get(s, m)
		damage, ok := errors.AsType[*DamageError](err)
		if !ok || damage.File != path || damage.Offset > offset {
			t.Errorf("%s %d: %v", what, offset, err)
		}
	}
	for offset := range m.Size {
		damaged("flip", offset, func(f disk.File) error {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, offset); err != nil {
				return err
			}
			b[0] ^= 1 << (offset % 8)
			_, err := f.WriteAt(b, offset)
			return err
		})
		damaged("cut", offset, func(f disk.File) error { return f.Truncate(offset) })
	}
	damaged("longer", m.Size, func(f disk.File) error { return f.Truncate(m.Size + 1) })
}

func TestNewerFormat(t *testing.T) {
	d := memdisk.New()
	s := store(t, d.Mount())
	must(t, put(s, 3, 1, nil))
	m, _ := s.Latest()
	h, _ := header(3, 1)
	h[8]++
	sum := extend(0, h[:headerBytes-4])
	h = append(h[:headerBytes-4], byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	f, err := d.Mount().Open(filepath.Join(dir, m.name()))
	must(t, err)
	_, err = f.WriteAt(h, 0)
	must(t, err)
	if _, err := get(s, m); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// TestPrune: never what is open, never the last one.
func TestPrune(t *testing.T) {
	d := memdisk.New()
	s := store(t, d.Mount())
	for index := range uint64(5) {
		must(t, put(s, index+1, 1, content(byte(index), 100)))
	}
	oldest := s.List()[4]
	r, err := s.Open(oldest)
	must(t, err)
	raw, _, err := s.Raw(oldest)
	must(t, err)
	indexes := func() (is []uint64) {
		for _, m := range s.List() {
			is = append(is, m.Index)
		}
		return is
	}
	step := func(keep int, want ...uint64) {
		t.Helper()
		must(t, s.Prune(keep))
		names, _ := d.Mount().List(dir)
		if got := indexes(); !slices.Equal(got, want) || len(names) != len(want) {
			t.Errorf("got %v, want %v; files %v", got, want, names)
		}
	}
	step(9, 5, 4, 3, 2, 1)
	step(2, 5, 4, 1)
	must(t, r.Close())
	r.Close() // counts once
	step(2, 5, 4, 1)
	if b, err := io.ReadAll(raw); err != nil || int64(len(b)) != oldest.Size {
		t.Error(err)
	}
	must(t, raw.Close())
	step(2, 5, 4)
	step(0, 5)
	if _, err := s.Open(oldest); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	must(t, put(s, 6, 1, nil))
	d.Fail(memdisk.Remove, 1, syscall.EIO)
	if err := s.Prune(1); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	step(1, 6) // the next one has it
}

// TestFailures: whatever fails, no snapshot becomes visible, nothing is left, and
// the next one succeeds.
func TestFailures(t *testing.T) {
	for _, kind := range []memdisk.Kind{memdisk.Create, memdisk.Write, memdisk.Sync, memdisk.Rename, memdisk.SyncDir} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			d := memdisk.New()
			s := store(t, d.Mount())
			d.Fail(kind, 1, cause)
			if err := put(s, 1, 1, content(1, 5<<20)); !errors.Is(err, cause) {
				t.Errorf("kind %d: %v", kind, err)
			}
			if names, _ := d.Mount().List(dir); len(s.List()) > 0 || len(names) > 0 && kind != memdisk.SyncDir {
				t.Errorf("kind %d: left %v", kind, names)
			}
			must(t, put(s, 1, 1, content(1, 10)))
			if got, err := get(s, s.List()[0]); err != nil || len(got) != 10 {
				t.Errorf("kind %d: %v", kind, err)
			}
		}
	}
}

func TestAbort(t *testing.T) {
	d := memdisk.New()
	s := store(t, d.Mount())
	w, err := s.Create(1, 1)
	must(t, err)
	r, err := s.Receive(Meta{1, 1, 100})
	must(t, err)
	w.Abort()
	r.Abort()
	w.Abort()
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := w.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if _, err := r.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if names, _ := d.Mount().List(dir); len(names) > 0 {
		t.Error(names)
	}
}

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden: the file that an earlier release wrote is read, and written in the
// same way.
func TestGolden(t *testing.T) {
	d := memdisk.New()
	s := store(t, d.Mount())
	want := []byte("what the state was after entry 48879")
	must(t, put(s, 48879, 3, want))
	raw, _, err := s.Raw(s.List()[0])
	must(t, err)
	now, err := io.ReadAll(raw)
	must(t, errors.Join(err, raw.Close()))
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile("testdata/golden.snap", now, 0o644))
	}
	golden, err := os.ReadFile("testdata/golden.snap")
	must(t, err)
	if !bytes.Equal(golden, now) {
		t.Errorf("%x is written now", now)
	}
	if got, err := read(golden, Meta{48879, 3, int64(len(golden))}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// read reads the content of a snapshot's file.
func read(file []byte, m Meta) ([]byte, error) {
	fs := memdisk.New().Mount()
	if err := fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	f, err := fs.Create(filepath.Join(dir, "file"))
	if err == nil {
		_, err = f.WriteAt(file, 0)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(&Reader{source: source{f: f, m: m}})
}

// FuzzReader: arbitrary files are read or refused, without a panic, and none but
// those that a Writer writes is read. Sealed, the checksums are right, so that the
// rest counts.
func FuzzReader(f *testing.F) {
	golden, err := os.ReadFile("testdata/golden.snap")
	must(f, err)
	f.Add(golden, true)
	f.Add(golden, false)
	f.Add([]byte{}, false)
	f.Add(append(slices.Clone(golden[:len(golden)-8]), 1, 0, 0, 0, 0, 0, 0, 0), true) // a wrong total
	f.Fuzz(func(t *testing.T, file []byte, sealed bool) {
		if sealed {
			file = seal(slices.Clone(file))
		}
		m := Meta{48879, 3, int64(len(file))}
		got, err := read(file, m)
		if err != nil {
			return
		}
		var total int
		for at := headerBytes; at < len(file)-trailerBytes; {
			n := int(file[at]) | int(file[at+1])<<8 | int(file[at+2])<<16
			total += n
			at += prefixBytes + n
		}
		if said := binary.LittleEndian.Uint64(file[len(file)-8:]); total != len(got) || said != uint64(total) {
			t.Errorf("read %d bytes out of blocks of %d, said to be %d", len(got), total, said)
		}
	})
}

// seal makes the checksums of a file right as far as its blocks go.
func seal(file []byte) []byte {
	head, sum := header(48879, 3)
	copy(file, head)
	for at := headerBytes; at+prefixBytes <= len(file); {
		b := file[at:]
		n := int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24
		whole := prefixBytes + n
		if n == 0 {
			whole = trailerBytes
		}
		if n < 0 || whole > len(b) {
			break
		}
		sum = putPrefix(b[:whole], n, sum)
		at += whole
	}
	return file
}
