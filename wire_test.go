package kith_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// tape collects what is written, from any goroutine.
type tape struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *tape) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *tape) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}

// tapped records all that a node sends.
type tapped struct {
	kith.Network
	*tape
}

type tappedConn struct {
	net.Conn
	*tape
}

func (c tappedConn) Write(b []byte) (int, error) { c.tape.Write(b); return c.Conn.Write(b) }

type tappedPackets struct {
	net.PacketConn
	*tape
}

func (c tappedPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	c.tape.Write(b)
	return c.PacketConn.WriteTo(b, to)
}

func (n tapped) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := n.Network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return tappedConn{conn, n.tape}, nil
}

func (n tapped) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	conn, err := n.Network.ListenPacket(ctx, addr)
	if err != nil {
		return nil, err
	}
	return tappedPackets{conn, n.tape}, nil
}

// TestNothingInClear: with a key, names and tags do not cross the wire in clear,
// without one they do (so that this test can fail). The key is never logged.
func TestNothingInClear(t *testing.T) {
	for what, keyed := range map[string]bool{"key": true, "no key": false} {
		t.Run(what, func(t *testing.T) {
			var wire, logged tape
			key := ""
			kithtest.Virtual(t, 3, kithtest.Options{Configure: func(name string, cfg *kith.Config) {
				cfg.Network = tapped{cfg.Network, &wire}
				cfg.Tags = map[string]string{"motto": "correct-horse-battery"}
				cfg.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
				if !keyed {
					cfg.Key, cfg.Insecure = "", true
				}
			}}, func(t *testing.T, c *kithtest.Cluster) {
				key = c.Key()
				c.AwaitAlive()
				c.Node("alpha").Broadcast("secret-topic", []byte("secret-payload"))
				time.Sleep(time.Minute)
			})
			for _, word := range []string{"correct-horse-battery", "secret-payload", "charlie"} {
				if clear := strings.Contains(wire.String(), word); clear == keyed {
					t.Errorf("%q crossed the wire in clear: %v", word, clear)
				}
			}
			body := strings.TrimPrefix(key, "kith1-")
			raw, err := base64.RawURLEncoding.DecodeString(body)
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{body[:20], hex.EncodeToString(raw[:8]), base64.StdEncoding.EncodeToString(raw[:12])} {
				if strings.Contains(logged.String(), form) {
					t.Error("the key is in the log")
				}
			}
			if !strings.Contains(logged.String(), "listening") {
				t.Error("the log was not looked at")
			}
		})
	}
}

// TestBadClusterNameInTheFile: an edit that gossip would refuse ends nobody.
func TestBadClusterNameInTheFile(t *testing.T) {
	dir := lonely(t)
	path := filepath.Join(dir, "peers.json")
	list := onLoopback(t, "alpha", "bravo")
	dump(t, list, path)
	alpha := start(t, kith.Config{Name: "alpha"})
	bravo := start(t, kith.Config{Name: "bravo"})
	await(t, alpha, "bravo", alive("bravo"))
	list.Info = map[string]any{"cluster": strings.Repeat("c", 300)}
	dump(t, list, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, node := range []*kith.Node{alpha, bravo} {
		for _, err := range node.WatchPeers(ctx) {
			if err != nil {
				break
			}
		}
		if s := node.Status(); !strings.Contains(s.PeersError, "cluster") || node.Context().Err() != nil {
			t.Errorf("%s: ended %v, says %q", node.Name(), node.Context().Err(), s.PeersError)
		}
	}
	await(t, alpha, "bravo, still", alive("bravo"))
	// A good name moves both to the cluster of that name.
	list.Info = map[string]any{"cluster": "other"}
	dump(t, list, path)
	for _, node := range []*kith.Node{alpha, bravo} {
		for range node.WatchPeers(ctx) {
			if node.Status().Cluster == "other" {
				break
			}
		}
		await(t, node, "both in the other cluster", alive("alpha", "bravo"))
	}
}

// TestLeaveWhileSearching: saying goodbye ends the search for absent peers.
func TestLeaveWhileSearching(t *testing.T) {
	kithtest.Virtual(t, 4, kithtest.Options{Absent: []string{"delta"}}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		c.Leave("bravo")
		c.AwaitSeen("bravo", membership.StatusLeft)
	})
}

// TestStartTakesNoLonger than it must: time is virtual, hence exact.
func TestStartTakesNoLonger(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Absent: []string{"alpha"}}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		c.Network().Isolate(c.Addr("charlie"))
		begin := time.Now()
		c.Restart("alpha")
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("with bravo there and charlie silent it took %v", took)
		}
		c.Kill("alpha")
		c.Network().Isolate(c.Addr("bravo"))
		begin = time.Now()
		c.Restart("alpha")
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("with everybody silent it took %v, want 3 s", took)
		}
		c.Kill("alpha")
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(enough) })
		cfg := kith.Config{Name: "alpha", Peers: c.Peers(), Key: c.Key(), Dir: t.TempDir(), Network: c.Network().Host(c.Addr("alpha"))}
		if node, err := kith.Start(ctx, cfg); !errors.Is(err, enough) {
			node.Close()
			t.Errorf("a start that is called off returned %v", err)
		}
	})
}

// TestConfigIsCopied: what the program does to its Config later changes nothing.
func TestConfigIsCopied(t *testing.T) {
	list := onLoopback(t, "solo")
	tags := map[string]string{"zone": "a"}
	node := start(t, kith.Config{Name: "solo", Peers: list, Tags: tags})
	list.Peers[0].Name = "changed"
	tags["zone"] = "changed"
	node.Peers().Peers[0].Name = "changed too"
	if got := node.Peers().Peers[0].Name; got != "solo" || node.Name() != "solo" {
		t.Errorf("the node is %q, its list has %q", node.Name(), got)
	}
	if m := node.Members()[0]; m.Tags["zone"] != "a" {
		t.Errorf("tags: %v", m.Tags)
	}
}

// TestQueryEndsWithTheNode, and with the last answer.
func TestQueryEndsWithTheNode(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		alpha := c.Node("alpha")
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		time.AfterFunc(time.Second, func() { c.Kill("alpha") })
		var last error
		for _, last = range alpha.Query(ctx, "nobody answers", nil) {
		}
		if !errors.Is(last, kith.ErrClosed) || time.Since(begin) > time.Minute {
			t.Errorf("after %v: %v", time.Since(begin), last)
		}
	})
}

// TestKeyStaysWhileTheListChanges: another key would cut the node off.
func TestKeyStaysWhileTheListChanges(t *testing.T) {
	dir := lonely(t)
	path, key := filepath.Join(dir, "peers.json"), filepath.Join(dir, "key")
	list := onLoopback(t, "alpha", "bravo")
	dump(t, list, path)
	os.WriteFile(key, []byte(kith.NewKey()), 0o600)
	alpha, bravo := start(t, kith.Config{Name: "alpha"}), start(t, kith.Config{Name: "bravo"})
	await(t, alpha, "bravo", alive("bravo"))
	os.WriteFile(key, []byte(kith.NewKey()), 0o600)
	more := list.Clone()
	more.Add(&peers.Peer{PID: 3, Name: "charlie", IPAddr: "127.0.0.1", Port: 1, ControlPort: 2})
	dump(t, more, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before := find(bravo, "alpha").Since
	for change := range alpha.WatchPeers(ctx) {
		if len(change.Current.Peers) == 3 {
			break
		}
	}
	if m := find(bravo, "alpha"); m.Status != membership.StatusAlive || !m.Since.Equal(before) {
		t.Errorf("bravo sees alpha %v since %v; it was never to leave", m.Status, m.Since)
	}
}
