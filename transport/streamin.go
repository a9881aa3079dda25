package transport

import "context"

func (s *Stream) received(body []byte) error {
	s.mu.Lock()
	flooded := len(body) > s.allowed || s.ended
	if !flooded {
		s.allowed -= len(body)
		if !s.readsClosed && s.failure == nil {
			s.keepLocked(body)
		}
	}
	s.mu.Unlock()
	if flooded {
		if s.fail(errFlooded, true) {
			s.line.answerSoon(kindReset, s.id, uint32(statusHandler), codeError, nil, []byte(errFlooded.Error()))
		}
		return errFlooded
	}
	signal(s.readable)
	return nil
}

// keepLocked puts data into the inbox. Small pieces share a slice, so that a window
// full of single bytes takes about a window's memory.
func (s *Stream) keepLocked(body []byte) {
	const small = 4 << 10
	s.inboxSize += len(body)
	last := len(s.inbox) - 1
	switch {
	case len(body) == 0:
	case len(body) >= small:
		s.inbox = append(s.inbox, body)
	case last >= 0 && len(s.inbox[last])+len(body) <= cap(s.inbox[last]) && cap(s.inbox[last]) <= 2*small:
		s.inbox[last] = append(s.inbox[last], body...)
	default:
		shared := make([]byte, len(body), small)
		copy(shared, body)
		s.inbox = append(s.inbox, shared)
	}
}

func (s *Stream) receivedEnd() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	signal(s.readable)
	s.letGo()
}

func (s *Stream) receivedCredit(n uint32) {
	s.mu.Lock()
	s.credit = min(s.credit+int64(n), maxCredit)
	s.served = true
	s.settleLocked()
	s.mu.Unlock()
	signal(s.writable)
}

func (s *Stream) receivedStop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	signal(s.writable)
}

func (s *Stream) receivedReset(err error) { s.fail(err, false) }

// lose fails the stream because its line ended.
func (s *Stream) lose(err error) { s.fail(err, true) }

// fail ends both directions, unless they have; at once, or after what was received.
func (s *Stream) fail(err error, atOnce bool) bool {
	s.mu.Lock()
	first := s.failure == nil
	if first {
		s.failure = err
		if atOnce && !s.ended {
			s.inbox, s.inboxSize = nil, 0
		}
		s.settleLocked()
	}
	s.mu.Unlock()
	signal(s.readable)
	signal(s.writable)
	if first {
		s.line.streams.remove(s.id)
		if s.broken != nil {
			s.broken(context.Canceled)
		}
	}
	return first
}

func (s *Stream) settleLocked() {
	if !s.settled {
		s.settled = true
		close(s.accepted)
	}
}

// refused returns why a stream was not accepted. One that was, and has failed since,
// tells that to those who read and write.
func (s *Stream) refused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served {
		return nil
	}
	return s.failure
}

// letGo forgets the stream when nothing that comes for it matters any more.
func (s *Stream) letGo() {
	s.mu.Lock()
	over := s.endSent && (s.ended || s.readsClosed)
	s.mu.Unlock()
	if over {
		s.line.streams.remove(s.id)
	}
}
