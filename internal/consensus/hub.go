package consensus

import (
	"sync"

	"github.com/kith-go/kith/internal/state"
)

// Hub wakes those that wait for changes of names. One hub serves a node for its
// life, whatever state machine it has. The zero Hub is ready; its methods are safe
// for concurrent use.
type Hub struct {
	mu       sync.Mutex // guards all below
	prefixes map[string]map[chan uint64]struct{}
	// lengths counts the subscribed prefixes of each length, so that a change
	// looks up as many prefixes of its name as there are lengths.
	lengths map[int]int
}

// Subscribe returns a channel with room for one value. It gets the revision of a
// change of a name that begins with prefix, after that was applied, or 0 when another
// state came into force; while there is a value that nobody has received, further
// ones are dropped. cancel ends it, and may be called more than once.
func (h *Hub) Subscribe(prefix string) (changed <-chan uint64, cancel func()) {
	c := make(chan uint64, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.prefixes == nil {
		h.prefixes, h.lengths = make(map[string]map[chan uint64]struct{}), make(map[int]int)
	}
	if h.prefixes[prefix] == nil {
		h.prefixes[prefix] = make(map[chan uint64]struct{})
		h.lengths[len(prefix)]++
	}
	h.prefixes[prefix][c] = struct{}{}
	return c, func() { h.remove(prefix, c) }
}

func (h *Hub) remove(prefix string, c chan uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.prefixes[prefix][c]; !there {
		return
	}
	delete(h.prefixes[prefix], c)
	if len(h.prefixes[prefix]) > 0 {
		return
	}
	delete(h.prefixes, prefix)
	if h.lengths[len(prefix)]--; h.lengths[len(prefix)] == 0 {
		delete(h.lengths, len(prefix))
	}
}

// notify wakes whom the changes concern.
func (h *Hub) notify(changes []state.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.prefixes) == 0 {
		return
	}
	for _, c := range changes {
		for n := range h.lengths {
			if n <= len(c.Name) {
				wake(h.prefixes[c.Name[:n]], c.Revision)
			}
		}
	}
}

// WakeAll wakes everybody: another state is in force.
func (h *Hub) WakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, subscribed := range h.prefixes {
		wake(subscribed, 0)
	}
}

func wake(subscribed map[chan uint64]struct{}, revision uint64) {
	for c := range subscribed {
		select {
		case c <- revision:
		default: // it has one that it did not look at yet
		}
	}
}
