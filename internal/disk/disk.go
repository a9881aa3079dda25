package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FS is a file system. Paths are the system's own, as package path/filepath makes
// them. Methods block while the disk works and are safe for concurrent use;
// errors are those of package os and satisfy errors.Is with os.ErrNotExist and
// the like. [System] is the real one.
type FS interface {
	// MkdirAll makes a directory, mode 0700, and what is missing above it; each is
	// durable when MkdirAll returns. One that exists is left as it is.
	MkdirAll(dir string) error
	// Create makes a file, mode 0600, for reading and writing. One that exists is
	// os.ErrExist.
	Create(path string) (File, error)
	// Open opens an existing file for reading and writing; os.ErrNotExist without one.
	Open(path string) (File, error)
	// Rename gives a file a new name in the same directory, in place of what had
	// it; one directory, because only then a crash leaves exactly one of both names.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes durable what was created, renamed and removed in a directory.
	SyncDir(dir string) error
	// Lock takes the lock that the file at path stands for, making the file where it
	// is missing, without waiting. The lock ends with Close and with the process,
	// however it dies; the file stays. While another holds it, the error is a
	// *LockedError.
	Lock(path string) (io.Closer, error)
}

// File is an open file. It is safe for concurrent use; Close ends all other calls
// with os.ErrClosed.
type File interface {
	io.ReaderAt
	io.WriterAt // beyond the end, the file grows; a gap reads as zeros
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// Truncate cuts the file, or lengthens it with zeros.
	Truncate(size int64) error
	// Sync makes the contents durable (fdatasync where there is one). After an error
	// nothing in the file is to be trusted; see the package's text.
	Sync() error
	io.Closer
	// Name returns the path that the file was opened with.
	Name() string
}

// LockedError says that a lock is held.
type LockedError struct {
	Path string
	PID  int // the holder's process ID; 0 if it could not be read
}

// Error names the lock and its holder.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}

// IsFull reports whether err says that there is no space left: on the device or
// in a quota.
func IsFull(err error) bool {
	return isFull(err)
}

// WriteFile makes path hold data, atomically and durably: when it returns nil the
// data survives any crash; when it does not, or the crash comes before, path holds
// data or what it held before, whole. It writes path+".tmp" first, and so must not
// run twice at once for one path.
func WriteFile(fs FS, path string, data []byte) error {
	temp := path + ".tmp"
	if err := fs.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // left by a crash, and in the way
	}
	f, err := fs.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		fs.Remove(temp) // best effort: the next one removes it too
		return err
	}
	if err := fs.Rename(temp, path); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(path))
}
