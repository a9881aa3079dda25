package kithtest_test

import (
	"testing"
	"time"

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
