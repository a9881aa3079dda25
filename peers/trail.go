package peers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// trail is the way from a path to its file through all symbolic links, also
// those in the middle, which is how Kubernetes swaps a whole directory.
type trail struct {
	target string   // the file, without links on the way
	dirs   []string // directories in which something decides which file that is: each holds a link, the file, or the first thing missing
	names  []string // the names of those in their directories
}

// maxLinks is how many links a path may go through, as on Linux.
const maxLinks = 40

// follow walks the path as the system would. A path that does not exist, or
// whose last link dangles, has a target all the same.
func follow(path string) (trail, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return trail{}, err
	}
	var t trail
	root := filepath.VolumeName(abs) + string(filepath.Separator)
	at, rest := root, split(abs[len(root):])
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			t.note(at, name)
			t.target = filepath.Join(append([]string{next}, rest...)...)
			return t, nil
		case err != nil:
			t.note(at, name)
			return t, err
		case info.Mode()&fs.ModeSymlink != 0:
			t.note(at, name)
			if links++; links > maxLinks {
				return t, fmt.Errorf("%s goes through more than %d symbolic links", path, maxLinks)
			}
			link, err := os.Readlink(next)
			if err != nil {
				return t, err
			}
			if filepath.IsAbs(link) {
				root = filepath.VolumeName(link) + string(filepath.Separator)
				at, link = root, link[len(root):]
			}
			rest = append(split(link), rest...)
		default:
			if len(rest) == 0 || !info.IsDir() {
				t.note(at, name)
			}
			at = next
		}
	}
	t.target = at
	return t, nil
}

func (t *trail) note(dir, name string) {
	t.dirs = append(t.dirs, dir)
	t.names = append(t.names, name)
}

// split returns the names in a path, without the empty ones and those that mean
// the directory itself.
func split(path string) []string {
	names := strings.FieldsFunc(filepath.ToSlash(path), func(r rune) bool { return r == '/' })
	return slices.DeleteFunc(names, func(name string) bool { return name == "." })
}
