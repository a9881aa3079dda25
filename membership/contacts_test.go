package membership

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/kith-go/kith/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestRetryAfter(t *testing.T) {
	refused := errors.New("refused")
	for n, most := range map[int]time.Duration{
		1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 3: time.Second, 4: 2 * time.Second,
		5: 4 * time.Second, 6: 8 * time.Second, 7: 15 * time.Second, 8: 15 * time.Second, 1 << 40: 15 * time.Second,
	} {
		for range 100 {
			if d := retryAfter(n, refused); d > most || d <= most*3/4 {
				t.Fatalf("after %d failures: %v, want within a quarter below %v", n, d, most)
			}
		}
	}
	for _, err := range []error{ErrNamePending, fmt.Errorf("x: %w", ErrLeaving)} {
		if d := retryAfter(20, err); d != time.Second {
			t.Errorf("%v: %v, want a second, however often", err, d)
		}
	}
}

func TestContactBook(t *testing.T) {
	c := newContactBook()
	now := time.Now()
	nobody := func(string) bool { return false }
	a, b := Contact{"a", "10.0.0.1:1"}, Contact{"b", "10.0.0.2:1"}
	c.set([]Contact{b, a})
	if ready, _ := c.due(now, nobody); len(ready) != 2 {
		t.Fatalf("new contacts are due at once, got %v", ready)
	}
	refused := errors.New("refused")
	if n := c.record(a, refused, now); n != 1 {
		t.Errorf("%d failures, want 1", n)
	}
	ready, next := c.due(now, nobody)
	if len(ready) != 1 || ready[0] != b || !next.After(now) {
		t.Errorf("due %v, next %v; want b now and a later", ready, next)
	}
	if s := c.states(); s[0].Attempts != 1 || s[0].LastError != refused || !s[0].NextTry.Equal(next) || s[1].Name != "b" {
		t.Errorf("states: %+v", s)
	}
	// Setting the same list again forgets nothing, another address starts anew.
	c.set([]Contact{a, b})
	if s := c.states(); s[0].Attempts != 1 {
		t.Error("the same contact was forgotten")
	}
	moved := Contact{"a", "10.0.0.9:1"}
	c.set([]Contact{moved, b})
	if ready, _ := c.due(now, nobody); len(ready) != 2 {
		t.Errorf("due %v; want the moved one at once", ready)
	}
	if n := c.record(a, refused, now); n != 0 {
		t.Error("an attempt at the old address counts against the new one")
	}
	c.record(moved, refused, now)
	c.due(now, func(name string) bool { return name == "a" })
	if s := c.states(); s[0].Attempts != 0 || s[0].LastError != nil {
		t.Errorf("a met contact keeps its failures: %+v", s[0])
	}
	c.lost("a", true, now)
	if ready, next := c.due(now, nobody); len(ready) != 1 || !next.Equal(now.Add(pendingRetry)) {
		t.Errorf("one that left is due now: %v, next %v", ready, next)
	}
	c.set(nil)
	if ready, next := c.due(now, nobody); len(ready) != 0 || !next.IsZero() {
		t.Errorf("an empty book has %v due", ready)
	}
}

// TestDecodeForeignTags: members of other releases, and buggy ones.
func TestDecodeForeignTags(t *testing.T) {
	e := &engine{self: Self{Name: "me"}}
	for name, tags := range map[string]map[string]string{
		"none":    nil,
		"garbled": {"_i": "not hexadecimal", "_p": "-1", "_future": "x", "zone": "z"},
		"huge":    {"_i": strings.Repeat("f", 400), "_p": "4294967296"},
	} {
		m := e.decode(serf.Member{Name: "other", Status: serf.MemberStatus(99), Tags: tags})
		if m.Incarnation != 0 || m.PID != 0 || m.Status != StatusFailed {
			t.Errorf("%s: %+v", name, m)
		}
		for tag := range m.Tags {
			if strings.HasPrefix(tag, "_") {
				t.Errorf("%s: the reserved tag %q reaches users", name, tag)
			}
		}
	}
}

func TestTimingFaults(t *testing.T) {
	for name, timing := range map[string]Timing{
		"interval": {ProbeInterval: time.Millisecond}, "timeout": {ProbeTimeout: time.Hour},
		"negative": {ProbeTimeout: -1}, "suspicion": {SuspicionMult: -1},
	} {
		if _, err := New(Config{Timing: timing}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
}

func TestEngineLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newEngineLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})))
		l.Print("[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.1:1")
		l.Print("[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.2:2")
		l.Print("[ERR] memberlist: Push/Pull with bravo failed: link: refused")
		l.Print("[WARN] memberlist: Refuting a suspect message (from: x)")
		l.Print("[INFO] serf: EventMemberJoin: a 10.0.0.1")
		l.Print("no level at all")
		if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "Decrypt packet failed") {
			t.Errorf("got %d lines, want the first alone:\n%s", n, out.String())
		}
		time.Sleep(time.Minute)
		l.Print("[ERR] memberlist: Decrypt packet failed: again")
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("a minute later it is told again; got %d lines", n)
		}
	})
}

func TestNotStarted(t *testing.T) {
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Broadcast": g.Broadcast("x", nil), "Leave": g.Leave(t.Context()), "Admit": g.Admit(t.Context(), Greeting{Name: "x"}),
	} {
		if want := what != "Admit"; errors.Is(err, ErrClosed) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range g.Query(t.Context(), "x", nil) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("Query: %v", err)
		}
	}
	if len(g.Members()) != 0 || g.Running() {
		t.Error("it runs")
	}
	g.Stop()
	g.Close()
	g.Close()
}

func TestLaggingListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		talk := newTalk(slog.New(slog.DiscardHandler))
		g := &Gossip{talk: talk}
		busy, ended := make(chan struct{}), make(chan error)
		var heard []string
		go func() {
			var last error
			for b, err := range g.Broadcasts(t.Context(), "x") {
				if last = err; err == nil {
					heard = append(heard, string(b.Payload))
				}
				<-busy
			}
			ended <- last
		}()
		synctest.Wait() // it listens
		talk.deliver(Broadcast{"x", []byte("0")})
		synctest.Wait() // it is busy with the first
		for i := range broadcastQueue + 10 {
			talk.deliver(Broadcast{"x", fmt.Append(nil, i+1)})
			talk.deliver(Broadcast{"other", nil})
		}
		close(busy)
		if err := <-ended; !errors.Is(err, ErrLagged) || len(heard) != broadcastQueue+1 {
			t.Errorf("heard %d, then %v; want %d, then ErrLagged", len(heard), err, broadcastQueue+1)
		}
		for i, payload := range heard {
			if payload != fmt.Sprint(i) {
				t.Fatalf("number %d is %q", i, payload)
			}
		}
		if len(talk.ears) != 0 {
			t.Error("the listener is still registered")
		}
	})
}
