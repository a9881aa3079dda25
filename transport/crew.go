package transport

import "sync"

// crew runs calls, each on a goroutine. Those that have nothing to do wait for more:
// handlers and the engine under them take a stack larger than a goroutine begins with,
// and to grow a new one for each short call was a quarter of a busy server's time.
type crew struct {
	work *sync.WaitGroup // all of its goroutines

	mu   sync.Mutex
	done bool
	idle []chan *call // each with room for one; who came last is the next
}

// maxIdle bounds how many goroutines wait for calls. It is not below what one handler
// may use by default.
const maxIdle = defaultConcurrency

// run begins a call. It does not block.
func (w *crew) run(c *call) {
	w.mu.Lock()
	if last := len(w.idle) - 1; last >= 0 {
		hand := w.idle[last]
		w.idle[last] = nil
		w.idle = w.idle[:last]
		w.mu.Unlock()
		hand <- c
		return
	}
	w.mu.Unlock()
	w.work.Go(func() {
		for hand := make(chan *call, 1); c != nil; c = w.next(hand) {
			c.service.work(c)
		}
	})
}

// next waits for the next call of a goroutine; nil if it is not needed any more.
func (w *crew) next(hand chan *call) *call {
	w.mu.Lock()
	if w.done || len(w.idle) == maxIdle {
		w.mu.Unlock()
		return nil
	}
	w.idle = append(w.idle, hand)
	w.mu.Unlock()
	return <-hand
}

// shut ends those who wait, and has the others end when they are done.
func (w *crew) shut() {
	w.mu.Lock()
	idle := w.idle
	w.idle, w.done = nil, true
	w.mu.Unlock()
	for _, hand := range idle {
		close(hand)
	}
}
