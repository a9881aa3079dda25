package peers

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// originServer serves a list that tests change.
type originServer struct {
	mu          sync.Mutex
	list        []byte
	status      int // 0 means 200
	requests    int
	conditional int // of them, those that were answered with 304
}

func (o *originServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	if o.status != 0 {
		w.WriteHeader(o.status)
		return
	}
	etag := fmt.Sprintf(`"%08x"`, crc32.ChecksumIEEE(o.list))
	if r.Header.Get("If-None-Match") == etag {
		o.conditional++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", etag)
	w.Write(o.list)
}

func (o *originServer) set(status int, list []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.list = status, list
}

func (o *originServer) counts() (requests, conditional int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests, o.conditional
}

// syncing returns a Syncer of an origin that holds a list of n peers.
func syncing(t *testing.T, n int, change func(*SyncerConfig)) (*Syncer, *originServer) {
	t.Helper()
	origin := &originServer{list: encoded(t, some(n))}
	server := serve(t, origin.ServeHTTP)
	cfg := SyncerConfig{URL: server.URL, APIKey: "secret", Interval: 20 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	s, err := NewSyncer(cfg)
	must(t, err)
	return s, origin
}

func TestSyncerOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "peers.json")
	s, origin := syncing(t, 3, func(cfg *SyncerConfig) { cfg.Path = path })
	if state := s.State(); s.Current() != nil || state.Peers != 0 || state.Age != 0 || !state.LastAttempt.IsZero() || state.Path != "" {
		t.Errorf("before anything the state is %+v", state)
	}
	must(t, s.Once(t.Context()))
	if list, err := LoadFrom(path); err != nil || len(list.Peers) != 3 || len(s.Current().Peers) != 3 {
		t.Errorf("copy is %v, %v", list, err)
	}
	first := s.State()
	if first.LastSuccess.IsZero() || first.LastAttempt.After(first.LastSuccess) || first.LastError != "" || first.Path != path || first.Peers != 3 {
		t.Errorf("state is %+v", first)
	}

	// The same list again: a conditional request, and no new copy.
	before, err := os.Stat(path)
	must(t, err)
	must(t, s.Once(t.Context()))
	if _, conditional := origin.counts(); conditional != 1 {
		t.Errorf("%d conditional requests", conditional)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the copy was written anew, %v", err)
	}
	if state := s.State(); state.LastSuccess.Before(first.LastSuccess) {
		t.Errorf("state is %+v", state)
	}

	// A copy that was lost comes back, with a 304 too.
	must(t, os.Remove(path))
	must(t, s.Once(t.Context()))
	if list, err := LoadFrom(path); err != nil || len(list.Peers) != 3 {
		t.Errorf("copy is %v, %v", list, err)
	}

	origin.set(http.StatusServiceUnavailable, nil)
	if err := s.Once(t.Context()); err == nil || err.Error() != "could not synchronize peers: 503 Service Unavailable" {
		t.Errorf("error is %v", err)
	}
	if state := s.State(); state.LastError == "" || state.Failures != 1 || state.Peers != 3 || state.LastAttempt.Before(state.LastSuccess) {
		t.Errorf("state is %+v", state)
	}
	origin.set(0, encoded(t, some(4)))
	must(t, s.Once(t.Context()))
	if state := s.State(); state.LastError != "" || state.Failures != 0 || state.Peers != 4 {
		t.Errorf("state is %+v", state)
	}
}

func TestSyncerRefuses(t *testing.T) {
	s, origin := syncing(t, 9, nil)
	must(t, s.Once(t.Context()))
	twice := some(9)
	twice.Peers[8].Name = "peer-1"
	for _, test := range []struct {
		name string
		list *Peers
		want string
	}{
		{"invalid", twice, "peer 1 of the list has the same"},
		{"empty", new(Peers), "the list is empty"},
		{"shrunk", some(4), "the list shrank below half: from 9 peers to 4"},
	} {
		origin.set(0, encoded(t, test.list))
		for range 2 { // and the second time it is not taken for known
			err := s.Once(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || s.State().Peers != 9 {
				t.Errorf("%s: error is %v, and there are %d peers", test.name, err, s.State().Peers)
			}
			if errors.Is(err, ErrShrink) != (test.name == "shrunk") {
				t.Errorf("%s: error is %v", test.name, err)
			}
		}
	}
	origin.set(0, encoded(t, some(5)))
	must(t, s.Once(t.Context()))
	origin.set(0, encoded(t, some(2)))
	if err := s.Once(t.Context()); !errors.Is(err, ErrShrink) || !strings.HasSuffix(err.Error(), "set AllowShrink") {
		t.Errorf("without a copy: %v", err)
	}
	s.cfg.AllowShrink = true
	origin.set(0, encoded(t, some(1)))
	must(t, s.Once(t.Context()))
	if n := len(s.Current().Peers); n != 1 {
		t.Errorf("%d peers", n)
	}
}

// TestSyncerShrinksToHalf: from 4 to 2 is not below half.
func TestSyncerShrinksToHalf(t *testing.T) {
	s, origin := syncing(t, 4, nil)
	must(t, s.Once(t.Context()))
	origin.set(0, encoded(t, some(2)))
	must(t, s.Once(t.Context()))
	if n := len(s.Current().Peers); n != 2 {
		t.Errorf("%d peers", n)
	}
}

// TestSyncerMendsCopy: whatever becomes of the copy, the next answer restores it.
func TestSyncerMendsCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	s, _ := syncing(t, 3, func(cfg *SyncerConfig) { cfg.Path = path })
	must(t, s.Once(t.Context()))
	good := read(t, path)
	for _, content := range []string{"", "{", good[:len(good)/2], `{"replicas": []}`,
		string(encoded(t, some(2))), string(encoded(t, some(9)))} {
		write(t, path, []byte(content))
		must(t, s.Once(t.Context())) // answered with 304
		if got := read(t, path); got != good {
			t.Errorf("of %q became\n%s", content, got)
		}
		if n := len(s.Current().Peers); n != 3 {
			t.Errorf("after %q there are %d peers", content, n)
		}
	}
}

// TestSyncerAskedToShrink: a shorter list in the copy is how an operator tells a
// running node that the server means it.
func TestSyncerAskedToShrink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	s, origin := syncing(t, 9, func(cfg *SyncerConfig) { cfg.Path = path })
	must(t, s.Once(t.Context()))
	origin.set(0, encoded(t, some(2)))
	refused := func(why string) {
		t.Helper()
		err := s.Once(t.Context())
		if !errors.Is(err, ErrShrink) || !strings.HasSuffix(err.Error(), "run kith peers sync --force --output "+path) {
			t.Errorf("%s: error is %v", why, err)
		}
	}
	refused("the copy is that of the syncer")
	write(t, path, []byte("{"))
	refused("no list")
	write(t, path, []byte(`{"replicas": []}`))
	refused("not valid")
	must(t, some(5).Dump(path))
	refused("still too long")

	must(t, some(2).Dump(path)) // what kith peers sync --force does
	must(t, s.Once(t.Context()))
	if n := len(s.Current().Peers); n != 2 {
		t.Errorf("%d peers", n)
	}
}

// TestSyncerStaleCopy: a copy that the syncer could not replace asks for nothing.
func TestSyncerStaleCopy(t *testing.T) {
	path := inDir(t, string(encoded(t, some(2))))
	s, origin := syncing(t, 9, func(cfg *SyncerConfig) { cfg.Path = path })
	renameFile = func(string, string) error { return errors.New("no") }
	defer func() { renameFile = os.Rename }()
	must(t, s.Once(t.Context()))
	if s.State().SaveError == "" {
		t.Fatal("the copy was written")
	}
	origin.set(0, encoded(t, some(2)))
	if err := s.Once(t.Context()); !errors.Is(err, ErrShrink) {
		t.Errorf("error is %v", err)
	}
}

// TestSyncerErrorLists: the two lists that come with an error are two.
func TestSyncerErrorLists(t *testing.T) {
	s, origin := syncing(t, 2, nil)
	must(t, s.Once(t.Context()))
	origin.set(http.StatusTeapot, nil)
	for change, err := range s.Updates(t.Context()) {
		if err == nil {
			s.Once(t.Context())
			continue
		}
		if change.Current == nil || change.Previous == change.Current || change.Previous.Peers[0] == change.Current.Peers[0] {
			t.Errorf("with %v came %v and %v", err, change.Previous, change.Current)
		}
		return
	}
}

func TestSyncerCopies(t *testing.T) {
	dir := t.TempDir()
	path, fallback := filepath.Join(dir, "peers.json"), filepath.Join(dir, "state")
	both := func(cfg *SyncerConfig) { cfg.Path, cfg.FallbackDir = path, fallback }

	// The last good copy counts while the server is away, and for the shrinking.
	must(t, some(3).Dump(path))
	s, origin := syncing(t, 1, both)
	if state := s.State(); len(s.Current().Peers) != 3 || state.Path != path || !state.LastSuccess.IsZero() || state.Age > time.Hour {
		t.Errorf("state is %+v", state)
	}
	if err := s.Once(t.Context()); !errors.Is(err, ErrShrink) {
		t.Errorf("error is %v", err)
	}

	// A path that cannot be written: a directory is in its place.
	must(t, os.Remove(path))
	must(t, os.MkdirAll(filepath.Join(path, "x"), 0o755))
	origin.set(0, encoded(t, some(4)))
	must(t, s.Once(t.Context()))
	if state := s.State(); state.Path != filepath.Join(fallback, "peers.json") || state.SaveError != "" {
		t.Errorf("state is %+v", state)
	}
	if s, _ := syncing(t, 1, both); len(s.Current().Peers) != 4 {
		t.Errorf("began with %v", s.Current())
	}

	// Of two copies the newer counts, of whatever place.
	must(t, os.RemoveAll(path))
	must(t, some(5).Dump(path))
	ago := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(path, ago, ago))
	if s, _ := syncing(t, 1, both); len(s.Current().Peers) != 4 {
		t.Errorf("began with %v", s.Current())
	}
	must(t, os.Chtimes(filepath.Join(fallback, "peers.json"), ago, ago.Add(-time.Hour)))
	if s, _ := syncing(t, 1, both); len(s.Current().Peers) != 5 {
		t.Errorf("began with %v", s.Current())
	}
	// One that is of no use does not.
	write(t, path, []byte("{"))
	if s, _ := syncing(t, 1, both); len(s.Current().Peers) != 4 {
		t.Errorf("began with %v", s.Current())
	}

	// Nowhere to write: the list counts all the same.
	must(t, os.RemoveAll(fallback))
	write(t, fallback, nil)
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o755))
	s, _ = syncing(t, 2, both)
	must(t, s.Once(t.Context()))
	if state := s.State(); state.SaveError == "" || state.Path != "" || state.Peers != 2 {
		t.Errorf("state is %+v", state)
	}
}

// run starts the Syncer until the test ends.
func run(t *testing.T, s *Syncer) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
}

func TestSyncerRun(t *testing.T) {
	s, origin := syncing(t, 2, nil)
	l := listen(t, func(ctx context.Context) iter.Seq2[Change, error] { return s.Updates(ctx) })
	run(t, s)
	if e := l.list(2); e.Previous != nil {
		t.Errorf("first element is %+v", e)
	}
	origin.set(0, encoded(t, some(4)))
	if e := l.list(4); len(e.Diff.Added) != 2 {
		t.Errorf("element is %+v", e)
	}
	before, _ := origin.counts()
	origin.set(http.StatusInternalServerError, nil)
	l.failure(4, "500")
	// Told once, tried again and again.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if now, _ := origin.counts(); now > before+4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no further attempts")
		}
	}
	origin.set(http.StatusForbidden, nil)
	l.failure(4, "403")
	origin.set(0, encoded(t, some(4)))
	if e := l.list(4); !e.Diff.Empty() {
		t.Errorf("the difference is %s", e.Diff)
	}
	// Another one that follows begins with what there is.
	second := listen(t, func(ctx context.Context) iter.Seq2[Change, error] { return s.Updates(ctx) })
	second.list(4)
	origin.set(0, encoded(t, some(5)))
	l.list(5)
	second.list(5)
}

func TestSyncerAway(t *testing.T) {
	path := inDir(t, string(encoded(t, some(3))))
	s, origin := syncing(t, 3, func(cfg *SyncerConfig) { cfg.Path = path })
	origin.set(http.StatusBadGateway, nil)
	l := listen(t, func(ctx context.Context) iter.Seq2[Change, error] { return s.Updates(ctx) })
	if e := l.list(3); e.Path != path {
		t.Errorf("first element is %+v", e)
	}
	run(t, s)
	l.failure(3, "502")
}

func TestSyncerStops(t *testing.T) {
	s, _ := syncing(t, 1, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := s.Once(ctx); !errors.Is(err, enough) {
		t.Errorf("Once returned %v", err)
	}
	if err := s.Run(ctx); !errors.Is(err, enough) {
		t.Errorf("Run returned %v", err)
	}
	if state := s.State(); state.LastError != "" || state.Failures != 0 {
		t.Errorf("the end counts as a failure: %+v", state)
	}
	for change, err := range s.Updates(ctx) {
		t.Errorf("after the end came %+v, %v", change, err)
	}
	must(t, s.Once(t.Context()))
	for range s.Updates(t.Context()) {
		break
	}
}

// TestSyncerConcurrent is for the race detector.
func TestSyncerConcurrent(t *testing.T) {
	s, origin := syncing(t, 2, func(cfg *SyncerConfig) { cfg.Path = filepath.Join(t.TempDir(), "peers.json") })
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 5 {
				origin.set(0, encoded(t, some(4+(n+i)%3)))
				if err := s.Once(t.Context()); err != nil {
					t.Error(err)
				}
				s.Current().Peers[0].Name = "scribble"
				s.State()
			}
		})
	}
	all.Wait()
	if err := s.Current().Validate(); err != nil {
		t.Error(err)
	}
}

func TestNewSyncer(t *testing.T) {
	_, err := NewSyncer(SyncerConfig{URL: "ftp://user:secret@example.com", Interval: -1})
	if err == nil || !strings.Contains(err.Error(), "http://") || !strings.Contains(err.Error(), "negative") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error is %v", err)
	}
	s, err := NewSyncer(SyncerConfig{URL: "https://user:secret@example.com/peers?key=secret"})
	must(t, err)
	if got := s.State().URL; got != "https://xxxxx@example.com/peers?xxxxx" || s.cfg.Interval != time.Minute {
		t.Errorf("URL is %s, interval %v", got, s.cfg.Interval)
	}
	if _, err := s.save(nil); err != nil {
		t.Errorf("nothing is kept, and that is an error: %v", err)
	}
	if _, err := os.Stat("peers.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy appeared: %v", err)
	}
}

func TestPause(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		failures          int
		shortest, longest time.Duration
	}{
		{0, 54 * s, 66 * s},
		{1, 5625 * time.Millisecond, 9375 * time.Millisecond},
		{2, 11250 * time.Millisecond, 18750 * time.Millisecond},
		{4, 45 * s, 75 * s},
		{6, 180 * s, 300 * s},
		{7, 180 * s, 300 * s},
		{1 << 40, 180 * s, 300 * s},
	} {
		if low, high := pause(time.Minute, test.failures, 0), pause(time.Minute, test.failures, 1); low != test.shortest || high != test.longest {
			t.Errorf("after %d failures the pause is %v to %v, want %v to %v", test.failures, low, high, test.shortest, test.longest)
		}
	}
	if got := pause(1, 1, 0); got < time.Millisecond {
		t.Errorf("the pause is %v", got)
	}
}
