package peers

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// What tests count and make fail.
var (
	renameFile = os.Rename
	fsync      = (*os.File).Sync
)

// Dump the peers collection as a JSON file to disk. If an empty string is passed
// in as an argument, then it will dump to the location on disk it was loaded
// from; without one it returns an error.
//
// The file is replaced at once and durably: a reader, and a machine that loses
// power, sees either the old content or the new one whole. It keeps its
// permissions and, as far as the system lets it, its owner; a new file gets 0644
// and missing directories 0755, both less the umask. A symbolic link stays, and
// the file that it names is replaced. A file on which something is mounted, as
// containers do with single files, cannot be replaced: it is written in place,
// durably, and a reader may see a half of it. The list is written as it is, without
// [Peers.Validate], but not with strings that are not UTF-8. The list itself,
// its Info and its [Peers.Source] do not change.
func (p *Peers) Dump(path string) error {
	if path == "" {
		path = p.Source()
	}
	if path == "" {
		return errors.New("no path specified to dump peers.json to")
	}
	if p == nil {
		p = new(Peers)
	}
	data, err := p.encodeFile()
	if err != nil {
		return err
	}
	if err := writeFile(path, data); err != nil {
		return fmt.Errorf("peers: cannot write the peers file: %w", err)
	}
	return nil
}

// writeFile replaces the content of a file in one step.
func writeFile(path string, data []byte) error {
	old, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		return err
	case old.IsDir():
		return fmt.Errorf("%s is a directory: give the path of a file such as %s",
			path, filepath.Join(path, fileName))
	case !old.Mode().IsRegular():
		// A device or a pipe, such as /dev/stdout, is written to and not replaced.
		return os.WriteFile(path, data, 0)
	}
	trail, err := follow(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(trail.target), 0o755); err != nil {
		return err
	}
	return replaceFile(trail.target, data, old)
}

// replaceFile writes data beside target and renames it there. The old file is
// nil if there is none.
func replaceFile(target string, data []byte, old fs.FileInfo) error {
	file, err := createBeside(target)
	if err != nil {
		return err
	}
	err = errors.Join(fill(file, data, old), file.Close())
	if err == nil {
		err = renameFile(file.Name(), target)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(file.Name()))
		if errors.Is(err, syscall.EBUSY) { // a mount point
			return overwrite(target, data)
		}
		return err
	}
	if err := syncDir(filepath.Dir(target)); err != nil {
		return fmt.Errorf("written, but a loss of power may undo it: %w", err)
	}
	return nil
}

// overwrite replaces the content of a file in place, down to the disk. Nothing
// of the old content is cut off before the new one is there.
func overwrite(target string, data []byte) error {
	file, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Truncate(int64(len(data)))
	}
	if err == nil {
		err = fsync(file)
	}
	return errors.Join(err, file.Close())
}

// fill writes data with the permissions of the old file down to the disk.
func fill(file *os.File, data []byte, old fs.FileInfo) error {
	if old != nil {
		// The owner first: a change of owner can clear permission bits.
		keepOwner(file, old)
		if err := file.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	return fsync(file)
}

// createBeside creates a new file in the directory of target. Other than
// os.CreateTemp it leaves the permissions to the umask.
func createBeside(target string) (*os.File, error) {
	dir, base := filepath.Split(target)
	const attempts = 100
	for range attempts {
		name := fmt.Sprintf("%s.%s.%08x.tmp", dir, base, rand.Uint32())
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
	return nil, fmt.Errorf("no free name for a temporary file beside %s: %w", target, fs.ErrExist)
}
