//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	libzmq "github.com/pebbe/zmq4"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

// stranger is a libzmq socket in a context of its own, such as any program may have.
type stranger struct {
	*libzmq.Socket
	t *testing.T
}

// connect connects a DEALER to the node; with a pair by CURVE.
func connect(t *testing.T, n *node, server string, pair secret.CurvePair) *stranger {
	t.Helper()
	ctx, err := libzmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	z, err := ctx.NewSocket(libzmq.DEALER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		z.SetLinger(0)
		z.Close()
		ctx.Term()
	})
	s := &stranger{z, t}
	s.must(z.SetRcvtimeo(20 * time.Second))
	if pair.Public != "" {
		s.must(z.SetCurveServerkey(server))
		s.must(z.SetCurvePublickey(pair.Public))
		s.must(z.SetCurveSecretkey(pair.Secret))
	}
	return s
}

func (s *stranger) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stranger) send(frames ...any) {
	s.t.Helper()
	_, err := s.SendMessage(frames...)
	s.must(err)
}

// verdict connects to n and returns libzmq's word on the handshake.
func (s *stranger) verdict(n *node) libzmq.Event {
	s.t.Helper()
	s.must(s.Monitor("inproc://verdict", libzmq.EVENT_HANDSHAKE_SUCCEEDED|libzmq.EVENT_HANDSHAKE_FAILED_AUTH|
		libzmq.EVENT_HANDSHAKE_FAILED_PROTOCOL|libzmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL|libzmq.EVENT_DISCONNECTED))
	ctx, err := s.Context()
	s.must(err)
	monitor, err := ctx.NewSocket(libzmq.PAIR)
	s.must(err)
	defer monitor.Close()
	s.must(monitor.SetRcvtimeo(20 * time.Second))
	s.must(monitor.Connect("inproc://verdict"))
	s.must(s.Connect(n.Endpoint()))
	event, _, _, err := monitor.RecvEvent(0)
	s.must(err)
	return event
}

func randomPair(t *testing.T) secret.CurvePair {
	public, private, err := libzmq.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	return secret.CurvePair{Public: public, Secret: private}
}

// TestUnknownKeyIsRefused: a key that is nobody's does not get past the handshake. The
// server's public key is no secret, every client has it.
func TestUnknownKeyIsRefused(t *testing.T) {
	key := secret.NewKey()
	clients := func(c *Config, _ *Engine, _ *transport.Setup) { c.Clients = []string{"dashboard"} }
	n := start(t, "alpha", 1, withKey(key), clients)
	n.SetPeers([]transport.Address{{Name: "bravo", Endpoint: freeEndpoint(t)}})
	server := key.CurveServer().Public
	for name, c := range map[string]struct {
		pair secret.CurvePair
		want libzmq.Event
	}{
		"a random key":             {randomPair(t), libzmq.EVENT_HANDSHAKE_FAILED_AUTH},
		"a client not on the list": {key.CurveClient("intruder"), libzmq.EVENT_HANDSHAKE_FAILED_AUTH},
		"a node not on the list":   {key.CurveNode("zulu"), libzmq.EVENT_HANDSHAKE_FAILED_AUTH},
		"the server's own":         {key.CurveServer(), libzmq.EVENT_HANDSHAKE_FAILED_AUTH},
		"another cluster's client": {secret.NewKey().CurveClient("dashboard"), libzmq.EVENT_HANDSHAKE_FAILED_AUTH},
		"a client on the list":     {key.CurveClient("dashboard"), libzmq.EVENT_HANDSHAKE_SUCCEEDED},
		"a node on the list":       {key.CurveNode("bravo"), libzmq.EVENT_HANDSHAKE_SUCCEEDED},
	} {
		t.Run(name, func(t *testing.T) {
			if got := connect(t, n, server, c.pair).verdict(n); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
	t.Run("a node taken off the list", func(t *testing.T) {
		n.SetPeers(nil)
		if got := connect(t, n, server, key.CurveNode("bravo")).verdict(n); got != libzmq.EVENT_HANDSHAKE_FAILED_AUTH {
			t.Errorf("%v, want a refusal", got)
		}
	})
	t.Run("no key", func(t *testing.T) {
		if got := connect(t, n, "", secret.CurvePair{}).verdict(n); got == libzmq.EVENT_HANDSHAKE_SUCCEEDED {
			t.Error("let in")
		}
	})
	t.Run("another server key", func(t *testing.T) {
		if got := connect(t, n, randomPair(t).Public, key.CurveClient("dashboard")).verdict(n); got == libzmq.EVENT_HANDSHAKE_SUCCEEDED {
			t.Error("let in")
		}
	})
}

// TestWithoutTheDoorEverybodyIsLetIn shows what the handler of keys is for: without
// one, libzmq takes any key for good. Even then no packet is taken, since the key is
// nobody's.
func TestWithoutTheDoorEverybodyIsLetIn(t *testing.T) {
	key := secret.NewKey()
	doorless := func(_ *Config, e *Engine, _ *transport.Setup) { e.doorless = true }
	n := start(t, "alpha", 1, withKey(key), doorless)
	n.SetPeers([]transport.Address{{Name: "bravo", Endpoint: freeEndpoint(t)}})
	s := connect(t, n, key.CurveServer().Public, randomPair(t))
	if got := s.verdict(n); got != libzmq.EVENT_HANDSHAKE_SUCCEEDED {
		t.Fatalf("%v: libzmq has become careful, and this test can go", got)
	}
	s.send(appendHello(nil, greeting{from: transport.Identity{Name: "bravo", Incarnation: 1}, to: "alpha"}))
	s.refused(refusedIdentity)
	s.send([]byte{1, 2, 3}, "body")
	s.refused(refusedIdentity)
}

// refused waits for a refusal.
func (s *stranger) refused(why reason) {
	s.t.Helper()
	frame, err := s.RecvBytes(0)
	s.must(err)
	refusal, err := parseRefusal(frame)
	if err != nil || refusal.why != why {
		s.t.Fatalf("got %q (%v), want a refusal for reason %d", frame, err, why)
	}
}

func TestHelloIsJudged(t *testing.T) {
	key := secret.NewKey()
	for _, k := range []secret.Key{{}, key} {
		n := start(t, "alpha", 5, withKey(k))
		n.SetPeers([]transport.Address{{Name: "bravo", Endpoint: freeEndpoint(t)}, {Name: "charlie", Endpoint: freeEndpoint(t)}})
		var pair secret.CurvePair
		if !k.IsZero() {
			pair = key.CurveNode("bravo")
		}
		dial := func() *stranger {
			s := connect(t, n, key.CurveServer().Public, pair)
			s.must(s.Connect(n.Endpoint()))
			return s
		}
		hello := func(name string, incarnation uint64, to string) []byte {
			return appendHello(nil, greeting{from: transport.Identity{Name: name, Incarnation: incarnation}, beat: time.Hour, to: to})
		}
		other := hello("bravo", 1, "alpha")
		other[1] = 99
		for _, c := range []struct {
			frame []byte
			why   reason
		}{
			{hello("bravo", 1, "zulu"), refusedNotMe},
			{hello("alpha", 1, "alpha"), refusedIdentity},
			{other, refusedVersion},
			{[]byte{frameHello}, refusedVersion},
			{[]byte{frameBundle, 1, 2, 3}, refusedUnknown},
			{[]byte{255}, refusedUnknown},
			{[]byte{}, refusedMalformed},
		} {
			s := dial()
			s.send(c.frame)
			s.refused(c.why)
		}
		s := dial()
		s.send(hello("zulu", 1, "alpha"))
		if k.IsZero() {
			s.refused(refusedStranger)
		} else {
			s.refused(refusedIdentity) // bravo's key
			s = dial()
			s.send(hello("charlie", 1, "alpha"))
			s.refused(refusedIdentity)
		}

		s = dial()
		s.send(hello("bravo", 7, "alpha"))
		if frame, err := s.RecvBytes(0); err != nil || !bytes.Equal(frame, appendWelcome(nil, greeting{from: n.self, beat: n.cfg.Heartbeat})) {
			t.Fatalf("got %q, %v, want a welcome", frame, err)
		}
		first := n.open("bravo's connection", func(r transport.Remote) bool { return r.Identity == transport.Identity{Name: "bravo", Incarnation: 7} })
		stale := dial()
		stale.send(hello("bravo", 6, "alpha"))
		stale.refused(refusedStale)
		next := dial()
		next.send(hello("bravo", 8, "alpha"))
		if cause := first.closed(); cause != transport.ErrPeerRestarted {
			t.Errorf("the connection of the earlier run ended with %v", cause)
		}
		s.send([]byte{frameBundle, 0, 1, 0, 0, 0, 0, 1}) // along the old one
		s.refused(refusedUnknown)
	}
}

// TestMalformedEndsAConnection: what a peer says once it is welcome is not believed
// either.
func TestMalformedEndsAConnection(t *testing.T) {
	for name, frames := range map[string][]any{
		"plain form":             {"\x01head", "body"},
		"empty frame":            {""},
		"empty bundle":           {[]byte{frameBundle}},
		"cut off":                {[]byte{frameBundle, 0, 9, 0, 0, 0, 0, 1}},
		"head of ours":           {[]byte{frameBundle, 0, 1, 0, 0, 0, 0, 200}},
		"single without a size":  {[]byte{frameSingle, 0, 0}, "body"},
		"single without a head":  {[]byte{frameSingle, 0, 0, 0, 4}, "body"},
		"more than it said":      {[]byte{frameSingle, 0, 0, 0, 3, 1}, "body"},
		"cut off in a packet":    {[]byte{frameSingle, 0, 0, 0, 5, 1}, "body"},
		"more of nothing":        {[]byte{frameMore}, "body"},
		"unknown kind":           {[]byte{250}},
		"took too much":          {appendTaken(nil, 1)},
		"second hello":           {appendHello(nil, greeting{from: transport.Identity{Name: "bravo"}, to: "alpha"})},
		"larger than any packet": {[]byte{frameSingle, 0, 0x10, 0, 1, 1}, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			small := func(_ *Config, _ *Engine, s *transport.Setup) { s.MaxPacket = 1 << 20 }
			n := start(t, "alpha", 1, small)
			n.SetPeers([]transport.Address{{Name: "bravo", Endpoint: freeEndpoint(t)}})
			s := connect(t, n, "", secret.CurvePair{})
			s.must(s.Connect(n.Endpoint()))
			s.send(appendHello(nil, greeting{from: transport.Identity{Name: "bravo", Incarnation: 1}, to: "alpha"}))
			l := n.open("bravo's connection", func(r transport.Remote) bool { return r.Name == "bravo" })
			s.send(frames...)
			if name == "cut off in a packet" {
				s.send([]byte{frameBundle, 0, 1, 0, 0, 0, 0, 1})
			}
			if cause := l.closed(); !errors.Is(cause, transport.ErrUnreachable) {
				t.Errorf("ended with %v", cause)
			}
		})
	}
}

// TestFramesTooMany: what follows in a message cannot pass for a message of somebody
// else, which would begin with that connection's route.
func TestFramesTooMany(t *testing.T) {
	alpha, bravo := start(t, "alpha", 1), start(t, "bravo", 1)
	acquaint(alpha, bravo)
	victim := alpha.from(bravo)
	forged := transport.AppendPacket([]byte{frameBundle}, transport.Packet{Head: []byte("forged")})
	s := connect(t, alpha, "", secret.CurvePair{})
	s.must(s.Connect(alpha.Endpoint()))
	s.send("\x01head", "body", victim.conn.(*conn).route, forged)
	s.send("\x01head", "last")
	alpha.open("the client's connection", func(r transport.Remote) bool { return r.Name == "" }).got("\x01head", "last")
	bravo.to(alpha).send("after", "it")
	victim.got("after", "it")
	if n := len(victim.packets); n != 1 {
		t.Errorf("bravo's connection got %q", victim.packets)
	}
}

// TestRandomBytesAtThePort: whatever is thrown at the port, the node goes on.
func TestRandomBytesAtThePort(t *testing.T) {
	eachKey(t, func(t *testing.T, key option) {
		alpha, bravo := start(t, "alpha", 1, key), start(t, "bravo", 1, key)
		greetings := []string{
			"", "GET / HTTP/1.1\r\n\r\n",
			"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE",
			"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + strings.Repeat("\x00", 48) + "\x04\xff",
			"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + strings.Repeat("\x00", 48) + "\x02\xff\xff\xff\xff\xff\xff\xff\xff",
		}
		for i := range 40 {
			c, err := net.Dial("tcp", strings.TrimPrefix(alpha.Endpoint(), "tcp://"))
			if err != nil {
				t.Fatal(err)
			}
			noise := make([]byte, 1<<(i%14))
			rand.Read(noise)
			c.Write([]byte(greetings[i%len(greetings)]))
			c.Write(noise)
			if i%2 == 0 {
				c.Close()
			} else {
				defer c.Close()
			}
		}
		acquaint(alpha, bravo)
		alpha.to(bravo).send("still", "here")
		bravo.from(alpha).got("still", "here")
	})
}

// TestKeysMustMatch: nodes of which one has another key, or none, tell so.
func TestKeysMustMatch(t *testing.T) {
	for name, keys := range map[string][2]secret.Key{
		"other": {secret.NewKey(), secret.NewKey()}, "none here": {{}, secret.NewKey()}, "none there": {secret.NewKey(), {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // where libzmq says nothing, our patience decides
			alpha, bravo := start(t, "alpha", 1, withKey(keys[0])), start(t, "bravo", 1, withKey(keys[1]))
			acquaint(alpha, bravo)
			var err error
			alpha.await("a failure", func() bool { err = alpha.failed["bravo"]; return err != nil })
			if !errors.Is(err, transport.ErrUnreachable) {
				t.Error(err)
			} else {
				t.Log(err)
			}
		})
	}
}
