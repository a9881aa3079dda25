package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Loop is a closed loop: each of its callers does one thing again and again,
// starting the next when the last is done.
type Loop struct {
	Callers int
	Warm    time.Duration // before anything is counted
	Window  time.Duration // that is counted
	PIDs    []int         // processes whose CPU time is counted
	// At is when counting begins, for loops that run in several processes at once;
	// zero means after Warm.
	At time.Time `json:",omitzero"`
}

// Sample is what one loop measured.
type Sample struct {
	By      []uint64 // operations that succeeded within the window, of each caller
	Failed  uint64   // operations that did not, warm-up included
	Error   string   // the first failure
	Took    time.Duration
	Latency Histogram
	CPU     time.Duration // of the PIDs, user and system
}

// Done is how many operations succeeded.
func (s *Sample) Done() uint64 { return s.Latency.n }

// Rate is in operations per second.
func (s *Sample) Rate() float64 { return float64(s.Done()) / s.Took.Seconds() }

// CPUPer10k is the CPU time that 10,000 operations took, in seconds.
func (s *Sample) CPUPer10k() float64 { return s.CPU.Seconds() / float64(s.Done()) * 10_000 }

// P50, P99 and Max tell how long operations took.
func (s *Sample) P50() time.Duration { return s.Latency.quantile(0.50) }

// P99 is the time that one in a hundred exceeded.
func (s *Sample) P99() time.Duration { return s.Latency.quantile(0.99) }

// Max is the longest.
func (s *Sample) Max() time.Duration { return s.Latency.max }

// Merge adds what another process measured in the same window.
func (s *Sample) Merge(other *Sample) {
	s.By = append(s.By, other.By...)
	s.Failed += other.Failed
	if s.Error == "" {
		s.Error = other.Error
	}
	s.Took = max(s.Took, other.Took)
	s.Latency.merge(&other.Latency)
	s.CPU += other.CPU
}

// The phases of a loop.
const (
	warming int32 = iota
	counting
	over
)

// caller is one of those that go round.
type caller struct {
	latency Histogram
	failed  uint64
	err     error // the first
}

// Run lets the callers loop. operation makes the i-th caller's operation, which is called
// from one goroutine; its context ends when what is under way takes too long.
// Operations that are under way at the end of the window are waited for.
func (l *Loop) Run(ctx context.Context, operation func(i int) func(context.Context) error) (*Sample, error) {
	warm := l.Warm
	if !l.At.IsZero() {
		warm = time.Until(l.At)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(warm+l.Window+Drain, cancel).Stop()

	callers := make([]caller, l.Callers)
	var phase atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		do := operation(i)
		wg.Go(func() { callers[i].loop(ctx, do, &phase) })
	}
	s, err := l.measure(warm, &phase)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	for i := range callers {
		s.By = append(s.By, callers[i].latency.n)
		s.Latency.merge(&callers[i].latency)
		s.Failed += callers[i].failed
		if s.Error == "" && callers[i].err != nil {
			s.Error = callers[i].err.Error()
		}
	}
	if s.Done() == 0 && s.Failed > 0 { // none and no failure is a rate, too: of zero
		return nil, fmt.Errorf("of %d callers' operations none was done, %d failed, the first with: %s", l.Callers, s.Failed, s.Error)
	}
	return s, nil
}

// measure leads through the phases, and leaves the last one behind.
func (l *Loop) measure(warm time.Duration, phase *atomic.Int32) (*Sample, error) {
	defer phase.Store(over)
	time.Sleep(warm)
	before, err := CPUOf(l.PIDs)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	phase.Store(counting)
	time.Sleep(l.Window)
	phase.Store(over)
	took := time.Since(start)
	after, err := CPUOf(l.PIDs)
	return &Sample{Took: took, CPU: after - before}, err
}

// loop counts what ends within the window. Consecutive operations share a
// reading of the clock, which matters when one takes less than a microsecond.
func (c *caller) loop(ctx context.Context, do func(context.Context) error, phase *atomic.Int32) {
	for begun := time.Now(); ; {
		err := do(ctx)
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
			c.latency.Add(now.Sub(begun), 1)
		}
		begun = now
	}
}
