package memdisk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/disk"
)

// tester is what *testing.T and *rapid.T share.
type tester interface {
	Helper()
	Fatal(...any)
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t tester, fs disk.FS, path string) disk.File {
	t.Helper()
	f, err := fs.Create(path)
	must(t, err)
	return f
}

func write(t tester, f disk.File, offset int64, b []byte) {
	t.Helper()
	_, err := f.WriteAt(b, offset)
	must(t, err)
}

// contentOf returns what is in a file, "-" if it does not exist.
func contentOf(t tester, d *Disk, path string) string {
	t.Helper()
	f, err := d.Mount().Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "-"
	}
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(b)
}

// outcomes crashes copies of a disk many times and returns what is found of a file.
func outcomes(t tester, d *Disk, path string) []string {
	t.Helper()
	found := map[string]bool{}
	for seed := range uint64(300) {
		c := d.Clone()
		c.Crash(rand.New(rand.NewPCG(seed, seed)))
		found[contentOf(t, c, path)] = true
	}
	var all []string
	for s := range found {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func fresh(t tester) (*Disk, disk.FS) {
	d := New()
	fs := d.Mount()
	must(t, fs.MkdirAll("/d"))
	return d, fs
}

// TestCrashOfNames: only a prefix of what was done to a directory is found.
func TestCrashOfNames(t *testing.T) {
	d, fs := fresh(t)
	f := create(t, fs, "/d/a")
	write(t, f, 0, []byte("x"))
	must(t, f.Sync())
	expect(t, outcomes(t, d, "/d/a"), "-", "x") // synced, under a name that was not
	must(t, fs.SyncDir("/d"))
	expect(t, outcomes(t, d, "/d/a"), "x")

	must(t, fs.Rename("/d/a", "/d/b"))
	create(t, fs, "/d/c")
	seen := map[string]bool{}
	for seed := range uint64(100) {
		c := d.Clone()
		c.Crash(rand.New(rand.NewPCG(seed, 0)))
		names, err := c.Mount().List("/d")
		must(t, err)
		seen[strings.Join(names, " ")] = true
	}
	if len(seen) != 3 || !seen["a"] || !seen["b"] || !seen["b c"] {
		t.Errorf("found %v", seen)
	}

	must(t, fs.SyncDir("/d"))
	must(t, fs.Remove("/d/b"))
	expect(t, outcomes(t, d, "/d/b"), "-", "x") // back again, perhaps
	must(t, fs.SyncDir("/d"))
	expect(t, outcomes(t, d, "/d/b"), "-")
}

// TestCrashOfContents: each write that was not synced is there or not, whatever
// becomes of the others, or torn at sectors.
func TestCrashOfContents(t *testing.T) {
	d, fs := fresh(t)
	f := create(t, fs, "/d/a")
	must(t, fs.SyncDir("/d"))
	write(t, f, 0, []byte("123"))
	must(t, f.Sync())
	write(t, f, 0, []byte("A"))
	write(t, f, 2, []byte("C"))
	expect(t, outcomes(t, d, "/d/a"), "123", "A23", "12C", "A2C")
	must(t, f.Sync())
	expect(t, outcomes(t, d, "/d/a"), "A2C")
	must(t, f.Truncate(1))
	write(t, f, 2, []byte("z"))
	// A torn write may leave the length and nothing else.
	expect(t, outcomes(t, d, "/d/a"), "A2C", "A", "A2z", "A\x00z", "A\x00\x00")

	d, fs = fresh(t)
	f = create(t, fs, "/d/a")
	must(t, fs.SyncDir("/d"))
	old := bytes.Repeat([]byte("o"), 3*sector)
	write(t, f, 0, old)
	must(t, f.Sync())
	write(t, f, 100, bytes.Repeat([]byte("n"), 2*sector))
	var want []string // three sectors are touched, each whole or not
	for which := range 8 {
		b := slices.Clone(old)
		for i, part := range [][2]int{{100, sector}, {sector, 2 * sector}, {2 * sector, 2*sector + 100}} {
			if which&(1<<i) != 0 {
				copy(b[part[0]:part[1]], bytes.Repeat([]byte("n"), sector))
			}
		}
		want = append(want, string(b))
	}
	expect(t, outcomes(t, d, "/d/a"), want...)
}

// TestFailedSync: what a failed sync was to save is read as if it were there, is
// not saved by a later one either, and is gone after a crash.
func TestFailedSync(t *testing.T) {
	d, fs := fresh(t)
	f := create(t, fs, "/d/a")
	must(t, fs.SyncDir("/d"))
	write(t, f, 0, []byte("old"))
	must(t, f.Sync())
	write(t, f, 0, []byte("new"))
	d.Fail(Sync, 1, syscall.EIO)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	must(t, f.Sync())
	if got := contentOf(t, d, "/d/a"); got != "new" {
		t.Error(got)
	}
	expect(t, outcomes(t, d, "/d/a"), "old")
}

func TestFail(t *testing.T) {
	d, fs := fresh(t)
	f := create(t, fs, "/d/a")
	d.Fail(Write, 2, syscall.ENOSPC)
	for range 2 {
		if n, err := f.WriteAt([]byte("1234"), 0); n != 2 || !errors.Is(err, syscall.ENOSPC) {
			t.Error(n, err)
		}
	}
	if got := contentOf(t, d, "/d/a"); got != "12" {
		t.Error(got)
	}
	write(t, f, 0, []byte("1234"))
	for kind, call := range map[Kind]func() error{
		Mkdir:    func() error { return fs.MkdirAll("/e") },
		Create:   func() error { _, err := fs.Create("/d/x"); return err },
		Open:     func() error { _, err := fs.Open("/d/a"); return err },
		Rename:   func() error { return fs.Rename("/d/a", "/d/x") },
		Remove:   func() error { return fs.Remove("/d/a") },
		List:     func() error { _, err := fs.List("/d"); return err },
		SyncDir:  func() error { return fs.SyncDir("/d") },
		Lock:     func() error { _, err := fs.Lock("/d/x"); return err },
		Read:     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		Truncate: func() error { return f.Truncate(0) },
	} {
		d.Fail(kind, 1, syscall.EIO)
		if err := call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	if got := contentOf(t, d, "/d/a"); got != "1234" {
		t.Error(got)
	}
	if names, err := fs.List("/d"); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Error(names, err)
	}
}

// TestKill: what the process wrote stays, its files and locks do not.
func TestKill(t *testing.T) {
	d, fs := fresh(t)
	f := create(t, fs, "/d/a")
	write(t, f, 0, []byte("x"))
	lock, err := fs.Lock("/d/lock")
	must(t, err)
	_, err = d.Mount().Lock("/d/lock")
	if _, ok := errors.AsType[*disk.LockedError](err); !ok {
		t.Error(err)
	}
	d.Kill()
	if got := contentOf(t, d, "/d/a"); got != "x" {
		t.Error(got)
	}
	for name, err := range map[string]error{
		"write": func() error { _, err := f.WriteAt(nil, 0); return err }(),
		"sync":  f.Sync(),
		"list":  func() error { _, err := fs.List("/d"); return err }(),
	} {
		if !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	again, err := d.Mount().Lock("/d/lock")
	must(t, err)
	must(t, lock.Close()) // of the dead: it frees nothing
	if _, err := d.Mount().Lock("/d/lock"); err == nil {
		t.Error("locked twice")
	}
	must(t, again.Close())
}

// TestOnOp: a hook may refuse an operation, crash before it, or clone the disk.
func TestOnOp(t *testing.T) {
	d, fs := fresh(t)
	var ops []Kind
	d.OnOp(func(op Op) error {
		ops = append(ops, op.Kind)
		switch op.Kind {
		case Rename:
			return syscall.EACCES
		case Remove:
			d.Kill()
		}
		return nil
	})
	f := create(t, fs, "/d/a")
	write(t, f, 0, []byte("x"))
	if err := fs.Rename("/d/a", "/d/b"); !errors.Is(err, syscall.EACCES) {
		t.Error(err)
	}
	if err := fs.Remove("/d/a"); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	if want := []Kind{Create, Write, Rename, Remove}; !slices.Equal(ops, want) {
		t.Error(ops)
	}
	d.OnOp(nil)
	if got := contentOf(t, d, "/d/a"); got != "x" {
		t.Error(got)
	}
}

// TestClones share nothing that shows, however both go on.
func TestClones(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type pair struct {
			d    *Disk
			f    disk.File
			want []byte // plain bytes, changed in the same way
		}
		d := New()
		must(t, d.Mount().MkdirAll("/d"))
		f, err := d.Mount().Create("/d/a")
		must(t, err)
		must(t, d.Mount().SyncDir("/d"))
		all := []*pair{{d, f, nil}}
		place := rapid.Custom(func(t *rapid.T) int { // near the borders of pages
			return max(0, rapid.IntRange(0, 3).Draw(t, "page")*pageSize+rapid.IntRange(-9, 9).Draw(t, "offset"))
		})
		for range 30 {
			p := rapid.SampledFrom(all).Draw(t, "disk")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				at := place.Draw(t, "offset")
				b := rapid.SliceOfN(rapid.ByteRange(0, 1), 1, 9).Draw(t, "bytes")
				b = bytes.Repeat(b, rapid.SampledFrom([]int{1, 1, 1000}).Draw(t, "times"))
				_, err := p.f.WriteAt(b, int64(at))
				must(t, err)
				grown := make([]byte, max(len(p.want), at+len(b)))
				copy(grown, p.want)
				copy(grown[at:], b)
				p.want = grown
			case 1:
				size := place.Draw(t, "size")
				must(t, p.f.Truncate(int64(size)))
				cut := make([]byte, size)
				copy(cut, p.want)
				p.want = cut
			case 2:
				must(t, p.f.Sync())
			case 3:
				c := p.d.Clone()
				f, err := c.Mount().Open("/d/a")
				must(t, err)
				all = append(all, &pair{c, f, slices.Clone(p.want)})
			}
		}
		for _, p := range all {
			if got := contentOf(t, p.d, "/d/a"); got != string(p.want) {
				t.Fatalf("%d bytes, want %d, or others", len(got), len(p.want))
			}
			must(t, p.f.Sync())
			p.d.Crash(rand.New(rand.NewPCG(1, 1)))
			if got := contentOf(t, p.d, "/d/a"); got != string(p.want) {
				t.Fatalf("after a crash: %d bytes, want %d, or others", len(got), len(p.want))
			}
		}
	})
}
