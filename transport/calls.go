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

// calls are the requests that wait for replies on one line. They are spread over
// shards, so that callers and the engine seldom meet at a lock.
type calls struct {
	waiting atomic.Int64
	shards  [8]callShard
}

type callShard struct {
	mu    sync.Mutex
	ended error
	by    map[uint64]chan answer
	_     [24]byte // each on a cache line of its own
}

func (c *calls) init() {
	for i := range c.shards {
		c.shards[i].by = map[uint64]chan answer{}
	}
}

func (c *calls) shard(id uint64) *callShard { return &c.shards[id%uint64(len(c.shards))] }

// add lets ch, which has room for one, wait for the answer to id: exactly one
// comes unless remove takes it back. Once the line has ended it returns why.
func (c *calls) add(id uint64, ch chan answer) error {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	s.by[id] = ch
	return nil
}

// remove takes a waiting channel back. If it returns false the answer is in the
// channel, or is just being put there.
func (c *calls) remove(id uint64) bool {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.by[id]
	delete(s.by, id)
	return ok
}

// deliver hands an answer to whoever waits for it. An answer nobody waits for
// (any more) is nobody's.
func (c *calls) deliver(id uint64, a answer) {
	s := c.shard(id)
	s.mu.Lock()
	ch, ok := s.by[id]
	delete(s.by, id)
	s.mu.Unlock()
	if ok {
		ch <- a
	}
}

// end fails all that wait, and all that come.
func (c *calls) end(err error) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		by := s.by
		s.by, s.ended = nil, err
		s.mu.Unlock()
		for _, ch := range by {
			ch <- answer{err: err}
		}
	}
}
