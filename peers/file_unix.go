//go:build unix

package peers

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives file the owner of old where the process may. Where it may not
// the new file is the writer's own, as that of any editor would be.
func keepOwner(file *os.File, old fs.FileInfo) {
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = file.Chown(int(stat.Uid), int(stat.Gid))
	}
}

// syncDir makes a rename in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = fsync(d)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // the file system has no such thing
	}
	return errors.Join(err, d.Close())
}
