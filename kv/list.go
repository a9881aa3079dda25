package kv

import (
	"bytes"
	"context"
	"iter"
	"math"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
)

const (
	// MaxPage is the most entries that one page has.
	MaxPage = 1000

	// maxPageBytes bounds the values of a page, which are copied: after the entry
	// that passes it the page is full.
	maxPageBytes = 4 << 20
)

// Page is some of the keys with a prefix, all read at one moment.
type Page struct {
	// Entries are sorted by key, bytewise.
	Entries []Entry
	// Next is what After takes to go on with the next page; "" if there is none.
	Next string
	// Revision is the cluster's at that moment.
	Revision Revision
}

// ListOption is what List and All accept.
type ListOption func(*listing)

type listing struct {
	prefix, after string
	limit         int
	keysOnly      bool
}

// Limit bounds how many entries there are, 1 at least. List gives MaxPage at most
// whatever it says.
func Limit(n int) ListOption { return func(l *listing) { l.limit = max(n, 1) } }

// After leaves out the keys up to and including this one, which need not be there.
func After(key string) ListOption { return func(l *listing) { l.after = key } }

// KeysOnly leaves out the values.
func KeysOnly() ListOption { return func(l *listing) { l.keysOnly = true } }

func newListing(prefix string, options []ListOption) *listing {
	l := &listing{prefix: prefix, limit: math.MaxInt}
	for _, o := range options {
		o(l)
	}
	return l
}

// List returns the first keys with the prefix; an empty one is that of all keys. It
// sees every write that was acknowledged before the call, and blocks as Get does. A
// page ends when it has as many entries as Limit says, MaxPage at most, or values
// of 4 MiB in all.
//
// Each page is a read of its own. With writes going on between pages, what was
// there all the time is seen exactly once, unchanged or not; what came or went may
// be seen or not.
func (s *Store) List(ctx context.Context, prefix string, options ...ListOption) (Page, error) {
	l := newListing(prefix, options)
	l.limit = min(l.limit, MaxPage)
	return s.list(ctx, l)
}

func (s *Store) list(ctx context.Context, l *listing) (Page, error) {
	const op = "list"
	if err := s.barrier(ctx, op, l.prefix); err != nil {
		return Page{}, err
	}
	page, err := s.page(l)
	return page, outcome.With(op, l.prefix, err, outcome.NotDone)
}

// All goes over the keys with the prefix, in order, page by page: see List for what
// that means. It asks the cluster once, at the beginning; the pages after that come
// from this node's copy, which never goes back. Limit bounds the whole. An error is
// the last element.
func (s *Store) All(ctx context.Context, prefix string, options ...ListOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		l := newListing(prefix, options)
		from := s
		for left := l.limit; left > 0; {
			l.limit = min(left, MaxPage)
			page, err := from.list(ctx, l)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			l.after, from = page.Next, s.stale
			left -= len(page.Entries)
		}
	}
}

// page reads one page of the local state. What is copied is copied after the state
// was let go: items are never changed, only replaced.
func (s *Store) page(l *listing) (Page, error) {
	var page Page
	var items []state.Item
	var now uint64
	err := s.replica.View(func(m *state.Machine) {
		page.Revision, now = Revision(m.Revision()), m.Time()
		size := 0
		for item := range m.Range(l.prefix, l.after) {
			if len(items) == l.limit || size > maxPageBytes {
				page.Next = items[len(items)-1].Key
				break
			}
			items = append(items, item)
			if !l.keysOnly {
				size += len(item.Value)
			}
		}
	})
	if err != nil {
		return Page{}, err
	}
	page.Entries = make([]Entry, len(items))
	for i := range items {
		page.Entries[i] = bareEntry(&items[i], now)
		if !l.keysOnly {
			page.Entries[i].Value = bytes.Clone(items[i].Value)
		}
	}
	return page, nil
}
