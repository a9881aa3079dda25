package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/kith-go/kith/bench/stage"
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

// Run returns an *outage.
func (k *killing) Run(ctx context.Context, c client) (any, error) {
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
func (b *bench) killOnce(who *stage.Contender) (*outage, error) {
	c := who.Cluster
	if err := c.Resume(); err != nil {
		return nil, err
	}
	led, err := c.Leader()
	if err != nil {
		return nil, err
	}
	node := c.Follower(led)
	k := &killing{Node: node, PID: c.Servers[led].PID(), Limit: stage.RecoverLimit,
		// A leader should not always die at the same point of its heartbeats.
		Before: 500*time.Millisecond + rand.N(200*time.Millisecond)}
	var o outage
	if err := who.Worker(node).Ask(k.Before+k.Limit+stage.Drain, "kill", k, &o); err != nil {
		return nil, err
	}
	if _, err := c.Restart(led, node); err != nil {
		return nil, err
	}
	return &o, c.Pause()
}
