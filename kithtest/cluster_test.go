package kithtest_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/membership"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestLoopback(t *testing.T) {
	c := kithtest.Start(t, 3, kithtest.Options{})
	c.AwaitAlive()
	c.Kill("bravo")
	c.AwaitSeen("bravo", membership.StatusFailed)
	c.Restart("bravo")
	c.AwaitAlive()
	c.Leave("charlie")
	c.AwaitSeen("charlie", membership.StatusLeft)
}

// TestLoopbackKeepsDirectories: a node that is started again has what it had.
func TestLoopbackKeepsDirectories(t *testing.T) {
	c := kithtest.Start(t, 3, kithtest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Node("alpha").KV().Set(ctx, "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	before := c.Node("bravo").Status().Dir
	c.Kill("bravo")
	bravo := c.Restart("bravo")
	e, err := bravo.KV().Get(ctx, "k")
	if err != nil || string(e.Value) != "v" || bravo.Status().Dir != before {
		t.Errorf("restarted, it reads %q, %v; it lives in %s, before in %s", e.Value, err, bravo.Status().Dir, before)
	}
}

func TestVirtual(t *testing.T) {
	kithtest.Virtual(t, 5, kithtest.Options{Seed: 1}, func(t *testing.T, c *kithtest.Cluster) {
		start := time.Now()
		c.Network().SetDefault(memnet.Conditions{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.05})
		c.AwaitAlive()
		t.Log("met after", time.Since(start))
		c.Partition([]string{"alpha", "bravo"})
		c.Await("both sides give the other up", func() bool {
			return c.Node("alpha").Status().Failed == 3 && c.Node("echo").Status().Failed == 2
		})
		c.Heal()
		c.AwaitAlive()
		c.PowerOff("delta")
		c.AwaitSeen("delta", membership.StatusFailed)
		c.Restart("delta")
		c.AwaitAlive()
		c.Pause("echo")
		c.AwaitSeen("echo", membership.StatusFailed)
		c.Resume("echo")
		c.AwaitAlive()
		t.Log("all over after", time.Since(start))
	})
}

// TestEndedByItself: a node that has ended does not run, and can be restarted.
func TestEndedByItself(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Seed: 1}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		old := c.Node("bravo")
		old.Close() // stands for whatever ended it
		if n := len(c.Nodes()); n != 2 {
			t.Errorf("%d nodes run, want 2", n)
		}
		if c.Restart("bravo") == old || len(c.Nodes()) != 3 {
			t.Error("bravo was not replaced")
		}
		c.AwaitAlive()
	})
}

// watched is a network that counts the listeners which break before they are
// closed.
type watched struct {
	kith.Network
	broken *atomic.Int32
}

func (w watched) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := w.Network.Listen(ctx, address)
	return &watchedListener{Listener: l, broken: w.broken}, err
}

type watchedListener struct {
	net.Listener
	closed atomic.Bool
	broken *atomic.Int32
}

func (l *watchedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && !l.closed.Load() {
		l.broken.Add(1)
	}
	return conn, err
}

func (l *watchedListener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

// TestNodesCloseBeforeNetwork: at the end of a test no node loses its network.
func TestNodesCloseBeforeNetwork(t *testing.T) {
	var broken atomic.Int32
	opts := kithtest.Options{Seed: 1, Configure: func(_ string, cfg *kith.Config) { cfg.Network = watched{cfg.Network, &broken} }}
	kithtest.Virtual(t, 3, opts, func(t *testing.T, c *kithtest.Cluster) { c.AwaitAlive() })
	if n := broken.Load(); n != 0 {
		t.Errorf("%d nodes lost their network before they were closed", n)
	}
}
