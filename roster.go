package kith

import (
	"cmp"
	"context"
	"iter"
	"reflect"
	"sync"
	"time"

	"github.com/kith-go/kith/peers"
)

// roster is the list of peers in force and those who watch it.
type roster struct {
	mu      sync.Mutex // guards all below
	list    *peers.Peers
	since   time.Time
	bad     error         // what is wrong with the source's newest content, else
	err     error         // why the newest good list is not in force
	version int           // grows with list and err
	changed chan struct{} // closed and replaced by every change
	closed  error
}

func newRoster() *roster {
	return &roster{list: &peers.Peers{}, changed: make(chan struct{})}
}

func (r *roster) get() *peers.Peers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list.Clone()
}

func (r *roster) state() (since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, cmp.Or(r.bad, r.err)
}

// set puts list in force, of which the roster keeps a copy, and returns how it
// differs from the one before.
func (r *roster) set(list *peers.Peers, now time.Time) (diff peers.Diff) {
	list = list.Clone()
	r.change(func() {
		diff = r.list.Diff(list)
		r.list, r.since, r.err = list, now, nil
	})
	return diff
}

// doubt notes what is wrong with the newest content of the source, nil if
// nothing is.
func (r *roster) doubt(err error) {
	r.change(func() { r.bad = err })
}

// fail notes why the newest good list is not in force, and reports whether that
// is news.
func (r *roster) fail(err error) (news bool) {
	r.change(func() {
		if news = r.err == nil || r.err.Error() != err.Error(); news {
			r.err = err
		}
	})
	return news
}

func (r *roster) close(err error) {
	r.change(func() { r.closed = err })
}

func (r *roster) change(edit func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit()
	r.version++
	close(r.changed)
	r.changed = make(chan struct{})
}

// watch streams changes; see Node.WatchPeers.
func (r *roster) watch(ctx context.Context) iter.Seq2[peers.Change, error] {
	return func(yield func(peers.Change, error) bool) {
		var previous *peers.Peers
		var told error
		seen := -1
		for ctx.Err() == nil {
			r.mu.Lock()
			list, err, version, changed, closed := r.list.Clone(), cmp.Or(r.bad, r.err), r.version, r.changed, r.closed
			r.mu.Unlock()
			if closed != nil {
				// The list that was in force last, for loops that look at it first.
				yield(peers.Change{Path: list.Source(), Previous: previous, Current: list}, closed)
				return
			}
			diff := previous.Diff(list)
			news := previous == nil || !diff.Empty() || err != told || !reflect.DeepEqual(previous.Info, list.Info)
			if version != seen && news {
				change := peers.Change{Path: list.Source(), Previous: previous, Current: list, Diff: diff}
				if !yield(change, err) {
					return
				}
				previous, told = list.Clone(), err
			}
			seen = version
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}
