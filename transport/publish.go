package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kith-go/kith/internal/outcome"
)

// Publish sends a message to all who subscribe to a prefix of the topic, on this node
// too, and returns to how many connections it was handed. It does not block, and keeps
// nothing for those who come later. To a connection that has Limits.PublishBacklog
// bytes to send already it is lost; its subscribers are told how many were. Ctx gives
// the trace context, nothing else. The error is ErrSubject, ErrTooLarge or ErrClosed,
// and nobody got it then.
func (m *Messenger) Publish(ctx context.Context, topic string, body []byte, opts ...CallOption) (reached int, err error) {
	o := collect(opts)
	msg := Message{Subject: topic, Header: inherit(ctx, o.header), Body: body}
	reached, err = m.publish(msg)
	if err != nil {
		err = outcome.With("publish", topic, err, outcome.NotDone)
	}
	return reached, err
}

func (m *Messenger) publish(msg Message) (reached int, err error) {
	if err := m.sendable(msg); err != nil {
		return 0, err
	}
	if m.isShut() {
		return 0, ErrClosed
	}
	p, err := m.packet(kindPublish, 0, 0, msg.Subject, msg.Header, msg.Body)
	if err != nil {
		return 0, err
	}
	defer m.free(p)
	var some [16]*line
	for _, l := range m.topics.subscribers(some[:0], msg.Subject) {
		if l.publish(p.one[:]) {
			reached++
		}
	}
	return reached, nil
}

// topics tells who subscribes to what is published here.
type topics struct {
	mu     sync.RWMutex
	lines  prefixes[*line]
	byLine map[*line]map[string]struct{}
}

func (t *topics) init() {
	t.lines.init()
	t.byLine = map[*line]map[string]struct{}{}
}

// subscribers appends to dst the lines that are to hear of a topic.
func (t *topics) subscribers(dst []*line, topic string) []*line {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return match(&t.lines, dst, topic)
}

var errPrefixes = errors.New("kith: too many subscriptions on one connection")

// subscribe lets a line hear of a prefix, and tells it so.
func (t *topics) subscribe(l *line, h head) error {
	prefix := string(h.subject)
	if err := checkSubject(prefix, true); err != nil {
		return err
	}
	if err := t.add(l, prefix); err != nil {
		return err
	}
	l.answerSoon(kindSubscribed, h.id, 0, "", nil, nil)
	return nil
}

func (t *topics) add(l *line, prefix string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byLine == nil || l.isGone() {
		return ErrClosed // forget comes after gone
	}
	own := t.byLine[l]
	if own == nil {
		own = map[string]struct{}{}
		t.byLine[l] = own
	}
	if _, ok := own[prefix]; !ok && len(own) >= l.m.limits.Prefixes {
		return fmt.Errorf("%w: %d", errPrefixes, len(own))
	}
	own[prefix] = struct{}{}
	t.lines.add(prefix, l)
	return nil
}

func (t *topics) unsubscribe(l *line, prefix string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byLine[l], prefix)
	t.lines.remove(prefix, l)
}

func (t *topics) forget(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for prefix := range t.byLine[l] {
		t.lines.remove(prefix, l)
	}
	delete(t.byLine, l)
}

// lag counts the publications that one line lost. From the first one lost until the
// remote has been told how many, all are lost: so the number stands where they are
// missing.
type lag struct {
	mu   sync.Mutex
	lost uint64
}

func (l *line) publish(packets []Packet) bool {
	l.lag.mu.Lock()
	if l.lag.lost > 0 {
		l.lag.lost++
		l.lag.mu.Unlock()
		return false
	}
	l.lag.mu.Unlock()
	var err error
	if l.conn.Backlog() >= l.m.limits.PublishBacklog {
		err = ErrFull
	} else {
		err = l.sendSoon(packets)
	}
	if !errors.Is(err, ErrFull) {
		return err == nil // else the line is gone, and its remote knows
	}
	l.lag.mu.Lock()
	l.lag.lost++
	first := l.lag.lost == 1
	l.lag.mu.Unlock()
	if first {
		l.m.spawn(l.tellLag)
	}
	return false
}

// tellLag tells the remote how many publications it missed, as soon as there is
// room again.
func (l *line) tellLag() {
	for l.waitRoom(l.m.limits.PublishBacklog / 2) {
		l.lag.mu.Lock()
		lost := l.lag.lost
		l.lag.mu.Unlock()
		if l.send(kindLag, lost, 0, "", nil, nil) != nil {
			continue
		}
		l.lag.mu.Lock()
		l.lag.lost -= lost
		caughtUp := l.lag.lost == 0
		l.lag.mu.Unlock()
		if caughtUp {
			return
		}
	}
}
