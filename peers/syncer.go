package peers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrShrink is matched by the error of a [Syncer] that was offered less than
// half the peers of its list.
var ErrShrink = errors.New("the list shrank below half")

const defaultInterval = time.Minute

// SyncerConfig says what a [Syncer] does. Only URL is required.
type SyncerConfig struct {
	URL    string // http or https
	APIKey string // sent as X-Api-Key

	// Interval is the time between two requests, give or take a tenth. After a
	// failure the first retry comes after an eighth of it, and each further one
	// after twice as long, up to four intervals. 0 means one minute.
	Interval time.Duration

	// Path is the peers file, where the last good list is kept. FallbackDir is
	// the directory for a file peers.json that is used where Path is empty or
	// cannot be written. If both are empty nothing is kept.
	Path        string
	FallbackDir string

	// AllowShrink accepts a list with less than half the peers of the one
	// before. Without it such a list is refused, as more probably a mistake of
	// the server than the loss of so many, until somebody writes a shorter list
	// into the copy on disk, which is what kith peers sync --force does.
	AllowShrink bool

	Client *http.Client // nil means one like http.DefaultClient; its redirects are limited as in [SyncContext]
	Logger *slog.Logger // nil means no log
}

// SyncState is what a [Syncer] has to say about itself.
type SyncState struct {
	URL         string        `json:"url"`                  // without user, password and the values of the query
	Path        string        `json:"path,omitempty"`       // where the copy on disk is, empty if there is none
	Peers       int           `json:"peers"`                // in the current list
	LastAttempt time.Time     `json:"last_attempt"`         // zero before the first
	LastSuccess time.Time     `json:"last_success"`         // zero before the first
	Age         time.Duration `json:"age"`                  // of the current list in nanoseconds: since the last success, or since the copy was written
	Failures    int           `json:"failures"`             // since the last success
	LastError   string        `json:"last_error,omitempty"` // of the last attempt, empty if that was a success
	SaveError   string        `json:"save_error,omitempty"` // of the last write of the copy, empty if that was a success
}

// Syncer keeps a list of peers the same as that of a server. Its list is the
// last that the server gave and that was accepted, and until there is one the
// copy of it on disk. A list is accepted if it is valid (see [Peers.Validate]),
// hence not empty, and did not shrink below half. Whatever else happens to the
// copy on disk is undone after the next answer.
//
// The methods are safe for concurrent use.
type Syncer struct {
	cfg     SyncerConfig
	url     string // redacted
	fetcher *fetcher
	log     *slog.Logger
	turn    chan struct{} // holds one token, taken for each attempt

	// Owned by whoever has the token.
	known validators // of the current list
	saved *Peers     // what the copy on disk held when it was read or written last

	mu      sync.Mutex    // guards the fields below
	current *Peers        // never changed, only replaced
	since   time.Time     // when current was known to be that of the server
	path    string        // of the copy on disk
	state   SyncState     // without what State computes
	err     error         // of the last attempt
	changed chan struct{} // closed and replaced at each outcome
}

// NewSyncer returns a Syncer that does nothing yet but holds the copy on disk,
// if there is a valid one: of Path and the file in FallbackDir the newer. It
// returns all mistakes of the configuration in one error.
func NewSyncer(cfg SyncerConfig) (*Syncer, error) {
	u, err := parseURL(cfg.URL)
	if cfg.Interval < 0 {
		err = errors.Join(err, fmt.Errorf("the interval is negative: %v", cfg.Interval))
	}
	if err != nil {
		return nil, fmt.Errorf("peers: cannot set up the synchronization: %w", err)
	}
	cfg.Interval = cmp.Or(cfg.Interval, defaultInterval)
	s := &Syncer{
		cfg:     cfg,
		url:     redact(u),
		fetcher: newFetcher(cfg.URL, cfg.APIKey, cfg.Client),
		log:     cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		turn:    make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	s.turn <- struct{}{}
	s.loadCopy()
	return s, nil
}

// copies returns where the copy on disk may be, the preferred place first.
func (s *Syncer) copies() []string {
	var paths []string
	if s.cfg.Path != "" {
		paths = append(paths, s.cfg.Path)
	}
	if s.cfg.FallbackDir != "" {
		paths = append(paths, filepath.Join(s.cfg.FallbackDir, fileName))
	}
	return paths
}

// loadCopy makes the newest valid copy the current list. It runs before anyone
// else has the Syncer.
func (s *Syncer) loadCopy() {
	for _, path := range s.copies() {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		list := new(Peers)
		if err == nil {
			err = list.Load(path)
		}
		if err == nil {
			err = list.Validate()
		}
		if err != nil {
			s.log.Warn("peers: the copy of the peers list is of no use", "path", path, "err", err)
			continue
		}
		if s.current != nil && !info.ModTime().After(s.since) {
			continue
		}
		s.current, s.since, s.path, s.saved = list, info.ModTime(), path, list
	}
}

// Run fetches the list at once and then again and again. It blocks until ctx
// ends and returns the cause of that. Failures are in [Syncer.State],
// [Syncer.Updates] and the log.
func (s *Syncer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		if err := s.Once(ctx); err == nil {
			failures = 0
		} else if ctx.Err() == nil {
			failures++
		}
		timer.Reset(pause(s.cfg.Interval, failures, rand.Float64()))
	}
}

// pause returns how long to wait after so many failures in a row. The random
// number, from 0 to 1, keeps many nodes from asking all at once.
func pause(interval time.Duration, failures int, random float64) time.Duration {
	const shortest, longest = 8, 4 // an eighth of the interval, four of them
	wait, spread := interval, 0.1
	if failures > 0 {
		// More doublings than these would be cut off anyway.
		wait, spread = min(interval/shortest<<min(failures-1, 8), longest*interval), 0.25
	}
	wait = time.Duration(float64(wait) * (1 + spread*(2*random-1)))
	return max(wait, time.Millisecond) // never a busy loop
}

// Once fetches the list once, and blocks for 5 s at most beyond what it waits
// for another attempt that is under way. It returns nil if the server's list is
// the current one afterwards. Otherwise the list stays, and the error says why:
// that of [SyncContext], an [*InvalidError], or one that matches [ErrShrink]. A
// copy that could not be written is no error of Once; see [SyncState].
func (s *Syncer) Once(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.turn:
	}
	defer func() { s.turn <- struct{}{} }()

	started := time.Now()
	got, err := s.fetcher.fetch(ctx, s.known)
	last := s.list()
	if err == nil && got.list != nil {
		err = s.acceptable(got.list, last)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("peers: synchronization failed", "url", s.url, "err", err)
			s.publish(func() { s.state.LastAttempt, s.err = started, err; s.state.Failures++ })
		}
		return err
	}
	s.known = got.validators
	list := last
	if got.list != nil && !last.same(got.list) {
		list = got.list
		s.log.Info("peers: new list from the server", "url", s.url, "peers", len(list.Peers))
	}
	path, saveErr := s.save(list)
	s.publish(func() {
		s.current, s.path, s.since = list, path, time.Now()
		s.state.LastAttempt, s.state.LastSuccess = started, s.since
		s.state.Failures, s.err = 0, nil
		s.state.SaveError = errorText(saveErr)
	})
	return nil
}

// acceptable says why the server's list cannot replace the last one, nil if it
// can.
func (s *Syncer) acceptable(list, last *Peers) error {
	if err := list.Validate(); err != nil {
		return err
	}
	now, before := len(list.Peers), len(last.entries())
	if 2*now >= before || s.cfg.AllowShrink {
		return nil
	}
	path := s.copyPath()
	if path == "" {
		return fmt.Errorf("peers: %w: from %d peers to %d: if that is right, set AllowShrink", ErrShrink, before, now)
	}
	// A copy that somebody else wrote says what the list should be like.
	if edited := readCopy(path); !edited.same(s.saved) && edited.Validate() == nil && 2*now >= len(edited.Peers) {
		s.log.Info("peers: the copy on disk allows a shorter list", "path", path, "before", before, "peers", now)
		return nil
	}
	return fmt.Errorf("peers: %w: from %d peers to %d: if that is right, run kith peers sync --force --output %s",
		ErrShrink, before, now, path)
}

// copyPath returns where the copy on disk is, or else will be, empty if none is kept.
func (s *Syncer) copyPath() string {
	if path := s.where(); path != "" {
		return path
	}
	for _, path := range s.copies() {
		return path
	}
	return ""
}

// readCopy returns what a copy on disk holds now, nil if that is no list.
func readCopy(path string) *Peers {
	data, err := readRegular(path)
	if err != nil {
		return nil
	}
	list, err := decodePeers(data, path)
	if err != nil {
		return nil
	}
	return list
}

// same reports whether two lists say the same, Info and order included.
func (p *Peers) same(q *Peers) bool {
	if p == nil || q == nil {
		return p == q
	}
	a, errA := marshal(p)
	b, errB := marshal(q)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// save writes the copy if it does not hold the list, for whatever reason. It
// returns where the copy is.
func (s *Syncer) save(list *Peers) (string, error) {
	places := s.copies()
	if len(places) == 0 {
		return "", nil
	}
	path := s.where()
	if path != "" && list.same(readCopy(path)) {
		s.saved = list
		return path, nil
	}
	var failed error
	for _, place := range places {
		err := list.Dump(place)
		if err == nil {
			s.saved = list
			return place, nil
		}
		failed = errors.Join(failed, err)
	}
	s.log.Warn("peers: cannot keep a copy of the list", "err", failed)
	return path, failed
}

// publish changes the guarded fields and wakes those who follow them.
func (s *Syncer) publish(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Syncer) list() *Peers {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *Syncer) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.path
}

// Current returns a copy of the current list, nil if there is none yet.
func (s *Syncer) Current() *Peers { return s.list().Clone() }

// State returns how the synchronization is doing.
func (s *Syncer) State() SyncState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	state.URL, state.Path = s.url, s.path
	state.Peers = len(s.current.entries())
	state.LastError = errorText(s.err)
	if s.current != nil {
		state.Age = max(0, time.Since(s.since))
	}
	return state
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Updates is the current list as a stream, in the manner of [Watch]: first the
// list there is, the copy on disk before the first answer, then one element for
// each change. A failed attempt is an error with the current list in Current,
// once for each distinct error; the list after it comes even if it is the same.
// Path is the copy on disk, empty if there is none.
//
// Updates fetches nothing: [Syncer.Run] or [Syncer.Once] do, in another
// goroutine, and do not wait for those who follow them, who may miss lists in
// between but never the last. The stream ends when ctx does or the caller breaks
// out of the loop. There may be any number of them.
func (s *Syncer) Updates(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		var told *Peers
		var failed string
		for ctx.Err() == nil {
			s.mu.Lock()
			current, path, err, changed := s.current, s.path, s.err, s.changed
			s.mu.Unlock()

			recovered := failed != "" && err == nil
			if current != nil && (current != told || recovered) {
				change := Change{Path: path, Previous: told.Clone(), Current: current.Clone(), Diff: told.Diff(current)}
				told = current
				if !yield(change, nil) {
					return
				}
			}
			if err != nil && err.Error() != failed {
				if !yield(Change{Path: path, Previous: told.Clone(), Current: told.Clone()}, err) {
					return
				}
			}
			failed = errorText(err)
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
	}
}
