package main

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/kith-go/kith/internal/boottime"
)

// guard is the guardian's side of a watchdog. Its methods do not block, whatever the
// watchdog does.
type guard struct {
	// reports is closed when the watchdog is gone. The first report has been taken.
	reports <-chan report
	// offset is what the watchdog's clock shows less what ours does, at most.
	offset time.Duration
	clock  func() time.Duration
	keeper func() *keeper // one for this process, if the watchdog fails

	post    *mailbox
	release func() // ends the watchdog's orders
	kill    func() // ends the watchdog at once; its children are bound to it
	wait    func() // for all that belongs to it

	will   will
	groups map[int]int // that may have processes: the job that is their first one, 0 when it has ended
}

// errWatchdogGone is the end of a watchdog that was not told to end.
var errWatchdogGone = errors.New("the watchdog has ended by itself: was it killed?")

// newGuard waits for the watchdog's first word. Its clock was read before ours, so the
// offset is never too large, and a deadline never too late.
func newGuard(reports <-chan report, post *mailbox) (*guard, error) {
	first, ok := <-reports
	if !ok {
		return nil, errWatchdogGone
	}
	g := &guard{reports: reports, clock: boottime.Clock(), post: post, groups: make(map[int]int)}
	g.offset = first.Clock - g.clock()
	return g, nil
}

// arm tells what is to be done at the end. It comes before the first job. Deadlines are by
// g.clock.
func (g *guard) arm(w will, deadline time.Duration) {
	g.will = w
	g.post.put(order{Arm: &w, Deadline: deadline + g.offset})
}

// extend moves the deadline. It may be called by any goroutine.
func (g *guard) extend(deadline time.Duration) { g.post.put(order{Deadline: deadline + g.offset}) }

func (g *guard) start(j job) { g.post.put(order{Start: &j}) }

func (g *guard) signal(s syscall.Signal) { g.post.put(order{Signal: s}) }

// end asks for the end of all. A report with Ended follows.
func (g *guard) end() { g.post.put(order{End: true}) }

// note keeps account of what runs.
func (g *guard) note(r report) {
	if r.Started != 0 {
		g.groups[r.Group] = r.Started
	}
	for group, first := range g.groups {
		if r.Exited != 0 && first == r.Exited {
			g.groups[group] = 0
		}
	}
	g.sweep()
}

// sweep forgets the groups that are gone: the system may use their numbers again.
func (g *guard) sweep() {
	for group, first := range g.groups {
		if first == 0 && !groupLives(group) {
			delete(g.groups, group)
		}
	}
}

// close lets the watchdog go, after the last report or when nothing was started, and
// waits for it.
func (g *guard) close() {
	g.release()
	for range g.reports {
	}
	g.wait()
}

// takeOver ends in this process what a watchdog has left that was killed, or does not do
// as it is told. It blocks until that is done.
func (g *guard) takeOver(env []string, deadline time.Duration) ending {
	g.kill()
	g.close()
	var end ending
	orders := make(chan order)
	close(orders)
	k := g.keeper()
	k.orders, k.report = orders, func(r report) {
		if r.Ended != nil {
			end = *r.Ended
		}
	}
	k.clock, k.will, k.env, k.armed, k.deadline = g.clock, g.will, env, true, deadline
	k.will.Client = "" // the guardian sees to that
	for group := range g.groups {
		k.groups[group] = false
	}
	k.run()
	return end
}

// mailbox takes orders without ever blocking, and hands them on in their order. Of
// several deadlines the last one counts.
type mailbox struct {
	mu     sync.Mutex // guards what follows
	orders []order
	closed bool
	wake   chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(o order) {
	m.mu.Lock()
	if n := len(m.orders); n > 0 && m.orders[n-1].onlyDeadline() && o.onlyDeadline() {
		m.orders = m.orders[:n-1]
	}
	m.orders = append(m.orders, o)
	m.mu.Unlock()
	m.ring()
}

// close ends the orders behind those that are there.
func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.ring()
}

func (m *mailbox) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// deliver hands on what comes until close, or until send fails.
func (m *mailbox) deliver(send func(order) error) {
	for range m.wake {
		m.mu.Lock()
		orders, closed := m.orders, m.closed
		m.orders = nil
		m.mu.Unlock()
		for _, o := range orders {
			if send(o) != nil {
				return
			}
		}
		if closed {
			return
		}
	}
}

func (o order) onlyDeadline() bool {
	return o.Deadline != 0 && o.Arm == nil && o.Start == nil && o.Signal == 0 && !o.End
}
