package peers

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// eventSource is the system's events for some paths. What fails here is left to
// polling, and tried again at the next call of arm. A nil source has no events.
type eventSource struct {
	open  func() (*fsnotify.Watcher, error)
	from  *fsnotify.Watcher      // nil until it could be opened
	armed map[string]fs.FileInfo // watched directories, as they were when the watch began
	names map[string]bool        // last elements of the paths whose events matter
}

func (s *eventSource) close() {
	if s != nil && s.from != nil {
		// Waits for fsnotify's goroutine. Its error is one of closing a descriptor.
		_ = s.from.Close()
	}
}

func (s *eventSource) channels() (<-chan fsnotify.Event, <-chan error) {
	if s == nil || s.from == nil {
		return nil, nil
	}
	return s.from.Events, s.from.Errors
}

// concerns reports whether an event may have to do with the paths. It goes by
// the last element alone, which is wrong at times and then costs one read.
func (s *eventSource) concerns(event fsnotify.Event) bool {
	return s.names[filepath.Base(event.Name)]
}

// arm watches the directories that decide which file each path is now. The file
// itself is not watched: a watch follows the inode, not the name.
func (s *eventSource) arm(paths []string) {
	if s == nil {
		return
	}
	if s.from == nil {
		from, err := s.open()
		if err != nil {
			return // no inotify instances left, say
		}
		s.from, s.armed = from, make(map[string]fs.FileInfo)
	}
	// What changed between the walk and the new watches made no event, hence
	// another walk. A directory that changes all the time is left to polling.
	const rounds = 4
	for range rounds {
		s.names = make(map[string]bool)
		var dirs []string
		for _, path := range paths {
			t, _ := follow(path) // also useful with an error: as far as it went
			dirs = append(dirs, t.dirs...)
			for _, name := range slices.Concat(t.names, t.dirs) {
				s.names[filepath.Base(name)] = true
			}
		}
		slices.Sort(dirs)
		if !s.watchOnly(slices.Compact(dirs)) {
			return
		}
	}
}

// watchOnly watches these directories and no others, and returns whether that
// took a new watch.
func (s *eventSource) watchOnly(dirs []string) (added bool) {
	for dir := range s.armed {
		if !slices.Contains(dirs, dir) {
			s.drop(dir)
		}
	}
	// A watch ends by itself when its directory is removed or renamed.
	alive := s.from.WatchList()
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			s.drop(dir)
			continue
		}
		if was := s.armed[dir]; was != nil && slices.Contains(alive, dir) && os.SameFile(was, info) {
			continue
		}
		s.drop(dir)
		if s.from.Add(dir) == nil {
			s.armed[dir] = info
			added = true
		}
	}
	return added
}

func (s *eventSource) drop(dir string) {
	if _, ok := s.armed[dir]; ok {
		delete(s.armed, dir)
		_ = s.from.Remove(dir) // which may have ended by itself
	}
}
