package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/kith-go/kith/internal/bubble"
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
	refused := errors.New("refused")
	c.set([]Contact{b, a})
	if ready, _ := c.due(now, nobody, 1); len(ready) != 1 {
		t.Fatalf("one slot, due: %v", ready)
	}
	if ready, _ := c.due(now, nobody, 5); len(ready) != 1 {
		t.Fatalf("the other one is due, and only that: %v", ready)
	}
	if ready, next := c.due(now, nobody, 5); len(ready) != 0 || !next.IsZero() {
		t.Fatalf("both are being tried, due: %v, next %v", ready, next)
	}
	if c.allTried() {
		t.Error("nothing has ended yet")
	}
	if n := c.record(a, refused, now); n != 1 {
		t.Errorf("%d failures, want 1", n)
	}
	c.record(b, nil, now)
	if !c.allTried() {
		t.Error("both were tried")
	}
	_, next := c.due(now, nobody, 5)
	if s := c.states(); s[0].Attempts != 1 || s[0].LastError != refused || !s[0].NextTry.Equal(next) || s[1].Name != "b" || s[1].Attempts != 0 {
		t.Errorf("states: %+v, next %v", s, next)
	}
	// Setting the same list again forgets nothing, another address starts anew.
	c.set([]Contact{a, b})
	if s := c.states(); s[0].Attempts != 1 {
		t.Error("the same contact was forgotten")
	}
	moved := Contact{"a", "10.0.0.9:1"}
	c.set([]Contact{moved, b})
	if ready, _ := c.due(now, nobody, 5); len(ready) != 1 || ready[0] != moved {
		t.Errorf("due %v; want the moved one at once", ready)
	}
	if n := c.record(a, refused, now); n != 0 {
		t.Error("an attempt at the old address counts against the new one")
	}
	c.record(moved, refused, now)
	c.due(now, func(name string) bool { return name == "a" }, 5)
	if s := c.states(); s[0].Attempts != 0 || s[0].LastError != nil {
		t.Errorf("a met contact keeps its failures: %+v", s[0])
	}
	c.lost("a", true, now)
	if ready, next := c.due(now, nobody, 5); len(ready) != 0 || next.After(now.Add(pendingRetry)) {
		t.Errorf("one that left is due now: %v, next %v", ready, next)
	}
	c.lost("a", false, now)
	c.forgetAttempts()
	if ready, _ := c.due(now, nobody, 5); len(ready) != 2 || c.allTried() {
		t.Errorf("a new run has all due, not %v", ready)
	}
	c.set(nil)
	if ready, next := c.due(now, nobody, 5); len(ready) != 0 || !next.IsZero() {
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
	bubble.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		lines := newEngineLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})))
		l := log.New(lines, "", 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go lines.run(ctx)
		say := func(text string, want int) {
			t.Helper()
			l.Print(text)
			synctest.Wait()
			if n := strings.Count(out.String(), "\n"); n != want {
				t.Errorf("after %.60q there are %d warnings, want %d", text, n, want)
			}
		}
		say("[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.1:1", 1)
		say("[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.2:2", 1)
		say("[ERR] memberlist: Push/Pull with bravo failed: link: refused", 1)
		say("[WARN] memberlist: Refuting a suspect message (from: x)", 1)
		say("[INFO] serf: EventMemberJoin: a 10.0.0.1", 1)
		say("no level at all", 1)
		say("[WARN] memberlist: Was able to connect to bravo over TCP but UDP probes failed, network may be misconfigured", 2)
		// What strangers choose does not make another kind.
		for i := range 1000 {
			say(fmt.Sprintf("[ERR] memberlist: discarding packet with unacceptable label %q: from=10.0.0.%d:1", fmt.Sprint("label-", i), i), 3)
		}
		for i := range 1000 {
			l.Printf("[ERR] memberlist: %s", strings.Repeat("x", i))
			synctest.Wait()
		}
		say("[ERR] memberlist: yet another kind", warningsPerMinute)
		time.Sleep(time.Minute)
		say("[ERR] memberlist: Decrypt packet failed: again", warningsPerMinute+1)
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

// TestReservedNames: the engine's own queries manage keys.
func TestReservedNames(t *testing.T) {
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	g.engine = &engine{ctx: t.Context()}
	for _, err := range g.Query(t.Context(), "_serf_list-keys", nil) {
		if !errors.Is(err, ErrReserved) {
			t.Errorf("Query: %v", err)
		}
	}
	if err := g.Broadcast("_x", nil); !errors.Is(err, ErrReserved) {
		t.Errorf("Broadcast: %v", err)
	}
	if err := ValidateTags(map[string]string{"_i": ""}); !errors.Is(err, ErrReserved) {
		t.Errorf("ValidateTags: %v", err)
	}
	if err := ValidateTags(map[string]string{"k": strings.Repeat("v", MaxTags)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("ValidateTags: %v", err)
	}
}

func TestValidateCluster(t *testing.T) {
	for name, ok := range map[string]bool{
		"kith": true, "zwei Länder": true, strings.Repeat("c", 128): true,
		"": false, strings.Repeat("c", 129): false, "a\nb": false, "\xff": false, "\x1b[31m": false,
	} {
		if err := ValidateCluster(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestNobodyJoinsALeaver: one that came now would have to be told to go again.
func TestNobodyJoinsALeaver(t *testing.T) {
	g, _ := New(Config{})
	g.engine = &engine{g: g, self: Self{Name: "me"}}
	if err := g.Admit(t.Context(), Greeting{Name: "other"}); err != nil {
		t.Errorf("before: %v", err)
	}
	g.engine.goodbye.Store(true)
	if err := g.Admit(t.Context(), Greeting{Name: "other"}); !errors.Is(err, ErrLeaving) {
		t.Errorf("after: %v", err)
	}
}

// TestYielding: of two that confront one another, never both end.
func TestYielding(t *testing.T) {
	for _, tc := range []struct {
		mine, theirs Incarnation
		coming, ends bool
	}{
		{1, 2, false, false}, {2, 1, false, true}, {1, 2, true, true}, {2, 1, true, true},
		{5, 0, false, false}, // unknown is no reason to go
	} {
		g, _ := New(Config{})
		e := &engine{g: g, log: g.log, self: Self{Name: "me", Incarnation: tc.mine}, transport: nowhere{}}
		e.yieldTo(&NameTakenError{HolderIncarnation: tc.theirs}, tc.coming)
		if ended := len(g.fatal) == 1; ended != tc.ends {
			t.Errorf("%d against %d, coming %v: ended %v", tc.mine, tc.theirs, tc.coming, ended)
		}
	}
}

// nowhere is a Transport without a network.
type nowhere struct{ Transport }

func (nowhere) Addr() netip.AddrPort { return netip.MustParseAddrPort("10.0.0.1:1") }

func TestLaggingListener(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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

// TestEngineIsTold: the label and the key reach the engine; without them
// clusters merge and packets are in clear.
func TestEngineIsTold(t *testing.T) {
	g, _ := New(Config{})
	e := &engine{g: g, self: Self{Name: "me", Cluster: "red", Key: []byte("0123456789abcdef0123456789abcdef")}}
	ml := e.config(nil).MemberlistConfig
	if ml.Label != "red" || string(ml.SecretKey) != string(e.self.Key) || !ml.GossipVerifyIncoming || !ml.GossipVerifyOutgoing ||
		ml.SkipInboundLabelCheck || ml.DeadNodeReclaimTime == 0 {
		t.Errorf("label %q, key %d bytes, verify %v %v, skip %v, reclaim %v", ml.Label, len(ml.SecretKey),
			ml.GossipVerifyIncoming, ml.GossipVerifyOutgoing, ml.SkipInboundLabelCheck, ml.DeadNodeReclaimTime)
	}
}

// FuzzDecode: whatever tags another member has, decoding them must not panic and
// must keep ours apart.
func FuzzDecode(f *testing.F) {
	f.Add("_i", "00ff", "_p", "7")
	f.Add("zone", "a", "_v", "\x00")
	e := &engine{self: Self{Name: "me"}}
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		m := e.decode(serf.Member{Name: "other", Tags: map[string]string{k1: v1, k2: v2}})
		for k := range m.Tags {
			if strings.HasPrefix(k, "_") {
				t.Fatalf("reserved tag %q reaches users", k)
			}
		}
	})
}
