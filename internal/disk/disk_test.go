package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFS: the system's file system and the one in memory agree.
func TestFS(t *testing.T) {
	for name, fs := range map[string]disk.FS{"system": disk.System{}, "memory": memdisk.New().Mount()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			must(t, fs.MkdirAll(dir))
			must(t, fs.MkdirAll(dir))
			t.Run("files", func(t *testing.T) { testFiles(t, fs, dir) })
			t.Run("names", func(t *testing.T) { testNames(t, fs, dir) })
			t.Run("locks", func(t *testing.T) { testLocks(t, fs, dir) })
		})
	}
}

func testFiles(t *testing.T, fs disk.FS, dir string) {
	path := filepath.Join(dir, "file")
	f, err := fs.Create(path)
	must(t, err)
	if f.Name() != path {
		t.Error(f.Name())
	}
	write := func(at int64, s string) {
		t.Helper()
		if n, err := f.WriteAt([]byte(s), at); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	content := func(want string) {
		t.Helper()
		size, err := f.Size()
		must(t, err)
		got := make([]byte, size+5)
		n, err := f.ReadAt(got, 0)
		if err != io.EOF || string(got[:n]) != want || size != int64(len(want)) {
			t.Fatalf("%q, %v, size %d; want %q", got[:n], err, size, want)
		}
	}
	write(0, "hello")
	content("hello")
	write(7, "you")
	content("hello\x00\x00you")
	must(t, f.Truncate(4))
	must(t, f.Truncate(6))
	content("hell\x00\x00")
	write(1, "")
	write(1, "ALL")
	must(t, f.Sync())
	content("hALL\x00\x00")
	if n, err := f.ReadAt(make([]byte, 3), 1); n != 3 || err != nil {
		t.Error(n, err)
	}
	if n, err := f.ReadAt(make([]byte, 3), 99); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if _, err := f.ReadAt(make([]byte, 3), -1); err == nil || err == io.EOF {
		t.Error(err)
	}
	if _, err := f.WriteAt([]byte("x"), -1); err == nil {
		t.Error("written at -1")
	}
	if err := f.Truncate(-1); err == nil {
		t.Error("cut to -1")
	}
	again, err := fs.Open(path)
	must(t, err)
	must(t, f.Close())
	for name, err := range map[string]error{
		"close": f.Close(), "sync": f.Sync(), "truncate": f.Truncate(0),
		"write": second(f.WriteAt([]byte("x"), 0)), "read": second(f.ReadAt(make([]byte, 1), 0)), "size": second(f.Size()),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
	f = again // its own, whatever becomes of the other
	content("hALL\x00\x00")
	must(t, fs.Remove(path))
	write(6, "!") // and whatever becomes of the name
	content("hALL\x00\x00!")
	must(t, f.Close())
}

func second[T any](_ T, err error) error { return err }

func testNames(t *testing.T, fs disk.FS, dir string) {
	in := func(name string) string { return filepath.Join(dir, name) }
	list := func(want ...string) {
		t.Helper()
		got, err := fs.List(dir)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	list()
	for _, name := range []string{"b", "a", "c"} {
		f, err := fs.Create(in(name))
		must(t, err)
		_, err = f.WriteAt([]byte(name), 0)
		must(t, errors.Join(err, f.Close()))
	}
	must(t, fs.MkdirAll(in("d")))
	list("a", "b", "c", "d")
	must(t, fs.Rename(in("c"), in("a")))
	must(t, fs.SyncDir(dir))
	list("a", "b", "d")
	f, err := fs.Open(in("a"))
	must(t, err)
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 0); err != nil || b[0] != 'c' {
		t.Errorf("%q, %v", b, err)
	}
	must(t, f.Close())
	for name, c := range map[string]struct{ got, want error }{
		"create what exists": {second(fs.Create(in("a"))), os.ErrExist},
		"create in nowhere":  {second(fs.Create(in("x/y"))), os.ErrNotExist},
		"open":               {second(fs.Open(in("x"))), os.ErrNotExist},
		"remove":             {fs.Remove(in("x")), os.ErrNotExist},
		"rename":             {fs.Rename(in("x"), in("y")), os.ErrNotExist},
		"rename across":      {fs.Rename(in("a"), in("d/a")), disk.ErrDirectories},
		"list":               {second(fs.List(in("x"))), os.ErrNotExist},
		"sync":               {fs.SyncDir(in("x")), os.ErrNotExist},
		"lock":               {second(fs.Lock(in("x/y"))), os.ErrNotExist},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	list("a", "b", "d")
	must(t, fs.Remove(in("a")))
	must(t, fs.Remove(in("b")))
	list("d")
}

func testLocks(t *testing.T, fs disk.FS, dir string) {
	path := filepath.Join(dir, "lock")
	for range 2 { // the file of the first one stays
		held, err := fs.Lock(path)
		must(t, err)
		_, err = fs.Lock(path)
		locked, ok := errors.AsType[*disk.LockedError](err)
		if !ok || *locked != (disk.LockedError{Path: path, PID: os.Getpid()}) {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s is locked by process %d", path, os.Getpid()); err.Error() != want {
			t.Error(err)
		}
		must(t, held.Close())
	}
}

// TestMkdirAllInTheWay: a file where a directory is to be.
func TestMkdirAllInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, nil, 0o600))
	if err := (disk.System{}).MkdirAll(path); err == nil {
		t.Error("made a directory of a file")
	}
	if err := (disk.System{}).MkdirAll(filepath.Join(path, "below")); err == nil {
		t.Error("made a directory in a file")
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "private")
	must(t, disk.System{}.MkdirAll(dir))
	must(t, disk.WriteFile(disk.System{}, filepath.Join(dir, "file"), nil))
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, "file"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// TestWriteFile: the file holds the old or the new content wherever a crash comes,
// and the new one once WriteFile has returned.
func TestWriteFile(t *testing.T) {
	const path = "/x/file"
	content := func(fs disk.FS) []byte {
		f, err := fs.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		must(t, err)
		size, err := f.Size()
		must(t, err)
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		must(t, errors.Join(err, f.Close()))
		return b
	}
	for seed := range uint64(20) {
		d := memdisk.New()
		must(t, d.Mount().MkdirAll("/x"))
		var before, after []byte // may be found
		check := func(op memdisk.Op) error {
			for _, power := range []bool{true, false} {
				c := d.Clone()
				if power {
					c.Crash(rand.New(rand.NewPCG(seed, uint64(op.N))))
				}
				if got := content(c.Mount()); !bytes.Equal(got, before) && !bytes.Equal(got, after) {
					t.Fatalf("seed %d, before %+v: %d bytes", seed, op, len(got))
				}
				must(t, disk.WriteFile(c.Mount(), path, []byte("next"))) // whatever is left does not hinder it
			}
			return nil
		}
		d.OnOp(check)
		for i := range 5 {
			after = bytes.Repeat([]byte{byte(i + 1)}, 1+i*700)
			must(t, disk.WriteFile(d.Mount(), path, after))
			before = after
		}
		must(t, check(memdisk.Op{N: 1 << 20}))
	}
}

func TestWriteFileFails(t *testing.T) {
	for _, kind := range []memdisk.Kind{memdisk.Create, memdisk.Write, memdisk.Sync, memdisk.Rename, memdisk.SyncDir} {
		d := memdisk.New()
		must(t, d.Mount().MkdirAll("/x"))
		d.Fail(kind, 1, syscall.ENOSPC)
		err := disk.WriteFile(d.Mount(), "/x/file", []byte("data"))
		if !disk.IsFull(err) {
			t.Errorf("kind %d: %v", kind, err)
		}
		must(t, disk.WriteFile(d.Mount(), "/x/file", []byte("data")))
	}
	if disk.IsFull(syscall.EIO) || disk.IsFull(nil) {
		t.Error("full")
	}
}
