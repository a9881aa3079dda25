package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kith-go/kith/internal/outcome"
)

// Request asks the peer and returns its handler's reply. It waits for a connection,
// then for the reply, until ctx ends; the time left travels along, and when ctx is
// cancelled the handler's context is too.
//
// A request runs at most once: it is never sent twice. Its errors are *outcome.Error
// and match one of ErrNoPeer, ErrUnreachable, ErrNoHandler, *RemoteError, ErrTimedOut,
// ErrPeerRestarted, ErrTooLarge, ErrOverloaded, ErrClosed, Config.Absent, or are the cause
// that ctx was cancelled with. The outcome tells whether the handler has run: not done, nothing ran
// and nothing will; done, it ran and answered with this error; unknown, it may have run,
// or run still.
func (m *Messenger) Request(ctx context.Context, peer, subject string, body []byte, opts ...CallOption) (Message, error) {
	o := collect(opts)
	reply, err := m.call(ctx, peer, Message{Subject: subject, Header: o.header, Body: body}, o.failFast)
	return reply, m.failed("request to", peer, subject, err)
}

// Request is Messenger.Request to this peer.
func (p *Peer) Request(ctx context.Context, subject string, body []byte, opts ...CallOption) (Message, error) {
	return p.m.Request(ctx, p.name, subject, body, opts...)
}

// failed makes an error tell what was asked of whom.
func (m *Messenger) failed(op, peer, subject string, err error) error {
	if err == nil {
		return nil
	}
	return outcome.With(op+" "+peer, subject, err, outcome.NotDone)
}

// call asks through the middleware, if there is any.
func (m *Messenger) call(ctx context.Context, peer string, request Message, failFast bool) (Message, error) {
	if len(m.callers) == 0 {
		return m.ask(ctx, peer, request, failFast)
	}
	next := func(ctx context.Context, peer string, request Message) (Message, error) {
		reply, err := m.ask(ctx, peer, request, failFast)
		return reply, m.failed("request to", peer, request.Subject, err)
	}
	for i := len(m.callers) - 1; i >= 0; i-- {
		next = m.callers[i](next)
	}
	return next(ctx, peer, request)
}

func (m *Messenger) ask(ctx context.Context, peer string, request Message, failFast bool) (Message, error) {
	p := m.find(peer)
	if p == nil {
		if m.isShut() {
			return Message{}, ErrClosed
		}
		return Message{}, ErrNoPeer
	}
	request.Header = inherit(ctx, request.Header)
	if err := m.sendable(request); err != nil {
		return Message{}, err
	}
	begun := m.clock()
	for {
		l, err := p.connected(ctx, failFast)
		if err != nil {
			p.load.failed.Add(1)
			return Message{}, err
		}
		a, sent := l.request(ctx, request)
		if !sent && !failFast && errors.Is(a.err, ErrUnreachable) && l.waitGone(ctx) {
			continue // nothing was sent: on to the next connection
		}
		if a.err != nil {
			p.load.failed.Add(1)
			return Message{}, a.err
		}
		p.load.latency.add(m.clock() - begun)
		return Message{Peer: peer, Subject: request.Subject, Header: a.header, Body: a.body}, nil
	}
}

// sendable says whether a message may be sent at all.
func (m *Messenger) sendable(msg Message) error {
	if err := checkSubject(msg.Subject, false); err != nil {
		return err
	}
	if len(msg.Body) > m.limits.Message {
		return &outcome.Error{
			Err: ErrTooLarge, Outcome: outcome.NotDone,
			Hint: fmt.Sprintf("%d bytes, of at most %d", len(msg.Body), m.limits.Message),
		}
	}
	return nil
}

// waitGone waits until the end of a line that does not take packets any more is
// known everywhere. It returns false if ctx ends before.
func (l *line) waitGone(ctx context.Context) bool {
	select {
	case <-l.gone:
		return true
	case <-ctx.Done():
		return false
	}
}

// request sends a request and waits for its answer. If it was not sent, nothing
// came of it.
func (l *line) request(ctx context.Context, request Message) (a answer, sent bool) {
	left, err := timeLeft(ctx)
	if err != nil {
		return answer{err: err}, false
	}
	waiting := l.calls.waiting.Add(1)
	if waiting > int64(l.m.limits.InFlight) {
		l.calls.waiting.Add(-1)
		return answer{err: &outcome.Error{
			Err: ErrOverloaded, Outcome: outcome.NotDone,
			Hint: fmt.Sprintf("%d requests to this peer wait for replies", l.m.limits.InFlight),
		}}, false
	}
	defer l.calls.waiting.Add(-1)

	ch, _ := l.m.waits.Get().(chan answer)
	if ch == nil {
		ch = make(chan answer, 1)
	}
	defer l.m.waits.Put(ch) // empty again, whichever way this ends

	slot, id, err := l.calls.add(&l.m.ids, ch)
	if err != nil { // it ended meanwhile
		if !errors.Is(err, ErrClosed) {
			err = ErrUnreachable
		}
		return answer{err: err}, false
	}
	if err := l.sendOne(waiting == 1, kindRequest, id, left, request.Subject, request.Header, request.Body); err != nil {
		if !slot.remove(id) {
			slot.receive(ch)
		}
		return answer{err: notSent(err)}, false
	}
	if l.attend != nil && len(ch) == 0 && l.calls.waiting.Load() == 1 {
		l.attend.Attend(ctx, func() bool { return len(ch) > 0 })
	}
	select {
	case a = <-ch:
		slot.free()
		a.err = unlessTold(a.err, outcome.Unknown)
		return a, true
	case <-ctx.Done():
	}
	if !slot.remove(id) { // it has come after all
		a = slot.receive(ch)
		a.err = unlessTold(a.err, outcome.Unknown)
		return a, true
	}
	_ = l.send(kindCancel, id, 0, "", nil, nil) // if it gets lost, the time left has travelled with the request
	return answer{err: &outcome.Error{Err: ended(ctx), Outcome: outcome.Unknown}}, true
}

// timeLeft returns the milliseconds until ctx ends, 0 if it has no deadline.
func timeLeft(ctx context.Context) (uint32, error) {
	if ctx.Err() != nil {
		return 0, ended(ctx)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := (time.Until(deadline) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(left, 1), math.MaxUint32)), nil
}

// ended is the error of a call whose context is over.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &timedOutError{cause}
	}
	return cause
}

// timedOutError is ErrTimedOut with the cause of a context.
type timedOutError struct{ cause error }

func (e *timedOutError) Error() string {
	if e.cause == nil || e.cause == context.DeadlineExceeded {
		return ErrTimedOut.Error()
	}
	return ErrTimedOut.Error() + ": " + e.cause.Error()
}

func (e *timedOutError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrTimedOut, context.DeadlineExceeded}
	}
	return []error{ErrTimedOut, context.DeadlineExceeded, e.cause}
}

// notSent is the error of a call whose packet was not taken.
func notSent(err error) error {
	if errors.Is(err, ErrFull) {
		return &outcome.Error{Err: ErrOverloaded, Outcome: outcome.NotDone, Hint: "the connection's send queue is full"}
	}
	return err
}

// unlessTold gives err an outcome if it has none yet.
func unlessTold(err error, o outcome.Outcome) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*outcome.Error](err); ok {
		return err
	}
	return &outcome.Error{Err: err, Outcome: o}
}

// refusal is what the peer answered instead of a reply.
func refusal(h head, text []byte) error {
	e := &outcome.Error{Outcome: outcome.NotDone}
	switch s := status(h.value); s {
	case statusHandler:
		e.Err, e.Outcome = &RemoteError{Code: string(h.subject), Text: string(text)}, outcome.Done
		return e
	case statusPanic:
		e.Err, e.Outcome = &RemoteError{Code: codePanic, Text: string(text)}, outcome.Unknown
		return e
	case statusNoHandler:
		e.Err = ErrNoHandler
	case statusOverloaded:
		e.Err = ErrOverloaded
	case statusExpired:
		e.Err = new(timedOutError)
	case statusGaveUp:
		e.Err, e.Outcome = new(timedOutError), outcome.Unknown
	case statusTooLarge:
		e.Err, e.Outcome = ErrTooLarge, outcome.Done
	case statusClosing:
		e.Err = ErrUnreachable
	default:
		e.Err, e.Outcome = fmt.Errorf("kith: the peer answered with status %d, which is unknown here", s), outcome.Unknown
	}
	e.Hint = string(text)
	return e
}

// Send hands a message to the peer's handler and expects no reply. It waits for a
// connection until ctx ends. Nil means that the message was handed to a live
// connection, and no more: whether it arrives, and whether there is a handler, is not
// told. After an error, which is one of Request's, nothing was sent.
func (m *Messenger) Send(ctx context.Context, peer, subject string, body []byte, opts ...CallOption) error {
	o := collect(opts)
	msg := Message{Subject: subject, Header: inherit(ctx, o.header), Body: body}
	return m.failed("send to", peer, subject, m.sendOneWay(ctx, peer, msg, o.failFast))
}

// Send is Messenger.Send to this peer.
func (p *Peer) Send(ctx context.Context, subject string, body []byte, opts ...CallOption) error {
	return p.m.Send(ctx, p.name, subject, body, opts...)
}

func (m *Messenger) sendOneWay(ctx context.Context, peer string, msg Message, failFast bool) error {
	if err := m.sendable(msg); err != nil {
		return err
	}
	p := m.find(peer)
	if p == nil {
		if m.isShut() {
			return ErrClosed
		}
		return ErrNoPeer
	}
	for {
		l, err := p.connected(ctx, failFast)
		if err != nil {
			return err
		}
		err = l.send(kindSend, 0, 0, msg.Subject, msg.Header, msg.Body)
		if err == nil || failFast || !errors.Is(err, ErrUnreachable) || !l.waitGone(ctx) {
			return notSent(err)
		}
	}
}

func (m *Messenger) isShut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shut
}
