//go:build unix

package proof

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
)

// TestKilledPausedRestarted lets clients, holders and watchers work through three voters and
// a learner while these are killed, stopped and restarted, and judges what they were
// told. The seed draws what is asked and broken; the system adds chances of its own.
func TestKilledPausedRestarted(t *testing.T) {
	for seed := *from; seed < *from+uint64(*seeds); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { killedPausedRestarted(t, seed) })
	}
}

func killedPausedRestarted(t *testing.T, seed uint64) {
	c := found(t, "alpha", "bravo", "charlie", "delta")
	h := check.NewHistory()
	var clients, watchers sync.WaitGroup
	for _, name := range c.names {
		watchers.Go(func() { c.watch(h, name, "", "k-end") })
	}
	chance := rand.New(rand.NewPCG(seed, 0))
	mix, keys := check.SingleKey(), 8
	if seed%4 == 0 {
		mix, keys = check.MultiKey(), 3
	}
	work := check.Workload{
		Seed: seed, Clients: 8, Keys: keys, Prefix: "k", Mix: mix, Think: 15 * time.Millisecond, Timeout: 2 * time.Second,
	}
	ctx, stop := context.WithTimeout(t.Context(), *length)
	defer stop()
	clients.Go(func() {
		work.Run(ctx, h, func(i int) check.Client { return c.client(c.names[i%len(c.names)]) })
	})
	clients.Go(func() { c.queues(ctx, h, seed) })
	(&weather{c, chance, h}).rage(ctx)
	clients.Wait()
	c.revive()
	c.vacant(h)
	// A last write, so that watchers and replicas know that they have seen everything.
	if r := h.Do(t.Context(), work.Clients, c.client("alpha"), check.Op{Kind: check.Set, Key: "k-end", Value: "end"}); r.Outcome != outcome.Done {
		t.Fatal(r.Err)
	}
	held := c.held("")
	watchers.Wait()
	report(t, h)
	check.Verify(t, check.Origin{Seed: seed, Command: fmt.Sprintf("go test -race -run TestKilledPausedRestarted -artifacts ./internal/proof -proof.from %d -proof.seeds 1 -proof.for %v", seed, *length)}, h, held...)
}

// report says what there was to judge, and fails the test if that was next to nothing.
func report(t *testing.T, h *check.History) {
	t.Helper()
	outcomes := make(map[outcome.Outcome]int)
	all := h.Record()
	for _, op := range all.Operations {
		outcomes[op.Result.Outcome]++
	}
	events := 0
	for _, s := range all.Streams {
		events += len(s.Events)
	}
	t.Logf("%d operations done, %d not done, %d with an unknown outcome; %d events in %d streams",
		outcomes[outcome.Done], outcomes[outcome.NotDone], outcomes[outcome.Unknown], events, len(all.Streams))
	t.Log(all.Lines())
	if outcomes[outcome.Done] < 100 {
		t.Error("too little has happened to prove anything")
	}
}

// TestAllKilledAtOnce kills all processes in the same moment while clients write, a
// few times: what was acknowledged is there afterwards, everywhere.
func TestAllKilledAtOnce(t *testing.T) {
	c := found(t, "alpha", "bravo", "charlie")
	h := check.NewHistory()
	for round := range 4 {
		ctx, stop := context.WithCancel(t.Context())
		var acknowledged atomic.Int64
		var clients sync.WaitGroup
		work := check.Workload{
			Seed: uint64(round), Clients: 9, Keys: 50, Prefix: fmt.Sprintf("k%d-", round),
			Mix: check.Mix{Set: 8, CompareAndSet: 1, Delete: 1}, Think: time.Millisecond, Timeout: 5 * time.Second,
		}
		clients.Go(func() {
			work.Run(ctx, h, func(i int) check.Client { return counted{c.client(c.names[i%3]), &acknowledged} })
		})
		c.await("writes to be under way", func() bool { return acknowledged.Load() > 150 })
		c.kill(c.names...)
		stop()
		clients.Wait()
		t.Logf("round %d: %d acknowledged before the kill", round, acknowledged.Load())
		c.revive()
		for _, r := range c.held("k") {
			if err := check.Durable(h.Record(), r.Name, r.Entries); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
	}
	report(t, h)
	check.Verify(t, check.Origin{}, h, c.held("k")...)
}

// counted counts what a client was told to be done.
type counted struct {
	check.Client
	done *atomic.Int64
}

// Do implements check.Client.
func (l counted) Do(ctx context.Context, op check.Op) check.Result {
	r := l.Client.Do(ctx, op)
	if r.Outcome == outcome.Done {
		l.done.Add(1)
	}
	return r
}

// TestLeaderKilled kills the leader while others write: nothing acknowledged is lost.
// How long writes stand still is told and not judged, since this machine has other
// things to do.
func TestLeaderKilled(t *testing.T) {
	c := found(t, "alpha", "bravo", "charlie")
	h := check.NewHistory()
	var gaps []time.Duration
	for round := range 5 {
		leader := c.leader()
		left := c.others(leader)
		w := &pulse{}
		ctx, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		work := check.Workload{
			Seed: uint64(round), Clients: 4, Keys: 1000, Prefix: fmt.Sprintf("k%d-", round),
			Mix: check.Mix{Set: 1}, Think: time.Millisecond, Timeout: patience,
		}
		clients.Go(func() {
			work.Run(ctx, h, func(i int) check.Client { return felt{c.client(left[i%2]), w} })
		})
		c.await("writes before the kill", func() bool { return w.beats() >= 50 })
		c.kill(leader)
		before := w.beats()
		c.await("writes after the kill", func() bool { return w.beats() >= before+50 })
		stop()
		clients.Wait()
		gaps = append(gaps, w.longest())
		c.revive()
		for _, r := range c.held("k") {
			if err := check.Durable(h.Record(), r.Name, r.Entries); err != nil {
				t.Errorf("round %d, %s killed: %v", round, leader, err)
			}
		}
	}
	slices.Sort(gaps)
	t.Logf("the leader killed: writes stood still for %v (median of %d; longest %v)", gaps[len(gaps)/2], len(gaps), gaps[len(gaps)-1])
	check.Verify(t, check.Origin{}, h, c.held("k")...)
}

// pulse measures how regularly something succeeds.
type pulse struct {
	mu    sync.Mutex // guards the fields below
	count int
	last  time.Time
	gap   time.Duration
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.count > 0 {
		p.gap = max(p.gap, now.Sub(p.last))
	}
	p.count, p.last = p.count+1, now
}

func (p *pulse) beats() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func (p *pulse) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gap
}

// felt makes a client's successes beats of a pulse.
type felt struct {
	check.Client
	pulse *pulse
}

// Do implements check.Client.
func (l felt) Do(ctx context.Context, op check.Op) check.Result {
	r := l.Client.Do(ctx, op)
	if r.Outcome == outcome.Done {
		l.pulse.beat()
	}
	return r
}
