package peers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// modes are the two ways in which a watch notices things, each on its own.
var modes = map[string]WatchOptions{
	"events":  {Poll: time.Hour, Debounce: 10 * time.Millisecond},
	"polling": {Poll: 15 * time.Millisecond, Debounce: 10 * time.Millisecond, NoEvents: true},
}

func inModes(t *testing.T, test func(t *testing.T, opts WatchOptions)) {
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, opts)
		})
	}
}

// element is one of a stream.
type element struct {
	Change
	err error
}

// listener collects a stream in a goroutine that ends with the test.
type listener struct {
	t        *testing.T
	elements chan element
}

func listen(t *testing.T, stream func(context.Context) iter.Seq2[Change, error]) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{t: t, elements: make(chan element)}
	var running sync.WaitGroup
	running.Go(func() {
		for change, err := range stream(ctx) {
			select {
			case l.elements <- element{change, err}:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return l
}

func watching(t *testing.T, opts WatchOptions, paths ...string) *listener {
	t.Helper()
	return listen(t, func(ctx context.Context) iter.Seq2[Change, error] { return WatchWith(ctx, opts, paths...) })
}

func (l *listener) next() element {
	l.t.Helper()
	select {
	case e := <-l.elements:
		return e
	case <-time.After(patience):
		l.t.Fatal("nothing came")
		return element{}
	}
}

// list waits for a list of n peers to be the next element.
func (l *listener) list(n int) element {
	l.t.Helper()
	e := l.next()
	if e.err != nil || len(e.Current.entries()) != n {
		l.t.Fatalf("got %d peers, error %v; want %d peers", len(e.Current.entries()), e.err, n)
	}
	if want := e.Previous.Diff(e.Current); e.Diff.String() != want.String() {
		l.t.Fatalf("the difference is\n%s\nwant\n%s", e.Diff, want)
	}
	return e
}

// failure waits for an error to be the next element, while n peers stay.
func (l *listener) failure(n int, text string) element {
	l.t.Helper()
	e := l.next()
	if e.err == nil || !strings.Contains(e.err.Error(), text) {
		l.t.Fatalf("got %d peers, error %v; want an error with %q", len(e.Current.entries()), e.err, text)
	}
	if got := len(e.Current.entries()); got != n || !e.Diff.Empty() {
		l.t.Fatalf("with the error %v there are %d peers, want the last %d; difference %s", e.err, got, n, e.Diff)
	}
	return e
}

// eventually waits for a list of n peers and passes over errors: a file that is
// not replaced at once is bad in between, for long on a slow machine.
func (l *listener) eventually(n int) element {
	l.t.Helper()
	for {
		if e := l.next(); e.err == nil {
			if len(e.Current.Peers) != n {
				l.t.Fatalf("got %d peers, want %d", len(e.Current.Peers), n)
			}
			return e
		}
	}
}

// eventuallyFailure is failure that passes over other errors before.
func (l *listener) eventuallyFailure(n int, text string) {
	l.t.Helper()
	for {
		e := l.next()
		if e.err == nil || len(e.Current.entries()) != n {
			l.t.Fatalf("got %d peers, error %v; want an error with %q", len(e.Current.entries()), e.err, text)
		}
		if strings.Contains(e.err.Error(), text) {
			return
		}
	}
}

// rename replaces a file as careful programs do.
func rename(t testing.TB, path string, data []byte) {
	t.Helper()
	write(t, path+".new", data)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchReplacing(t *testing.T) {
	ways := map[string]func(t *testing.T, path string, data []byte){
		"atomic rename": func(t *testing.T, path string, data []byte) { rename(t, path, data) },
		"in place":      func(t *testing.T, path string, data []byte) { write(t, path, data) },
		"rename away and write, as vim does": func(t *testing.T, path string, data []byte) {
			must(t, os.Rename(path, path+"~"))
			write(t, path, data)
			must(t, os.Remove(path+"~"))
		},
		"remove and write": func(t *testing.T, path string, data []byte) {
			must(t, os.Remove(path))
			write(t, path, data)
		},
		"hard link": func(t *testing.T, path string, data []byte) {
			write(t, path+".new", data)
			must(t, os.Remove(path))
			must(t, os.Link(path+".new", path))
			must(t, os.Remove(path+".new"))
		},
		"Dump": func(t *testing.T, path string, data []byte) {
			list, err := decodePeers(data, "")
			must(t, err)
			must(t, list.Dump(path))
		},
	}
	inModes(t, func(t *testing.T, opts WatchOptions) {
		for name, replace := range ways {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				path := inDir(t, string(encoded(t, some(1))))
				l := watching(t, opts, path)
				if e := l.list(1); e.Previous != nil || len(e.Diff.Added) != 1 || e.Path != path {
					t.Errorf("first element is %+v", e)
				}
				for n := 2; n <= 4; n++ {
					replace(t, path, encoded(t, some(n)))
					if e := l.eventually(n); len(e.Diff.Added) != 1 || len(e.Previous.Peers) != n-1 {
						t.Errorf("step to %d is %+v", n, e)
					}
				}
			})
		}
	})
}

func TestWatchSameContent(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		path := inDir(t, string(encoded(t, some(2))))
		l := watching(t, opts, path)
		l.list(2)
		rename(t, path, encoded(t, some(2)))
		text, err := marshal(some(2)) // other blanks, the same list
		must(t, err)
		rename(t, path, text)
		must(t, os.Chtimes(path, time.Time{}, time.Now()))
		// Had any of these been an element, it would come before this one.
		list := some(2)
		list.Info["note"] = "new"
		rename(t, path, encoded(t, list))
		if e := l.list(2); e.Current.Info["note"] != "new" || !e.Diff.Empty() {
			t.Errorf("element is %+v", e)
		}
	})
}

// TestWatchKubernetes swaps a directory of a mounted ConfigMap as the kubelet
// does: peers.json → ..data/peers.json, ..data → a directory named by time.
func TestWatchKubernetes(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		dir := t.TempDir()
		volume := func(n int) string {
			name := fmt.Sprintf("..2026_11_0%d", n)
			must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
			write(t, filepath.Join(dir, name, "peers.json"), encoded(t, some(n)))
			return name
		}
		path := filepath.Join(dir, "peers.json")
		last := volume(1)
		must(t, os.Symlink(last, filepath.Join(dir, "..data")))
		must(t, os.Symlink(filepath.Join("..data", "peers.json"), path))
		l := watching(t, opts, path)
		l.list(1)
		for n := 2; n <= 4; n++ {
			next := volume(n)
			must(t, os.Symlink(next, filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			must(t, os.RemoveAll(filepath.Join(dir, last)))
			last = next
			l.list(n)
		}
		// What the link means now is watched too.
		rename(t, filepath.Join(dir, last, "peers.json"), encoded(t, some(7)))
		l.list(7)
	})
}

func TestWatchLinks(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		// The link is in one directory, the file in another, behind two more links.
		dir := t.TempDir()
		for _, d := range []string{"conf", "hop", "a", "b"} {
			must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
			write(t, filepath.Join(dir, d, "real.json"), encoded(t, some(1)))
		}
		path := filepath.Join(dir, "conf", "peers.json")
		must(t, os.Symlink("../hop/link.json", path))
		must(t, os.Symlink(filepath.Join(dir, "a", "real.json"), filepath.Join(dir, "hop", "link.json")))
		l := watching(t, opts, path)
		l.list(1)
		rename(t, filepath.Join(dir, "a", "real.json"), encoded(t, some(2)))
		l.list(2)
		write(t, filepath.Join(dir, "b", "real.json"), encoded(t, some(3)))
		must(t, os.Remove(filepath.Join(dir, "hop", "link.json")))
		must(t, os.Symlink("../b/real.json", filepath.Join(dir, "hop", "link.json")))
		l.eventually(3)
		rename(t, filepath.Join(dir, "b", "real.json"), encoded(t, some(4)))
		l.list(4)
		rename(t, path, encoded(t, some(5))) // no link any more
		l.list(5)
		rename(t, path, encoded(t, some(6)))
		l.list(6)
	})
}

func TestWatchRemovedAndCreated(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		path := inDir(t, string(encoded(t, some(2))))
		l := watching(t, opts, path)
		l.list(2)
		must(t, os.Remove(path))
		if e := l.failure(2, path); !errors.Is(e.err, fs.ErrNotExist) {
			t.Errorf("error is %v", e.err)
		} else if e.Previous == e.Current || e.Previous.Peers[0] == e.Current.Peers[0] {
			t.Error("Previous and Current are one list")
		}
		// The same list again: told, for the error is over.
		rename(t, path, encoded(t, some(2)))
		if e := l.list(2); !e.Diff.Empty() {
			t.Errorf("the difference is %s", e.Diff)
		}
		must(t, os.Remove(path))
		l.failure(2, path)
		rename(t, path, encoded(t, some(3)))
		if e := l.list(3); e.Diff.String() != "+ peer-3 (pid 3) 10.0.0.2:3264" {
			t.Errorf("the difference is %s", e.Diff)
		}
	})
}

func TestWatchHalfWritten(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		path := inDir(t, string(encoded(t, some(2))))
		l := watching(t, opts, path)
		l.list(2)
		whole := encoded(t, some(3))
		for _, part := range []int{0, 10, len(whole) / 2} {
			rename(t, path, whole[:part])
			want := "ends in the middle"
			if part == 0 {
				want = "nothing in it"
			}
			if e := l.failure(2, want); e.Current.Peers[0].Name != "peer-1" {
				t.Errorf("the last good list became %+v", e.Current)
			}
		}
		rename(t, path, whole)
		l.list(3)
	})
}

// TestWatchCompleted: a file that is completed soon is never called bad. Soon is
// long here, for the sake of slow machines.
func TestWatchCompleted(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		opts.Debounce = time.Second
		path := inDir(t, string(encoded(t, some(3))))
		reads := make(chan int, 1000) // the sizes of what was read
		l := listen(t, func(ctx context.Context) iter.Seq2[Change, error] {
			return func(yield func(Change, error) bool) {
				w := newWatcher(opts, []string{path})
				w.read = func(path string) ([]byte, error) {
					data, err := readRegular(path)
					select {
					case reads <- len(data):
					default:
					}
					return data, err
				}
				w.run(ctx, yield)
			}
		})
		l.list(3)
		rename(t, path, encoded(t, some(4))[:10])
		for half := false; !half; {
			select {
			case n := <-reads:
				half = n == 10
			case <-time.After(patience):
				t.Fatal("nobody read")
			}
		}
		rename(t, path, encoded(t, some(4)))
		l.list(4)
	})
}

func TestWatchInvalid(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		path := inDir(t, `{"replicas": []}`)
		l := watching(t, opts, path)
		e := l.failure(0, "the list is empty") // at once, for there is nothing to wait for
		if _, ok := errors.AsType[*InvalidError](e.err); !ok || e.Current != nil {
			t.Errorf("first element is %+v", e)
		}
		rename(t, path, encoded(t, some(2)))
		if e := l.list(2); e.Previous != nil {
			t.Errorf("first list comes after %+v", e.Previous)
		}
		twice := some(3)
		twice.Peers[2].Name = "peer-1"
		rename(t, path, encoded(t, twice))
		l.failure(2, "peer 1 of the list has the same")
		rename(t, path, encoded(t, twice)) // the same again is told once
		twice.Peers[2].Name = "peer-2"
		rename(t, path, encoded(t, twice))
		l.failure(2, "peer 2 of the list has the same")
		rename(t, path, encoded(t, some(3)))
		l.list(3)
	})
}

func TestWatchDirectories(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		root := t.TempDir()
		path := filepath.Join(root, "a", "b", "peers.json")
		l := watching(t, opts, path)
		l.failure(0, "no such file")
		must(t, os.Mkdir(filepath.Join(root, "a"), 0o755))
		must(t, os.Mkdir(filepath.Join(root, "a", "b"), 0o755))
		rename(t, path, encoded(t, some(1)))
		l.list(1)
		must(t, os.RemoveAll(filepath.Join(root, "a")))
		l.failure(1, "no such file")
		must(t, some(2).Dump(path)) // makes the directories
		l.list(2)
		// A directory that is renamed takes its watch away with it.
		must(t, os.Rename(filepath.Join(root, "a", "b"), filepath.Join(root, "a", "old")))
		must(t, some(3).Dump(path))
		l.eventually(3)
		rename(t, path, encoded(t, some(4)))
		l.list(4)
		// A directory in place of the file, and the other way round.
		must(t, os.Remove(path))
		must(t, os.Mkdir(path, 0o755))
		l.eventuallyFailure(4, "is a directory")
		must(t, os.Remove(path))
		rename(t, path, encoded(t, some(5)))
		l.eventually(5)
		must(t, os.RemoveAll(filepath.Join(root, "a")))
		write(t, filepath.Join(root, "a"), nil)
		l.eventuallyFailure(5, "not a directory")
		must(t, os.Remove(filepath.Join(root, "a")))
		must(t, some(6).Dump(path))
		l.eventually(6) // it may be seen to be missing before it is there again
	})
}

// TestWatchReplacedDirectory: another directory takes the place of the watched one
// in one step, which is no event for the file.
func TestWatchReplacedDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "conf")
	path := filepath.Join(dir, "peers.json")
	must(t, some(1).Dump(path))
	l := watching(t, modes["events"], path)
	l.list(1)
	for n := 2; n <= 4; n++ {
		next := filepath.Join(root, fmt.Sprint("next", n))
		must(t, some(n).Dump(filepath.Join(next, "peers.json")))
		must(t, os.Rename(dir, filepath.Join(root, fmt.Sprint("old", n))))
		must(t, os.Rename(next, dir))
		l.eventually(n)
	}
	rename(t, path, encoded(t, some(5))) // the new directory is watched
	l.list(5)
}

func TestWatchSeveral(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		root := t.TempDir()
		paths := []string{
			filepath.Join(root, "a", "peers.json"),
			filepath.Join(root, "b", "peers.json"),
			filepath.Join(root, "c", "peers.json"),
		}
		l := watching(t, opts, paths...)
		if e := l.failure(0, paths[2]); !errors.Is(e.err, fs.ErrNotExist) || e.Path != "" {
			t.Errorf("first element is %+v", e)
		}
		must(t, some(1).Dump(paths[1]))
		if e := l.list(1); e.Path != paths[1] {
			t.Errorf("chose %s", e.Path)
		}
		// From now on there is only that one.
		must(t, some(2).Dump(paths[0]))
		must(t, some(3).Dump(paths[2]))
		must(t, some(4).Dump(paths[1]))
		if e := l.list(4); e.Path != paths[1] {
			t.Errorf("followed %s", e.Path)
		}
		must(t, os.Remove(paths[1]))
		l.failure(4, paths[1])
		must(t, some(5).Dump(paths[1]))
		l.list(5)
	})
	for change, err := range WatchWith(t.Context(), WatchOptions{}) {
		if err == nil {
			t.Errorf("no path, and a change %+v", change)
		}
	}
}

// TestWatchReadError injects what a test that runs as root cannot have.
func TestWatchReadError(t *testing.T) {
	inModes(t, func(t *testing.T, opts WatchOptions) {
		path := inDir(t, string(encoded(t, some(2))))
		var broken atomic.Bool
		l := listen(t, func(ctx context.Context) iter.Seq2[Change, error] {
			return func(yield func(Change, error) bool) {
				w := newWatcher(opts, []string{path})
				w.read = func(path string) ([]byte, error) {
					if broken.Load() {
						return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
					}
					return readRegular(path)
				}
				w.run(ctx, yield)
			}
		})
		l.list(2)
		broken.Store(true)
		must(t, os.Chmod(path, 0))
		if e := l.failure(2, path); !errors.Is(e.err, fs.ErrPermission) {
			t.Errorf("error is %v", e.err)
		}
		broken.Store(false)
		must(t, os.Chmod(path, 0o600))
		if e := l.list(2); !e.Diff.Empty() {
			t.Errorf("the difference is %s", e.Diff)
		}
	})
}

// TestWatchEventErrors: where the system has no events to give, polling does.
func TestWatchEventErrors(t *testing.T) {
	t.Parallel()
	opts := WatchOptions{Poll: 15 * time.Millisecond, Debounce: time.Millisecond}
	closed := func() (*fsnotify.Watcher, error) {
		w, err := fsnotify.NewWatcher()
		if err == nil {
			err = w.Close()
		}
		return w, err
	}
	none := func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	for _, open := range []func() (*fsnotify.Watcher, error){none, closed} {
		path := inDir(t, string(encoded(t, some(1))))
		l := listen(t, func(ctx context.Context) iter.Seq2[Change, error] {
			return func(yield func(Change, error) bool) {
				w := newWatcher(opts, []string{path})
				w.events.open = open
				w.run(ctx, yield)
			}
		})
		for n := 1; n <= 3; n++ {
			l.list(n)
			rename(t, path, encoded(t, some(n+1)))
		}
	}
}

// TestWatchOverflow: an error of the event source means that events were lost.
func TestWatchOverflow(t *testing.T) {
	t.Parallel()
	path := inDir(t, string(encoded(t, some(1))))
	source, err := fsnotify.NewWatcher()
	must(t, err)
	l := listen(t, func(ctx context.Context) iter.Seq2[Change, error] {
		return func(yield func(Change, error) bool) {
			w := newWatcher(modes["events"], []string{path})
			w.events.open = func() (*fsnotify.Watcher, error) { return source, nil }
			w.run(ctx, yield)
		}
	})
	l.list(1)
	for _, dir := range source.WatchList() {
		must(t, source.Remove(dir)) // loses all that follows
	}
	rename(t, path, encoded(t, some(2)))
	source.Errors <- fsnotify.ErrEventOverflow
	l.list(2)
	rename(t, path, encoded(t, some(3))) // watched again
	l.list(3)
}

func TestWatchPipe(t *testing.T) {
	if _, err := readRegular(os.DevNull); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a device: %v", err)
	}
}

func TestWatchStops(t *testing.T) {
	path := inDir(t, string(encoded(t, some(1))))
	for range Watch(t.Context(), path) {
		break // goleak looks for what is left
	}
	stream := Watch(t.Context(), path)
	for range 2 { // each range is a watch of its own
		for change, err := range stream {
			if err != nil || len(change.Current.Peers) != 1 || change.Previous != nil {
				t.Errorf("%+v, %v", change, err)
			}
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for change, err := range Watch(ctx, path) {
		t.Errorf("after the end came %+v, %v", change, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	for range Watch(ctx, path) {
		cancel()
	}
}

// TestWatchSlowReader: changes that come while the loop body works are one.
func TestWatchSlowReader(t *testing.T) {
	path := inDir(t, string(encoded(t, some(1))))
	for change, err := range WatchWith(t.Context(), modes["events"], path) {
		must(t, err)
		if len(change.Current.Peers) == 9 {
			return
		}
		if change.Previous != nil {
			t.Fatalf("saw %d peers in between", len(change.Current.Peers))
		}
		change.Current.Peers[0].Name = "scribble" // the caller's own
		for n := 2; n <= 9; n++ {
			rename(t, path, encoded(t, some(n)))
		}
	}
}

func TestFollow(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	must(t, os.Symlink("../../link/./b/../file", filepath.Join(dir, "a", "b", "up")))
	for _, test := range []struct{ path, target, dirs string }{
		{"a/file", "a/file", "a"},
		{"link/file", "a/file", ". a"},
		{"link/b/up", "a/file", ". a/b . a"},
		{"none/x/file", "none/x/file", "."},
		{"a/b", "a/b", "a"},
	} {
		got, err := follow(filepath.Join(dir, test.path))
		var dirs []string
		for _, d := range got.dirs {
			rel, _ := filepath.Rel(dir, d)
			dirs = append(dirs, rel)
		}
		if target, _ := filepath.Rel(dir, got.target); err != nil || target != test.target || strings.Join(dirs, " ") != test.dirs {
			t.Errorf("%s leads to %s by %q, %v; want %s by %s", test.path, target, dirs, err, test.target, test.dirs)
		}
	}
}
