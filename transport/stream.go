package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kith-go/kith/internal/outcome"
)

// StreamHandler serves one stream. The stream is closed when it returns: as by Close
// if it returns nil, as by CloseWithError otherwise. The context ends when the stream
// breaks, when this messenger closes, and when the handler has returned.
type StreamHandler func(ctx context.Context, s *Stream) error

// HandleStream lets h serve the streams opened for a subject, from now on. Subjects
// are shared with Handle. Of the options, Concurrency bounds the streams served at
// once; one more is refused with ErrOverloaded.
func (m *Messenger) HandleStream(subject string, h StreamHandler, opts ...HandleOption) error {
	return m.handle(subject, nil, h, opts)
}

// OpenStream opens a stream to the peer's handler. It waits, until ctx ends, for a
// connection and for the peer to accept; after that ctx does not matter to the stream,
// whose end is Close. Its errors are those of Request. A stream belongs to one
// connection and does not outlive it.
func (m *Messenger) OpenStream(ctx context.Context, peer, subject string, opts ...CallOption) (*Stream, error) {
	o := collect(opts)
	s, err := m.openStream(ctx, peer, Message{Subject: subject, Header: inherit(ctx, o.header)}, o.failFast)
	return s, m.failed("stream to", peer, subject, err)
}

// OpenStream is Messenger.OpenStream to this peer.
func (p *Peer) OpenStream(ctx context.Context, subject string, opts ...CallOption) (*Stream, error) {
	return p.m.OpenStream(ctx, p.name, subject, opts...)
}

func (m *Messenger) openStream(ctx context.Context, peer string, request Message, failFast bool) (*Stream, error) {
	if err := m.sendable(request); err != nil {
		return nil, err
	}
	p := m.find(peer)
	if p == nil {
		if m.isShut() {
			return nil, ErrClosed
		}
		return nil, ErrNoPeer
	}
	for {
		l, err := p.connected(ctx, failFast)
		if err != nil {
			return nil, err
		}
		s, sent, err := l.open(ctx, request)
		if err == nil {
			return s, nil
		}
		if sent || failFast || !errors.Is(err, ErrUnreachable) || !l.waitGone(ctx) {
			return nil, err
		}
	}
}

func (l *line) open(ctx context.Context, request Message) (s *Stream, sent bool, err error) {
	if ctx.Err() != nil {
		return nil, false, ended(ctx)
	}
	s = newStream(l, l.m.ids.Add(1), request)
	if err := l.streams.add(s); err != nil {
		if !errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrClosed) {
			err = ErrUnreachable
		}
		return nil, false, err
	}
	open, err := appendHead(nil, kindOpen, s.id, 0, request.Subject, request.Header)
	if err == nil {
		credit, _ := appendHead(nil, kindCredit, s.id, uint32(l.m.limits.StreamWindow), "", nil)
		err = l.sendPackets([]Packet{{Head: open}, {Head: credit}})
	}
	if err != nil {
		l.streams.remove(s.id)
		return nil, false, notSent(err)
	}
	select {
	case <-s.accepted:
	case <-ctx.Done():
		_ = s.CloseWithError(Coded("canceled", context.Cause(ctx)))
		return nil, true, &outcome.Error{Err: ended(ctx), Outcome: outcome.Unknown}
	}
	if err := s.refused(); err != nil {
		return nil, true, unlessTold(err, outcome.Unknown)
	}
	return s, true, nil
}

// accept begins a stream that the remote opens.
func (l *line) accept(h head) {
	v := l.m.services.find(h.subject)
	s := newStream(l, h.id, Message{Peer: l.remote.Name, Subject: string(h.subject), Header: h.header()})
	if v == nil || v.stream == nil {
		s.refuse(statusNoHandler, "")
		return
	}
	switch err := l.streams.add(s); {
	case errors.Is(err, ErrOverloaded):
		s.refuse(statusOverloaded, fmt.Sprintf("%d streams are open on this connection", l.m.limits.Streams))
		return
	case err != nil:
		l.m.refused.Add(1)
		return
	}
	c := &call{line: l, service: v, id: h.id, request: s.request, stream: s}
	c.owner = c
	if err := l.serving.add(c); err != nil { // as a request's
		l.streams.remove(s.id)
		l.m.refused.Add(1)
		return
	}
	s.broken = c.end
	if why := v.begin(c); why != 0 {
		c.refuse(why, "")
	}
}

// streams are those of one line, by id.
type streams struct {
	mu    sync.Mutex
	ended error
	by    map[uint64]*Stream
}

func (t *streams) init() { t.by = map[uint64]*Stream{} }

func (t *streams) add(s *Stream) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended != nil:
		return t.ended
	case t.by[s.id] != nil:
		return errTwice
	case len(t.by) >= s.line.m.limits.Streams:
		return &outcome.Error{
			Err: ErrOverloaded, Outcome: outcome.NotDone,
			Hint: fmt.Sprintf("%d streams to this peer are open", len(t.by)),
		}
	}
	t.by[s.id] = s
	return nil
}

func (t *streams) remove(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, id)
}

func (t *streams) end(err error) {
	t.mu.Lock()
	by := t.by
	t.by, t.ended = nil, err
	t.mu.Unlock()
	for _, s := range by {
		s.lose(err)
	}
}

// take gives a packet to the stream it is for. What comes for one that has ended is
// what was on the way.
func (t *streams) take(h head, body []byte) error {
	t.mu.Lock()
	s := t.by[h.id]
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	switch h.kind {
	case kindData:
		return s.received(body)
	case kindEnd:
		s.receivedEnd()
	case kindCredit:
		s.receivedCredit(h.value)
	case kindReset:
		if status(h.value) == statusStopped {
			s.receivedStop()
		} else {
			s.receivedReset(refusal(h, body))
		}
	}
	return nil
}
