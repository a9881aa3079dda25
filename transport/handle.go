package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// HandleOption changes how a handler is called.
type HandleOption func(*handleOptions)

type handleOptions struct {
	limit, queue int
	inline       bool
}

const (
	defaultConcurrency = 256
	defaultQueue       = 16 << 10
)

// Concurrency lets at most n calls of the handler run at once; 256 if it is not
// given.
func Concurrency(n int) HandleOption { return func(o *handleOptions) { o.limit = n } }

// Queue lets at most n requests wait while as many run as may; the caller of one
// more is told ErrOverloaded. 16,384 if it is not given. A stream never waits.
func Queue(n int) HandleOption { return func(o *handleOptions) { o.queue = n } }

// Inline calls the handler where packets are received, which saves a goroutine's
// start and holds up all else that comes from that peer: only for handlers that never
// block and take less than some microseconds.
func Inline() HandleOption { return func(o *handleOptions) { o.inline = true } }

// ErrHandled: there is a handler for the subject already.
var ErrHandled = errors.New("kith: this subject has a handler already")

// Handle lets h answer the requests for a subject, and take what is sent to it, from
// now on. It fails with ErrSubject, ErrHandled or ErrClosed. Subjects that begin with
// "kith." are kith's own.
func (m *Messenger) Handle(subject string, h Handler, opts ...HandleOption) error {
	return m.handle(subject, h, nil, opts)
}

// Unhandle takes the handler of a subject away, of requests or of streams. Calls under
// way go on; requests that wait for their turn are told ErrNoHandler, as are all that
// come later.
func (m *Messenger) Unhandle(subject string) {
	m.services.mu.Lock()
	s := m.services.by[subject]
	delete(m.services.by, subject)
	m.services.mu.Unlock()
	if s != nil {
		s.retire(statusNoHandler)
	}
}

func (m *Messenger) handle(subject string, h Handler, stream StreamHandler, opts []HandleOption) error {
	o := handleOptions{limit: defaultConcurrency, queue: defaultQueue}
	for _, opt := range opts {
		opt(&o)
	}
	err := checkSubject(subject, false)
	switch {
	case err != nil:
	case h == nil && stream == nil:
		err = errors.New("kith: no handler given")
	case o.limit < 1 || o.queue < 0:
		err = fmt.Errorf("kith: concurrency %d, queue %d", o.limit, o.queue)
	default:
		for i := len(m.wrap) - 1; i >= 0 && h != nil; i-- {
			h = m.wrap[i](h)
		}
		err = m.services.add(&service{m: m, subject: subject, handler: h, stream: stream, handleOptions: o})
	}
	if err != nil {
		return fmt.Errorf("handle %.100q: %w", subject, err)
	}
	return nil
}

// services are the handlers of this node, by subject.
type services struct {
	mu   sync.RWMutex
	done bool
	by   map[string]*service
}

func (s *services) init() { s.by = map[string]*service{} }

func (s *services) add(v *service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
		return ErrClosed
	case s.by[v.subject] != nil:
		return ErrHandled
	}
	s.by[v.subject] = v
	return nil
}

func (s *services) find(subject []byte) *service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.by[string(subject)]
}

func (s *services) all() []*service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*service, 0, len(s.by))
	for _, v := range s.by {
		all = append(all, v)
	}
	return all
}

// shut lets no call begin any more.
func (s *services) shut() {
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	for _, v := range s.all() {
		v.retire(statusClosing)
	}
}

// service is one handler: its limits, who runs it, and who waits for it.
type service struct {
	m       *Messenger
	subject string
	handler Handler
	stream  StreamHandler
	handleOptions
	load    handled
	givenUp atomic.Int64 // calls that were cancelled, since the last purge

	mu      sync.Mutex
	retired status // not 0: no call begins any more, and this is what callers are told
	running int
	waiting backlog[*call]
}

// begin runs a call as soon as the limit allows; a status other than 0 refuses it.
func (s *service) begin(c *call) status {
	if s.inline && s.handler != nil {
		s.mu.Lock()
		refused := s.retired
		s.mu.Unlock()
		if refused == 0 {
			s.run(c)
		}
		return refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.retired != 0:
		return s.retired
	case s.running < s.limit:
		s.running++
		s.m.crew.run(c) // not retired, so Close has not begun to wait
	case c.stream != nil || s.waiting.len() >= s.queue && !s.purgeLocked():
		return statusOverloaded
	default:
		s.waiting.push(c)
	}
	return 0
}

// purgeLocked throws out those whose callers have given up, and reports whether that
// made room. It looks only when some have.
func (s *service) purgeLocked() bool {
	if s.givenUp.Swap(0) == 0 {
		return false
	}
	var alive backlog[*call]
	for c, ok := s.waiting.pop(); ok; c, ok = s.waiting.pop() {
		if c.Err() == nil {
			alive.push(c)
		} else {
			c.finish()
		}
	}
	s.waiting = alive
	return alive.len() < s.queue
}

// work runs c and then, on the stack that has grown to the size it takes, what
// waits.
func (s *service) work(c *call) {
	defer func() {
		if c != nil { // the handler did not return: runtime.Goexit
			s.exited(c)
			if c = s.next(); c != nil {
				s.m.crew.run(c)
			}
		}
	}()
	for c != nil {
		s.run(c)
		c = s.next()
	}
}

// next returns the call that has waited longest; nil, and one less is running, if
// none does.
func (s *service) next() *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.waiting.pop()
	if !ok {
		s.running--
	}
	return c
}

// retire refuses those who wait and those who come.
func (s *service) retire(why status) {
	s.mu.Lock()
	s.retired = why
	waiting := s.waiting
	s.waiting = backlog[*call]{}
	s.mu.Unlock()
	for c, ok := waiting.pop(); ok; c, ok = waiting.pop() {
		c.refuse(why, "")
	}
}

// backlog is a queue that gives its memory back, all but a little.
type backlog[T any] struct {
	items []T
	first int
}

// keptRoom is for how many an empty backlog keeps room: to grow again for each of many
// short bursts was a tenth of a busy subscriber's time.
const keptRoom = 128

func (b *backlog[T]) len() int { return len(b.items) - b.first }

func (b *backlog[T]) push(v T) { b.items = append(b.items, v) }

func (b *backlog[T]) pop() (v T, ok bool) {
	if b.len() == 0 {
		if b.items, b.first = b.items[:0], 0; cap(b.items) > keptRoom {
			b.items = nil
		}
		return v, false
	}
	var none T
	v, b.items[b.first] = b.items[b.first], none
	b.first++
	if b.first > 64 && b.first > len(b.items)/2 {
		b.compact()
	}
	return v, true
}

// compact moves what is left to the front, into less room if there is far too much.
func (b *backlog[T]) compact() {
	left := b.items[b.first:]
	if cap(b.items) > keptRoom && 4*len(left) < cap(b.items) {
		b.items = append([]T(nil), left...)
	} else {
		n := copy(b.items, left)
		clear(b.items[n:])
		b.items = b.items[:n]
	}
	b.first = 0
}

// inherit adds the trace context of the request that ctx belongs to, if there is
// one, unless the header has its own.
func inherit(ctx context.Context, h Header) Header {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil || c.request.Header[Traceparent] == "" || h[Traceparent] != "" {
		return h
	}
	out := make(Header, len(h)+2)
	for name, value := range h {
		out[name] = value
	}
	for _, name := range []string{Traceparent, Tracestate} {
		if value := c.request.Header[name]; value != "" {
			out[name] = value
		}
	}
	return out
}
