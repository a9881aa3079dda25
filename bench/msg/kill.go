package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// ending is the end of a server, or its sleep, in the eyes of who asks it. The
// process that asks also sends the signal, so that one clock times both.
type ending struct {
	PID     int
	Signal  syscall.Signal
	Pending int           // requests that wait for an answer meanwhile
	Before  time.Duration // how long they have to be under way before
	Limit   time.Duration // how long they may take to fail
}

// noticed is what the requests saw, from the signal on.
type noticed struct {
	Pending time.Duration // until the last of those under way had failed
	New     time.Duration // until one had failed that was begun after it
}

// Run returns a *noticed.
func (q *ending) Run(ctx context.Context, p party) (any, error) {
	a, ok := p.(asker)
	if !ok {
		return nil, fmt.Errorf("a %T asks nobody", p)
	}
	ctx, cancel := context.WithTimeout(ctx, q.Before+q.Limit)
	defer cancel()
	failures := make([]time.Time, q.Pending)
	errs := make([]error, q.Pending)
	var wg sync.WaitGroup
	for i := range failures {
		wg.Go(func() {
			errs[i] = a.hang(ctx)
			failures[i] = time.Now()
		})
	}
	defer wg.Wait()
	time.Sleep(q.Before)
	at := time.Now()
	if err := syscall.Kill(q.PID, q.Signal); err != nil {
		cancel()
		return nil, fmt.Errorf("signal %v to process %d: %w", q.Signal, q.PID, err)
	}
	for a.try(ctx) == nil { // it was sent before the news
	}
	n := &noticed{New: time.Since(at)}
	wg.Wait()
	for i, failed := range failures {
		switch {
		case errs[i] == nil:
			return nil, errAnswered
		case failed.Before(at):
			return nil, fmt.Errorf("a request failed before the signal: %w", errs[i])
		}
		n.Pending = max(n.Pending, failed.Sub(at))
	}
	if ctx.Err() != nil {
		return nil, errors.New("requests did not fail by themselves")
	}
	return n, nil
}

// The figures of servers that are killed or stopped.
const (
	killedPending = "peer killed to requests under way failed"
	killedNew     = "peer killed to new requests failed"
	stopped       = "peer stopped to requests under way failed"
	stoppedBeats  = "peer stopped to requests under way failed, in heartbeats"
)

// heartbeat is transport/zmq's default, written out for the figure that is measured in it.
const heartbeat = time.Second

// pendingRequests are under way when a server dies.
const pendingRequests = 64

// measureEnds kills servers of those systems whose callers can notice, and stops some
// of kith's: the others notice when TCP does, after minutes.
func (b *bench) measureEnds() error {
	for round := range b.Kills {
		for _, system := range []string{"kith", "grpc", "tcp"} {
			if err := b.kill(system, round); err != nil {
				return err
			}
		}
	}
	for round := range (b.Kills + 3) / 4 { // each takes seconds, and depends on timers only
		if err := b.stop(round); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) kill(system string, round int) error {
	who := b.contender(system)
	if who == nil || !b.figure(killedPending) && !b.figure(killedNew) {
		return nil
	}
	n, err := b.end(system, syscall.SIGKILL, round)
	if err != nil {
		return err
	}
	b.report.AddEvent(killedPending, "ms", who, stage.Milliseconds(n.Pending))
	b.report.AddEvent(killedNew, "ms", who, stage.Milliseconds(n.New))
	stage.Progress("killed, round %d of %d: %s %s, new ones %s", round+1, b.Kills, system, stage.Short(n.Pending), stage.Short(n.New))
	return nil
}

func (b *bench) stop(round int) error {
	who := b.contender("kith")
	if who == nil || !b.figure(stopped) && !b.figure(stoppedBeats) {
		return nil
	}
	n, err := b.end("kith", syscall.SIGSTOP, round)
	if err != nil {
		return err
	}
	b.report.AddEvent(stopped, "ms", who, stage.Milliseconds(n.Pending))
	b.report.AddEvent(stoppedBeats, "", who, float64(n.Pending)/float64(heartbeat))
	stage.Progress("stopped, round %d: %s", round+1, stage.Short(n.Pending))
	return nil
}

// end starts a server and a caller, and ends them when one has seen the other's end.
func (b *bench) end(system string, how syscall.Signal, round int) (*noticed, error) {
	c, err := b.start(system, requestKinds[system], "")
	if err != nil {
		return nil, err
	}
	defer b.dismiss(c)
	q := &ending{PID: c.Servers[0].PID(), Signal: how, Pending: pendingRequests, Limit: stage.RecoverLimit,
		// A peer should not always die at the same point of its heartbeats.
		Before: 100*time.Millisecond + time.Duration(round%10)*heartbeat/10}
	n := new(noticed)
	return n, c.Load.Ask(q.Before+q.Limit+stage.Drain, "end", q, n)
}
