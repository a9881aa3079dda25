package peers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxFileSize is the largest peers file that is read, and the largest list that
// is accepted from a server, in bytes: 16 MiB, room for some 50,000 peers. No list
// may have more than 100,000.
const MaxFileSize = 16 << 20

// ErrTooLarge is matched by the error for a file or an answer of more than
// [MaxFileSize] bytes.
var ErrTooLarge = errors.New("larger than 16 MiB, the limit for a list of peers")

// readFile reads a peers file, but nothing of one that is too large. An error of
// the system comes as it is, a PathError: os.IsNotExist does not look inside others.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("peers: %s is a directory: give the path of a file such as %s",
			path, filepath.Join(path, fileName))
	}
	data, err := []byte(nil), ErrTooLarge
	if info.Size() <= MaxFileSize {
		data, err = readLimited(file)
	}
	if errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("peers: %s is %w: is it the right file?", path, err)
	}
	return data, err
}

// readLimited reads all of r, whose length nobody vouches for.
func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileSize {
		return nil, ErrTooLarge
	}
	return data, nil
}
