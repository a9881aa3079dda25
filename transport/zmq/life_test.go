//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith/transport"
)

func TestRestart(t *testing.T) {
	eachKey(t, func(t *testing.T, key option) {
		alpha, bravo := start(t, "alpha", 1, key), start(t, "bravo", 1, key)
		acquaint(alpha, bravo)
		ours, theirs := alpha.to(bravo), alpha.from(bravo)
		endpoint := bravo.Endpoint()
		bravo.stopNow()
		for _, l := range []*line{ours, theirs} {
			if cause := l.closed(); !errors.Is(cause, transport.ErrUnreachable) {
				t.Errorf("the end of bravo was told as %v", cause)
			}
		}
		if err := ours.conn.Send(transport.Packet{Head: []byte("h")}); err != transport.ErrUnreachable {
			t.Errorf("sending to the dead: %v", err)
		}
		alpha.await("a failure", func() bool { return alpha.failed["bravo"] != nil })
		again := start(t, "bravo", 2, key, at(endpoint))
		again.SetPeers([]transport.Address{address(alpha)})
		alpha.to(again).send("hello", "again")
		again.from(alpha).got("hello", "again")
	})
}

func TestMoveRemoveAndReturn(t *testing.T) {
	// Only by its silence bravo learns that alpha went elsewhere.
	brisk := func(c *Config, _ *Engine, _ *transport.Setup) { c.Heartbeat = 200 * time.Millisecond }
	alpha, bravo := start(t, "alpha", 1, brisk), start(t, "bravo", 1, brisk)
	acquaint(alpha, bravo)
	first := alpha.to(bravo)
	from := bravo.from(alpha)

	moved := start(t, "bravo", 2, brisk)
	moved.SetPeers([]transport.Address{address(alpha)})
	alpha.SetPeers([]transport.Address{address(moved)})
	if cause := first.closed(); !errors.Is(cause, transport.ErrUnreachable) && cause != transport.ErrPeerRestarted {
		t.Errorf("the connection to the old address ended with %v", cause)
	}
	from.closed()
	second, theirs := alpha.to(moved), alpha.from(moved)

	alpha.SetPeers(nil)
	for _, l := range []*line{second, theirs} {
		if cause := l.closed(); !errors.Is(cause, errRemoved) {
			t.Errorf("a connection with who was removed ended with %v", cause)
		}
	}
	for i := range 50 { // there and away again, faster than it can be dialled
		if i%2 == 0 {
			alpha.SetPeers([]transport.Address{address(moved)})
		} else {
			alpha.SetPeers(nil)
		}
	}
	alpha.SetPeers([]transport.Address{address(moved)})
	alpha.to(moved).send("back", "")
	moved.from(alpha).got("back", "")
}

// TestWrongAddress: another peer answers at a peer's endpoint.
func TestWrongAddress(t *testing.T) {
	alpha, charlie := start(t, "alpha", 1), start(t, "charlie", 1)
	charlie.SetPeers([]transport.Address{address(alpha)})
	alpha.SetPeers([]transport.Address{{Name: "bravo", Endpoint: charlie.Endpoint()}, {Name: "delta", Endpoint: "tcp://no-such-host.invalid:1"}, {Name: "echo", Endpoint: "nonsense"}})
	for name, want := range map[string]string{"bravo": "this is charlie", "delta": "no-such-host", "echo": "nonsense"} {
		alpha.await("the failure of "+name, func() bool {
			err := alpha.failed[name]
			return err != nil && errors.Is(err, transport.ErrUnreachable) && strings.Contains(err.Error(), want)
		})
	}
}

func TestEndpointInUse(t *testing.T) {
	alpha := start(t, "alpha", 1)
	_, err := tryStart(t, "bravo", 1, at(alpha.Endpoint()))
	if err == nil || !strings.Contains(err.Error(), alpha.Endpoint()) {
		t.Errorf("a second node at %s: %v", alpha.Endpoint(), err)
	}
	if _, err := tryStart(t, "bravo", 1, at("nonsense")); err == nil {
		t.Error("listens at nonsense")
	}
	if _, err := tryStart(t, strings.Repeat("n", maxName+1), 1); err == nil {
		t.Error("took a name that no hello can hold")
	}
	if err := New(Config{}).Close(); err != nil {
		t.Errorf("closing what was never started: %v", err)
	}
}

// TestFullQueue: who does not read costs the sender no more than MaxBacklog, and
// nobody else anything.
func TestFullQueue(t *testing.T) {
	small := func(_ *Config, _ *Engine, s *transport.Setup) { s.MaxBacklog = 1 << 20 }
	alpha, bravo, charlie := start(t, "alpha", 1, small), start(t, "bravo", 1), start(t, "charlie", 1)
	held := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(held) }))
	bravo.handle = func(*line, []byte, []byte) { <-held }
	acquaint(alpha, bravo, charlie)
	l := alpha.to(bravo)
	body := make([]byte, 256<<10)
	sent := 0
	for {
		err := l.conn.Send(transport.Packet{Head: []byte("h"), Body: body})
		if errors.Is(err, transport.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent += len(body); sent > window+alpha.setup.MaxBacklog+2*len(body) {
			t.Fatalf("%d bytes, and the queue is not full", sent)
		}
	}
	if n := l.conn.Backlog(); n > alpha.setup.MaxBacklog {
		t.Errorf("%d bytes wait, of at most %d", n, alpha.setup.MaxBacklog)
	}
	alpha.to(charlie).send("not", "held up")
	charlie.from(alpha).got("not", "held up")
}

// TestCloseInFlight: whatever is going on, Close returns, and all lines were closed.
func TestCloseInFlight(t *testing.T) {
	eachKey(t, func(t *testing.T, key option) {
		for round := range 4 {
			nodes := make([]*node, 3)
			for i := range nodes {
				nodes[i] = start(t, fmt.Sprintf("node%d", i), uint64(round+1), key)
				nodes[i].handle = func(l *line, head, body []byte) {
					l.conn.Send(transport.Packet{Head: []byte("reply"), Body: body})
				}
			}
			acquaint(nodes...)
			stop := make(chan struct{})
			var senders sync.WaitGroup
			for i, n := range nodes {
				l := n.to(nodes[(i+1)%len(nodes)])
				for range 4 {
					senders.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
								l.conn.Send(transport.Packet{Head: []byte("request"), Body: make([]byte, rand.N(40_000))})
							}
						}
					})
				}
			}
			time.Sleep(rand.N(20 * time.Millisecond)) // anywhere in the middle
			var closers sync.WaitGroup
			for _, n := range nodes {
				closers.Go(n.stopNow)
				closers.Go(func() { n.SetPeers([]transport.Address{{Name: "late", Endpoint: "tcp://127.0.0.1:1"}}) })
			}
			closers.Wait()
			close(stop)
			senders.Wait()
			for _, n := range nodes {
				for _, l := range n.lines {
					if l.ended == nil {
						t.Errorf("%s: a line was not closed", n.self.Name)
					}
				}
			}
		}
	})
}

// TestStandingIn: a caller receives in the receiver's place, one at a time, until it has
// what it waits for, gives up or the connection ends; then the receiver does again.
func TestStandingIn(t *testing.T) {
	alpha, bravo := start(t, "alpha", 1), start(t, "bravo", 1)
	arrived := make(chan string, 10)
	alpha.handle = func(_ *line, _, body []byte) { arrived <- string(body) }
	acquaint(alpha, bravo)
	l := alpha.to(bravo)
	tell := func(text string) {
		t.Helper()
		back := bravo.from(alpha)
		if err := back.conn.Send(transport.Packet{Head: []byte("q"), Body: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; got != text {
			t.Errorf("%q arrived as %q", text, got)
		}
	}
	s := alpha.peer("bravo").connection().socket
	if s.gate == nil {
		t.Skip("nobody can stand in on this system")
	}
	attended := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.gate.attended
	}
	standIn := func(ctx context.Context, done func() bool) (over chan struct{}) {
		over = make(chan struct{})
		go func() {
			defer close(over)
			for ctx.Err() == nil && !done() { // the receiver may be busy still
				l.conn.(transport.Attender).Attend(ctx, done)
			}
		}()
		for !attended() {
			runtime.Gosched()
		}
		return over
	}

	tell("to the receiver")
	ctx, cancel := context.WithCancel(t.Context())
	var done atomic.Bool
	over := standIn(ctx, done.Load)
	tell("to who stands in")
	l.conn.(transport.Attender).Attend(t.Context(), func() bool { return false }) // returns: one is enough
	tell("once more")
	done.Store(true)
	tell("and the last") // done is asked after something came
	<-over
	tell("to the receiver again")

	over = standIn(ctx, func() bool { return false })
	cancel()
	<-over
	tell("after who gave up")

	ctx, cancel = context.WithCancel(t.Context())
	over = standIn(ctx, func() bool { return false })
	bravo.stopNow()
	l.closed()
	cancel()
	<-over
}

var soakFor = flag.Duration("zmq.soak", 2*time.Second, "how long TestNoWakeUpIsLost looks for a lost wake-up")

// TestNoWakeUpIsLost: requests and answers cross on shared sockets, with pauses in
// between, and every one arrives. TestForgettingLosesWakeUps shows that they do not
// when senders leave out the look.
func TestNoWakeUpIsLost(t *testing.T) {
	if lost := soak(t, false, *soakFor); lost > 0 {
		t.Errorf("%d answers came only after a kick", lost)
	}
}

func TestForgettingLosesWakeUps(t *testing.T) {
	if lost := soak(t, true, 30*time.Second); lost == 0 {
		t.Error("without the look no wake-up was lost: the soak proves nothing")
	}
}

// soak lets callers ask and wait for answers, with pauses of random length, for some
// time or until an answer is late. It returns how many late answers came when, and
// only when, the receivers were kicked.
func soak(t *testing.T, forgetful bool, length time.Duration) (lost int) {
	// Only messages may wake a receiver here, no heartbeats.
	how := func(c *Config, e *Engine, _ *transport.Setup) { e.forgetful, c.Heartbeat = forgetful, time.Hour }
	alpha, bravo := start(t, "alpha", 1, how), start(t, "bravo", 1, how)
	bravo.handle = func(l *line, head, body []byte) {
		packet := transport.Packet{Head: bytes.Clone(head), Body: body}
		go l.conn.Send(packet)
	}
	answers := make([]chan struct{}, 8)
	for i := range answers {
		answers[i] = make(chan struct{}, 1)
	}
	alpha.handle = func(_ *line, _, body []byte) { answers[body[0]] <- struct{}{} }
	acquaint(alpha, bravo)
	c := alpha.to(bravo).conn.(*conn)
	send := []func(...transport.Packet) error{c.Send, c.SendNow, c.SendSoon}

	arrives := func(i int, within time.Duration) bool {
		select {
		case <-answers[i]:
			return true
		case <-time.After(within):
			return false
		}
	}
	end := time.Now().Add(length)
	late := make([]bool, len(answers))
	var anyLate atomic.Bool
	var total atomic.Int64
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			for time.Now().Before(end) && !anyLate.Load() {
				if err := send[rand.N(len(send))](transport.Packet{Head: []byte("q"), Body: []byte{byte(i)}}); err != nil {
					t.Error(err)
					return
				}
				if !forgetful && rand.N(2) == 0 { // stand in for the receiver, and perhaps give up in between
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(400*time.Microsecond))
					c.Attend(ctx, func() bool { return len(answers[i]) > 0 })
					cancel()
				}
				if !arrives(i, 500*time.Millisecond) {
					late[i] = true
					anyLate.Store(true)
					return
				}
				total.Add(1)
				if rand.N(4) == 0 {
					time.Sleep(rand.N(200 * time.Microsecond))
				}
			}
		})
	}
	all.Wait()

	grace := 10 * time.Second // a slow machine is no lost wake-up
	if forgetful {
		grace = time.Second
	}
	for i := range answers {
		if !late[i] || arrives(i, grace) {
			continue
		}
		alpha.peer("bravo").connection().socket.kick()
		bravo.accept.socket.kick()
		if !arrives(i, 20*time.Second) {
			t.Errorf("caller %d got no answer, not even after a kick", i)
		}
		lost++
	}
	t.Logf("%d requests, %d wake-ups lost; forgetful: %v", total.Load(), lost, forgetful)
	return lost
}

// TestDialsThatFailHarmNobody: a connection that is given up at any moment of its
// making leaves libzmq's thread, which moves the messages of all, unharmed.
func TestDialsThatFailHarmNobody(t *testing.T) {
	alpha, bravo := start(t, "alpha", 1), start(t, "bravo", 1)
	acquaint(alpha, bravo)
	l := alpha.to(bravo)
	theirs := bravo.from(alpha)
	end := time.Now().Add(2 * time.Second)
	for i := 0; time.Now().Before(end); i++ {
		peers := []transport.Address{address(bravo)}
		for k := range i % 8 { // charlie is really bravo, who refuses; delta is nobody
			peers = append(peers, transport.Address{Name: fmt.Sprintf("charlie%d", k), Endpoint: bravo.Endpoint()},
				transport.Address{Name: fmt.Sprintf("delta%d", k), Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", 1+i%7)})
		}
		alpha.SetPeers(peers)
		time.Sleep(rand.N(3 * time.Millisecond)) // anywhere in the middle
		if i%10 == 0 {
			l.send("still", fmt.Sprint(i))
			theirs.got("still", fmt.Sprint(i))
		}
	}
}
