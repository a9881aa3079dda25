package transport

import (
	"sync"
	"sync/atomic"
)

// answer is what a request comes to: a reply, or an error that tells its outcome.
type answer struct {
	header Header
	body   []byte
	err    error
}

// calls are the requests that wait for replies on one line. Who asks claims a slot, and an
// answer finds it by its id; neither takes a lock, so callers and the engine do not meet.
type calls struct {
	waiting atomic.Int64
	ended   atomic.Pointer[error]     // why the line ended; nil while it has not
	newest  atomic.Pointer[callTable] // nil until the first call
	growing sync.Mutex
}

// callTable holds the request with an id in slot id mod the number of slots, which is a
// power of two. When too many wait for one table, a larger one takes those who come.
type callTable struct {
	slots []callSlot
	older *callTable
}

// callSlot is where one request waits.
type callSlot struct {
	// state is 0 if nobody waits here, else the id of a request, with answered added as
	// soon as its answer is coming, or claimed. Only who waits frees the slot.
	state atomic.Uint64
	ch    chan answer
}

const (
	answered   = 1 << 63
	claimed    = 1<<64 - 1 // somebody is about to wait here
	firstSlots = 32
)

func (t *callTable) at(id uint64) *callSlot { return &t.slots[id&uint64(len(t.slots)-1)] }

// add lets ch, which has room for one, wait for the answer to the id that it returns: exactly
// one comes unless remove takes it back. Once the line has ended it returns why.
func (c *calls) add(ids *atomic.Uint64, ch chan answer) (s *callSlot, id uint64, err error) {
	for {
		t := c.table()
		id = ids.Add(1)
		if s = t.at(id); s.state.CompareAndSwap(0, claimed) {
			break
		}
	}
	s.ch = ch
	s.state.Store(id)
	if ended := c.ended.Load(); ended != nil {
		if !s.remove(id) {
			s.receive(ch)
		}
		return nil, 0, *ended
	}
	return s, id, nil
}

// table returns the one for new calls, of whose slots at least half are free.
func (c *calls) table() *callTable {
	t := c.newest.Load()
	if t != nil && 2*c.waiting.Load() <= int64(len(t.slots)) {
		return t
	}
	c.growing.Lock()
	defer c.growing.Unlock()
	t = c.newest.Load()
	switch {
	case t == nil:
		t = &callTable{slots: make([]callSlot, firstSlots)}
	case 2*c.waiting.Load() > int64(len(t.slots)):
		t = &callTable{slots: make([]callSlot, 2*len(t.slots)), older: t}
	}
	c.newest.Store(t)
	return t
}

// remove takes a call back. If it returns false the answer is in the channel, or is just
// being put there, and must be received.
func (s *callSlot) remove(id uint64) bool { return s.state.CompareAndSwap(id, 0) }

// receive waits for the answer, which is coming, and frees the slot.
func (s *callSlot) receive(ch chan answer) answer {
	a := <-ch
	s.state.Store(0)
	return a
}

// free gives the slot back, by who has its answer.
func (s *callSlot) free() { s.state.Store(0) }

// deliver hands an answer to whoever waits for it. An answer nobody waits for
// (any more) is nobody's.
func (c *calls) deliver(id uint64, a answer) {
	if id == 0 || id >= answered {
		return // no request has such an id
	}
	for t := c.newest.Load(); t != nil; t = t.older {
		if s := t.at(id); s.state.CompareAndSwap(id, id|answered) {
			s.ch <- a
			return
		}
	}
}

// end fails all that wait, and all that come.
func (c *calls) end(err error) {
	// Who claims a slot looks at ended afterwards, and this looks at the slots afterwards:
	// one of the two sees the other.
	c.ended.Store(&err)
	for t := c.newest.Load(); t != nil; t = t.older {
		for i := range t.slots {
			s := &t.slots[i]
			id := s.state.Load()
			if id != 0 && id < answered && s.state.CompareAndSwap(id, id|answered) {
				s.ch <- answer{err: err}
			}
		}
	}
}
