package transport

import "sync"

// crew runs calls, each on a goroutine. Those that have nothing to do wait for more:
// handlers and the engine under them take a stack larger than a goroutine begins with,
// and to grow a new one for each short call was a quarter of a busy server's time.
//
// A goroutine that is done with a call takes the next one that waits. While calls wait
// there is always one goroutine on its way to them, and who takes a call sends another on
// its way if more are left. So a call waits for no handler, and a hundred short ones that
// come at once do not wake a hundred goroutines.
type crew struct {
	work *sync.WaitGroup // all of its goroutines

	mu      sync.Mutex
	done    bool
	waiting backlog[*call]
	coming  bool            // a goroutine is on its way to waiting
	idle    []chan struct{} // each with room for one; who came last is the next
}

// maxIdle bounds how many goroutines wait for calls. It is not below what one handler
// may use by default.
const maxIdle = defaultConcurrency

// run begins a call. It does not block.
func (w *crew) run(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting.push(c)
	w.fetchLocked()
}

// fetchLocked sends a goroutine on its way to the calls that wait, if there is none.
func (w *crew) fetchLocked() {
	if w.coming || w.waiting.len() == 0 {
		return
	}
	w.coming = true
	if last := len(w.idle) - 1; last >= 0 {
		w.idle[last] <- struct{}{} // has room
		w.idle[last] = nil
		w.idle = w.idle[:last]
		return
	}
	w.work.Go(w.serve)
}

// serve is one of the crew's goroutines, which is on its way.
func (w *crew) serve() {
	hand := make(chan struct{}, 1)
	for c := w.next(hand, true); c != nil; c = w.next(hand, false) {
		c.service.work(c)
	}
}

// next returns the call that has waited longest, and waits for one if there is none; nil
// if the goroutine is not needed any more. Came says that it was on its way.
func (w *crew) next(hand chan struct{}, came bool) *call {
	w.mu.Lock()
	for {
		if came {
			w.coming = false
		}
		if c, ok := w.waiting.pop(); ok {
			w.fetchLocked()
			w.mu.Unlock()
			return c
		}
		if w.done || len(w.idle) == maxIdle {
			w.mu.Unlock()
			return nil
		}
		w.idle = append(w.idle, hand)
		w.mu.Unlock()
		if _, came = <-hand; !came {
			return nil
		}
		w.mu.Lock()
	}
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
