package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// locksAct shows a group in strict order: one leads, and is succeeded within
// milliseconds when it dies, after its session's time when it is stopped; and that a
// leader which wakes up late can do no harm.
var locksAct = act{"locks", []step{
	{"run a program in place of the three agents", startWorkers},
	{"kill the one that leads (SIGKILL)", killFirst},
	{"start it again", restartFirst},
	{"stop the one that leads (SIGSTOP)", stopFirst},
	{"let it go on (SIGCONT)", resumeStopped},
}}

// worker is a demo-worker as a child process.
type worker struct {
	*process

	mu    sync.Mutex // guards the fields below, which are what it has told
	order []string
	leads uint64    // the token with which it led last
	since time.Time // when it told so
	late  *lateWrite
}

// startWorker runs a worker. What it tells is taken down until it ends.
func (s *stage) startWorker(name string) error {
	w := new(worker)
	heed := func(out io.Reader) {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var said account
			if json.Unmarshal(lines.Bytes(), &said) == nil {
				w.heard(said, time.Now())
			}
		}
	}
	p, err := s.spawn(name, heed, "demo-worker")
	if err != nil {
		return fmt.Errorf("starting the worker %s: %w", name, err)
	}
	w.process = p
	s.workers[name] = w
	return nil
}

func (w *worker) heard(said account, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case said.Order != nil:
		w.order = said.Order
	case said.Leads != 0:
		w.leads, w.since = said.Leads, now
	case said.Late != nil:
		w.late = said.Late
	}
}

// lead returns with which token the worker led last, and since when.
func (w *worker) lead() (token uint64, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leads, w.since
}

// told returns the order of the group as the worker told it last. It is not changed.
func (w *worker) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.order
}

// lateWrite returns what became of its write after it had lost the lead, nil if it has
// sent none.
func (w *worker) lateWrite() *lateWrite {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late
}

// startWorkers ends the agents and starts a worker in the place of each, as a node that
// the cluster knows.
func startWorkers(ctx context.Context, s *stage) (string, error) {
	for _, name := range founders {
		s.agents[name].kill()
	}
	for _, name := range founders {
		if err := s.startWorker(name); err != nil {
			return "", err
		}
	}
	if err := s.awaitOrder(ctx, len(founders)); err != nil {
		return "", err
	}
	token, _, err := s.awaitLead(ctx, s.order[0])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("in order: %s; %s leads, with token %d", strings.Join(s.order, ", "), s.order[0], token), nil
}

// killFirst kills the worker that leads. Its kernel refuses connections from then on,
// which tells the others that it is dead.
func killFirst(ctx context.Context, s *stage) (string, error) {
	first, second := s.order[0], s.order[1]
	began := time.Now()
	s.workers[first].kill()
	delete(s.workers, first)
	token, since, err := s.awaitLead(ctx, second)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s took over from %s after %d ms, with token %d", second, first, since.Sub(began).Milliseconds(), token),
		s.awaitSuccession(ctx, s.order[1:])
}

func restartFirst(ctx context.Context, s *stage) (string, error) {
	i := slices.IndexFunc(founders, func(name string) bool { return s.workers[name] == nil })
	if err := s.startWorker(founders[i]); err != nil {
		return "", err
	}
	return founders[i] + " is the last in line now", s.awaitSuccession(ctx, append(slices.Clip(s.order), founders[i]))
}

// stopFirst stops the worker that leads, so that it neither works nor is dead: its place
// is given away when its session's time is up.
func stopFirst(ctx context.Context, s *stage) (string, error) {
	first, second := s.order[0], s.order[1]
	began := time.Now()
	if err := freeze(s.workers[first].cmd.Process); errors.Is(err, errors.ErrUnsupported) {
		return "this system cannot stop a process", nil
	} else if err != nil {
		return "", err
	}
	s.stopped = first
	token, since, err := s.awaitLead(ctx, second)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s took over from %s after %s, with token %d", second, first, span(since.Sub(began)), token),
		s.awaitSuccession(ctx, s.order[1:])
}

// resumeStopped lets the stopped worker go on. It finds out that its time is over, and
// writes all the same.
func resumeStopped(ctx context.Context, s *stage) (string, error) {
	if s.stopped == "" {
		return "nothing was stopped", nil
	}
	w := s.workers[s.stopped]
	if err := thaw(w.cmd.Process); err != nil {
		return "", err
	}
	var late *lateWrite
	err := s.until(ctx, w.name+" writes", func() bool {
		late = w.lateWrite()
		return late != nil
	})
	if err != nil {
		return "", err
	}
	if late.Refused == "" || late.Master != s.order[0] {
		return "", fmt.Errorf("the late write of %s was not refused (%q), and %s has the value %q; %s leads",
			w.name, late.Refused, demoMaster, late.Master, s.order[0])
	}
	s.stopped = ""
	return fmt.Sprintf("its late write is refused, %s still says %s; %s is last in line", demoMaster, late.Master, w.name),
		s.awaitSuccession(ctx, append(slices.Clip(s.order), w.name))
}

// awaitLead waits until the worker leads with a greater token than any before, and
// returns it and the moment when the worker said so.
func (s *stage) awaitLead(ctx context.Context, name string) (token uint64, since time.Time, err error) {
	err = s.until(ctx, name+" leads", func() bool {
		token, since = s.workers[name].lead()
		return token > s.token
	})
	if err == nil {
		s.token = token
	}
	return token, since, err
}

// awaitOrder waits until all workers that run tell the same order of n.
func (s *stage) awaitOrder(ctx context.Context, n int) error {
	return s.until(ctx, fmt.Sprintf("all tell the same %d members", n), func() bool {
		var order []string
		for _, w := range s.workers {
			told := w.told()
			if w.name == s.stopped {
				continue
			}
			if len(told) != n || order != nil && !slices.Equal(order, told) {
				return false
			}
			order = told
		}
		s.order = order
		return true
	})
}

// awaitSuccession waits for an order of as many members, which must be that one.
func (s *stage) awaitSuccession(ctx context.Context, want []string) error {
	if err := s.awaitOrder(ctx, len(want)); err != nil {
		return err
	}
	if !slices.Equal(s.order, want) {
		return fmt.Errorf("the order is %s, not %s", strings.Join(s.order, ", "), strings.Join(want, ", "))
	}
	return nil
}

// until asks ok again and again until it is true, what says what that means. A worker
// that ends meanwhile is an error.
func (s *stage) until(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		for name, w := range s.workers {
			if !w.running() {
				return fmt.Errorf("the worker %s has ended", name)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
