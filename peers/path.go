package peers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	fileName  = "peers.json"
	envPath   = "PEERS_PATH"
	kithDir   = "kith"
	legacyDir = "fluidfs"
)

// Path returns the recommended location to store a peers.json file for external
// services to use: $PEERS_PATH if it is set, otherwise
// $HOME/.fluidfs/peers.json, and without a home directory
// /etc/fluidfs/peers.json. It does not look at the disk.
func Path() string {
	if path := os.Getenv(envPath); path != "" {
		return path
	}
	if path := userPath(legacyDir); path != "" {
		return path
	}
	return systemPath(legacyDir)
}

// SearchPaths returns the places where [Find] looks for the peers file, most
// important first: $PEERS_PATH alone if it is set, otherwise the places in the
// package documentation. Places that cannot exist, such as those below an unset
// $HOME, are left out. The slice belongs to the caller.
func SearchPaths() []string {
	if path := os.Getenv(envPath); path != "" {
		return []string{path}
	}
	return standardPaths()
}

// Find returns the first of [SearchPaths] that exists, whatever it contains.
// If there is none, the error names the places and matches [fs.ErrNotExist]; a
// place that cannot be examined is an error too, rather than skipped, unless it
// is in a home directory that the process may not search. Unlike [Load], Find
// looks nowhere else if $PEERS_PATH names no file.
func Find() (string, error) {
	paths := SearchPaths()
	path, err := firstExisting(paths, os.Stat)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv(envPath) != "" {
		return "", &noFileError{fmt.Sprintf("peers: $%s names %s, which does not exist: create it, or unset $%s",
			envPath, paths[0], envPath)}
	}
	return path, err
}

// firstExisting returns the first of the paths at which there is something.
func firstExisting(paths []string, stat func(string) (fs.FileInfo, error)) (string, error) {
	var places, closed []string // where a file could be created, and where not
	for _, path := range paths {
		_, err := stat(path)
		switch {
		case err == nil:
			return path, nil
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			// A file in place of a directory on the way is an absence as well.
			places = append(places, path)
		case errors.Is(err, fs.ErrPermission) && len(paths) > 1 && isUserPath(path):
			// Services often have a home that is not theirs.
			closed = append(closed, err.Error())
		default:
			return "", fmt.Errorf("peers: cannot look for a peers file: %w", err)
		}
	}
	text := "peers: there is no peers file: create one of " + strings.Join(places, ", ")
	if len(closed) > 0 {
		text += "; not looked at: " + strings.Join(closed, ", ")
	}
	return "", &noFileError{text}
}

// noFileError says that there is no peers file, in words that need no "file does
// not exist" behind them.
type noFileError struct{ text string }

func (e *noFileError) Error() string { return e.text }

func (*noFileError) Unwrap() error { return fs.ErrNotExist }

// lookupPaths returns every place where [Load] looks. Other than [Find] it
// goes on after a $PEERS_PATH that cannot be loaded, as it always has.
func lookupPaths() []string {
	if path := os.Getenv(envPath); path != "" {
		return slices.Insert(standardPaths(), 0, path)
	}
	return standardPaths()
}

func standardPaths() []string {
	paths := make([]string, 0, 6)
	if wd, err := os.Getwd(); err == nil {
		paths = append(paths, filepath.Join(wd, fileName))
	}
	for _, dir := range []string{kithDir, legacyDir} {
		if path := userPath(dir); path != "" {
			paths = append(paths, path)
		}
	}
	return append(paths, systemPath(kithDir), systemPath(legacyDir))
}

// userPath returns the place in the user's home directory, empty if there is
// none.
func userPath(dir string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, "."+dir, fileName)
}

// isUserPath reports whether path is like one of userPath. It goes by the name of
// the directory: a watch does not read the environment.
func isUserPath(path string) bool {
	dir := filepath.Base(filepath.Dir(path))
	return dir == "."+kithDir || dir == "."+legacyDir
}

func systemPath(dir string) string {
	return filepath.Join(string(filepath.Separator), "etc", dir, fileName)
}
