package membership

import (
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
	parallel     = 8
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
	entries map[string]*ContactState
	changed chan struct{} // capacity 1: the book or a contact's status changed
}

func newContactBook() *contactBook {
	return &contactBook{entries: make(map[string]*ContactState), changed: make(chan struct{}, 1)}
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
	next := make(map[string]*ContactState, len(contacts))
	for _, contact := range contacts {
		if old := c.entries[contact.Name]; old != nil && old.Contact == contact {
			next[contact.Name] = old
			continue
		}
		next[contact.Name] = &ContactState{Contact: contact}
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
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b ContactState) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

// due returns the contacts to try now, and when the next one will be due (zero:
// none waits). Those that met says are met are forgotten about.
func (c *contactBook) due(now time.Time, met func(name string) bool) (ready []Contact, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.entries {
		switch {
		case met(name):
			*s = ContactState{Contact: s.Contact}
		case !now.Before(s.NextTry):
			ready = append(ready, s.Contact)
		case next.IsZero() || s.NextTry.Before(next):
			next = s.NextTry
		}
	}
	// The order is random: not everybody shall call the same one first.
	rand.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	return ready, next
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
	if err == nil {
		// Met; should gossip not agree soon, try again then.
		*s = ContactState{Contact: contact, NextTry: now.Add(pendingRetry)}
		return 0
	}
	s.Attempts++
	s.LastTry, s.LastError = now, err
	s.NextTry = now.Add(retryAfter(s.Attempts, err))
	return s.Attempts
}

// seek tries contacts until ctx ends: those that are not alive, and those that
// are and could not be reached from here.
func (e *engine) seek(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		ready, next := e.g.contacts.due(time.Now(), e.met)
		if len(ready) > 0 {
			e.tryAll(ctx, ready)
			if ctx.Err() != nil {
				return
			}
			continue
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
		case <-due:
		}
	}
}

// met reports whether there is nothing to do about the contact called name.
func (e *engine) met(name string) bool {
	m, ok := e.g.board.get(name)
	return name == e.self.Name || ok && m.Status == StatusAlive && !m.Unreachable
}

// tryAll tries contacts, a few at a time, and returns when all have answered
// or failed. A contact met through another one in the meantime is spared.
func (e *engine) tryAll(ctx context.Context, contacts []Contact) {
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, contact := range contacts {
		slots <- struct{}{}
		if ctx.Err() != nil || e.goodbye.Load() || e.met(contact.Name) {
			<-slots
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			e.try(ctx, contact)
		})
	}
	wg.Wait()
}

// try asks who is at a contact's address and, if it is the contact, joins it.
func (e *engine) try(ctx context.Context, contact Contact) error {
	greeting, err := e.transport.Probe(ctx, contact.Name, contact.Addr)
	if err == nil {
		err = e.join(greeting)
	}
	if ctx.Err() != nil {
		return err
	}
	if taken, ok := errors.AsType[*NameTakenError](err); ok {
		e.yieldTo(taken)
	}
	failures := e.g.contacts.record(contact, err, time.Now())
	if err == nil {
		e.reached(contact.Name, nil)
		return nil
	}
	e.reached(contact.Name, err)
	// Loud at first, then now and then: it may take days. That it left, or is
	// unreachable, was told when it was.
	if failures > 0 && failures&(failures-1) == 0 {
		e.log.Info("cannot reach peer", "peer", contact.Name, "addr", contact.Addr, "attempts", failures, "error", err)
	}
	return err
}
