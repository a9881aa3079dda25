package link

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"time"
)

// frameWriter writes a pipe's frames to one connection, small ones together.
type frameWriter struct {
	pipe   *Pipe
	conn   net.Conn
	unsent func() (int, error) // bytes that the kernel holds for conn; nil where it cannot tell
	failed chan error          // the first reason why the connection is of no use any more
	// turn holds a token, from when the pipe's goroutine serves the connection until it
	// does not any more. Who has it owns all below.
	turn chan struct{}

	broken bool   // a write failed, and may have left half a frame
	batch  batch  // taken from the queue
	buf    []byte // encoded, not yet written; its capacity is never exceeded
	// held counts the frames that end in buf, and what they occupied in the queue.
	held, heldBytes, heldSpace int
}

func newFrameWriter(p *Pipe, conn net.Conn) *frameWriter {
	return &frameWriter{
		pipe:   p,
		conn:   conn,
		unsent: unsent(conn),
		failed: make(chan error, 1),
		turn:   make(chan struct{}, 1),
		buf:    make([]byte, 0, coalesce),
	}
}

// fail notes why the connection is of no use any more.
func (w *frameWriter) fail(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

const (
	// atOnce is the size of the largest frame that its sender may write to the socket.
	atOnce = 4 << 10
	// quiet is how much the kernel may hold already when a sender writes.
	quiet = 2 << 10
)

// sendNow writes the queue on the sender's goroutine, or reports that it did not: another
// one writes, or the kernel might make us wait. To wake the pipe's goroutine for a small
// frame takes longer than to write it.
//
// A socket whose buffer is all but empty takes a small write at once: the smallest buffer
// that Linux gives has room for several. Where it has run out of memory the write waits, no
// longer than any other may.
func (w *frameWriter) sendNow() bool {
	if w.unsent == nil {
		return false
	}
	select {
	case <-w.turn:
	default:
		return false
	}
	defer func() { w.turn <- struct{}{} }()
	if n, err := w.unsent(); err != nil || n > quiet {
		return false
	}
	sent, err := w.sendQueue(2 * atOnce)
	if err != nil {
		w.fail(err)
	}
	return sent
}

var errBroken = errors.New("link: an earlier write failed")

// sendQueue writes all that is queued, or reports that this is more than most bytes.
func (w *frameWriter) sendQueue(most int) (sent bool, err error) {
	if w.broken {
		return true, errBroken
	}
	var ok bool
	if w.batch, ok = w.pipe.take(w.batch, most); !ok {
		return false, nil
	}
	n, err := w.write(&w.batch)
	if err != nil {
		w.broken = true
		w.pipe.lose(len(w.batch.frames) - n)
	} else if most < math.MaxInt {
		w.pipe.wroteAtOnce()
	}
	return true, err
}

// write writes all frames of b, and lets go of each body as soon as it is gone. It
// reports how many frames were written.
func (w *frameWriter) write(b *batch) (written int, err error) {
	parts := b.parts
	for i, f := range b.frames {
		if cap(w.buf)-len(w.buf) < maxHeadSize {
			if err := w.flush(); err != nil {
				return i - w.held, err
			}
		}
		w.buf = appendHead(w.buf, w.pipe.cfg.Route, f.kind, f.size)
		for j, part := range parts[:f.parts] {
			if err := w.writePart(part); err != nil {
				return i - w.held, err
			}
			parts[j] = nil
		}
		parts = parts[f.parts:]
		w.held++
		w.heldBytes += f.size
		w.heldSpace += f.space()
	}
	if err := w.flush(); err != nil {
		return len(b.frames) - w.held, err
	}
	return len(b.frames), nil
}

// writePart copies what fits into the buffer. What does not is written from where
// it is, unless it is so small that the copy costs less than the system call.
func (w *frameWriter) writePart(part []byte) error {
	if len(part) > cap(w.buf)-len(w.buf) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(part) <= cap(w.buf)-len(w.buf) {
		w.buf = append(w.buf, part...)
		return nil
	}
	for len(part) > 0 {
		piece := part[:min(len(part), writePiece)]
		if err := w.send(piece); err != nil {
			return err
		}
		part = part[len(piece):]
	}
	return nil
}

// flush writes the buffer, and makes room in the queue for what it held.
func (w *frameWriter) flush() error {
	if len(w.buf) > 0 {
		if err := w.send(w.buf); err != nil {
			return err
		}
	}
	w.buf = w.buf[:0]
	w.pipe.wrote(w.held, w.heldBytes, w.heldSpace)
	w.held, w.heldBytes, w.heldSpace = 0, 0, 0
	return nil
}

func (w *frameWriter) send(b []byte) error {
	w.conn.SetWriteDeadline(time.Now().Add(stuck))
	_, err := w.conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("link: the other side took nothing for %v: %w", stuck, err)
	}
	return err
}

// wrote accounts for frames that are gone.
func (p *Pipe) wrote(frames, bytes, space int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Frames += uint64(frames)
	p.stats.Bytes += uint64(bytes)
	p.stats.Queued -= space
}

// wroteAtOnce accounts for a sender that wrote itself.
func (p *Pipe) wroteAtOnce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.AtOnce++
}

// frameOverhead is what a queued frame occupies beside its body, and written ones
// carry, roughly.
const frameOverhead = 64

// space is what the frame occupies in the queue.
func (f queued) space() int { return f.size + frameOverhead }
