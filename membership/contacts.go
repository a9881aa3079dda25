package membership

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Contact is a node that should exist and where to find it.
type Contact struct {
	Name string
	// Addr is "host:port" of its control port. A host name is resolved anew at
	// each attempt.
	Addr string
}

// ContactState tells how the search for a contact goes.
type ContactState struct {
	Contact
	// Attempts counts the failed ones since the contact was last met; LastTry,
	// LastError and NextTry describe the newest and the next one. All zero
	// while it is met or not yet tried.
	Attempts  int
	LastTry   time.Time
	LastError error
	NextTry   time.Time
}

const (
	firstRetry   = 250 * time.Millisecond
	slowestRetry = 15 * time.Second
	pendingRetry = time.Second
	parallel     = 16
)

// retryAfter returns the pause after the n-th failure in a row, n from 1:
// doubling from 250 ms to 15 s, less up to a quarter of random jitter, so that a
// cluster that lost a switch does not redial in step.
func retryAfter(n int, err error) time.Duration {
	if errors.Is(err, ErrNamePending) || errors.Is(err, ErrLeaving) {
		return pendingRetry
	}
	d := slowestRetry
	if shift := n - 1; shift < 6 {
		d = firstRetry << shift
	}
	return d - time.Duration(rand.Int64N(int64(d/4)))
}

// contactBook remembers the contacts and when to try each again.
type contactBook struct {
	mu      sync.Mutex // guards entries
	entries map[string]*entry
	changed chan struct{} // capacity 1: the book or a contact's status changed
}

type entry struct {
	ContactState
	trying bool // an attempt is under way
	tried  bool // one has ended
}

func newContactBook() *contactBook {
	return &contactBook{entries: make(map[string]*entry), changed: make(chan struct{}, 1)}
}

func (c *contactBook) nudge() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// set replaces the contacts. One whose address changed is due at once.
func (c *contactBook) set(contacts []Contact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]*entry, len(contacts))
	for _, contact := range contacts {
		if old := c.entries[contact.Name]; old != nil && old.Contact == contact {
			next[contact.Name] = old
			continue
		}
		next[contact.Name] = &entry{ContactState: ContactState{Contact: contact}}
	}
	c.entries = next
	c.nudge()
}

// lost has the contact called name looked for: at once if it failed, after a
// moment if it left, since it is perhaps still busy with its goodbye.
func (c *contactBook) lost(name string, left bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.entries[name]; s != nil && left {
		s.NextTry = now.Add(pendingRetry)
	}
	c.nudge()
}

// states returns copies sorted by name.
func (c *contactBook) states() []ContactState {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]ContactState, 0, len(c.entries))
	for _, s := range c.entries {
		all = append(all, s.ContactState)
	}
	slices.SortFunc(all, func(a, b ContactState) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// due returns at most n contacts to try now, which then count as being tried,
// and when the next one will be due (zero: none waits). Those that met says are
// met are forgotten about.
func (c *contactBook) due(now time.Time, met func(name string) bool, n int) (ready []Contact, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.entries { // in random order: not everybody shall call the same one first
		switch {
		case s.trying:
		case met(name):
			s.ContactState = ContactState{Contact: s.Contact}
			s.tried = true
		case !now.Before(s.NextTry) && len(ready) < n:
			s.trying = true
			ready = append(ready, s.Contact)
		case !now.Before(s.NextTry): // when one of those under way ends
		case next.IsZero() || s.NextTry.Before(next):
			next = s.NextTry
		}
	}
	return ready, next
}

// allTried reports whether an attempt has ended for each contact.
func (c *contactBook) allTried() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.entries {
		if !s.tried {
			return false
		}
	}
	return true
}

// forgetAttempts makes every contact due, for a new run.
func (c *contactBook) forgetAttempts() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.entries {
		*s = entry{ContactState: ContactState{Contact: s.Contact}}
	}
}

// record notes the outcome of an attempt and returns the number of failures in
// a row; 0 when the contact is gone from the book or was met.
func (c *contactBook) record(contact Contact, err error, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.entries[contact.Name]
	if s == nil || s.Contact != contact {
		return 0
	}
	s.trying, s.tried = false, true
	if err == nil {
		// Met; should gossip not agree soon, try again then.
		s.ContactState = ContactState{Contact: contact, NextTry: now.Add(pendingRetry)}
		return 0
	}
	s.Attempts++
	s.LastTry, s.LastError = now, err
	s.NextTry = now.Add(retryAfter(s.Attempts, err))
	return s.Attempts
}

// seek tries contacts until ctx ends or the node says goodbye: those that are
// not alive, and those that are and could not be reached from here. It closes
// over when each was tried once.
func (e *engine) seek(ctx context.Context, over chan<- struct{}) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := make(chan struct{}, parallel)
	running := 0
	for {
		if e.goodbye.Load() {
			return
		}
		ready, next := e.g.contacts.due(time.Now(), e.met, parallel-running)
		for _, contact := range ready {
			running++
			wg.Go(func() {
				e.try(ctx, contact)
				ended <- struct{}{}
			})
		}
		if over != nil && e.g.contacts.allTried() {
			close(over)
			over = nil
		}
		var due <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-e.g.contacts.changed:
		case <-ended:
			running--
		case <-due:
		}
	}
}

// met reports whether there is nothing to do about the contact called name.
func (e *engine) met(name string) bool {
	m, ok := e.g.board.get(name)
	return name == e.self.Name || ok && m.Status == StatusAlive && !m.Unreachable
}

// try asks who is at a contact's address and, if it is the contact, joins it.
func (e *engine) try(ctx context.Context, contact Contact) {
	greeting, err := e.transport.Probe(ctx, contact.Name, contact.Addr)
	if err == nil {
		err = e.join(greeting)
	}
	failures := e.g.contacts.record(contact, err, time.Now())
	if ctx.Err() != nil {
		return
	}
	if taken, ok := errors.AsType[*NameTakenError](err); ok {
		// A node that has not joined anybody yet is never first, whatever the
		// clocks say.
		e.yieldTo(taken, !e.settled.Load())
	}
	e.reached(contact.Name, err, true)
	// Loud at first, then now and then: it may take days.
	if failures > 0 && failures&(failures-1) == 0 {
		e.log.Info("cannot reach peer", "peer", contact.Name, "addr", contact.Addr, "attempts", failures, "error", err)
	}
}
