package kith_test

import (
	"context"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
)

// Holders stop before the cluster lets others in as long as no clock is more wrong than
// by 1 %, with the holder's slow and the others' fast; and where it is the other way
// round nobody loses a session that is renewed.
func TestClocksThatRunWrong(t *testing.T) {
	const ttl = 5 * time.Minute // of which 1 % is more than the grace
	for name, drift := range map[string]map[string]float64{
		"holder slow": {"alpha": -0.01, "bravo": 0.01, "charlie": 0.01},
		"holder fast": {"alpha": 0.01, "bravo": -0.01, "charlie": -0.01},
	} {
		t.Run(name, func(t *testing.T) {
			opts := kithtest.Options{Conditions: near, Drift: drift, Configure: func(_ string, cfg *kith.Config) { cfg.SessionTTL = ttl }}
			kithtest.Virtual(t, 3, opts, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				if leader(t, c).Name() == "alpha" { // a new leader would give it time
					c.Leave("alpha")
					c.Restart("alpha")
					ready(t, c)
				}
				holder, witness := c.Node("alpha"), leader(t, c)
				session := ephemeral(t, holder, "mine")
				gone := freed(t, witness, "mine")
				if took, ok := gone(time.Now(), 3*ttl); ok || session.Err() != nil {
					t.Fatalf("lost after %v: %v", took, context.Cause(session))
				}
				cut := time.Now()
				c.Partition([]string{"alpha"})
				var stopped time.Duration
				done := make(chan struct{})
				context.AfterFunc(session, func() { stopped = time.Since(cut); close(done) })
				free, ok := gone(cut, 2*ttl)
				<-done
				t.Logf("stopped after %v, free after %v", stopped, free)
				if !ok || stopped >= free {
					t.Errorf("stopped after %v, free after %v (%v)", stopped, free, ok)
				}
				c.Heal()
				ready(t, c)
				if _, err := holder.KV().Set(t.Context(), "mine", nil, kv.Ephemeral()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A wall clock that jumps by an hour, either way, while nodes run and between their starts,
// makes no difference to who holds what, nor to who may speak for a node. A node that starts
// with its clock set back is known in another incarnation than the one it meets others
// in: should it crash, its time must pass.
func TestWallClockJumps(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for round, ahead := range []time.Duration{time.Hour, -time.Hour, 0, time.Hour, -time.Hour, -2 * time.Hour} {
			for _, who := range []string{"voter", "leader"} {
				holder := holders(t, c, who)
				witness := others(c, holder)[0]
				session := ephemeral(t, holder, "mine")
				c.SetWallClock(holder.Name(), ahead)
				if took, ok := freed(t, witness, "mine")(time.Now(), 2*ttl); ok || session.Err() != nil {
					t.Fatalf("round %d: lost after %v: %v", round, took, context.Cause(session))
				}
				gone := freed(t, witness, "mine")
				killed := time.Now()
				c.Kill(holder.Name())
				if took, ok := gone(killed, 2*ttl); !ok || took > ttl*5/4 {
					t.Errorf("round %d: %s: free after %v (%v)", round, who, took, ok)
				}
				c.Restart(holder.Name())
				ready(t, c)
				works(t, c)
			}
		}
	})
}
