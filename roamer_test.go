package kith_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
)

// A remote client that goes from node to node, while these are killed, paused and cut
// off, keeps its session by renewing it: as long as its own count says so, no node sees
// the session's end (S11). That the node where it was opened crashes is nothing to it
// (S12).
func TestClientInAStorm(t *testing.T) {
	const ttl = 3 * time.Second
	renewed, opened := 0, 0 // one storm alone may leave a client in peace
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			kithtest.Virtual(t, 5, kithtest.Options{Seed: seed, Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				names := kithtest.Names(5)
				w := &weather{c: c, names: names, chance: rand.New(rand.NewPCG(seed, 1))}
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				defer stop()
				client := &roamer{t: t, c: c, ttl: ttl, chance: rand.New(rand.NewPCG(seed, 2))}
				var wg sync.WaitGroup
				wg.Go(func() { client.roam(ctx) })
				w.rage(ctx)
				wg.Wait()
				calm(t, c, names)
				renewed, opened = renewed+client.renewed, opened+client.opened
				t.Logf("%d renewals in %d sessions", client.renewed, client.opened)
			})
		})
	}
	if renewed < 80 || opened < 8 {
		t.Errorf("%d renewals in %d sessions: nothing was tested", renewed, opened)
	}
}

// roamer is a remote client.
type roamer struct {
	t               *testing.T
	c               *kithtest.Cluster
	ttl             time.Duration
	chance          *rand.Rand
	renewed, opened int

	mu      sync.Mutex // guards all below
	session uint64
	until   time.Time // as the client counts
	early   bool      // the session's end was seen before
}

func (r *roamer) roam(ctx context.Context) {
	for ctx.Err() == nil {
		if nodes := r.c.Nodes(); len(nodes) > 0 {
			r.renew(ctx, nodes[r.chance.IntN(len(nodes))])
		}
		pause := r.ttl / 6
		if r.chance.IntN(8) == 0 { // now and then it is nearly too late, or is
			pause = 2 * r.ttl
		}
		time.Sleep(time.Duration(r.chance.Int64N(int64(pause))))
	}
}

func (r *roamer) renew(ctx context.Context, n *kith.Node) {
	ctx, cancel := context.WithTimeout(ctx, r.ttl/6)
	defer cancel()
	s, err := n.ClientSession(ctx, "roamer", r.ttl)
	if err != nil {
		return
	}
	name := n.Name()
	context.AfterFunc(s.Context(), func() {
		if errors.Is(context.Cause(s.Context()), kith.ErrSessionEnded) {
			r.ended(s.ID, name)
		}
	})
	sent := time.Now()
	if s.Renew(ctx) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewed++
	if s.ID > r.session {
		r.opened++
		r.session, r.until, r.early = s.ID, time.Time{}, false
	}
	if until := sent.Add(r.ttl * 99 / 100); s.ID == r.session && until.After(r.until) {
		r.until = until
	}
}

func (r *roamer) ended(session uint64, at string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := time.Until(r.until); session == r.session && left > 0 && !r.early {
		r.early = true
		r.t.Errorf("%s sees the end of session %d, %v before the client counts with it", at, session, left)
	}
}
