package transport

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
)

// maxChunk is the most bytes of a stream that travel as one packet.
const maxChunk = 64 << 10

// maxCredit is more than anybody needs; it keeps the sum from overflowing.
const maxCredit = 1 << 40

// ErrStopped: the other side of a stream closed it, and reads no more.
var ErrStopped = errors.New("kith: the other side of the stream reads no more")

var errFlooded = errors.New("kith: the other side sent more than it was allowed to")

// Stream is a two-way stream of bytes to one peer. What one side writes the other
// reads, in order and whole; an error says that something may be missing. A side may
// end its own direction with CloseWrite and go on reading.
//
// A writer who is ahead of the reader by the window (Limits.StreamWindow) waits, so
// a stream takes that much memory on either side, however long it is. When the
// connection ends, both directions fail at once, with an error that matches
// ErrUnreachable, ErrPeerRestarted or ErrClosed; what came complete, up to the
// other side's end, can still be read. Its methods may be called by any number of
// goroutines; concurrent Reads, and Writes, take turns.
type Stream struct {
	line     *line
	id       uint64
	request  Message
	broken   func(error)   // ends the handler's context; may be nil
	accepted chan struct{} // closed when it is accepted, or refused

	reading, writing   chan struct{} // whose turn it is
	readable, writable chan struct{} // something changed
	readBy, writeBy    deadline

	mu           sync.Mutex
	settled      bool     // accepted is closed
	served       bool     // the other side has accepted, or did before it failed
	inbox        [][]byte // what came and was not read
	inboxSize    int
	allowed      int   // bytes that may still come before more credit is given
	owed         int   // bytes read for which no credit was given yet
	credit       int64 // bytes that may be sent
	ended        bool  // the other side's end has come
	stopped      bool  // the other side reads no more
	failure      error // no more in either direction; Read tells it after the inbox
	readsClosed  bool
	writesClosed bool
	endSent      bool
}

func newStream(l *line, id uint64, request Message) *Stream {
	return &Stream{
		line: l, id: id, request: request,
		accepted: make(chan struct{}),
		reading:  make(chan struct{}, 1), writing: make(chan struct{}, 1),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
		allowed: l.m.limits.StreamWindow,
	}
}

// Peer returns who is on the other side; empty for a caller that is no peer.
func (s *Stream) Peer() string { return s.line.remote.Name }

// Subject returns what the stream was opened for.
func (s *Stream) Subject() string { return s.request.Subject }

// Header returns what was sent along when it was opened. It is not to be changed.
func (s *Stream) Header() Header { return s.request.Header }

// Read reads what came. It waits for at least a byte, the other side's end (io.EOF),
// an error, or the read deadline (os.ErrDeadlineExceeded). After Close it is
// io.ErrClosedPipe.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	expired := s.readBy.wait()
	if err := turn(s.reading, expired); err != nil {
		return 0, err
	}
	defer func() { <-s.reading }()
	for {
		n, grant, err := s.read(p)
		if grant > 0 {
			// The writer may be waiting for this: it must not get lost.
			_ = s.line.sendPatiently(nil, kindCredit, s.id, uint32(grant), "", nil, nil)
		}
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-s.readable:
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (s *Stream) read(p []byte) (n, grant int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readsClosed {
		return 0, 0, io.ErrClosedPipe
	}
	for n < len(p) && len(s.inbox) > 0 {
		k := copy(p[n:], s.inbox[0])
		n += k
		if s.inbox[0] = s.inbox[0][k:]; len(s.inbox[0]) == 0 {
			s.inbox[0] = nil
			s.inbox = s.inbox[1:]
		}
	}
	s.inboxSize -= n
	s.owed += n
	if window := s.line.m.limits.StreamWindow; s.owed >= (window+1)/2 && !s.ended && s.failure == nil {
		grant, s.owed = s.owed, 0
		s.allowed += grant
	}
	switch {
	case n > 0:
		return n, grant, nil
	case s.ended:
		return 0, 0, io.EOF
	default:
		return 0, 0, s.failure
	}
}

// Write sends p. It waits while the other side is behind by the window, until the
// write deadline (os.ErrDeadlineExceeded). What it returns was sent, and not
// necessarily read. It fails with ErrStopped when the other side has closed the stream,
// with its error if it closed it with one, and with io.ErrClosedPipe after Close or
// CloseWrite.
func (s *Stream) Write(p []byte) (written int, err error) {
	expired := s.writeBy.wait()
	if err := turn(s.writing, expired); err != nil {
		return 0, err
	}
	defer func() { <-s.writing }()
	for {
		n, err := s.take(len(p) - written)
		if err != nil || written == len(p) {
			return written, err
		}
		if n == 0 {
			select {
			case <-s.writable:
			case <-expired:
				return written, os.ErrDeadlineExceeded
			}
			continue
		}
		chunk := bytes.Clone(p[written : written+n])
		if err := s.line.sendPatiently(expired, kindData, s.id, 0, "", nil, chunk); err != nil {
			return written, s.unsent(n, err)
		}
		written += n
	}
}

// take takes credit for up to want bytes.
func (s *Stream) take(want int) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != nil:
		return 0, s.failure
	case s.writesClosed:
		return 0, io.ErrClosedPipe
	case s.stopped:
		return 0, ErrStopped
	}
	n = int(min(int64(want), s.credit, maxChunk))
	s.credit -= int64(n)
	return n, nil
}

// unsent gives credit back, and tells why a chunk was not sent.
func (s *Stream) unsent(n int, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit += int64(n)
	switch {
	case errors.Is(err, ErrFull):
		return os.ErrDeadlineExceeded
	case s.failure != nil:
		return s.failure
	}
	return err
}

// CloseWrite tells the other side that no more comes: it reads io.EOF after what was
// written. Reading goes on. It waits for a Write under way.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	s.writesClosed = true
	s.mu.Unlock()
	signal(s.writable)
	_ = turn(s.writing, nil)
	defer func() { <-s.writing }()
	s.mu.Lock()
	failure, again := s.failure, s.endSent
	s.endSent = true
	s.mu.Unlock()
	if again || failure != nil {
		return failure
	}
	err := s.line.sendPatiently(nil, kindEnd, s.id, 0, "", nil, nil)
	s.letGo()
	return err
}

// Close ends both directions: what was written still arrives, and the other side
// reads io.EOF after it; what is not read yet is thrown away, and its Writes fail with
// ErrStopped. Only the first call does anything. Closing a stream that has failed is no
// error.
func (s *Stream) Close() error {
	s.mu.Lock()
	again, listens := s.readsClosed, !s.ended && s.failure == nil
	s.readsClosed = true
	s.inbox, s.inboxSize = nil, 0
	s.mu.Unlock()
	signal(s.readable)
	if again {
		return nil
	}
	_ = s.CloseWrite() // a failure was told to those who read and wrote
	if listens {
		_ = s.line.sendPatiently(nil, kindReset, s.id, uint32(statusStopped), "", nil, nil)
	}
	s.letGo()
	return nil
}

// CloseWithError ends both directions at once. The other side's Writes fail, and its
// Reads after what it has received, with a *RemoteError that has err's text, and its
// code if Coded gave it one.
func (s *Stream) CloseWithError(err error) error {
	code, text := told(err)
	if s.fail(io.ErrClosedPipe, false) {
		_ = s.line.sendPatiently(nil, kindReset, s.id, uint32(statusHandler), code, nil, text)
	}
	return nil
}

// settle closes the stream as its handler wants.
func (s *Stream) settle(err error, panicked bool) {
	switch {
	case err == nil:
		_ = s.Close()
	case panicked:
		if s.fail(err, false) {
			_ = s.line.sendPatiently(nil, kindReset, s.id, uint32(statusPanic), "", nil, clip(err.Error()))
		}
	default:
		_ = s.CloseWithError(err)
	}
}

// accept tells the other side that it may write: that is how it learns that the
// stream is served.
func (s *Stream) accept() {
	_ = s.line.sendPatiently(nil, kindCredit, s.id, uint32(s.line.m.limits.StreamWindow), "", nil, nil)
}

// refuse ends a stream that nobody serves.
func (s *Stream) refuse(why status, text string) {
	if s.fail(io.ErrClosedPipe, false) {
		s.line.answerSoon(kindReset, s.id, uint32(why), "", nil, []byte(text))
	}
}

// turn takes the one place in a channel.
func turn(place chan struct{}, expired <-chan struct{}) error {
	select {
	case <-expired:
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case place <- struct{}{}:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	}
}

// signal tells a waiter that something changed, if it has not been told already.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
