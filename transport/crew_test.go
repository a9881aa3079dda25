package transport

import (
	"context"
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
