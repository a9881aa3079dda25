package state

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Change is one thing that happened to one name.
type Change struct {
	Revision uint64
	Kind     statepb.Change_Kind
	Queue    statepb.QueueName_Kind // of QUEUE: lock or group
	Name     string                 // of the key, the queue or the event
	Previous uint64                 // the name's revision before, 0: it was not there
	Item     *Item                  // of PUT: what the key is now; read-only
}

// charge is what a change counts for against history_bytes.
func (c *Change) charge() int64 {
	size := 64 + len(c.Name)
	if c.Item != nil {
		size += len(c.Item.Value)
	}
	return int64(size)
}

// history is the changes that watches read, from the revision after floor on (S16).
// Whole revisions are forgotten, never parts of one.
type history struct {
	floor  uint64
	events int
	bytes  int64

	// chunks hold the changes in order; the first `gone` of the first chunk are
	// forgotten. Chunks only ever grow, into room that no snapshot sees, so that
	// snapshots share them.
	chunks []chunk
	gone   int

	// last is the newest revision of each name that a change other than PUT and FIRE
	// tells of: what LastChange cannot see in a key, an event or a queue that is there.
	last map[string]uint64
}

type chunk struct {
	changes []Change
	bytes   int64
}

// A chunk is full at either of these. What is forgotten is freed by whole chunks.
const (
	chunkEvents = 256
	chunkBytes  = 1 << 20
)

func newHistory() history {
	return history{last: make(map[string]uint64)}
}

// add appends a change. Its revision is not below that of the one before.
func (h *history) add(c Change) {
	if planted.Bug(planted.DropChange) && c.Revision%64 == 0 {
		return
	}
	tail := len(h.chunks) - 1
	if tail < 0 || len(h.chunks[tail].changes) == chunkEvents || h.chunks[tail].bytes >= chunkBytes {
		h.chunks = append(h.chunks, chunk{changes: make([]Change, 0, chunkEvents)})
		tail++
	}
	charge := c.charge()
	t := &h.chunks[tail]
	t.changes, t.bytes = append(t.changes, c), t.bytes+charge
	h.events, h.bytes = h.events+1, h.bytes+charge
	if c.Kind != statepb.Change_PUT && c.Kind != statepb.Change_FIRE {
		h.last[c.Name] = c.Revision
	}
}

// trim forgets the oldest revisions until the rest is within the limits. It is
// called between revisions.
func (h *history) trim(l *statepb.Limits) {
	for h.events > 0 && (uint64(h.events) > l.HistoryEvents || uint64(h.bytes) > l.HistoryBytes) {
		h.floor = h.oldest().Revision
		for h.events > 0 && h.oldest().Revision == h.floor {
			h.forget()
		}
	}
}

func (h *history) oldest() *Change { return &h.chunks[0].changes[h.gone] }

// forget drops the oldest change.
func (h *history) forget() {
	c := h.oldest()
	if h.last[c.Name] == c.Revision {
		delete(h.last, c.Name)
	}
	h.events--
	h.bytes -= c.charge()
	h.gone++
	switch {
	case h.events == 0:
		h.chunks, h.gone = nil, 0
	case h.gone == len(h.chunks[0].changes):
		h.chunks, h.gone = slices.Delete(h.chunks, 0, 1), 0
	}
}

// since goes over the changes after the revision, which is not below the floor.
func (h *history) since(revision uint64) iter.Seq[*Change] {
	return func(yield func(*Change) bool) {
		first := sort.Search(len(h.chunks), func(i int) bool {
			changes := h.chunks[i].changes
			return changes[len(changes)-1].Revision > revision
		})
		for i := first; i < len(h.chunks); i++ {
			changes := h.chunks[i].changes
			if i == first {
				changes = changes[sort.Search(len(changes), func(j int) bool { return changes[j].Revision > revision }):]
			}
			for j := range changes {
				if !yield(&changes[j]) {
					return
				}
			}
		}
	}
}

// share returns the history as it is now, for another goroutine to read.
func (h *history) share() history {
	return history{floor: h.floor, events: h.events, gone: h.gone, chunks: slices.Clone(h.chunks)}
}

// Changes returns what happened after the revision to keys whose names begin with prefix,
// in order, and the revision up to which that is everything: give it as after to go
// on. Changes of one revision are never torn apart, so that there may be more than
// most; most is at least 1.
//
// Errors: *CompactedError if some are forgotten, ErrFuture if the machine is not at
// after yet.
func (m *Machine) Changes(prefix string, after uint64, most int) (changes []Change, next uint64, err error) {
	if after < m.history.floor {
		return nil, 0, &CompactedError{Floor: m.history.floor, Current: m.revision}
	}
	if after > m.revision {
		return nil, 0, ErrFuture
	}
	for c := range m.history.since(after) {
		if c.Kind == statepb.Change_QUEUE || c.Kind == statepb.Change_FIRE || !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		if n := len(changes); n >= most && n > 0 && changes[n-1].Revision != c.Revision {
			return changes, changes[n-1].Revision, nil
		}
		changes = append(changes, *c)
	}
	return changes, m.revision, nil
}
