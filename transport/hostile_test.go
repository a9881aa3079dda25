package transport

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/outcome"
)

// ask sends a request along ours and returns how it ends.
func (l *lab) ask(opts ...CallOption) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := l.Request(l.t.Context(), "bravo", "sum", []byte("x"), opts...)
		result <- err
	}()
	synctest.Wait()
	return result
}

// TestPeerRestarted: however a new incarnation shows itself, what was asked of the old
// one is over, and its outcome unknown; who asks again is asked to wait for the new one.
func TestPeerRestarted(t *testing.T) {
	newer := Identity{"bravo", 8}
	for name, restart := range map[string]func(*lab){
		"the engine says so":            func(l *lab) { l.ours.Closed(ErrPeerRestarted) },
		"it connects to us":             func(l *lab) { l.engine.setup.Events.Opened(&fakeConn{}, Remote{Identity: newer}) },
		"we connected to it":            func(l *lab) { l.engine.setup.Events.Opened(&fakeConn{}, Remote{Identity: newer, Ours: true}) },
		"the engine says it indirectly": func(l *lab) { l.ours.Closed(errors.Join(io.EOF, ErrPeerRestarted)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, l *lab) {
				under := l.ask()
				restart(l)
				if err := <-under; !errors.Is(err, ErrPeerRestarted) || outcome.Of(err) != outcome.Unknown {
					t.Errorf("got %v", err)
				}
				if n := len(l.out.kinds(t)); n != 1 {
					t.Errorf("%d packets were sent for one request", n)
				}
			})
		})
	}
}

// TestOlderIncarnationIsNoRestart: an old process that is late, or one that has our own
// name, breaks nothing.
func TestOlderIncarnationIsNoRestart(t *testing.T) {
	inBubble(t, Config{Incarnation: 5}, func(t *testing.T, l *lab) {
		under := l.ask()
		for _, who := range []Identity{{"bravo", 6}, {"bravo", 7}, {"alpha", 9}, {"zulu", 9}, {"", 0}} {
			l.engine.setup.Events.Opened(&fakeConn{}, Remote{Identity: who})
		}
		if _, err := l.Request(t.Context(), "alpha", SubjectPing, nil); err != nil {
			t.Errorf("to itself: %v", err)
		}
		heads, _ := l.out.heads(t)
		l.ours.Received(rawHead(kindReply, heads[0].id, 0, ""), nil)
		if err := <-under; err != nil {
			t.Error(err)
		}
	})
}

// TestNothingSentMeansNotDone: an engine that refuses a packet, for whatever reason.
func TestNothingSentMeansNotDone(t *testing.T) {
	for refuse, want := range map[error]error{ErrFull: ErrOverloaded, ErrTooLarge: ErrTooLarge, ErrUnreachable: ErrUnreachable} {
		inBubble(t, Config{}, func(t *testing.T, l *lab) {
			l.out.set(refuse, 0)
			if err := <-l.ask(FailFast()); !errors.Is(err, want) || outcome.Of(err) != outcome.NotDone {
				t.Errorf("%v: %v", refuse, err)
			}
			if err := l.Send(t.Context(), "bravo", "sum", nil, FailFast()); !errors.Is(err, want) || outcome.Of(err) != outcome.NotDone {
				t.Errorf("%v: %v", refuse, err)
			}
			if _, err := l.OpenStream(t.Context(), "bravo", "sum", FailFast()); !errors.Is(err, want) || outcome.Of(err) != outcome.NotDone {
				t.Errorf("%v: %v", refuse, err)
			}
		})
	}
	inBubble(t, Config{}, func(t *testing.T, l *lab) { // without hurry it goes along the next connection
		l.out.set(ErrUnreachable, 0)
		under := l.ask()
		l.ours.Closed(io.EOF)
		next := &fakeConn{}
		ours := l.engine.setup.Events.Opened(next, Remote{Identity: Identity{"bravo", 7}, Ours: true})
		synctest.Wait()
		heads, _ := next.heads(t)
		if len(heads) != 1 || heads[0].kind != kindRequest {
			t.Fatalf("the next connection was given %v", heads)
		}
		ours.Received(rawHead(kindReply, heads[0].id, 0, ""), nil)
		if err := <-under; err != nil {
			t.Error(err)
		}
	})
}

// TestAnswersWaitForRoom: a reply is not lost because the queue is full at the moment.
func TestAnswersWaitForRoom(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, l *lab) {
		echo := func(_ context.Context, r Message) (Message, error) { return r, nil }
		if err := l.Handle("echo", echo); err != nil {
			t.Fatal(err)
		}
		l.back.set(ErrFull, 0)
		l.theirs.Received(rawHead(kindRequest, 1, 0, "echo"), nil)
		l.theirs.Received(rawHead(kindRequest, 2, 0, "nothing"), nil)
		l.theirs.Received(rawHead(kindRequest, 3, 0, SubjectPing), nil)
		time.Sleep(time.Minute)
		if got := l.back.kinds(t); len(got) != 0 {
			t.Fatalf("sent %v", got)
		}
		l.back.set(nil, 0)
		time.Sleep(time.Second)
		got := l.back.kinds(t)
		slices.Sort(got)
		if !slices.Equal(got, []kind{kindReply, kindReply, kindError}) {
			t.Errorf("sent %v", got)
		}

		l.back.set(ErrFull, 0) // one who only asks is not waited for without end
		for id := range uint64(3 * maxLate) {
			l.theirs.Received(rawHead(kindRequest, 100+id, 0, "nothing"), nil)
		}
		if got := l.Stats().Dropped; got != 2*maxLate {
			t.Errorf("%d answers were dropped", got)
		}
		l.theirs.Closed(io.EOF)
	})
}

// TestLagIsTold: the number of lost publications is right, and comes where they are
// missing.
func TestLagIsTold(t *testing.T) {
	inBubble(t, Config{Limits: Limits{PublishBacklog: 1000}}, func(t *testing.T, l *lab) {
		l.theirs.Received(rawHead(kindSubscribe, 1, 0, "t"), nil)
		publish := func(want int) {
			t.Helper()
			if n, err := l.Publish(t.Context(), "topic", nil); n != want || err != nil {
				t.Fatalf("published to %d, %v", n, err)
			}
		}
		publish(1)
		l.back.set(nil, 1000)
		publish(0)
		publish(0)
		l.back.set(nil, 0) // room again, and not told yet
		publish(0)
		l.back.meanwhile(func(k kind) {
			if k == kindLag { // one more, just while it is being told
				l.back.meanwhile(nil)
				publish(0)
			}
		})
		time.Sleep(time.Second)
		publish(1)
		l.back.set(ErrFull, 0)
		publish(0)
		time.Sleep(time.Second)
		l.back.set(nil, 0)
		time.Sleep(time.Second)
		publish(1)
		heads, _ := l.back.heads(t)
		var got []uint64
		for _, h := range heads {
			got = append(got, uint64(h.kind), h.id)
		}
		want := []uint64{
			uint64(kindSubscribed), 1, uint64(kindPublish), 0, uint64(kindLag), 3, uint64(kindLag), 1,
			uint64(kindPublish), 0, uint64(kindLag), 1, uint64(kindPublish), 0,
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent %v, want %v", got, want)
		}
	})
}

// TestRunsOnce: a request that comes twice while it is being served runs once.
func TestRunsOnce(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, l *lab) {
		runs, release := make(chan bool, 9), make(chan bool)
		if err := l.Handle("once", func(context.Context, Message) (Message, error) {
			runs <- true
			<-release
			return Message{}, nil
		}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			l.theirs.Received(rawHead(kindRequest, 5, 0, "once"), nil)
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		if got := l.back.kinds(t); len(runs) != 1 || !slices.Equal(got, []kind{kindReply}) {
			t.Errorf("ran %d times, answered %v", len(runs), got)
		}
	})
}

// TestWrongPackets: what makes no sense is counted, and changes nothing.
func TestWrongPackets(t *testing.T) {
	inBubble(t, Config{Limits: Limits{Prefixes: 2, Message: 100, StreamWindow: 1 << 10}}, func(t *testing.T, l *lab) {
		wrong := uint64(0)
		for _, tc := range []struct {
			to   Line
			head []byte
			body int
			want uint64
		}{
			{l.ours, nil, 0, 1},
			{l.ours, []byte("GET / HTTP/1.1\r\n\r\n"), 0, 1},
			{l.ours, rawHead(kindRequest, 1, 0, "sum"), 0, 1}, // nobody asks along ours
			{l.ours, rawHead(kindSubscribe, 1, 0, "t"), 0, 1}, //
			{l.theirs, rawHead(kindReply, 1, 0, ""), 0, 1},    // nobody answers along theirs
			{l.theirs, rawHead(kindPublish, 0, 0, "t"), 0, 1}, //
			{l.theirs, rawHead(0, 1, 0, ""), 0, 1},            // there is no such kind
			{l.theirs, rawHead(77, 1, 0, ""), 0, 1},           //
			{l.theirs, rawHead(kindSend, 0, 0, "t"), 101, 1},  // too large
			{l.theirs, rawHead(kindSubscribe, 1, 0, "\n"), 0, 1},
			{l.theirs, rawHead(kindSubscribe, 1, 0, "a"), 0, 0},
			{l.theirs, rawHead(kindSubscribe, 2, 0, "b"), 0, 0},
			{l.theirs, rawHead(kindSubscribe, 3, 0, "b"), 0, 0},
			{l.theirs, rawHead(kindSubscribe, 4, 0, "c"), 0, 1}, // more than the limit
			{l.ours, rawHead(kindReply, 12345, 0, ""), 0, 0},    // comes too late
			{l.ours, rawHead(kindData, 12345, 0, ""), 9, 0},
			{l.ours, rawHead(kindReset, 12345, 0, ""), 9, 0},
			{l.theirs, rawHead(kindCancel, 12345, 0, ""), 0, 0},
			{l.theirs, rawHead(kindUnsubscribe, 0, 0, "z"), 0, 0},
			{l.ours, rawHead(kindSubscribed, 12345, 0, ""), 0, 0},
			{l.ours, rawHead(kindLag, 12345, 0, ""), 0, 0},
		} {
			tc.to.Received(tc.head, make([]byte, tc.body))
			if wrong += tc.want; l.Stats().Refused != wrong {
				t.Errorf("%q: %d refused, want %d", tc.head, l.Stats().Refused, wrong)
				wrong = l.Stats().Refused
			}
		}
		heads, _ := l.back.heads(t)
		if len(heads) != 3 || heads[2].id != 3 {
			t.Errorf("answered %v", heads)
		}
	})
}

// TestFloodedStream: who sends more than was granted is cut off.
func TestFloodedStream(t *testing.T) {
	inBubble(t, Config{Limits: Limits{StreamWindow: 1 << 10}}, func(t *testing.T, l *lab) {
		ended := make(chan error, 1)
		if err := l.HandleStream("in", func(ctx context.Context, s *Stream) error {
			<-ctx.Done()
			_, err := s.Read(make([]byte, 1))
			ended <- err
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		l.theirs.Received(rawHead(kindOpen, 1, 0, "in"), nil)
		l.theirs.Received(rawHead(kindOpen, 1, 0, "in"), nil) // the same again
		synctest.Wait()
		for range 2 {
			l.theirs.Received(rawHead(kindData, 1, 0, ""), make([]byte, 600))
		}
		if err := <-ended; !errors.Is(err, errFlooded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		got := l.back.kinds(t)
		slices.Sort(got)
		if !slices.Equal(got, []kind{kindReset, kindCredit}) || l.Stats().Refused != 2 {
			t.Errorf("sent %v, refused %d", got, l.Stats().Refused)
		}
	})
}

// TestStatus: what the peer may answer, and what it means.
func TestStatus(t *testing.T) {
	for s, want := range map[status]struct {
		err     error
		outcome outcome.Outcome
	}{
		statusHandler:    {nil, outcome.Done},
		statusPanic:      {nil, outcome.Unknown},
		statusNoHandler:  {ErrNoHandler, outcome.NotDone},
		statusOverloaded: {ErrOverloaded, outcome.NotDone},
		statusExpired:    {ErrTimedOut, outcome.NotDone},
		statusTooLarge:   {ErrTooLarge, outcome.Done},
		statusClosing:    {ErrUnreachable, outcome.NotDone},
		statusGaveUp:     {ErrTimedOut, outcome.Unknown},
		99:               {nil, outcome.Unknown},
	} {
		inBubble(t, Config{}, func(t *testing.T, l *lab) {
			under := l.ask()
			heads, _ := l.out.heads(t)
			l.ours.Received(rawHead(kindError, heads[0].id, uint32(s), "code"), []byte("some text"))
			err := <-under
			if want.err != nil && !errors.Is(err, want.err) || outcome.Of(err) != want.outcome ||
				!strings.Contains(err.Error(), "some text") && s != 99 {
				t.Errorf("status %d is %v", s, err)
			}
		})
	}
}

// FuzzReceived: no sequence of packets makes a messenger panic, hang, or leave a
// goroutine. Each packet is its line, the length of its head, its body's, and both.
func FuzzReceived(f *testing.F) {
	var seed []byte
	for k := range kindCredit + 2 {
		for _, subject := range []string{"", "echo", "stream"} {
			head := rawHead(k, 1, 1000, subject)
			seed = append(append(seed, byte(k&1), byte(len(head)), 3), head...)
			seed = append(seed, "abc"...)
		}
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLab(t, Config{Limits: Limits{StreamWindow: 1 << 10, Message: 1 << 10, Prefixes: 4}})
		echo := func(_ context.Context, r Message) (Message, error) { return r, nil }
		copied := func(_ context.Context, s *Stream) error { _, err := io.Copy(s, s); return err }
		if err := errors.Join(l.Handle("echo", echo), l.HandleStream("stream", copied)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Subscribe(""); err != nil {
			t.Fatal(err)
		}
		for len(b) >= 3 {
			to := []Line{l.ours, l.theirs}[b[0]&1]
			n := min(int(b[1]), len(b)-3)
			m := min(n+int(b[2]), len(b)-3)
			to.Received(b[3:3+n], slices.Clone(b[3+n:3+m]))
			b = b[3+m:]
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
