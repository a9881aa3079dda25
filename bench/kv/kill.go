package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// killing is one crash of a server, seen by a writer in a loop that talks to
// another one. The process that writes also kills, so that one clock times both.
type killing struct {
	Node   int           // that the writer talks to
	PID    int           // of the server to kill
	Before time.Duration // how long to write before
	Limit  time.Duration // how long to wait for an acknowledgement after
}

// outage is what the writer saw.
type outage struct {
	Took   time.Duration // from SIGKILL to the first acknowledgement of a write that began after it
	Failed int           // attempts that failed on the way
	Error  string        // the first failure
}

// attempt bounds one write while a leader is missing: a proposal that a dead
// leader has swallowed is never answered, and a writer that waited for etcd's own
// time limit of seconds would do etcd wrong.
const attempt = 50 * time.Millisecond

func (k *killing) run(ctx context.Context, c client) (*outage, error) {
	conns, err := c.conns(ctx, k.Node, 1)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.Before+k.Limit)
	defer cancel()
	var (
		mu   sync.Mutex // guards the two below
		at   time.Time  // of the kill
		fail error
	)
	timer := time.AfterFunc(k.Before, func() {
		mu.Lock()
		defer mu.Unlock()
		at = time.Now()
		fail = syscall.Kill(k.PID, syscall.SIGKILL)
	})
	defer timer.Stop()
	var o outage
	for key, value := "outage", make([]byte, valueSize); ; {
		mu.Lock()
		killed, err := !at.IsZero(), fail
		mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("killing process %d: %w", k.PID, err)
		}
		err = putWithin(ctx, conns[0], key, value)
		switch {
		case err == nil && killed:
			o.Took = time.Since(at)
			return &o, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("no write was acknowledged within %v of the kill; %d failed, the first with: %s", k.Limit, o.Failed, o.Error)
		case err != nil:
			if o.Failed++; o.Error == "" {
				o.Error = err.Error()
			}
			time.Sleep(time.Millisecond) // no storm of failures
		}
	}
}

func putWithin(ctx context.Context, to conn, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return to.put(ctx, key, value)
}

// killOnce kills the leader, measures, and brings it back.
func (b *bench) killOnce(who *contender) (*outage, error) {
	c := who.cluster
	if err := c.resume(); err != nil {
		return nil, err
	}
	led, err := c.leader()
	if err != nil {
		return nil, err
	}
	victim, node := c.servers[led], c.follower(led)
	k := &killing{Node: node, PID: victim.pid(), Limit: recoverLimit,
		// A leader should not always die at the same point of its heartbeats.
		Before: 500*time.Millisecond + rand.N(200*time.Millisecond)}
	a, err := who.worker(node).ask(request{Kill: k}, k.Before+k.Limit+drain)
	if err != nil {
		return nil, err
	}
	if a.Outage == nil {
		return nil, errors.New("a reply without what was asked")
	}
	b.family.kill(victim)
	if _, err := c.restart(led, node); err != nil {
		return nil, err
	}
	return a.Outage, c.pause()
}
