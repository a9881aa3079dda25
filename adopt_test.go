package kith_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
)

// What nodes held as clusters of their own, in memory, is lost when they become one, and
// whoever leads goes on to lead there: the nodes live, and nobody is told otherwise.
func TestLeadersOfOneBecomeACluster(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "/state")
	alone := func(name string, cfg *kith.Config) {
		cfg.Dir = ""
		self, err := cfg.Peers.Get(name)
		if err != nil {
			t.Error(err)
			return
		}
		cfg.Peers.Peers = append(cfg.Peers.Peers[:0:0], self)
	}
	kithtest.Virtual(t, 3, kithtest.Options{Configure: alone}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var leading, runs atomic.Int32
		var holds []context.Context
		for _, n := range c.Nodes() {
			held, err := n.Lock("own").Acquire(ctx)
			if err != nil {
				t.Fatal(err)
			}
			holds = append(holds, held.Context())
			wg.Go(func() {
				var err error
				// Until all have the list, some may say that they do not count the others in.
				for again := true; again; again = errors.Is(err, kith.ErrNotMember) && ctx.Err() == nil {
					err = n.Group("g").Lead(ctx, 1, func(ctx context.Context) error {
						runs.Add(1)
						leading.Add(1)
						defer leading.Add(-1)
						<-ctx.Done()
						return nil
					})
					time.Sleep(time.Millisecond)
				}
				if ctx.Err() == nil {
					t.Errorf("%s leads no more: %v", n.Name(), err)
				}
			})
		}
		c.Await("each leads its own", func() bool { return leading.Load() == 3 })
		c.SetPeers(c.Peers())
		for _, held := range holds {
			<-held.Done()
			if cause := context.Cause(held); !errors.Is(cause, kith.ErrSessionEnded) {
				t.Errorf("the end of a hold is told as %v", cause)
			}
		}
		c.Await("one leads all", func() bool {
			members, err := c.Node("alpha").Group("g").Members(ctx, 0)
			return err == nil && len(members) == 3 && leading.Load() == 1 && runs.Load() >= 4
		})
		time.Sleep(time.Second)
		if leading.Load() != 1 {
			t.Errorf("%d lead", leading.Load())
		}
		stop()
		wg.Wait()
	})
}

// A node that leaves does not line up once more for what it has just given up.
func TestLeavingNodeDoesNotComeBack(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		leaver, stays := c.Node("bravo"), c.Node("charlie")
		held, err := leaver.Lock("k").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			<-held.Context().Done()
			_, err := leaver.Lock("k").Acquire(t.Context())
			ended <- err
		}()
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			nobody := stays.Client("", 0)
			defer nobody.Close()
			gone := false
			for q, err := range nobody.Follow(ctx, kith.QueueName{Kind: kith.LockQueue, Name: "k"}) {
				if err != nil {
					t.Error(err)
				}
				if gone = gone || len(q.Places) == 0; gone && len(q.Places) > 0 {
					t.Errorf("back in the line: %v", q.Places)
				}
			}
		})
		time.Sleep(time.Second)
		c.Leave("bravo")
		if err := <-ended; !errors.Is(err, kith.ErrClosed) {
			t.Errorf("asking for it again: %v", err)
		}
		time.Sleep(time.Second)
		stop()
		wg.Wait()
	})
}
