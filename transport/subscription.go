package transport

import (
	"context"
	"fmt"
	"iter"
	"sync"
)

// LagError tells a subscriber that publications are missing here. The subscription
// goes on.
type LagError struct {
	// Peer is whose publications are missing; empty if it was this subscription that
	// was not read fast enough.
	Peer string
	// Lost is how many are missing. Zero means that it cannot be told: the connection
	// to the peer broke. Of what a peer could not send in time, some may have been for
	// other subscriptions of this node.
	Lost uint64
}

// Error tells whose publications are missing, and how many.
func (e *LagError) Error() string {
	switch {
	case e.Peer == "":
		return fmt.Sprintf("kith: %d publications lost: the subscription is not read fast enough", e.Lost)
	case e.Lost == 0:
		return fmt.Sprintf("kith: publications of %s may be lost: the connection broke", e.Peer)
	}
	return fmt.Sprintf("kith: %d publications of %s lost on the way", e.Lost, e.Peer)
}

// SubscribeOption changes one subscription.
type SubscribeOption func(*Subscription)

// Buffer lets at most n publications wait for the subscription's reader; 4096 if it
// is not given. It holds at most 64 MiB in any case.
func Buffer(n int) SubscribeOption { return func(s *Subscription) { s.limit = max(n, 1) } }

const (
	defaultBuffer  = 4096
	maxBufferBytes = 64 * mebi
)

// Subscription is a queue of publications. Its methods may be called by any number
// of goroutines, which then share what comes.
type Subscription struct {
	m      *Messenger
	prefix string
	limit  int

	mu      sync.Mutex
	closed  error
	queue   backlog[delivery]
	bytes   int
	missing []*LagError   // told when the queue has been read; one per peer at most
	changed chan struct{} // closed when there is something new; nil if nobody waits
}

// delivery is what Next returns next: a message or a lag.
type delivery struct {
	message Message
	lag     *LagError
}

// Subscribe gives what any peer, or this node, publishes from now on under topics that
// begin with prefix, which may be empty. Peers filter: what nobody subscribes to does
// not travel. They are told of the subscription in the background, also those that
// connect later; Ready waits for that. The error is ErrSubject or ErrClosed.
func (m *Messenger) Subscribe(prefix string, opts ...SubscribeOption) (*Subscription, error) {
	s := &Subscription{m: m, prefix: prefix, limit: defaultBuffer}
	for _, opt := range opts {
		opt(s)
	}
	err := checkSubject(prefix, true)
	if err == nil {
		err = m.subs.add(s)
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe %.100q: %w", prefix, err)
	}
	return s, nil
}

// Prefix returns what was subscribed to.
func (s *Subscription) Prefix() string { return s.prefix }

// Waiting tells how many publications wait to be read.
func (s *Subscription) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.len()
}

// Ready waits until every peer that is up or being connected to, and this node, sends
// what is published there. Peers that are down are told when they come.
func (s *Subscription) Ready(ctx context.Context) error {
	for {
		changed, err := s.m.subs.watch()
		if err == nil {
			err = s.ended()
		}
		if err != nil {
			return err
		}
		if s.m.subs.announced(s.prefix, s.m.everyone()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// Next returns the next publication, or waits for one until ctx ends. A *LagError tells
// that some are missing, and is followed by what came after them. After Close, and when
// the messenger has closed, it is ErrClosed, once the queue has been read.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	for {
		d, changed, err := s.pop()
		switch {
		case err != nil:
			return Message{}, err
		case d.lag != nil:
			return Message{}, d.lag
		case changed == nil:
			return d.message, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, ended(ctx)
		}
	}
}

// All is Next, again and again, until ctx ends or there is no more. A *LagError does not
// end it; any other error is the last element, but the end of ctx is none.
func (s *Subscription) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.Next(ctx)
			_, lag := err.(*LagError)
			if err != nil && !lag {
				if ctx.Err() == nil {
					yield(m, err)
				}
				return
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// Close ends the subscription. What waits can still be read.
func (s *Subscription) Close() {
	s.m.subs.remove(s)
	s.end(ErrClosed)
}

func (s *Subscription) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed = err
		s.wakeLocked()
	}
}

func (s *Subscription) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Subscription) wakeLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// pop returns what is next; if there is nothing, the channel that tells of more.
func (s *Subscription) pop() (d delivery, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.queue.pop(); ok {
		s.bytes -= len(d.message.Body)
		return d, nil, nil
	}
	if len(s.missing) > 0 {
		d.lag, s.missing = s.missing[0], s.missing[1:]
		return d, nil, nil
	}
	if s.closed != nil {
		return d, nil, s.closed
	}
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return d, s.changed, nil
}

// push queues a message or a lag. What does not fit is counted; the count comes
// where it is missing.
func (s *Subscription) push(d delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return
	}
	for len(s.missing) > 0 && s.roomLocked() {
		s.queue.push(delivery{lag: s.missing[0]})
		s.missing = s.missing[1:]
	}
	switch {
	case s.roomLocked() && len(s.missing) == 0:
		s.queue.push(d)
		s.bytes += len(d.message.Body)
	case d.lag != nil:
		s.missLocked(d.lag.Peer, d.lag.Lost)
	default:
		s.missLocked("", 1)
	}
	s.wakeLocked()
}

func (s *Subscription) roomLocked() bool {
	return s.queue.len() < s.limit && s.bytes < maxBufferBytes
}

func (s *Subscription) missLocked(peer string, lost uint64) {
	for _, e := range s.missing {
		if e.Peer == peer {
			if e.Lost += lost; lost == 0 {
				e.Lost = 0 // of unknown number from now on
			}
			return
		}
	}
	s.missing = append(s.missing, &LagError{Peer: peer, Lost: lost})
}
