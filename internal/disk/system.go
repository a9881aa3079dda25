package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// System is the operating system's file system. The zero value is ready.
type System struct{}

var _ FS = System{}

// MkdirAll implements [FS].
func (s System) MkdirAll(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &os.PathError{Op: "mkdir", Path: dir, Err: errors.New("it is a file, not a directory")}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return err
	}
	if err := s.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return s.SyncDir(parent)
}

// Create implements [FS].
func (System) Create(path string) (File, error) {
	return open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open implements [FS].
func (System) Open(path string) (File, error) { return open(path, os.O_RDWR) }

func open(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Rename implements [FS].
func (System) Rename(from, to string) error {
	if filepath.Dir(from) != filepath.Dir(to) {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: ErrDirectories}
	}
	return os.Rename(from, to)
}

// ErrDirectories: a renaming would move the file to another directory.
var ErrDirectories = errors.New("the names are in different directories")

// Remove implements [FS].
func (System) Remove(path string) error { return os.Remove(path) }

// List implements [FS].
func (System) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir implements [FS]. Windows has no such call and does without.
func (System) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements [FS]. The file holds its holder's process ID, for others to
// read; the lock is the system's, on the file.
func (System) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = lock(f)
	if errors.Is(err, errLocked) {
		err = &LockedError{Path: path, PID: readPID(f)}
	} else if err != nil {
		err = fmt.Errorf("lock %s: %w", path, err)
	} else {
		err = writePID(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil // not removed at the end: another may have it open already, and would lock a file that is no longer there
}

var errLocked = errors.New("locked")

// pidLength is the length of a lock file: of fixed width, so that a reader beside
// the writer sees the old ID or the new one.
const pidLength = 20

func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-*d\n", pidLength-1, os.Getpid()), 0)
	return err
}

// readPID returns 0 where there is no ID: the holder is about to write it.
func readPID(f *os.File) int {
	b := make([]byte, pidLength)
	n, _ := f.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}

type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
