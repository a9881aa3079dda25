package transport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// call is one request or stream in this node's hands. It is also the context that its
// handler is given.
type call struct {
	callContext
	line    *line
	service *service
	id      uint64 // 0: nobody waits for a reply
	request Message
	stream  *Stream
}

// serving is what a line's remote waits for here, by its id.
type serving struct {
	mu    sync.Mutex
	ended error
	by    underway
}

var errTwice = errors.New("kith: a request of this id is being served already")

// add remembers a call. An id that is being served is refused: no request runs twice.
func (s *serving) add(c *call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return s.ended
	case s.by.find(c.id) != nil:
		return errTwice
	}
	s.by.add(c)
	return nil
}

// remove forgets a call, and returns how many are left.
func (s *serving) remove(c *call) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by.remove(c)
	return s.by.n
}

func (s *serving) cancel(id uint64) {
	s.mu.Lock()
	c := s.by.find(id)
	s.mu.Unlock()
	if c != nil {
		c.service.givenUp.Add(1)
		c.end(context.Canceled)
	}
}

func (s *serving) end(cause error) {
	s.mu.Lock()
	all := s.by.all()
	s.by, s.ended = underway{}, cause
	s.mu.Unlock()
	for _, c := range all {
		c.end(context.Canceled)
	}
}

// underway are calls by their ids, for ids that mostly count upwards, as a messenger's do:
// such a call lies in slot id mod the number of slots, and what a map costs more is a
// fiftieth of a busy server's time. Those whose slot is taken lie in a map.
type underway struct {
	slots []*call // as many as a power of two
	rest  map[uint64]*call
	n     int
}

// The slots grow when one is taken already, until a quarter of them is in use.
const (
	leastSlots = 16
	mostSlots  = 1 << 16
)

func (u *underway) slot(id uint64) **call { return &u.slots[id&uint64(len(u.slots)-1)] }

func (u *underway) find(id uint64) *call {
	if u.n == 0 {
		return nil
	}
	if c := *u.slot(id); c != nil && c.id == id {
		return c
	}
	return u.rest[id]
}

// add takes a call whose id is not there.
func (u *underway) add(c *call) {
	if u.slots == nil {
		u.slots = make([]*call, leastSlots)
	}
	for *u.slot(c.id) != nil && 4*u.n > len(u.slots) && len(u.slots) < mostSlots {
		u.grow()
	}
	if at := u.slot(c.id); *at == nil {
		*at = c
	} else {
		if u.rest == nil {
			u.rest = map[uint64]*call{}
		}
		u.rest[c.id] = c
	}
	u.n++
}

// grow doubles the slots. Calls of different slots stay in different ones.
func (u *underway) grow() {
	before := u.slots
	u.slots = make([]*call, 2*len(before))
	for _, c := range before {
		if c != nil {
			*u.slot(c.id) = c
		}
	}
}

// remove takes a call out, if it is there.
func (u *underway) remove(c *call) {
	if u.n == 0 {
		return
	}
	if at := u.slot(c.id); *at == c {
		*at = nil
	} else if u.rest[c.id] == c {
		delete(u.rest, c.id)
	} else {
		return
	}
	u.n--
}

func (u *underway) all() []*call {
	all := slices.Collect(maps.Values(u.rest))
	for _, c := range u.slots {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

// serve begins a request or a one-way message.
func (l *line) serve(h head, body []byte) {
	id := h.id
	if h.kind == kindSend {
		id = 0
	}
	s := l.m.services.find(h.subject)
	if s == nil || s.handler == nil {
		l.refuse(id, statusNoHandler, "")
		return
	}
	c := &call{
		line: l, service: s, id: id,
		request: Message{Peer: l.remote.Name, Subject: s.subject, Header: h.header(), Body: body},
	}
	c.owner, c.size = c, int64(len(body))
	if h.value != 0 && id != 0 {
		c.deadline = time.Now().Add(time.Duration(h.value) * time.Millisecond)
	}
	if id != 0 {
		if err := l.serving.add(c); err != nil {
			l.m.refused.Add(1)
			return
		}
	}
	if l.m.inbound.Add(c.size) > int64(l.m.limits.Inbound) && c.size > 0 {
		c.refuse(statusOverloaded, fmt.Sprintf("more than %d bytes of requests wait there", l.m.limits.Inbound))
		return
	}
	if why := s.begin(c); why != 0 {
		c.refuse(why, "")
	}
}

// refuse tells the caller that nothing ran.
func (l *line) refuse(id uint64, why status, text string) {
	if id == 0 {
		l.m.dropped.Add(1)
		return
	}
	l.answerSoon(kindError, id, uint32(why), "", nil, []byte(text))
}

// refuse ends a call that has not begun.
func (c *call) refuse(why status, text string) {
	c.service.load.refused.Add(1)
	if c.stream != nil {
		c.stream.refuse(why, text)
	} else {
		c.line.refuse(c.id, why, text)
	}
	c.finish()
}

// finish gives back what the call took.
func (c *call) finish() {
	if c.id != 0 {
		c.line.serving.remove(c)
	}
	c.unload()
	c.end(context.Canceled)
}

// unload gives back what the request's body took.
func (c *call) unload() {
	if c.size > 0 {
		c.line.m.inbound.Add(-c.size)
		c.size = 0
	}
}

// run calls the handler and sends what it answers.
func (s *service) run(c *call) {
	if c.Err() != nil {
		c.refuse(statusExpired, "its time was over before it could begin")
		return
	}
	begun := s.m.clock()
	s.load.running.Add(1)
	reply, err, panicked := s.try(c)
	s.load.running.Add(-1)
	s.load.latency.add(s.m.clock() - begun)
	if err != nil {
		s.load.failed.Add(1)
	}
	s.settle(c, reply, err, panicked)
}

// settle tells the other side what came of a call.
func (s *service) settle(c *call, reply Message, err error, panicked bool) {
	c.unload() // before the answer: who has that may ask again
	if c.stream != nil {
		c.stream.settle(err, panicked)
		c.finish()
		return
	}
	alone := c.id != 0 && c.line.serving.remove(c) == 0
	switch {
	case c.id == 0:
	case panicked:
		c.answer(alone, kindError, uint32(statusPanic), "", nil, clip(err.Error()))
	case err != nil && c.Err() != nil && errors.Is(err, c.Err()):
		c.answer(alone, kindError, uint32(statusGaveUp), "", nil, clip(err.Error()))
	case err != nil:
		code, text := told(err)
		c.answer(alone, kindError, uint32(statusHandler), code, nil, text)
	case len(reply.Body) > s.m.limits.Message:
		text := fmt.Sprintf("the reply has %d bytes, of at most %d", len(reply.Body), s.m.limits.Message)
		c.answer(alone, kindError, uint32(statusTooLarge), "", nil, []byte(text))
	default:
		c.answer(alone, kindReply, 0, "", reply.Header, reply.Body)
	}
	c.end(context.Canceled)
}

// try calls the handler and survives its panic.
func (s *service) try(c *call) (reply Message, err error, panicked bool) {
	defer func() {
		if value := recover(); value != nil {
			reply, err, panicked = Message{}, s.panicked(value), true
		}
	}()
	if c.stream != nil {
		c.stream.accept()
		return Message{}, s.stream(c, c.stream), false
	}
	reply, err = s.handler(c, c.request)
	return reply, err, false
}

// panicked logs a panic, while its stack is there, and returns it as an error.
func (s *service) panicked(value any) error {
	s.m.log.Error("a handler panicked", "subject", s.subject, "panic", value, "stack", string(debug.Stack()))
	return fmt.Errorf("the handler panicked: %v", value)
}

// exited ends a call whose handler ended its goroutine, as testing.T.FailNow does.
func (s *service) exited(c *call) {
	s.m.log.Error("a handler ended its goroutine", "subject", s.subject)
	s.load.running.Add(-1)
	s.load.failed.Add(1)
	s.settle(c, Message{}, errors.New("the handler ended its goroutine"), true)
}

// answer sends the answer, unless the line is gone: then nobody waits. A handler's
// goroutine waits for room; a receiver's does not. Alone tells that no other call of the
// line is under way.
func (c *call) answer(alone bool, k kind, value uint32, code string, header Header, body []byte) {
	l := c.line
	if c.service.inline {
		l.answerSoon(k, c.id, value, code, header, body)
		return
	}
	err := l.sendOne(alone, k, c.id, value, code, header, body)
	if errors.Is(err, ErrFull) {
		err = l.sendPatiently(l.m.closing, k, c.id, value, code, header, body)
	}
	switch {
	case err == nil, errors.Is(err, ErrUnreachable):
	case errors.Is(err, ErrFull):
		l.m.dropped.Add(1)
	default: // its headers do not fit, or the engine finds it too large
		l.answerSoon(kindError, c.id, uint32(statusTooLarge), "", nil, clip(err.Error()))
	}
}

// maxText is the most bytes of an error's text that travel.
const maxText = 4 << 10

func clip(text string) []byte { return []byte(text[:min(len(text), maxText)]) }

// told is what the caller learns of a handler's error.
func told(err error) (code string, text []byte) {
	code = codeError
	if e, ok := errors.AsType[*codedError](err); ok && checkSubject(e.code, false) == nil {
		code = e.code
	} else if e, ok := errors.AsType[*RemoteError](err); ok && checkSubject(e.Code, false) == nil {
		code = e.Code // passed on
	}
	return code, clip(err.Error())
}
