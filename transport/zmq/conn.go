//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/kith-go/kith/transport"
)

const (
	// bundleSize is about the most bytes of a bundle. Larger ones save little, and keep the
	// other end waiting for its part of the work.
	bundleSize = 16 << 10
	// ownFrameFrom is the size from which a body travels as a frame of its own,
	// copied by libzmq only.
	ownFrameFrom = 16 << 10
	// partSize is the most bytes of a body that travel as one frame. Between two parts
	// beats pass: on a slow link a larger body would silence its sender for too long. To
	// put parts together takes a copy and twice the memory; for a mebibyte and less it
	// is not worth it (measured: 64 KiB parts halve the throughput).
	partSize = 1 << 20
	// corkMost is how many bytes a cork keeps back: the other end goes on with these, while
	// this one is busy with the rest.
	corkMost = 8 << 10
	// flushRounds is how often whoever came first sends what others queued in the
	// meantime, until a goroutine takes over.
	flushRounds = 8
	// A connection whose pipe is full, or whose peer stands still, is tried again
	// after retryMin, then less and less often.
	retryMin = time.Millisecond
	retryMax = 50 * time.Millisecond
	// window is how many bytes of packets may be under way to a peer that it has not
	// taken yet: in libzmq here, in the network, and in libzmq there. It is the only
	// bound there, since libzmq must never stop reading: see Engine.common. What does
	// not fit waits in the conn, where it is counted.
	window = 8 << 20
)

// message is what goes to libzmq in one piece: a bundle, or two frames.
type message struct {
	first, body []byte // body is nil if there is one frame only
	two         bool
	size        int     // as counted in conn.bytes
	pooled      *[]byte // where first came from
}

// weight is what a message counts in the window.
func (m *message) weight() uint64 { return uint64(len(m.first) + len(m.body)) }

// conn is the sending side of a connection, whoever began it. Packets queue here;
// who comes first flushes, and what others queue while it does so goes out together.
type conn struct {
	engine *Engine
	socket *socket
	route  []byte // what the ROUTER calls the other end; nil on a DEALER
	plain  bool   // the other end is no peer: no bundles
	// lost is told, without locks, that nothing can be sent any more: a ROUTER knows no
	// such route, or a call into the socket failed.
	lost func()
	// turn is the receiver's, if callers may stand in for it.
	turn func() (more bool)

	taken, told uint64 // bytes taken, and how many the peer knows of; of who receives

	mu      sync.Mutex
	urgent  []message // the engine's own, out of the window; guarded by mu, as all below
	waiting []message
	spare   []message // the other one of the two slices that take turns
	bytes   int       // of what waits or is being sent
	sent    uint64    // bytes of packets that libzmq got, or is being given
	there   uint64    // of these the other end has taken
	busy    bool      // somebody flushes, or a retry will
	corked  bool      // what is sent waits for uncork, or until there is more than corkMost
	stalled bool      // what waits waits for room in the window
	closed  bool
	retry   *time.Timer
	delay   time.Duration
}

// Send queues packets and, unless somebody else does, sends what is queued.
func (c *conn) Send(packets ...transport.Packet) error { return c.send(packets, c.flush) }

// SendNow is Send that waits for nobody to join in.
func (c *conn) SendNow(packets ...transport.Packet) error { return c.send(packets, c.flushNow) }

// SendSoon queues packets, and leaves it to a goroutine to send what is queued by then.
func (c *conn) SendSoon(packets ...transport.Packet) error { return c.send(packets, nil) }

// send queues packets and, unless somebody else sends them, has flush do so; nil is for
// another goroutine.
func (c *conn) send(packets []transport.Packet, flush func()) error {
	size := 0
	for _, p := range packets {
		if p.Size() > c.engine.setup.MaxPacket {
			return fmt.Errorf("%w: a packet of %d bytes, of at most %d", transport.ErrTooLarge, p.Size(), c.engine.setup.MaxPacket)
		}
		size += p.Size()
	}
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return transport.ErrUnreachable
	case c.bytes > 0 && c.bytes+size > c.engine.setup.MaxBacklog:
		c.mu.Unlock()
		return transport.ErrFull
	}
	for _, p := range packets {
		c.queue(p)
	}
	claimed := c.claim()
	if claimed && flush == nil {
		c.engine.work.Go(c.flush) // not closed, so Close has not begun to wait
	}
	c.mu.Unlock()
	if claimed && flush != nil {
		flush()
	}
	return nil
}

// Attend receives in the receiver's place: see transport.Attender.
func (c *conn) Attend(ctx context.Context, done func() bool) {
	if c.turn == nil {
		return
	}
	if err := c.socket.attend(ctx, c.turn, done); err != nil {
		c.lost()
	}
}

// Backlog is the number of bytes that were not handed to libzmq yet.
func (c *conn) Backlog() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// sendFrame queues a frame of the engine's own, ahead of all packets.
func (c *conn) sendFrame(frame []byte) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.urgent = append(c.urgent, message{first: frame})
	flush := c.claim()
	c.mu.Unlock()
	if flush {
		c.flush()
	}
}

// claim makes the caller the one who flushes, if there is need of one.
func (c *conn) claim() bool {
	if c.busy || c.corked && c.bytes < corkMost || len(c.urgent) == 0 && (c.stalled || len(c.waiting) == 0) {
		return false
	}
	c.busy = true
	return true
}

func (c *conn) add(m message) {
	c.waiting = append(c.waiting, m)
	c.bytes += m.size
}

// queue appends p to the last bundle, to a new one, or as frames of its own.
func (c *conn) queue(p transport.Packet) {
	size := p.Size()
	switch {
	case c.plain:
		// The head is the caller's again when Send returns.
		c.add(message{first: append([]byte(nil), p.Head...), body: p.Body, two: true, size: size})
	case len(p.Body) >= ownFrameFrom:
		c.queueAlone(p)
	default:
		last := len(c.waiting) - 1
		if last < 0 || c.waiting[last].pooled == nil || len(c.waiting[last].first)+size+packetOverhead > bundleSize {
			buffer := c.engine.bundles.Get().(*[]byte)
			c.waiting = append(c.waiting, message{first: append((*buffer)[:0], frameBundle), pooled: buffer})
			last++
		}
		m := &c.waiting[last]
		m.first = transport.AppendPacket(m.first, p)
		m.size += size
		c.bytes += size
	}
}

// queueAlone appends p as messages of its own, with parts of the body each.
func (c *conn) queueAlone(p transport.Packet) {
	first := binary.BigEndian.AppendUint32(append(make([]byte, 0, 5+len(p.Head)), frameSingle), uint32(len(p.Body)))
	first = append(first, p.Head...)
	size := len(p.Head)
	for rest := p.Body; len(rest) > 0; {
		part := rest[:min(len(rest), partSize)]
		rest = rest[len(part):]
		c.add(message{first: first, body: part, two: true, size: size + len(part)})
		first, size = []byte{frameMore}, 0
	}
}

// packetOverhead is what transport.AppendPacket adds to a packet.
const packetOverhead = 6

// cork keeps back what is sent until uncork, or until there is more than corkMost: so
// that the answers to a bundle can leave as bundles.
func (c *conn) cork() {
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
}

func (c *conn) uncork() {
	c.mu.Lock()
	c.corked = false
	flush := c.claim()
	c.mu.Unlock()
	if flush {
		c.flush()
	}
}

// flush sends what waits until nothing does. The caller has claimed it.
func (c *conn) flush() {
	// Whoever else is about to send comes first: one frame for all of them instead
	// of one each is worth more than the moment.
	runtime.Gosched()
	c.flushNow()
}

// flushNow is flush that waits for nobody.
func (c *conn) flushNow() {
	for range flushRounds {
		if !c.flushOnce() {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed { // else Close may be waiting for the engine's goroutines
		c.engine.work.Go(func() {
			for c.flushOnce() {
			}
		})
	}
}

// flushOnce hands to libzmq what waits. It reports false if somebody else goes on,
// or nobody needs to.
func (c *conn) flushOnce() bool {
	c.mu.Lock()
	batch, urgent := c.next()
	if len(batch) == 0 {
		c.busy = false
		c.mu.Unlock()
		return false
	}
	c.mu.Unlock()

	n, err := c.socket.send(c.route, batch)
	more, lost := c.settle(batch, n, err, urgent)
	if lost && c.lost != nil {
		c.lost()
	}
	return more
}

// next takes out what is to be sent next.
func (c *conn) next() (batch []message, urgent bool) {
	if c.closed {
		return nil, false
	}
	if batch, c.urgent = c.urgent, nil; len(batch) > 0 {
		return batch, true
	}
	fits, under := 0, c.sent-c.there
	for fits < len(c.waiting) && (c.plain || under < window) {
		under += c.waiting[fits].weight()
		fits++
	}
	c.sent = c.there + under // now, since the answer may be faster than settle
	if fits == len(c.waiting) {
		batch, c.waiting, c.spare = c.waiting, c.spare, nil
		return batch, false
	}
	c.stalled = fits == 0
	batch, c.waiting = c.waiting[:fits:fits], c.waiting[fits:]
	return batch, false
}

// settle notes that n messages of batch are libzmq's, and why the others are not.
func (c *conn) settle(batch []message, n int, err error, urgent bool) (more, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, false
	}
	for i := range batch {
		switch m := &batch[i]; {
		case urgent:
		case i < n:
			c.bytes -= m.size
			c.recycle(m)
		default:
			c.sent -= m.weight()
		}
	}
	if n > 0 {
		c.delay = 0
	}
	switch {
	case err == nil:
		if !urgent && c.spare == nil && cap(batch) > cap(c.waiting) {
			c.spare = batch[:0]
		}
		return true, false
	case again(err) && urgent:
		c.urgent = append(batch[n:], c.urgent...)
	case again(err):
		c.waiting = append(batch[n:], c.waiting...)
	default:
		c.discard()
		return false, true
	}
	c.later()
	return false, false
}

// took notes that packets of that many bytes were taken from the connection, and lets
// the peer know now and then. Only the receiver calls it.
func (c *conn) took(bytes int) {
	c.taken += uint64(bytes)
	if c.taken-c.told >= window/4 {
		c.told = c.taken
		c.sendFrame(appendTaken(nil, c.taken))
	}
}

// arrived notes how much the peer has taken, and goes on if that made room.
func (c *conn) arrived(frame []byte) error {
	total, err := parseTaken(frame)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if total > c.sent || total < c.there {
		c.mu.Unlock()
		return fmt.Errorf("%w: %d bytes taken, %d before and %d sent", errFrame, total, c.there, c.sent)
	}
	c.there = total
	c.stalled = false
	flush := c.claim()
	c.mu.Unlock()
	if flush {
		c.flush()
	}
	return nil
}

// later tries again after a while; the claim stays with the retry.
func (c *conn) later() {
	c.delay = min(max(2*c.delay, retryMin), retryMax)
	if c.retry == nil {
		c.retry = time.AfterFunc(c.delay, c.flush)
	} else {
		c.retry.Reset(c.delay)
	}
}

func (c *conn) recycle(m *message) {
	if m.pooled != nil {
		*m.pooled = m.first[:0]
		c.engine.bundles.Put(m.pooled)
	}
	*m = message{} // do not keep bodies alive
}

// close discards what waits; Send answers ErrUnreachable from now on.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.discard()
}

func (c *conn) discard() {
	c.closed = true
	c.urgent, c.waiting, c.spare, c.bytes = nil, nil, nil, 0
	if c.retry != nil {
		c.retry.Stop()
	}
}

// send hands messages to libzmq. It returns how many it took, and why not all:
// EAGAIN if the pipe to the other end is full, EHOSTUNREACH if there is none.
func (s *socket) send(route []byte, batch []message) (n int, err error) {
	n, kick, err := s.put(route, batch)
	if kick {
		s.kick()
	}
	return n, err
}

func (s *socket) put(route []byte, batch []message) (n int, kick bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, false, errSocketClosed
	}
	looked, receivable := false, false
	for n < len(batch) {
		looked = n == len(batch)-1 && s.looks() // with the same call
		if receivable, err = sendMessage(s.raw, route, &batch[n], looked); err != nil {
			break
		}
		n++
	}
	if looked {
		return n, s.saw(receivable), err
	}
	return n, s.look(), err
}
