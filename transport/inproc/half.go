package inproc

import (
	"errors"
	"sync"
	"time"

	"github.com/kith-go/kith/transport"
)

// half is one side of a connection: what it sends waits in its queue until the other
// side's goroutine takes it. It implements transport.Conn.
type half struct {
	engine *Engine
	other  *half
	remote transport.Remote
	queued chan struct{} // something was queued

	mu    sync.Mutex
	queue []parcel
	bytes int // sent and not taken in by the other side
	ended error
	done  chan struct{} // closed when ended is set
	told  chan struct{} // closed when this side's line has been told
}

// parcel is a packet on its way.
type parcel struct {
	bytes []byte
	head  int // of them
	due   time.Time
}

func newHalf(e *Engine, r transport.Remote) *half {
	return &half{
		engine: e, remote: r,
		queued: make(chan struct{}, 1), done: make(chan struct{}), told: make(chan struct{}),
	}
}

// Send queues packets.
func (h *half) Send(packets ...transport.Packet) error {
	setup := &h.engine.setup
	size := 0
	for _, p := range packets {
		if p.Size() > setup.MaxPacket {
			return transport.ErrTooLarge
		}
		size += p.Size()
	}
	var due time.Time
	if d := h.engine.net.delay(); d > 0 {
		due = time.Now().Add(d)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended != nil:
		return transport.ErrUnreachable
	case h.bytes > 0 && h.bytes+size > setup.MaxBacklog:
		return transport.ErrFull
	}
	for _, p := range packets {
		bytes := append(append(make([]byte, 0, p.Size()), p.Head...), p.Body...)
		h.queue = append(h.queue, parcel{bytes, len(p.Head), due})
	}
	h.bytes += size
	select {
	case h.queued <- struct{}{}:
	default:
	}
	return nil
}

// Backlog is how many bytes were sent and have not arrived.
func (h *half) Backlog() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

// end ends this side; the first cause counts.
func (h *half) end(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.ended = cause
		close(h.done)
	}
}

// take returns what is due from the queue, and when the rest will be. Order is kept:
// what is overtaken waits.
func (h *half) take(spare []parcel, now func() time.Time) (due []parcel, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for n < len(h.queue) && (h.queue[n].due.IsZero() || !h.queue[n].due.After(now())) {
		n++
	}
	if n < len(h.queue) {
		next = h.queue[n].due
	}
	if n == len(h.queue) {
		due, h.queue = h.queue, spare[:0]
		return due, next
	}
	due = append(spare[:0], h.queue[:n]...)
	h.queue = append(h.queue[:0], h.queue[n:]...)
	return due, next
}

// hangUp lets the other side know that this one has ended, unless this one is off.
func (h *half) hangUp() {
	if !h.engine.net.isOff(h.engine) {
		h.other.end(errGoodbye)
	}
}

func (h *half) arrived(size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes -= size
}

// run reports what happens at this side of the connection.
func (h *half) run() {
	r := receiver{half: h, line: h.engine.setup.Events.Opened(h, h.remote)}
	for !r.step() {
	}
	r.line.Closed(h.cause())
}

func (h *half) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

// receiver is the goroutine of one side.
type receiver struct {
	*half
	line  transport.Line
	spare []parcel
	quiet <-chan time.Time // when silence has lasted too long
}

// step waits for something, and does it. It returns true when the connection has ended
// as far as this side can tell.
func (r *receiver) step() (over bool) {
	n := r.engine.net
	way, changed := n.condition(r.engine, r.other.engine)
	var queued <-chan struct{}
	var arrives <-chan time.Time
	done, closing := r.done, r.engine.closing
	switch way {
	case clearWay:
		r.quiet = nil
		next := r.deliver()
		if queued = r.other.queued; !next.IsZero() {
			arrives = time.After(time.Until(next))
		}
	case silence:
		if r.quiet == nil {
			r.quiet = time.After(n.options.Silence)
		}
	case stopped, killed:
		done, r.quiet = nil, nil // it does not notice
	}
	select {
	case <-queued:
	case <-arrives:
	case <-changed:
	case <-r.quiet:
		r.end(errSilent)
		r.other.end(errSilent)
	case <-done:
		if errors.Is(r.cause(), errGoodbye) && way == clearWay {
			for next := r.deliver(); !next.IsZero(); next = r.deliver() { // what was sent before comes before
				time.Sleep(time.Until(next))
			}
		}
		return true
	case <-closing: // perhaps before Close comes to this connection
		r.end(transport.ErrClosed)
		r.hangUp()
		return true
	}
	return false
}

// deliver hands over what is due, and returns when more is.
func (r *receiver) deliver() (next time.Time) {
	due, next := r.other.take(r.spare, time.Now)
	for i, p := range due {
		due[i] = parcel{}
		r.line.Received(p.bytes[:p.head:p.head], p.bytes[p.head:])
		r.other.arrived(len(p.bytes))
	}
	r.spare = due
	return next
}
