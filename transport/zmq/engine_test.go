//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

// eachKey runs a test without and with a cluster key.
func eachKey(t *testing.T, test func(t *testing.T, key option)) {
	t.Run("open", func(t *testing.T) { test(t, withKey(secret.Key{})) })
	t.Run("curve", func(t *testing.T) { test(t, withKey(secret.NewKey())) })
}

func TestBothWays(t *testing.T) {
	eachKey(t, func(t *testing.T, key option) {
		alpha, bravo := start(t, "alpha", 1, key), start(t, "bravo", 1, key)
		acquaint(alpha, bravo)
		ours, theirs := alpha.to(bravo), bravo.from(alpha)
		for _, body := range []string{"", "x", strings.Repeat("y", ownFrameFrom-1), strings.Repeat("z", ownFrameFrom), strings.Repeat("p", partSize), strings.Repeat("q", partSize+1), strings.Repeat("L", 3<<20)} {
			ours.send("question", body)
			theirs.got("question", body)
			theirs.send("answer", body)
			ours.got("answer", body)
		}
		bravo.to(alpha).send("mine", "own")
		alpha.from(bravo).got("mine", "own")
	})
}

func TestSendIsBounded(t *testing.T) {
	alpha, bravo := start(t, "alpha", 1), start(t, "bravo", 1)
	acquaint(alpha, bravo)
	l := alpha.to(bravo)
	big := transport.Packet{Head: []byte("h"), Body: make([]byte, alpha.setup.MaxPacket)}
	if err := l.conn.Send(big); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("a packet above the limit: %v", err)
	}
}

// TestWindowMoves: much more than the window gets through, in both directions at once
// and in order, and what is under way stays within it.
func TestWindowMoves(t *testing.T) {
	alpha, bravo := start(t, "alpha", 1), start(t, "bravo", 1)
	acquaint(alpha, bravo)
	const total = 5 * window
	body := make([]byte, 300<<10)
	push := func(l *line) {
		for sent := 0; sent < total; {
			switch err := l.conn.Send(transport.Packet{Head: []byte("h"), Body: body}); {
			case err == nil:
				sent += len(body)
			case errors.Is(err, transport.ErrFull):
				time.Sleep(100 * time.Microsecond)
			default:
				t.Error(err)
				return
			}
		}
		l.send("the", "end")
	}
	ours, theirs := alpha.to(bravo), bravo.from(alpha)
	for _, l := range []*line{ours, theirs} {
		go push(l)
	}
	theirs.got("the", "end")
	ours.got("the", "end")
	for _, l := range []*line{ours, theirs} {
		c := l.conn.(*conn)
		c.mu.Lock()
		if under := c.sent - c.there; under > window+2*partSize {
			t.Errorf("%d bytes are under way, of %d", under, window)
		}
		c.mu.Unlock()
		l.node.mu.Lock()
		if n := len(l.packets); n != total/len(body)+2 || l.packets[n-1] != "the|end" {
			t.Errorf("%d packets, the last one %.20q", n, l.packets[n-1])
		}
		l.node.mu.Unlock()
	}
}
