package check

import "fmt"

// EventKind is what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	Put      EventKind = iota // the key got Value
	Deleted                   // the key was removed, by whatever cause
	Existing                  // part of the current state, told before Synced
	Synced                    // the current state is complete, as of Revision; changes follow
	Resync                    // changes after Prev were missed; the current state follows
)

// Event is what a watcher is told. While the current state is told, what changes
// meanwhile may be told again as Existing, or as Deleted.
type Event struct {
	Kind       EventKind
	Key, Value string
	Revision   uint64
	// Prev is, of Put and Deleted, the revision of the version before, 0 if the key was
	// absent; of Resync the last revision up to which nothing was missed.
	Prev uint64
	// More says that the next event has the same revision.
	More bool
}

// String returns the event on one line.
func (e Event) String() string {
	more := ""
	if e.More {
		more = " more"
	}
	switch e.Kind {
	case Put:
		return fmt.Sprintf("put %q=%q@%d, was @%d%s", e.Key, e.Value, e.Revision, e.Prev, more)
	case Deleted:
		return fmt.Sprintf("deleted %q@%d, was @%d%s", e.Key, e.Revision, e.Prev, more)
	case Existing:
		return fmt.Sprintf("existing %q=%q@%d", e.Key, e.Value, e.Revision)
	case Synced:
		return fmt.Sprintf("synced @%d", e.Revision)
	case Resync:
		return fmt.Sprintf("resync after @%d", e.Prev)
	}
	return fmt.Sprintf("EventKind(%d)", uint8(e.Kind))
}

// Stream is what one watcher was told.
type Stream struct {
	Name   string // who watched, for the reader
	Prefix string
	// After is the revision after which the watcher asked for changes, or 0 if for the
	// current state first.
	After  uint64
	Events []Event
	seen   []moment
}

// String returns who watched what, without the events.
func (s Stream) String() string {
	return fmt.Sprintf("watcher %s of %q after %d", s.Name, s.Prefix, s.After)
}

// Feed records one stream. It is safe for concurrent use, but the events are those
// of one reader.
type Feed struct {
	h      *History
	stream Stream
}

// Watch begins the record of a stream. That of a single key is recorded with the key
// as the prefix, and no other key may have that.
func (h *History) Watch(name, prefix string, after uint64) *Feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &Feed{h: h, stream: Stream{Name: name, Prefix: prefix, After: after}}
	h.feeds = append(h.feeds, f)
	return f
}

// Saw records that the watcher was told e now.
func (f *Feed) Saw(e Event) {
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	f.stream.Events = append(f.stream.Events, e)
	f.stream.seen = append(f.stream.seen, f.h.nowLocked())
}
