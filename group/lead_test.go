package group_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// work is a function for Lead that tells of each run and ends it when it is told.
type work struct {
	runs   chan context.Context // one for each run
	finish chan error           // what the run returns; it does not look at its context
}

func newWork() *work {
	return &work{runs: make(chan context.Context, 10), finish: make(chan error)}
}

func (w *work) run(ctx context.Context) error {
	w.runs <- ctx
	return <-w.finish
}

// lead has n lead w, and returns what will tell how that ended.
func lead(ctx context.Context, g *group.Group, n int, w *work, options ...group.JoinOption) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- g.Lead(ctx, n, w.run, options...) }()
	return ended
}

var errWork = errors.New("work failed")

func TestLeadReturnsWhatWorkReturns(t *testing.T) {
	for _, want := range []error{nil, errWork} {
		inWorld(t, 1, func(t *testing.T, w *world) {
			job := newWork()
			type key struct{}
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Hour)
			defer cancel()
			ended := lead(ctx, w.nodes[0].group("g"), 1, job, group.Name("worker"), group.Data([]byte("d")))
			run := <-job.runs
			if got := w.slots("g"); len(got) != 1 || got[0].Member != "worker" || string(got[0].Data) != "d" {
				t.Errorf("stands: %+v", got)
			}
			seat := group.SeatOf(run)
			if seat == nil || seat.Token() != w.slots("g")[0].Token || group.SeatOf(ctx) != nil {
				t.Errorf("the seat of the run: %+v", seat)
			}
			if d, ok := run.Deadline(); run.Value(key{}) != "v" || !ok || time.Until(d) != time.Hour {
				t.Errorf("the context of the run has ctx's values and deadline: %v", run)
			}
			if _, err := kv.New(w.nodes[0]).Set(run, "k", nil, kv.IfHeld(seat)); err != nil {
				t.Error(err)
			}
			job.finish <- want
			if err := <-ended; err != want {
				t.Errorf("got %v, want %v", err, want)
			}
			if run.Err() == nil || len(w.stands("g")) != 0 {
				t.Errorf("after the end stand %v", w.stands("g"))
			}
		})
	}
}

func TestLeadEndsWithItsContext(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		running, waiting := newWork(), newWork()
		ctx, cancel := context.WithCancelCause(t.Context())
		first := lead(ctx, w.nodes[0].group("g"), 1, running)
		run := <-running.runs
		second := lead(ctx, w.nodes[1].group("g"), 1, waiting)
		synctest.Wait()
		stop := errors.New("stop")
		cancel(stop)
		if err := <-second; !errors.Is(err, stop) || len(waiting.runs) != 0 || outcome.Of(err) != outcome.NotDone {
			t.Errorf("while waiting: %v", err)
		}
		<-run.Done()
		if !errors.Is(context.Cause(run), stop) {
			t.Errorf("the run ended by %v", context.Cause(run))
		}
		// Work still runs, so the place still stands, however long that takes.
		time.Sleep(time.Hour)
		if got := w.stands("g"); len(first) != 0 || !slices.Equal(got, []string{"alpha"}) {
			t.Fatalf("given up while work runs: %v", got)
		}
		running.finish <- errWork
		if err := <-first; err != errWork {
			t.Errorf("got %v", err)
		}
		if got := w.stands("g"); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
		if err := w.nodes[0].group("g").Lead(canceled(t), 1, running.run); !errors.Is(err, context.Canceled) {
			t.Errorf("ctx has ended before: %v", err)
		}
	})
}

// ending is a context that has ended by the time its end is looked at, though those
// who wait for it were not woken yet.
type ending struct {
	context.Context
	over *atomic.Bool
}

func (e ending) Err() error {
	if e.over.Load() {
		return context.Canceled
	}
	return nil
}

func TestLeadRunsNothingAfterItsContext(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		ctx := ending{context.Background(), new(atomic.Bool)}
		w.nodes[0].AfterPropose = func(_ context.Context, cmd *statepb.Command) error {
			ctx.over.Store(ctx.over.Load() || cmd.GetEnter() != nil) // its turn comes in the moment of the end
			return nil
		}
		err := w.nodes[0].group("g").Lead(ctx, 1, func(context.Context) error {
			t.Error("run after the end")
			return nil
		})
		if got := w.stands("g"); !errors.Is(err, context.Canceled) || len(got) != 0 {
			t.Errorf("%v; left behind: %v", err, got)
		}
	})
}

func TestLeadRunsAgain(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		first, second := newWork(), newWork()
		ended := lead(t.Context(), w.nodes[0].group("g"), 1, first)
		run := <-first.runs
		other := lead(t.Context(), w.nodes[1].group("g"), 1, second)
		synctest.Wait()

		w.nodes[0].end()
		if !errors.Is(context.Cause(run), outcome.ErrSessionEnded) { // at once
			t.Errorf("the run ended by %v", context.Cause(run))
		}
		next := <-second.runs
		time.Sleep(time.Minute)
		if len(first.runs) != 0 || len(w.stands("g")) != 1 {
			t.Fatalf("joined again before the work has ended: %v", w.stands("g"))
		}
		first.finish <- errWork // of no interest: it has lost its place
		time.Sleep(time.Minute)
		if got := w.stands("g"); !slices.Equal(got, []string{"bravo", "alpha"}) || len(first.runs) != 0 {
			t.Fatalf("at the end of the line: %v", got)
		}

		if err := w.nodes[0].group("g").Break(t.Context(), group.SeatOf(next).Token()); err != nil {
			t.Fatal(err)
		}
		<-next.Done()
		if !errors.Is(context.Cause(next), group.ErrBroken) {
			t.Errorf("the run ended by %v", context.Cause(next))
		}
		time.Sleep(time.Minute)
		if len(first.runs) != 0 {
			t.Fatal("somebody runs while the one who was asked to go still works")
		}
		second.finish <- nil
		again := <-first.runs
		if again.Err() != nil {
			t.Errorf("the second run has ended: %v", context.Cause(again))
		}
		first.finish <- nil
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-second.runs
		second.finish <- nil
		if err := <-other; err != nil {
			t.Error(err)
		}
		if got := w.stands("g"); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
}

func TestThreeOfFive(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		var works []*work
		var ended []<-chan error
		for _, n := range w.nodes {
			works = append(works, newWork())
			ended = append(ended, lead(t.Context(), n.group("g"), 3, works[len(works)-1]))
			synctest.Wait()
		}
		for i, job := range works {
			if want := i < 3; (len(job.runs) == 1) != want {
				t.Errorf("%d runs: %v", i, !want)
			}
		}
		works[1].finish <- nil
		synctest.Wait()
		if len(works[3].runs) != 1 || len(works[4].runs) != 0 {
			t.Error("the fourth, and nobody else, moves up")
		}
		for _, i := range []int{0, 2, 3, 4} {
			works[i].finish <- nil
		}
		for _, c := range ended {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWorkThatPanicsOrExitsLeaves(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g")
		func() {
			defer func() {
				if r := recover(); r != "oh" {
					t.Errorf("recovered %v", r)
				}
			}()
			g.Lead(t.Context(), 1, func(context.Context) error { panic("oh") })
		}()
		if got := w.stands("g"); len(got) != 0 {
			t.Errorf("after a panic: %v", got)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.Lead(t.Context(), 1, func(context.Context) error { runtime.Goexit(); return nil })
		}()
		<-done
		if got := w.stands("g"); len(got) != 0 {
			t.Errorf("after Goexit: %v", got)
		}
	})
}

func TestWorkMayLeaveByItself(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		runs := 0
		err := w.nodes[0].group("g").Lead(t.Context(), 1, func(ctx context.Context) error {
			runs++
			leave(t, group.SeatOf(ctx))
			if ctx.Err() == nil {
				t.Error("its context has not ended")
			}
			return errWork
		})
		if err != errWork || runs != 1 {
			t.Errorf("%d runs, %v", runs, err)
		}
	})
}

func TestLeadWaitsOutWhatPasses(t *testing.T) {
	for _, passing := range []error{outcome.ErrNoQuorum, outcome.ErrSessionEnded, outcome.ErrOverloaded, outcome.ErrClosed} {
		inWorld(t, 1, func(t *testing.T, w *world) {
			var tries atomic.Int64
			w.nodes[0].BeforePropose = func(_ context.Context, cmd *statepb.Command) error {
				if cmd.GetEnter() != nil && tries.Add(1) < 5 {
					return fmt.Errorf("injected: %w", passing)
				}
				return nil
			}
			if err := w.nodes[0].group("g").Lead(t.Context(), 1, func(context.Context) error { return errWork }); err != errWork || tries.Load() != 5 {
				t.Errorf("%v, after %d tries", err, tries.Load())
			}
		})
	}
	inWorld(t, 1, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g")
		join(t, g)
		if err := g.Lead(t.Context(), 1, newWork().run); !errors.Is(err, group.ErrTaken) {
			t.Errorf("what does not pass: %v", err)
		}
		job := newWork()
		ended := lead(t.Context(), g, 1, job, group.Name("other"))
		synctest.Wait()
		w.nodes[0].Close()
		if err := <-ended; !errors.Is(err, outcome.ErrClosed) || len(job.runs) != 0 {
			t.Errorf("closed while waiting: %v", err)
		}
	})
	inWorld(t, 1, func(t *testing.T, w *world) {
		job := newWork()
		ended := lead(t.Context(), w.nodes[0].group("g"), 1, job)
		run := <-job.runs
		w.nodes[0].Close()
		<-run.Done()
		job.finish <- nil
		if err := <-ended; !errors.Is(err, outcome.ErrClosed) || !errors.Is(context.Cause(run), outcome.ErrClosed) {
			t.Errorf("closed while running: %v, run ended by %v", err, context.Cause(run))
		}
	})
}

func TestLeadDoesNotWaitForEverToLeave(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		stuck := make(chan struct{})
		w.nodes[0].BeforePropose = func(ctx context.Context, cmd *statepb.Command) error {
			if cmd.GetLeave() == nil {
				return nil
			}
			select {
			case <-stuck:
				return nil
			case <-ctx.Done():
				return outcome.ErrNoQuorum
			}
		}
		begun := time.Now()
		if err := w.nodes[0].group("g").Lead(t.Context(), 1, func(context.Context) error { return errWork }); err != errWork {
			t.Error(err)
		}
		if d := time.Since(begun); d != group.LeavePatience {
			t.Errorf("after %v", d)
		}
		if got := w.stands("g"); len(got) != 1 {
			t.Errorf("%v", got)
		}
		close(stuck)
		synctest.Wait()
		if got := w.stands("g"); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
}
