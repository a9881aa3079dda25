package transport

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// events is the face that a messenger shows its engine.
type events struct{ m *Messenger }

func (e events) Opened(c Conn, r Remote) Line    { return e.m.opened(c, r) }
func (e events) Failed(peer string, cause error) { e.m.attemptFailed(peer, cause) }

// attemptFailed is the engine's word that a connection could not be made.
func (m *Messenger) attemptFailed(peer string, cause error) {
	if p := m.find(peer); p != nil {
		p.attemptFailed(cause)
		m.subs.stir()
	}
}

// line is one connection as the messenger sees it. Along one of ours go this node's
// requests and streams, and it hears the answers and what it has subscribed to; along
// one of theirs the other way round.
type line struct {
	m      *Messenger
	conn   Conn
	prompt PromptSender // conn, if it is one; as the next
	attend Attender
	remote Remote
	peer   *Peer // nil for a caller that is no peer that was ever listed

	calls   calls    // requests that wait here for replies (ours)
	serving serving  // requests and streams being served (theirs)
	streams streams  // streams in either role
	tell    announce // what we subscribe to there (ours)
	lag     lag      // publications lost on the way there (theirs)
	topic   string   // of the publication that came last, since many have the same (ours; the receiver's)

	late atomic.Int32 // answers that wait for room outside of handlers

	once  sync.Once
	gone  chan struct{} // closed when the connection is gone
	cause error         // why; once gone
}

func newLine(m *Messenger, c Conn, r Remote) *line {
	l := &line{m: m, conn: c, remote: r, gone: make(chan struct{})}
	l.prompt, _ = c.(PromptSender)
	l.attend, _ = c.(Attender)
	l.streams.init()
	l.tell.init()
	return l
}

// opened makes a line of a connection. An incarnation that is new proves that what
// was connected before, under the same name, is gone.
func (m *Messenger) opened(c Conn, r Remote) *line {
	l := newLine(m, c, r)
	if r.Name != m.Self().Name { // what claims our own name is no peer
		l.peer = m.find(r.Name)
	}
	m.mu.Lock()
	shut := m.shut
	if !shut {
		m.lines[l] = struct{}{}
	}
	m.mu.Unlock()
	if shut {
		l.end(ErrClosed)
		return l
	}
	if l.peer == nil {
		return l
	}
	for _, old := range m.olderLines(r.Identity) {
		old.end(ErrPeerRestarted)
	}
	if r.Ours {
		if before := l.peer.opened(l); before != nil {
			before.end(restarted(before, l))
		}
		m.subs.opened(l)
	}
	return l
}

// restarted is why a connection ended before the next one was there.
func restarted(before, after *line) error {
	if before.remote.Incarnation != after.remote.Incarnation {
		return ErrPeerRestarted
	}
	return errReplaced
}

var errReplaced = errors.New("kith: another connection took its place")

// olderLines returns the connections with earlier incarnations of who.
func (m *Messenger) olderLines(who Identity) (old []*line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.lines {
		if l.remote.Name == who.Name && l.remote.Incarnation < who.Incarnation {
			old = append(old, l)
		}
	}
	return old
}

// end ends the line for the messenger: all that hangs on it fails. The engine may
// not have noticed yet.
func (l *line) end(cause error) {
	l.once.Do(func() {
		l.cause = cause
		l.m.mu.Lock()
		delete(l.m.lines, l)
		l.m.mu.Unlock()
		if l.peer != nil && l.remote.Ours {
			l.peer.lost(l, cause) // before gone, after which callers ask for the next one
		}
		close(l.gone)
		l.calls.end(broken(cause))
		l.streams.end(broken(cause))
		l.serving.end(broken(cause))
		l.m.topics.forget(l)
		l.m.subs.lost(l)
	})
}

// broken is what becomes of those who wait for an answer on a line that ended.
func broken(cause error) error {
	switch {
	case errors.Is(cause, ErrPeerRestarted), errors.Is(cause, ErrClosed):
		return cause
	case errors.Is(cause, ErrUnreachable):
		return cause
	}
	return &lostError{cause}
}

// lostError is ErrUnreachable with the reason for which the connection ended.
type lostError struct{ cause error }

func (e *lostError) Error() string   { return ErrUnreachable.Error() + ": " + e.cause.Error() }
func (e *lostError) Unwrap() []error { return []error{ErrUnreachable, e.cause} }

// Closed is the engine's word that the connection is gone.
func (l *line) Closed(cause error) { l.end(cause) }

// Received takes one packet apart. It never blocks.
func (l *line) Received(raw, body []byte) {
	if l.isGone() {
		return
	}
	h, err := parseHead(raw)
	if err == nil && len(body) > l.m.limits.Message {
		err = ErrTooLarge
	}
	if err == nil {
		if l.peer != nil {
			l.peer.load.received(len(raw) + len(body))
		}
		err = l.take(h, body)
	}
	if err != nil {
		l.m.refused.Add(1)
		l.m.log.Debug("refused a packet", "peer", l.remote.Name, "from", l.remote.Endpoint, "err", err)
	}
}

var errDirection = errors.New("kith: a packet that does not belong on this connection")

func (l *line) take(h head, body []byte) error {
	switch h.kind {
	case kindData, kindEnd, kindReset, kindCredit:
		return l.streams.take(h, body)
	case kindReply, kindError, kindPublish, kindSubscribed, kindLag:
		if !l.remote.Ours {
			return errDirection
		}
	default:
		if l.remote.Ours {
			return errDirection
		}
	}
	switch h.kind {
	case kindReply:
		l.calls.deliver(h.id, answer{header: h.header(), body: body})
	case kindError:
		l.calls.deliver(h.id, answer{err: refusal(h, body)})
	case kindPublish:
		l.m.subs.publish(l, h, body)
	case kindSubscribed:
		l.m.subs.confirmed(l, h.id)
	case kindLag:
		l.m.subs.lagged(l, h.id)
	case kindRequest, kindSend:
		l.serve(h, body)
	case kindOpen:
		l.accept(h)
	case kindCancel:
		l.serving.cancel(h.id)
	case kindSubscribe:
		return l.m.topics.subscribe(l, h)
	case kindUnsubscribe:
		l.m.topics.unsubscribe(l, string(h.subject))
	default:
		return errMalformed
	}
	return nil
}

// packet is what it takes to send one without allocating.
type packet struct {
	head []byte
	one  [1]Packet
}

// packet makes one. Free takes it back, when the engine has it.
func (m *Messenger) packet(k kind, id uint64, value uint32, subject string, header Header, body []byte) (*packet, error) {
	p, _ := m.packets.Get().(*packet)
	if p == nil {
		p = new(packet)
	}
	head, err := appendHead(p.head[:0], k, id, value, subject, header)
	if err != nil {
		m.packets.Put(p)
		return nil, err
	}
	p.head, p.one[0] = head, Packet{head, body}
	return p, nil
}

func (m *Messenger) free(p *packet) {
	p.one[0] = Packet{} // the body is not ours
	m.packets.Put(p)
}

// send sends one packet. It is done, or its error says ErrUnreachable, ErrOverloaded
// or ErrTooLarge and nothing was done.
func (l *line) send(k kind, id uint64, value uint32, subject string, header Header, body []byte) error {
	return l.sendOne(false, k, id, value, subject, header, body)
}

// sendOne is send for who may know that nobody else is about to send along the line.
func (l *line) sendOne(alone bool, k kind, id uint64, value uint32, subject string, header Header, body []byte) error {
	p, err := l.m.packet(k, id, value, subject, header, body)
	if err != nil {
		return err
	}
	defer l.m.free(p)
	if alone && l.prompt != nil {
		return l.pass(l.prompt.SendNow, p.one[:])
	}
	return l.sendPackets(p.one[:])
}

func (l *line) sendPackets(ps []Packet) error { return l.pass(l.conn.Send, ps) }

// sendSoon is sendPackets for publications, which come in numbers and wait for nothing:
// one at a time they would cost the publisher a call into the engine each.
func (l *line) sendSoon(ps []Packet) error {
	if soon, ok := l.conn.(SoonSender); ok {
		return l.pass(soon.SendSoon, ps)
	}
	return l.sendPackets(ps)
}

// pass gives packets to the engine.
func (l *line) pass(send func(...Packet) error, ps []Packet) error {
	if l.isGone() {
		return ErrUnreachable
	}
	if err := send(ps...); err != nil {
		return err
	}
	l.count(ps)
	return nil
}

// count notes what was sent.
func (l *line) count(ps []Packet) {
	if l.peer != nil {
		for _, p := range ps {
			l.peer.load.sent(p.Size())
		}
	}
}

// sendPatiently sends a packet that others wait for: it waits while the connection's
// queue is full. It fails when the connection ends, or with ErrFull when stop is
// closed.
func (l *line) sendPatiently(stop <-chan struct{}, k kind, id uint64, value uint32, subject string, header Header, body []byte) error {
	pause := patience{}
	for {
		err := l.send(k, id, value, subject, header, body)
		if !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-pause.next():
		case <-l.gone:
			return ErrUnreachable
		case <-stop:
			return ErrFull
		}
	}
}

// waitRoom waits until no more than this many bytes wait to be sent. It returns
// false when the connection ends.
func (l *line) waitRoom(bytes int) bool {
	pause := patience{}
	for {
		select {
		case <-pause.next():
		case <-l.gone:
			return false
		}
		if l.conn.Backlog() <= bytes {
			return true
		}
	}
}

// patience is the time between looks at a full queue: engines tell when there is no
// room, not when there is some again.
type patience struct{ last time.Duration }

func (p *patience) next() <-chan time.Time {
	p.last = min(max(2*p.last, time.Millisecond), 20*time.Millisecond)
	return time.After(p.last)
}

func (l *line) isGone() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// answerSoon is sendPatiently for those who must not wait: what cannot be sent at
// once is sent by a goroutine. There are not many of these: a peer that asks and
// asks and does not read its answers loses some.
func (l *line) answerSoon(k kind, id uint64, value uint32, subject string, header Header, body []byte) {
	if err := l.send(k, id, value, subject, header, body); !errors.Is(err, ErrFull) {
		return
	}
	if l.late.Add(1) <= maxLate && l.m.spawn(func() {
		defer l.late.Add(-1)
		_ = l.sendPatiently(nil, k, id, value, subject, header, body)
	}) {
		return
	}
	l.late.Add(-1)
	l.m.dropped.Add(1)
}

// maxLate is how many answers of one connection may wait for room outside of
// handlers.
const maxLate = 1 << 10
