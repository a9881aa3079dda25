package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// replaceFile makes the file at path hold data. Readers, and a machine that loses
// power, see the old content or the new one, whole. A symbolic link stays, and what it names
// is replaced. With mode 0 the file keeps its permissions, and a new one gets 0644 less the
// umask; it keeps its owner as far as this process may see to that.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	target, err := linkTarget(path)
	if err != nil {
		return err
	}
	old, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		return err
	case !old.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file: it cannot be replaced in one step", path)
	}
	f, err := createBeside(target, old, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		os.Remove(f.Name())
		if errors.Is(err, syscall.EBUSY) {
			err = fmt.Errorf("%w (something is mounted on that very file, so that it cannot be replaced: mount its directory instead)", err)
		}
		return err
	}
	syncDir(filepath.Dir(target))
	return nil
}

const (
	newSuffix = ".kith-new"
	// leftoverAge is how old a half-written file must be to be nobody's any more.
	leftoverAge = time.Minute
)

// createBeside creates an empty file in the directory of target, with the owner and the
// permissions that it shall have before there is anything in it.
func createBeside(target string, old fs.FileInfo, mode fs.FileMode) (*os.File, error) {
	dir, base := filepath.Split(target)
	initial := fs.FileMode(0o644)
	if mode != 0 || old != nil {
		initial = 0o600
	}
	name := fmt.Sprintf("%s.%s.%08x%s", dir, base, rand.Uint32(), newSuffix)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, initial)
	if err != nil {
		return nil, err
	}
	if old != nil {
		keepOwner(f, old) // first: a change of owner can clear permission bits
		if mode == 0 {
			mode = old.Mode().Perm()
		}
	}
	if mode != 0 {
		err = f.Chmod(mode)
	}
	if err != nil {
		f.Close()
		os.Remove(name)
		return nil, err
	}
	return f, nil
}

// removeLeftovers removes what a process that was killed in replaceFile has left.
func removeLeftovers(path string, now time.Time) {
	target, err := linkTarget(path)
	if err != nil {
		return
	}
	dir, base := filepath.Split(target)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return
	}
	for _, e := range entries {
		mark, like := strings.CutPrefix(e.Name(), "."+base+".")
		if !like || len(mark) != len("01234567"+newSuffix) || !strings.HasSuffix(mark, newSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > leftoverAge {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// syncDir makes what happened to names in a directory durable, where the system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}
