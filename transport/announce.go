package transport

import (
	"errors"
	"sync"
)

// subscriptions are those of this node, and what its peers have been told of them.
type subscriptions struct {
	mu      sync.RWMutex
	done    bool
	by      prefixes[*Subscription]
	lines   map[*line]struct{} // ours that are open
	changed chan struct{}      // closed and replaced when a peer knows more, comes or goes
}

// announce is what one peer is told, and was told, of this node's subscriptions. It
// goes by what is wanted now, not by what happened: a prefix is looked at when it may
// have changed. The lock is that of subscriptions.
type announce struct {
	look      backlog[string]     // prefixes to look at, each once
	queued    map[string]struct{} // those in look
	told      map[string]uint64   // by prefix, the id under which it was told
	confirmed map[string]struct{} // prefixes that the peer has confirmed
	asked     map[uint64]string   // by id, what waits to be confirmed
	busy      bool                // a goroutine is at it
}

func (a *announce) init() {
	a.queued, a.told = map[string]struct{}{}, map[string]uint64{}
	a.confirmed, a.asked = map[string]struct{}{}, map[uint64]string{}
}

func (a *announce) lookAt(prefix string) {
	if _, ok := a.queued[prefix]; !ok {
		a.queued[prefix] = struct{}{}
		a.look.push(prefix)
	}
}

func (t *subscriptions) init() {
	t.by.init()
	t.lines = map[*line]struct{}{}
	t.changed = make(chan struct{})
}

func (t *subscriptions) add(s *Subscription) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return ErrClosed
	}
	if t.by.add(s.prefix, s) {
		t.lookLocked(s.prefix)
	}
	return nil
}

func (t *subscriptions) remove(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by.remove(s.prefix, s) {
		t.lookLocked(s.prefix)
	}
}

// lookLocked lets all peers be told what has become of a prefix.
func (t *subscriptions) lookLocked(prefix string) {
	for l := range t.lines {
		l.tell.lookAt(prefix)
		t.announceLocked(l)
	}
}

func (t *subscriptions) announceLocked(l *line) {
	if !l.tell.busy && l.tell.look.len() > 0 {
		l.tell.busy = l.m.spawn(func() { t.announce(l) })
	}
}

// opened lets a peer that has connected be told of everything.
func (t *subscriptions) opened(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || l.isGone() { // lost comes after gone
		return
	}
	t.lines[l] = struct{}{}
	for prefix := range t.by.by {
		l.tell.lookAt(prefix)
	}
	t.announceLocked(l)
	t.stirLocked()
}

// lost tells those who had subscribed there that their streams have a gap.
func (t *subscriptions) lost(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.lines[l]; !ok {
		return
	}
	delete(t.lines, l)
	if !t.done {
		for prefix := range l.tell.confirmed {
			for _, s := range t.by.by[prefix] {
				s.push(delivery{lag: &LagError{Peer: l.remote.Name}})
			}
		}
	}
	t.stirLocked()
}

// announce tells a peer what there is to tell, and ends.
func (t *subscriptions) announce(l *line) {
	for {
		packets := t.news(l)
		if len(packets) == 0 {
			return
		}
		pause := patience{}
		for err := ErrFull; errors.Is(err, ErrFull); {
			if err = l.sendPackets(packets); errors.Is(err, ErrFull) {
				select {
				case <-pause.next():
				case <-l.gone:
				}
			}
		}
	}
}

// news writes the next packets for a peer; none, and nobody is busy with it any
// more, if there is no news or the peer is gone.
func (t *subscriptions) news(l *line) (packets []Packet) {
	const batch = 256
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(packets) < batch && !l.isGone() {
		prefix, ok := l.tell.look.pop()
		if !ok {
			break
		}
		delete(l.tell.queued, prefix)
		_, wanted := t.by.by[prefix]
		id, told := l.tell.told[prefix]
		switch {
		case wanted && !told:
			id = l.m.ids.Add(1)
			l.tell.told[prefix], l.tell.asked[id] = id, prefix
			packets = append(packets, Packet{Head: plainHead(kindSubscribe, id, prefix)})
		case told && !wanted:
			delete(l.tell.told, prefix)
			delete(l.tell.asked, id)
			delete(l.tell.confirmed, prefix)
			packets = append(packets, Packet{Head: plainHead(kindUnsubscribe, 0, prefix)})
		}
	}
	l.tell.busy = len(packets) > 0
	return packets
}

// plainHead is the head of a packet without headers, which cannot fail.
func plainHead(k kind, id uint64, subject string) []byte {
	head, _ := appendHead(nil, k, id, 0, subject, nil)
	return head
}

func (t *subscriptions) confirmed(l *line, id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	prefix, ok := l.tell.asked[id]
	if !ok {
		return
	}
	delete(l.tell.asked, id)
	l.tell.confirmed[prefix] = struct{}{}
	t.stirLocked()
}

// announced reports whether all peers that can be told have confirmed a prefix.
func (t *subscriptions) announced(prefix string, peers []*Peer) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	knows := map[string]bool{}
	for l := range t.lines {
		if _, ok := l.tell.confirmed[prefix]; ok {
			knows[l.remote.Name] = true
		}
	}
	for _, p := range peers {
		if s := p.Status().State; !knows[p.name] && (s == Up || s == Connecting) {
			return false
		}
	}
	return true
}

// watch returns a channel that is closed when something changes.
func (t *subscriptions) watch() (<-chan struct{}, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.done {
		return nil, ErrClosed
	}
	return t.changed, nil
}

// stir wakes those who wait for peers to be told.
func (t *subscriptions) stir() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stirLocked()
}

func (t *subscriptions) stirLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// publish hands a publication that came to all who subscribe to it.
func (t *subscriptions) publish(l *line, h head, body []byte) {
	var few [4]*Subscription
	t.mu.RLock()
	to := match(&t.by, few[:0], h.subject)
	t.mu.RUnlock()
	if len(to) == 0 {
		return // unsubscribed meanwhile
	}
	if l.topic != string(h.subject) {
		l.topic = string(h.subject)
	}
	d := delivery{message: Message{Peer: l.remote.Name, Subject: l.topic, Header: h.header(), Body: body}}
	for _, s := range to {
		s.push(d)
	}
}

// lagged tells all subscriptions that a peer could not send in time.
func (t *subscriptions) lagged(l *line, lost uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, subs := range t.by.by {
		for _, s := range subs {
			s.push(delivery{lag: &LagError{Peer: l.remote.Name, Lost: lost}})
		}
	}
}

func (t *subscriptions) shut() {
	t.mu.Lock()
	t.done = true
	var all []*Subscription
	for _, subs := range t.by.by {
		all = append(all, subs...)
	}
	t.stirLocked()
	t.mu.Unlock()
	for _, s := range all {
		s.end(ErrClosed)
	}
}
