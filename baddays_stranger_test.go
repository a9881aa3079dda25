package kith_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/membership"
)

// impostor opens a control port on a machine of its own, from which a test can speak as
// the member called name, with the cluster's key and all that a member knows.
func impostor(t *testing.T, c *kithtest.Cluster, name string) *link.Link {
	t.Helper()
	key, err := secret.Parse(c.Key())
	if err != nil {
		t.Fatal(err)
	}
	s := c.Node(name).Status()
	l, err := link.Listen(t.Context(), link.Config{
		Network: c.Network().Host(netip.MustParseAddr("10.0.9.9")), Bind: ":9", Advertise: c.Addr(name),
		Cluster: s.Cluster, Name: name, Incarnation: uint64(s.Incarnation), Key: key,
		OnStream: func(conn net.Conn, _ link.Hello) { conn.Close() },
		OnPacket: func([]byte, netip.AddrPort, time.Time) {},
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Bind(s.Agreement.ClusterID, s.Agreement.RaftID)
	return l
}

// What makes no sense ends the connection it comes on, and nothing else: neither a
// member's state nor its place in the cluster, even if it comes from one who has the
// key and poses as a member.
func TestGarbageFrames(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		works(t, c)
		chance := rand.New(rand.NewPCG(1, 0))
		noise := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(chance.Uint32())
			}
			return b
		}
		liar := impostor(t, c, "bravo")
		defer liar.Close()
		id := c.Node("bravo").Status().Agreement
		for _, victim := range []string{"alpha", "charlie"} { // among them the leader, or its follower
			to := c.Node(victim).Status().Agreement.RaftID
			route := link.Route{Tag: link.TagOf(id.ClusterID), From: id.RaftID, To: to}
			frame := func(kind link.Kind, body []byte) []byte { return link.AppendFrame(nil, route, kind, body) }
			for what, tc := range map[string]struct {
				purpose link.Purpose
				bytes   []byte
			}{
				"noise":                   {link.Raft, append([]byte{0, 0, 4, 0}, noise(4096)...)},
				"length of 4 GiB":         {link.Raft, append([]byte{255, 255, 255, 255}, noise(4096)...)},
				"length of nothing":       {link.Raft, make([]byte, 64)},
				"for another member":      {link.Raft, link.AppendFrame(nil, link.Route{Tag: route.Tag, From: id.RaftID, To: to + 100}, link.KindRaft, nil)},
				"for another cluster":     {link.Raft, link.AppendFrame(nil, link.Route{From: id.RaftID, To: to}, link.KindRaft, nil)},
				"messages of noise":       {link.Raft, frame(link.KindRaft, noise(1000))},
				"proposals of noise":      {link.Raft, frame(link.KindPropose, noise(1000))},
				"renewal of noise":        {link.Raft, frame(link.KindRenew, noise(100))},
				"answer of noise":         {link.Raft, frame(link.KindRenewed, noise(100))},
				"snapshot of noise":       {link.Snapshot, frame(link.KindSnapshot, noise(1000))},
				"snapshot without offer":  {link.Snapshot, frame(link.KindRaft, nil)},
				"offer of 2^64 bytes":     {link.Snapshot, frame(link.KindSnapshot, bytes.Repeat([]byte{255}, 300))},
				"question that is noise":  {link.Found, link.AppendFrame(nil, link.Route{}, link.KindQuestion, noise(1000))},
				"question that is hollow": {link.Found, link.AppendFrame(nil, link.Route{}, link.KindQuestion, nil)},
			} {
				conn, _, err := liar.Dial(t.Context(), link.Call{
					Name: victim, Addr: c.Node(victim).Status().ControlAddr.String(), Purpose: tc.purpose, RaftID: to,
				})
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				began := time.Now()
				conn.SetDeadline(began.Add(time.Minute))
				conn.Write(tc.bytes) // it may be refused before it has arrived whole
				io.Copy(io.Discard, conn)
				if time.Since(began) > 30*time.Second {
					t.Errorf("%s: %s keeps the connection", what, victim)
				}
				conn.Close()
			}
			// Half a frame, and then nothing.
			conn, _, err := liar.Dial(t.Context(), link.Call{
				Name: victim, Addr: c.Node(victim).Status().ControlAddr.String(), Purpose: link.Raft, RaftID: to,
			})
			if err != nil {
				t.Fatal(err)
			}
			whole := frame(link.KindPropose, noise(100))
			conn.Write(whole[:len(whole)/2])
			conn.Close()
		}
		works(t, c)
		for _, n := range c.Nodes() {
			if keys := contents(t, n, ""); len(keys) != 1 {
				t.Errorf("%s holds %v", n.Name(), keys)
			}
			if s := n.Status(); !s.Healthy() {
				t.Errorf("%s is not content: %q", n.Name(), s.Problems)
			}
		}
	})
}

// Noise at the port, from many who have no key, keeps nobody from working.
func TestNoiseAtThePort(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		works(t, c)
		chance := rand.New(rand.NewPCG(2, 0))
		for i := range 50 {
			host := c.Network().Host(netip.AddrFrom4([4]byte{10, 0, 8, byte(i + 1)}))
			socket, err := host.ListenPacket(t.Context(), ":1000")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range c.Nodes() {
				at := n.Status().ControlAddr
				for range 4 {
					conn, err := host.Dial(t.Context(), at.String())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					b := make([]byte, 1+chance.IntN(5000))
					for j := range b {
						b[j] = byte(chance.Uint32())
					}
					conn.SetDeadline(time.Now().Add(time.Second))
					conn.Write(b) // refused half-way, or not
					socket.WriteTo(b, net.UDPAddrFromAddrPort(at))
				}
			}
		}
		works(t, c)
		for _, n := range c.Nodes() {
			if s := n.Status(); !s.Healthy() || s.Alive != 3 {
				t.Errorf("%s sees %d nodes and is not content: %q", n.Name(), s.Alive, s.Problems)
			}
		}
	})
}

// Two clusters, each with state, whose lists are merged by mistake: each side says with
// whom it cannot be one, and keeps what it has.
func TestTwoClustersMeet(t *testing.T) {
	first, second := []string{"alpha"}, []string{"bravo", "charlie", "delta"}
	apart := func(name string, cfg *kith.Config) {
		own := second
		if slices.Contains(first, name) {
			own = first
		}
		kept := cfg.Peers.Peers[:0:0]
		for _, p := range cfg.Peers.Peers {
			if slices.Contains(own, p.Name) {
				kept = append(kept, p)
			}
		}
		cfg.Peers.Peers = kept
	}
	kithtest.Virtual(t, 4, kithtest.Options{Configure: apart}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		set(t, c.Node("alpha"), "whose", "first")
		set(t, c.Node("bravo"), "whose", "second")
		one, two := c.Node("alpha").Status().Agreement.ClusterID, c.Node("bravo").Status().Agreement.ClusterID
		if one == two || one == "" {
			t.Fatalf("clusters %q and %q", one, two)
		}
		c.SetPeers(c.Peers())
		c.AwaitAlive() // they gossip
		troubled(t, c, c.Node("alpha"), "bravo", two, "remove")
		troubled(t, c, c.Node("bravo"), "alpha", one, "remove")
		troubled(t, c, c.Node("delta"), "alpha", one, "remove")
		time.Sleep(time.Minute)
		for _, name := range kithtest.Names(4) {
			want, cluster := "second", two
			if name == "alpha" {
				want, cluster = "first", one
			}
			for range 2 { // it stays so after a restart
				n := c.Node(name)
				if got := get(t, n, "whose"); got != want || n.Status().Agreement.ClusterID != cluster {
					t.Errorf("%s reads %q in cluster %s", name, got, n.Status().Agreement.ClusterID)
				}
				set(t, n, "by/"+name, "x")
				c.Kill(name)
				c.Restart(name)
				c.SetPeers(c.Peers())
				if err := c.Node(name).Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Mended: each side has its own list again.
		for _, n := range c.Nodes() {
			cfg := kith.Config{Peers: c.Peers()}
			apart(n.Name(), &cfg)
			if err := n.SetPeers(t.Context(), cfg.Peers); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range c.Nodes() {
			c.Await(n.Name()+" to be content", func() bool {
				return !strings.Contains(strings.Join(n.Status().Problems, " "), "cluster")
			})
		}
	})
}

// A node with the wrong key is neither counted in at the birth nor harmful later, and
// all are told what is wrong.
func TestWrongKey(t *testing.T) {
	wrong := true
	opts := kithtest.Options{Configure: func(name string, cfg *kith.Config) {
		if name == "charlie" && wrong {
			cfg.Key = kith.NewKey()
		}
	}}
	kithtest.Virtual(t, 3, opts, func(t *testing.T, c *kithtest.Cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		says(t, "before the birth", c.Node("alpha").Ready(ctx), kith.NotDone, kith.ErrNoQuorum, "charlie", "cluster key differs")
		c.Kill("charlie")
		wrong = false
		c.Restart("charlie")
		works(t, c)
		c.Kill("charlie")
		wrong = true
		c.Restart("charlie")
		set(t, c.Node("alpha"), "k", "v")
		troubled(t, c, c.Node("alpha"), "charlie", "cluster key differs")
		troubled(t, c, c.Node("charlie"), "alpha", "cluster key differs", "no leader")
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.Node("charlie").KV().Get(ctx, "k")
		says(t, "on the node with the wrong key", err, kith.NotDone, kith.ErrNoQuorum, "alpha", "bravo")
		c.Kill("charlie")
		wrong = false
		c.Restart("charlie")
		works(t, c)
		if got := get(t, c.Node("charlie"), "k"); got != "v" {
			t.Errorf("with the right key it reads %q", got)
		}
	})
}

// hail sends the JSON of a hello and returns that of the answer.
func hail(t *testing.T, conn net.Conn, hello string) string {
	t.Helper()
	conn.SetDeadline(time.Now().Add(time.Minute))
	b := binary.BigEndian.AppendUint16([]byte("KITH"), uint16(len(hello)))
	if _, err := conn.Write(append(b, hello...)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || len(answer) < 6 {
		t.Fatalf("answered %q, %v", answer, err)
	}
	return string(answer[6:])
}

// A release that shares no version of the handshake with this one is told so, as are
// the people on this side; both are named and nothing else happens.
func TestFutureVersion(t *testing.T) {
	open := func(_ string, cfg *kith.Config) { cfg.Key, cfg.Insecure = "", true }
	kithtest.Virtual(t, 3, kithtest.Options{Configure: open}, func(t *testing.T, c *kithtest.Cluster) {
		works(t, c)
		at := c.Node("charlie").Status().ControlAddr
		c.Kill("charlie")
		host := c.Network().Host(c.Addr("charlie"))
		listener, err := host.Listen(t.Context(), fmt.Sprint(":", at.Port()))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				io.ReadFull(conn, make([]byte, 6))
				no := `{"v":9,"oldest":9,"cluster":"kith","name":"charlie","refused":{"code":"version","text":"charlie speaks versions 9 to 9, you speak 1 to 1: update the older one"}}`
				conn.Write(append(binary.BigEndian.AppendUint16([]byte("KITH"), uint16(len(no))), no...))
				conn.Close()
			}
		}()
		conn, err := host.Dial(t.Context(), c.Node("alpha").Status().ControlAddr.String())
		if err != nil {
			t.Fatal(err)
		}
		answer := hail(t, conn, fmt.Sprintf(`{"v":9,"oldest":9,"cluster":"kith","name":"charlie","addr":%q,"to":"alpha","for":"raft"}`, at))
		conn.Close()
		for _, word := range []string{`"code":"version"`, "alpha speaks versions 1 to 1", "you speak 9 to 9", "update the older one"} {
			if !strings.Contains(answer, word) {
				t.Errorf("the answer to a later release does not say %q: %s", word, answer)
			}
		}
		c.AwaitSeen("charlie", membership.StatusFailed)
		troubled(t, c, c.Node("alpha"), "charlie", "you speak 1 to 1", "update the older one")
		works(t, c)
		listener.Close()
		<-done
		c.Restart("charlie")
		works(t, c)
	})
}
