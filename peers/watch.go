package peers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Change is a step of a list of peers that is followed. Its lists belong to the
// caller.
type Change struct {
	Path     string // the file, empty while none of several exists
	Previous *Peers // the list before, nil at the first
	Current  *Peers // the list now; with an error the last good one, nil if there was none
	Diff     Diff   // from Previous to Current; empty if only Info or the order changed
}

// WatchOptions tunes [WatchWith]. The zero value means the defaults.
type WatchOptions struct {
	// Poll is how often the file is read even if the system reports no change,
	// as NFS, SMB and FUSE do not. 0 means 2 s.
	Poll time.Duration

	// Debounce is how long the file system has to be quiet after a change before
	// the file is read. 0 means 50 ms.
	Debounce time.Duration

	// NoEvents leaves out the events of the system, so that there is only Poll.
	NoEvents bool
}

const (
	defaultPoll     = 2 * time.Second
	defaultDebounce = 50 * time.Millisecond

	// settleRounds is how many debounces a bad file gets to become a good one,
	// before it is called bad: a file that is written in place is bad half-way.
	settleRounds = 4
)

// Watch follows a peers file, which need not exist yet. The first element comes
// at once: the list as it is, or an error if there is none. Then one comes for
// each change of the list, at most 2 s after it and usually within 0.1 s,
// whether the file is written in place, replaced by a rename, or behind symbolic
// links that are, as in Kubernetes.
//
//	for change, err := range peers.Watch(ctx, path) {
//		if err != nil {
//			log.Println(err) // change.Current is still the last good list
//			continue
//		}
//		use(change.Current, change.Diff)
//	}
//
// An error does not end the stream: a file that is missing, unreadable, half
// written or not valid (see [Peers.Validate]) is reported once for each distinct
// state of it, after a short while in which it may be completed, and the last
// good list stays. The next good list comes even if it is the same as before, so
// that an alarm can be cleared; other than that, a file written anew with the
// same list is no change. The errors are [*InvalidError] for a bad content, and
// those of [LoadFrom] otherwise; a missing file matches [fs.ErrNotExist].
//
// The stream ends when ctx does or the caller breaks out of the loop, and leaves
// nothing behind. It runs in the caller's goroutine: while the loop body works,
// changes wait and are then seen as one. Each range over the result is a watch
// of its own. If the system has no events to give, or no more of them, the file
// is only polled.
func Watch(ctx context.Context, path string) iter.Seq2[Change, error] {
	return WatchWith(ctx, WatchOptions{}, path)
}

// WatchWith is [Watch] with options and any number of paths, such as those of
// [SearchPaths]. It waits for the first file to appear, the first of them if
// there are several, and once that was a good list follows that file alone: if
// it is removed later, no other takes its place. Without a path the stream is one
// error.
func WatchWith(ctx context.Context, opts WatchOptions, paths ...string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if len(paths) == 0 {
			yield(Change{}, errors.New("peers: no path to watch"))
			return
		}
		newWatcher(opts, paths).run(ctx, yield)
	}
}

// watcher is one range over a watch. It belongs to one goroutine.
type watcher struct {
	paths    []string // the one that was chosen, or all that it may be
	poll     time.Duration
	debounce time.Duration
	read     func(path string) ([]byte, error)
	events   *eventSource
	settle   *time.Timer // fires when the file should be read

	seen    digest    // what was told last
	pending digest    // bad, and will be told if it stays so
	since   time.Time // when pending was seen first
	failed  bool      // the last thing told was an error
	good    *Peers    // the last good list
	text    []byte    // good in its one spelling
}

// digest identifies a content of the file, or an error in its place. The zero
// digest is none.
type digest [sha256.Size]byte

// sighting is what one look at the file found.
type sighting struct {
	path string
	key  digest
	list *Peers // nil if there is an error, or if key was seen before
	err  error
}

func newWatcher(opts WatchOptions, paths []string) *watcher {
	w := &watcher{
		paths:    paths,
		poll:     cmp.Or(max(opts.Poll, 0), defaultPoll),
		debounce: cmp.Or(max(opts.Debounce, 0), defaultDebounce),
		read:     readRegular,
	}
	if !opts.NoEvents {
		w.events = &eventSource{open: fsnotify.NewWatcher}
	}
	return w
}

func (w *watcher) run(ctx context.Context, yield func(Change, error) bool) {
	defer w.events.close()
	w.settle = time.NewTimer(w.poll)
	defer w.settle.Stop()
	poll := time.NewTicker(w.poll)
	defer poll.Stop()

	for first := true; ctx.Err() == nil; first = false {
		// Armed before the look, so that what changes after it is an event.
		w.events.arm(w.paths)
		if change, tell, err := w.consider(w.look(), first); tell && !yield(change, err) {
			return
		}
		if !w.wait(ctx, poll.C) {
			return
		}
	}
}

// wait returns true when the file should be looked at, false when ctx ends.
func (w *watcher) wait(ctx context.Context, poll <-chan time.Time) bool {
	events, errs := w.events.channels()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-poll:
			return true
		case <-w.settle.C:
			return true
		case event, ok := <-events:
			if !ok {
				events = nil
			} else if w.events.concerns(event) {
				w.settle.Reset(w.debounce)
			}
		case _, ok := <-errs:
			// Whatever it is, such as an overflow: events may have been lost.
			if !ok {
				errs = nil
			} else {
				w.settle.Reset(w.debounce)
			}
		}
	}
}

// look reads the file.
func (w *watcher) look() sighting {
	path := w.paths[0]
	if len(w.paths) > 1 {
		var err error
		if path, err = firstExisting(w.paths, os.Stat); err != nil {
			return failure("", err)
		}
	}
	data, err := w.read(path)
	if err != nil {
		return failure(path, err)
	}
	s := sighting{path: path, key: sha256.Sum256(data)}
	if s.key == w.seen {
		return s
	}
	s.list, s.err = decodePeers(data, path)
	if s.err == nil {
		s.err = s.list.Validate()
	}
	return s
}

func failure(path string, err error) sighting {
	return sighting{path: path, err: err, key: sha256.Sum256([]byte("error: " + err.Error()))}
}

// consider decides what a sighting means, and whether to tell it.
func (w *watcher) consider(s sighting, first bool) (change Change, tell bool, err error) {
	switch {
	case s.key == w.seen:
		w.pending = digest{}
		return Change{}, false, nil
	case s.err == nil:
		w.pending = digest{}
		change, tell = w.accept(s)
		return change, tell, nil
	case !first && !w.settled(s.key):
		return Change{}, false, nil
	default:
		w.pending = digest{}
		w.seen, w.failed = s.key, true
		return Change{Path: s.path, Previous: w.good.Clone(), Current: w.good.Clone()}, true, s.err
	}
}

// settled reports whether the file has been bad in this way for long enough, and
// if not sees to it that there is another look when it has.
func (w *watcher) settled(key digest) bool {
	if key != w.pending {
		w.pending, w.since = key, time.Now()
	}
	left := settleRounds*w.debounce - time.Since(w.since)
	if left > 0 {
		w.settle.Reset(left)
	}
	return left <= 0
}

// accept makes a good list the current one. It is not told if it says nothing
// new.
func (w *watcher) accept(s sighting) (change Change, tell bool) {
	text, err := marshal(s.list)
	if err != nil {
		text = nil // cannot be, as the list was read; telling once too often is the safe side
	}
	news := w.good == nil || w.failed || err != nil || !bytes.Equal(text, w.text)
	previous := w.good
	w.paths = []string{s.path}
	w.seen, w.failed, w.good, w.text = s.key, false, s.list, text
	if !news {
		return Change{}, false
	}
	// The watcher is done with the previous list, and the caller may have it.
	return Change{Path: s.path, Previous: previous, Current: s.list.Clone(), Diff: previous.Diff(s.list)}, true
}

// readRegular is readFile for a file that is read again and again: opening a
// pipe would wait for somebody to write.
func readRegular(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("peers: cannot watch %s: it is no regular file (%s)", path, info.Mode().Type())
	}
	return readFile(path)
}
