package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	lockEvery = 50 * time.Millisecond // how often a lock that others have is tried
	lockNote  = time.Second           // after how long the user is told
)

// lockFor keeps other kith commands from editing the file at path until unlock is
// called, by a lock on the directory of the file that path names, which is made
// if need be. A file system without locks is no hindrance: the file is still
// replaced whole. It waits until ctx is done, and after a while says so on notes.
func lockFor(ctx context.Context, notes io.Writer, path string) (unlock func(), err error) {
	target, err := linkTarget(path)
	if err != nil {
		return nil, fmt.Errorf("locking the directory of the peers file: %w", err)
	}
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of the peers file: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking the directory of the peers file: %w", err)
	}
	note := time.NewTimer(lockNote)
	defer note.Stop()
	for !tryLock(f) {
		select {
		case <-ctx.Done():
			f.Close()
			return nil, errInterrupted
		case <-note.C:
			fmt.Fprintf(notes, "waiting for another kith that edits %s\n", clean(dir))
		case <-time.After(lockEvery):
		}
	}
	return func() { f.Close() }, nil
}

// linkTarget returns the file that path names through its symbolic links, whether
// or not it exists.
func linkTarget(path string) (string, error) {
	const most = 40 // links, as Linux has it
	for range most {
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link
		}
		if !filepath.IsAbs(target) {
			// Not Join, which would take the ".." off a directory that is a link.
			target = filepath.Dir(path) + string(filepath.Separator) + target
		}
		path = target
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}
