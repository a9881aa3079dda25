package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// What every system is given to store.
const (
	valueSize = 128 // bytes
	keyCount  = 10_000
)

// keyNames returns the first n keys.
func keyNames(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("bench/%08d", i)
	}
	return keys
}

// operation is what a caller does.
type operation string

const (
	puts       operation = "puts"
	reads      operation = "linearizable reads"
	localReads operation = "local reads"
)

// load is a closed loop: each of Callers does Op with a random key, again and
// again, starting the next when the last is done.
type load struct {
	Op      operation
	Node    int // that the callers talk to
	Callers int
	Warm    time.Duration // before anything is counted
	Window  time.Duration // that is counted
	PIDs    []int         // processes whose CPU time is counted
}

// sample is what one load measured.
type sample struct {
	Done   uint64 // operations that succeeded within the window
	Failed uint64 // operations that did not, warm-up included
	Error  string // the first failure
	Took   time.Duration
	P50    time.Duration
	P99    time.Duration
	Max    time.Duration
	CPU    time.Duration // of the PIDs, user and system
}

// rate is in operations per second.
func (s *sample) rate() float64 { return float64(s.Done) / s.Took.Seconds() }

// cpuPer10k is the CPU time that 10,000 operations took, in seconds.
func (s *sample) cpuPer10k() float64 { return s.CPU.Seconds() / float64(s.Done) * 10_000 }

// The phases of a load.
const (
	warming int32 = iota
	counting
	over
)

// drain bounds how long the last operations of a load may take.
const drain = 10 * time.Second

// caller is one of the closed loops.
type caller struct {
	latency histogram
	failed  uint64
	err     error // the first
}

func (l *load) run(ctx context.Context, c client) (*sample, error) {
	conns, err := c.conns(ctx, l.Node, l.Callers)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(l.Warm+l.Window+drain, cancel).Stop()

	keys := keyNames(keyCount)
	callers := make([]caller, l.Callers)
	var phase atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { callers[i].loop(ctx, l.Op, conns[i], keys, &phase) })
	}
	s, err := l.measure(&phase)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	var all histogram
	for i := range callers {
		all.merge(&callers[i].latency)
		s.Failed += callers[i].failed
		if s.Error == "" && callers[i].err != nil {
			s.Error = callers[i].err.Error()
		}
	}
	if all.n == 0 {
		return nil, fmt.Errorf("%s by %d callers: none was done, %d failed, the first with: %s", l.Op, l.Callers, s.Failed, s.Error)
	}
	s.Done, s.P50, s.P99, s.Max = all.n, all.quantile(0.50), all.quantile(0.99), all.max
	return s, nil
}

// measure leads through the phases, and leaves the last one behind.
func (l *load) measure(phase *atomic.Int32) (*sample, error) {
	defer phase.Store(over)
	time.Sleep(l.Warm)
	before, err := cpuOf(l.PIDs)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	phase.Store(counting)
	time.Sleep(l.Window)
	phase.Store(over)
	took := time.Since(start)
	after, err := cpuOf(l.PIDs)
	return &sample{Took: took, CPU: after - before}, err
}

// loop counts what ends within the window. Consecutive operations share a
// reading of the clock, which matters when one takes less than a microsecond.
func (c *caller) loop(ctx context.Context, op operation, to conn, keys []string, phase *atomic.Int32) {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	value := make([]byte, valueSize)
	do := map[operation]func(string) error{
		puts: func(key string) error {
			binary.LittleEndian.PutUint64(value, random.Uint64()) // no two alike
			return to.put(ctx, key, value)
		},
		reads:      func(key string) error { return to.read(ctx, key) },
		localReads: func(key string) error { return to.readLocal(ctx, key) },
	}[op]
	for begun := time.Now(); ; {
		err := do(keys[random.IntN(len(keys))])
		now := time.Now()
		switch at := phase.Load(); {
		case at == over:
			return
		case err != nil:
			c.failed++
			if c.err == nil {
				c.err = err
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				return
			}
			time.Sleep(time.Millisecond) // no storm of failures
			now = time.Now()
		case at == counting:
			c.latency.add(now.Sub(begun))
		}
		begun = now
	}
}

// fill writes the first n keys through a node, with many callers at a time.
func fill(ctx context.Context, c client, node, n int) error {
	conns, err := c.conns(ctx, node, 256)
	if err != nil {
		return err
	}
	keys, value := keyNames(n), make([]byte, valueSize)
	errs := make([]error, len(conns))
	var next atomic.Int64
	var wg sync.WaitGroup
	for i, to := range conns {
		wg.Go(func() {
			for errs[i] == nil {
				k := int(next.Add(1)) - 1
				if k >= len(keys) {
					return
				}
				errs[i] = to.put(ctx, keys[k], value)
			}
			next.Store(int64(len(keys))) // the others need not go on
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
