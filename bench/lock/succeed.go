package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// holding takes a lock and keeps it until the process dies.
type holding struct{ At seat }

// Run returns when the lock is held.
func (h *holding) Run(ctx context.Context, c client) (any, error) {
	holder, _, err := c.candidate(ctx, h.At)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stage.RecoverLimit)
	defer cancel()
	if _, first, ok := insist(ctx, holder.acquire); !ok {
		return nil, fmt.Errorf("the lock was not to be had: %w", first)
	}
	return nil, nil
}

// succeeding waits for a lock whose holder it kills. The process that waits also
// kills, so that one clock times both.
type succeeding struct {
	At     seat
	PIDs   []int         // of the processes to kill, the holder's among them
	Before time.Duration // how long to wait in line before
	Limit  time.Duration // how long to wait for the grant after
}

// succession is what the next in line saw.
type succession struct {
	Took   time.Duration // from SIGKILL to the grant
	Failed int           // attempts to wait that failed on the way
	Error  string        // the first failure
}

// Run returns a *succession.
func (s *succeeding) Run(ctx context.Context, c client) (any, error) {
	next, done, err := c.candidate(ctx, s.At)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, s.Before+s.Limit)
	defer cancel()
	var o succession
	granted := make(chan bool, 1)
	go func() {
		failed, first, ok := insist(ctx, next.acquire)
		if o.Failed = failed; first != nil {
			o.Error = first.Error()
		}
		granted <- ok
	}()
	select {
	case <-granted:
		return nil, errors.New("the lock was granted although somebody holds it")
	case <-time.After(s.Before):
	}
	at := time.Now()
	for _, pid := range s.PIDs {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			cancel()
			<-granted
			return nil, fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	if !<-granted {
		return nil, fmt.Errorf("no grant within %v of the kill; %d attempts failed, the first with: %s", s.Limit, o.Failed, o.Error)
	}
	o.Took = time.Since(at)
	return &o, next.release(ctx)
}
