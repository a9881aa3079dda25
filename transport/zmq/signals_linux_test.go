//go:build cgo && !kith_nozmq

package zmq

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kith-go/kith/transport"
)

// TestSignalsInterruptNothing: what libzmq answers to a call that a signal interrupts is
// no answer. Go's runtime sends signals all the time; here are more.
func TestSignalsInterruptNothing(t *testing.T) {
	alpha, bravo := start(t, "alpha", 1), start(t, "bravo", 1)
	arrived := make(chan struct{}, 1)
	bravo.handle = func(l *line, head, body []byte) {
		packet := transport.Packet{Head: bytes.Clone(head), Body: body}
		go l.conn.Send(packet)
	}
	alpha.handle = func(*line, []byte, []byte) { arrived <- struct{}{} }
	acquaint(alpha, bravo)
	l := alpha.to(bravo)

	ctx, stop := context.WithCancel(t.Context())
	var signals sync.WaitGroup
	defer signals.Wait()
	defer stop()
	signals.Go(func() {
		for ctx.Err() == nil {
			threads, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Error(err)
			}
			for _, each := range threads {
				id, _ := strconv.Atoi(each.Name())
				unix.Tgkill(os.Getpid(), id, unix.SIGURG) // which Go's runtime uses itself
			}
		}
	})
	for range 300 {
		if err := l.conn.Send(transport.Packet{Head: []byte("q"), Body: make([]byte, 512<<10)}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-arrived:
		case <-time.After(time.Minute):
			t.Fatal("a message, or the answer to it, is lost")
		}
	}
}
