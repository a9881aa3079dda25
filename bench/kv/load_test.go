package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// fake is a system that takes some time for each operation and may refuse.
type fake struct {
	takes  time.Duration
	refuse func() error

	mu      sync.Mutex
	seen    map[string]bool // values
	written map[string]int  // how often each key was
	ops     map[operation]int
}

func newFake(takes time.Duration) *fake {
	return &fake{takes: takes, refuse: func() error { return nil }, seen: make(map[string]bool), written: make(map[string]int), ops: make(map[operation]int)}
}

func (f *fake) do(ctx context.Context, op operation, value string) error {
	f.mu.Lock()
	f.ops[op]++
	f.seen[value] = true
	f.mu.Unlock()
	select {
	case <-time.After(f.takes):
		return f.refuse()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fake) put(ctx context.Context, key string, value []byte) error {
	f.mu.Lock()
	f.written[key]++
	f.mu.Unlock()
	return f.do(ctx, puts, string(value))
}
func (f *fake) read(ctx context.Context, key string) error      { return f.do(ctx, reads, "") }
func (f *fake) readLocal(ctx context.Context, key string) error { return f.do(ctx, localReads, "") }

func (f *fake) conns(_ context.Context, _, n int) ([]conn, error) {
	conns := make([]conn, n)
	for i := range conns {
		conns[i] = f
	}
	return conns, nil
}

// Serves, Leader and Applied make it a client.
func (f *fake) Serves(context.Context, int) error            { return nil }
func (f *fake) Leader(context.Context, int) (int, error)     { return 0, nil }
func (f *fake) Applied(context.Context, int) (uint64, error) { return 0, nil }

// measured is the sample of a load.
func measured(l *load, t *testing.T, c client) (*stage.Sample, error) {
	s, err := l.Run(t.Context(), c)
	if err != nil {
		return nil, err
	}
	return s.(*stage.Sample), nil
}

func TestLoadCountsWhatEndsWithinTheWindow(t *testing.T) {
	for _, op := range []operation{puts, reads, localReads} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(3 * time.Millisecond)
			l := &load{Op: op, Loop: stage.Loop{Callers: 8, Warm: 100 * time.Millisecond, Window: time.Second}}
			s, err := measured(l, t, f)
			if err != nil {
				t.Fatal(err)
			}
			// 333 ends of 3 ms fit into a second, for each of 8, give or take one.
			if s.Done() < 8*332 || s.Done() > 8*334 || s.Took != time.Second || s.Failed != 0 {
				t.Errorf("%s: %d done and %d failed in %v, want about %d in a second", op, s.Done(), s.Failed, s.Took, 8*333)
			}
			if d := s.P50() - f.takes; d.Abs() > f.takes/30 || s.Max() != f.takes {
				t.Errorf("%s: p50 %v and at most %v, want %v", op, s.P50(), s.Max(), f.takes)
			}
			if len(f.ops) != 1 || f.ops[op] < int(s.Done()) {
				t.Errorf("asked to measure %s, it did %v", op, f.ops)
			}
			if op == puts && len(f.seen) != f.ops[puts] {
				t.Errorf("%d puts wrote %d values: some alike", f.ops[puts], len(f.seen))
			}
		})
	}
}

func TestLoadReportsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Millisecond)
		var n atomic.Int64
		f.refuse = func() error {
			if n.Add(1)%4 == 0 {
				return errors.New("one in four")
			}
			return nil
		}
		l := &load{Op: puts, Loop: stage.Loop{Callers: 4, Window: time.Second}}
		s, err := measured(l, t, f)
		if err != nil {
			t.Fatal(err)
		}
		if total := float64(s.Done() + s.Failed); s.Error != "one in four" || float64(s.Failed) < 0.2*total || float64(s.Failed) > 0.3*total {
			t.Errorf("%d done, %d failed with %q", s.Done(), s.Failed, s.Error)
		}
		f.refuse = func() error { return errors.New("down") }
		if _, err := l.Run(t.Context(), f); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("a load of which nothing was done: error %v", err)
		}
	})
}

// An operation that is never answered does not hold a load up for ever.
func TestLoadGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &load{Op: puts, Loop: stage.Loop{Callers: 2, Window: time.Second}}
		start := time.Now()
		if _, err := l.Run(t.Context(), newFake(time.Hour)); err == nil {
			t.Error("no error")
		}
		if took := time.Since(start); took != time.Second+stage.Drain {
			t.Errorf("it took %v", took)
		}
	})
}

func TestFillWritesEveryKeyOnceOrFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Millisecond)
		if err := fill(t.Context(), f, 0, 1000); err != nil {
			t.Fatal(err)
		}
		for _, key := range keyNames(1000) {
			if f.written[key] != 1 {
				t.Fatalf("%s was written %d times", key, f.written[key])
			}
		}
		f = newFake(time.Millisecond)
		f.refuse = func() error { return errors.New("full") }
		if err := fill(t.Context(), f, 0, 100_000); err == nil || f.ops[puts] > 1000 {
			t.Errorf("error %v after %d puts", err, f.ops[puts])
		}
	})
}

// The kill counts from SIGKILL, and the write that was under way does not count.
func TestOutageIsOfAWriteBegunAfterTheKill(t *testing.T) {
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Skip("no sleep(1) to kill:", err)
	}
	died := make(chan struct{})
	go func() {
		victim.Wait()
		close(died)
	}()
	f := newFake(0)
	var once sync.Once
	var since time.Time
	f.refuse = func() (err error) {
		if !since.IsZero() && time.Since(since) < 50*time.Millisecond {
			err = errors.New("no leader")
		}
		once.Do(func() { // the first write is under way while the leader dies
			<-died
			since = time.Now()
		})
		return err
	}
	k := &killing{PID: victim.Process.Pid, Before: 20 * time.Millisecond, Limit: 20 * time.Second}
	result, err := k.Run(t.Context(), f)
	victim.Process.Kill() // nothing new, if all is well
	<-died
	if err != nil {
		t.Fatal(err)
	}
	o := result.(*outage)
	if o.Took < 50*time.Millisecond || o.Failed == 0 || o.Error != "no leader" {
		t.Errorf("an outage of %v with %d failures (%q), want 50 ms at least", o.Took, o.Failed, o.Error)
	}
}
