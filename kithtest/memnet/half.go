package memnet

import "time"

const (
	window     = 256 << 10 // bytes of one half that may be under way or unread
	maxSegment = 16 << 10
	backlog    = 128         // connections a listener's kernel accepts for it
	synRetry   = time.Second // to a listener whose backlog is full
)

type kind uint8

const (
	data   kind = iota
	syn         // asks for a connection
	synAck      // grants it
	fin         // no more bytes
	rst         // the connection is no more
)

// segment is a piece of a half under way. Its bytes are in the half's ring.
type segment struct {
	at   time.Duration // when it arrives, once sent, but not before those ahead of it
	n    int
	kind kind
}

// half is one direction of a stream: what src sends and dst receives. Handshake and end travel as
// segments like the bytes, so a cut holds them all the same and order is kept by itself. Its methods
// need the network's mutex.
//
//	buf:  | ready: dst may read | sent: on their way | not sent: held at src |
//	segs:                       | segs[:sent]        | segs[sent:]           |
type half struct {
	src, dst   *conn
	path, back *path
	dice       dice

	buf     ring
	ready   int
	segs    queue[segment]
	sent    int
	unacked int  // read by dst, which could not tell src: they still fill the window
	shut    bool // a fin was sent
	dead    bool // a rst was sent, and not lost with its machine
	armed   bool // the agenda has an event for segs[0]
}

func (h *half) room() int { return window - h.buf.n - h.unacked }

// write takes in what fits and returns how much that was.
func (h *half) write(b []byte) int {
	b = b[:min(len(b), h.room())]
	h.buf.write(b)
	rest := len(b)
	if last := h.segs.len() - 1; last >= h.sent { // as Nagle did
		if s := h.segs.at(last); s.kind == data {
			more := min(rest, maxSegment-s.n)
			s.n += more
			rest -= more
		}
	}
	for ; rest > 0; rest -= min(rest, maxSegment) {
		h.segs.push(segment{n: min(rest, maxSegment), kind: data})
	}
	h.pump()
	return len(b)
}

// signal sends a segment without bytes.
func (h *half) signal(k kind) {
	h.segs.push(segment{kind: k})
	h.pump()
}

// finish sends the end of the stream, behind all bytes.
func (h *half) finish() {
	if !h.shut && !h.dead {
		h.shut = true
		h.signal(fin)
	}
}

// reset gives up what was not sent and resets the connection. It says so once.
func (h *half) reset() {
	if !h.dead {
		h.dead = true
		h.dropUnsent()
		h.signal(rst)
	}
}

// dropUnsent forgets what src still holds.
func (h *half) dropUnsent() {
	for i := h.sent; i < h.segs.len(); i++ {
		s := h.segs.at(i)
		h.buf.truncate(s.n)
		h.dead = h.dead && s.kind != rst
	}
	h.segs.truncate(h.sent)
}

// drop forgets all that dst has not received.
func (h *half) drop() {
	h.sent = 0
	h.dropUnsent()
}

// held reports whether s must wait at src.
func (h *half) held(s *segment) bool {
	if h.path.blocked() || h.src.host.off || h.dst.host.off {
		return true
	}
	// The kernel of a paused program goes on: it grants and refuses connections.
	kernel := s.kind == synAck || s.kind == rst && !h.src.established
	return h.src.host.paused && !kernel
}

// pump sends what may be sent. It is called again when a fault is over.
func (h *half) pump() {
	for h.sent < h.segs.len() {
		s := h.segs.at(h.sent)
		if h.held(s) {
			break
		}
		s.at = h.arrival()
		h.sent++
	}
	h.flush()
}

// arrival decides when a segment sent now arrives; 0 is at once.
func (h *half) arrival() time.Duration {
	c := &h.path.conditions
	if *c == (Conditions{}) {
		return 0
	}
	delay := c.Delay + spread(c.Jitter, h.dice.roll())
	again := c.retransmission()
	for range maxRepetitions {
		if h.dice.roll() >= c.Loss {
			break
		}
		h.src.net.stats.Retransmissions++
		delay += again
		again = min(2*again, maxRetransmission)
	}
	if delay == 0 {
		return 0
	}
	return h.src.net.now() + delay
}

// flush delivers what has arrived and arranges for the rest.
func (h *half) flush() {
	n := h.src.net
	for h.sent > 0 {
		s := h.segs.at(0)
		if s.at > 0 && s.at > n.now() {
			break
		}
		if h.path.blocked() || h.dst.host.off {
			h.lose()
			return
		}
		if s.kind == syn && h.dst.backlogFull() {
			s.at = n.now() + synRetry
			break
		}
		h.sent--
		h.deliver(h.segs.pop())
	}
	if h.sent > 0 && !h.armed {
		h.armed = true
		n.scheduleLocked(event{at: h.segs.at(0).at, half: h})
	}
}

// lose returns what was cut off on its way to src, which sends it again later; unless it lost power
// meanwhile and knows of nothing.
func (h *half) lose() {
	h.sent = 0
	if h.src.gone && !h.dead {
		h.dropUnsent()
	}
}

func (h *half) deliver(s segment) {
	dst := h.dst
	switch s.kind {
	case syn:
		dst.admit()
	case synAck:
		dst.established = true
		if dst.closed {
			dst.out.reset()
		}
	case data:
		if dst.closed {
			h.buf.discard(s.n) // nothing is ready at a closed end, so these are the first
			h.unacked += s.n
			dst.out.reset()
			return
		}
		h.ready += s.n
		h.src.net.stats.StreamBytesDelivered += uint64(s.n)
	case fin:
		dst.eof = true
		if dst.gone {
			dst.out.reset()
		}
	case rst:
		dst.reset = true
		dst.out.drop()
		dst.wr.cond.Broadcast()
	}
	dst.rd.cond.Broadcast()
}

// read takes bytes out for dst.
func (h *half) read(b []byte) int {
	b = b[:min(len(b), h.ready)]
	h.buf.peek(b)
	h.buf.discard(len(b))
	h.ready -= len(b)
	h.unacked += len(b)
	h.acknowledge()
	return len(b)
}

// discard drops what dst has received and not read.
func (h *half) discard() {
	h.buf.discard(h.ready)
	h.unacked += h.ready
	h.ready = 0
}

// acknowledge tells src of the room there is, if the way back is open. It does not wake a writer
// for every byte read.
func (h *half) acknowledge() {
	if h.unacked == 0 || h.back.blocked() || h.src.host.off || h.dst.host.off {
		return
	}
	h.unacked = 0
	if h.room() >= window/4 {
		h.src.wr.cond.Broadcast()
	}
}
