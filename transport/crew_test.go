package transport

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
)

// Goroutines that ran a handler run the next ones; no more than some wait, those that a
// handler ended are replaced, and none outlives the messenger (or the bubble would not
// end).
func TestHandlersShareGoroutines(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, l *lab) {
		release := make(chan struct{})
		if err := l.Handle("wait", func(context.Context, Message) (Message, error) {
			<-release
			return Message{}, nil
		}, Concurrency(maxIdle+50)); err != nil {
			t.Fatal(err)
		}
		if err := l.Handle("exit", func(context.Context, Message) (Message, error) {
			runtime.Goexit()
			return Message{}, nil
		}); err != nil {
			t.Fatal(err)
		}
		id := uint64(0)
		call := func(subject string, n int) {
			for range n {
				id++
				l.theirs.Received(rawHead(kindRequest, id, 0, subject), nil)
			}
			synctest.Wait()
		}
		idle := func(want int) {
			t.Helper()
			synctest.Wait()
			l.crew.mu.Lock()
			defer l.crew.mu.Unlock()
			if got := len(l.crew.idle); got != want {
				t.Errorf("%d goroutines wait, want %d", got, want)
			}
		}
		idle(0)
		call("wait", 10)
		idle(0)
		close(release)
		idle(10)
		for range 100 {
			call("wait", 3)
		}
		idle(10)
		call("exit", 1)
		idle(9)

		release = make(chan struct{})
		call("wait", maxIdle+50)
		idle(0)
		close(release)
		idle(maxIdle)
		if kinds := l.back.kinds(t); len(kinds) != int(id) {
			t.Errorf("%d answers to %d requests", len(kinds), id)
		}
	})
}

// Calls that come at once are run by few goroutines if they are short, and each gets one of
// its own if they are not.
func TestCallsWaitForNoHandler(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, l *lab) {
		const n = 50
		release, begun := make(chan struct{}), 0
		block := func(context.Context, Message) (Message, error) {
			<-release
			return Message{}, nil
		}
		quick := func(context.Context, Message) (Message, error) { return Message{}, nil }
		if err := l.Handle("quick", quick, Concurrency(10*n)); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(10 * n) {
			l.theirs.Received(rawHead(kindRequest, 1000+i, 0, "quick"), nil)
		}
		synctest.Wait()
		l.crew.mu.Lock()
		if idle := len(l.crew.idle); idle > 5*n {
			t.Errorf("%d goroutines ran %d short calls", idle, 10*n)
		}
		l.crew.mu.Unlock()
		short := func(context.Context, Message) (Message, error) {
			begun++ // one at a time, as Concurrency says
			return Message{}, nil
		}
		if err := errors.Join(l.Handle("block", block), l.Handle("short", short, Concurrency(1), Queue(2*n))); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(n) {
			l.theirs.Received(rawHead(kindRequest, 2*i+1, 0, "block"), nil)
			l.theirs.Received(rawHead(kindRequest, 2*i+2, 0, "short"), nil)
		}
		synctest.Wait()
		if begun != n {
			t.Errorf("%d of %d short calls were run beside %d that block", begun, n, n)
		}
		close(release)
		synctest.Wait()
		if kinds := l.back.kinds(t); len(kinds) != 12*n {
			t.Errorf("%d answers to %d requests", len(kinds), 12*n)
		}
	})
}
