package disk_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

// TestWriter: what a Writer has written is there, by whatever way it went, small or large.
func TestWriter(t *testing.T) {
	for name, fs := range map[string]disk.FS{"system": disk.System{}, "memory": memdisk.New().Mount()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, fs.MkdirAll(dir))
			f, err := fs.Create(filepath.Join(dir, "file"))
			must(t, err)
			defer f.Close()
			var w disk.Writer
			defer w.Close()
			rng := rand.New(rand.NewPCG(1, 2))
			var want []byte
			for i := range 200 {
				b := make([]byte, []int{0, 1, 511, 512, 4096, 64 << 10, 64<<10 + 1, 200 << 10}[rng.IntN(8)])
				for j := range b {
					b[j] = byte(rng.Uint32())
				}
				at := rng.IntN(len(want) + 1)
				must(t, w.Write(f, b, int64(at), i%3 != 0))
				want = append(want[:at], append(b, want[min(len(want), at+len(b)):]...)...)
				clear(b) // it is not kept
			}
			got := make([]byte, len(want)+1)
			if n, _ := f.ReadAt(got, 0); !bytes.Equal(got[:n], want) {
				t.Errorf("%d bytes, which are not the %d that were written", n, len(want))
			}
		})
	}
}

// TestWriterFails: errors tell what failed, and a Writer goes on after one.
func TestWriterFails(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's devices")
	}
	var w disk.Writer
	defer w.Close()
	write := func(path string) error {
		t.Helper()
		f, err := disk.System{}.Open(path)
		must(t, err)
		defer f.Close()
		return w.Write(f, []byte("x"), 0, true)
	}
	for range 2 {
		err := write("/dev/full")
		if e, ok := errors.AsType[*os.PathError](err); !disk.IsFull(err) || !ok || e.Op != "write" || e.Path != "/dev/full" {
			t.Errorf("a full disk: %v", err)
		}
		err = write("/dev/null") // takes it, and has nothing to sync
		if e, ok := errors.AsType[*os.PathError](err); !errors.Is(err, syscall.EINVAL) || !ok || e.Op != "fdatasync" || e.Path != "/dev/null" {
			t.Errorf("a failed sync: %v", err)
		}
		f, err := disk.System{}.Create(filepath.Join(t.TempDir(), "file"))
		must(t, err)
		must(t, w.Write(f, []byte("x"), 0, true))
		must(t, f.Close())
		if err := w.Write(f, []byte("x"), 0, true); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a closed file: %v", err)
		}
	}
}

// TestFilesCloseBesideAWriter: whoever closes a file that is written to gets no other
// file written.
func TestFilesCloseBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	var w disk.Writer
	defer w.Close()
	for range 200 {
		f, err := disk.System{}.Create(filepath.Join(dir, "file"))
		must(t, err)
		var closing sync.WaitGroup
		closing.Go(func() { f.Close() })
		if err := w.Write(f, []byte("written"), 0, true); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Fatal(err)
		}
		closing.Wait()
		must(t, disk.System{}.Remove(filepath.Join(dir, "file")))
	}
}

// TestWriterEndsItsThread: nothing is left of it, however often one is closed and used again.
func TestWriterEndsItsThread(t *testing.T) {
	before := threads(t)
	descriptors := openFiles(t)
	f, err := disk.System{}.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	var w disk.Writer
	w.Close() // which has none
	for range 20 {
		must(t, w.Write(f, []byte("x"), 0, true))
		if n := threads(t) - before; n > 1 {
			t.Fatalf("it has %d threads", n)
		}
		w.Close()
		if n := threads(t) - before; n != 0 {
			t.Fatalf("it left %d threads behind", n)
		}
	}
	must(t, f.Close())
	if n := openFiles(t); n != descriptors {
		t.Errorf("%d files were open before, %d now", descriptors, n)
	}
}

// threads counts those of Writers.
func threads(t *testing.T) (n int) {
	names, err := filepath.Glob("/proc/self/task/*/comm")
	must(t, err)
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(comm)) == "kith-disk" {
			n++
		}
	}
	return n
}

func openFiles(t *testing.T) int {
	names, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	return len(names)
}

// BenchmarkWriter writes and syncs a sector, by a Writer and by the caller itself.
func BenchmarkWriter(b *testing.B) {
	for _, way := range []string{"writer", "caller"} {
		b.Run(way, func(b *testing.B) {
			f, err := disk.System{}.Create(filepath.Join(b.TempDir(), "file"))
			must(b, err)
			defer f.Close()
			must(b, f.Truncate(1<<20))
			_, err = f.WriteAt(make([]byte, 1<<20), 0)
			must(b, err)
			must(b, f.Sync())
			var w disk.Writer
			defer w.Close()
			sector := make([]byte, 512)
			b.ReportAllocs()
			for b.Loop() {
				if way == "writer" {
					must(b, w.Write(f, sector, 0, true))
					continue
				}
				_, err := f.WriteAt(sector, 0)
				must(b, err)
				must(b, f.Sync())
			}
		})
	}
}
