package consensus

import (
	"slices"
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
	// listeners are those who want to be called, by the exact name.
	listeners map[string][]*listener
	passes    uint64      // counts those over the listeners
	spare     []*listener // empty, to be used by the next pass
}

// listener is one who wants to be called.
type listener struct {
	fn   func()
	pass uint64 // the last one in which it was found
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

// Listen has fn called after changes of exactly that name were applied, and when another
// state came into force: once after any number of changes at a time, by whoever applied
// them, which goes on when fn returns. So fn must be quick, and wait for nothing that has to
// be applied, as Propose and Barrier do; it may look (View), for no lock is held. Two calls
// of fn may overlap. cancel ends it, and may be called more than once; a call that is under
// way may come to its end after that.
//
// It is for those whom a change concerns at once: to wake a goroutine that then looks
// and wakes another one takes longer than the look.
func (h *Hub) Listen(name string, fn func()) (cancel func()) {
	l := &listener{fn: fn}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = make(map[string][]*listener)
	}
	h.listeners[name] = append(h.listeners[name], l)
	return func() { h.unlisten(name, l) }
}

func (h *Hub) unlisten(name string, l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := slices.DeleteFunc(h.listeners[name], func(other *listener) bool { return other == l })
	if len(left) == 0 {
		delete(h.listeners, name)
	} else {
		h.listeners[name] = left
	}
}

// notify wakes and calls whom the changes concern.
func (h *Hub) notify(changes []state.Change) {
	h.tell(func(found []*listener) []*listener {
		for _, c := range changes {
			for n := range h.lengths {
				if n <= len(c.Name) {
					wake(h.prefixes[c.Name[:n]], c.Revision)
				}
			}
			found = h.add(found, h.listeners[c.Name])
		}
		return found
	})
}

// WakeAll wakes and calls everybody: another state is in force.
func (h *Hub) WakeAll() {
	h.tell(func(found []*listener) []*listener {
		for _, subscribed := range h.prefixes {
			wake(subscribed, 0)
		}
		for _, listeners := range h.listeners {
			found = h.add(found, listeners)
		}
		return found
	})
}

// tell makes a pass: it calls the listeners that find, which has the lock, adds to those it
// is given.
func (h *Hub) tell(find func([]*listener) []*listener) {
	h.mu.Lock()
	h.passes++
	found := h.spare
	h.spare = nil
	found = find(found)
	h.mu.Unlock()
	for _, l := range found {
		l.fn()
	}
	clear(found)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spare = found[:0]
}

// add adds listeners to those that were found in this pass, each once. mu is held.
func (h *Hub) add(found, listeners []*listener) []*listener {
	for _, l := range listeners {
		if l.pass != h.passes {
			l.pass = h.passes
			found = append(found, l)
		}
	}
	return found
}

func wake(subscribed map[chan uint64]struct{}, revision uint64) {
	for c := range subscribed {
		select {
		case c <- revision:
		default: // it has one that it did not look at yet
		}
	}
}
