package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// span is a piece of time.
type span struct{ begun, ended time.Time }

func (s span) took() time.Duration { return s.ended.Sub(s.begun) }

func (s span) overlaps(other span) bool {
	return s.begun.Before(other.ended) && other.begun.Before(s.ended)
}

// snapshotter is a client that knows when its node made its newest snapshot.
type snapshotter interface {
	newest() (made span, any bool)
}

// snapshotting is a load of puts that goes on until the node has made a snapshot.
type snapshotting struct {
	Node    int
	Callers int
	Limit   time.Duration
}

// snapshotted is what the callers saw.
type snapshotted struct {
	Took  time.Duration // by the snapshot
	Worst time.Duration // put that was under way during it
	Calm  time.Duration // the worst of the others
}

// calm is how long the load goes on without a snapshot, after one.
const calm = time.Second

// Run returns a *snapshotted.
func (q *snapshotting) Run(ctx context.Context, c client) (any, error) {
	node, ok := c.(snapshotter)
	if !ok {
		return nil, errors.New("this child does not know about snapshots")
	}
	conns, err := c.conns(ctx, q.Node, q.Callers)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, q.Limit)
	defer cancel()
	loading, stop := context.WithCancel(ctx)
	defer stop()
	keys, slow := keyNames(keyCount), newSlowest()
	var wg sync.WaitGroup
	for i, to := range conns {
		wg.Go(func() {
			value := make([]byte, valueSize)
			for k := i; loading.Err() == nil; k += len(conns) {
				begun := time.Now()
				if to.put(ctx, keys[k%len(keys)], value) == nil {
					slow.add(span{begun, time.Now()})
				}
			}
		})
	}
	made, err := awaitSnapshot(ctx, node)
	stop()
	wg.Wait()
	if err != nil {
		return nil, fmt.Errorf("%w within %v of puts", err, q.Limit)
	}
	s := &snapshotted{Took: made.took()}
	for _, put := range slow.all() {
		if put.overlaps(made) {
			s.Worst = max(s.Worst, put.took())
		} else {
			s.Calm = max(s.Calm, put.took())
		}
	}
	return s, nil
}

// awaitSnapshot returns the first snapshot that is begun from now on, a little
// after its end.
func awaitSnapshot(ctx context.Context, node snapshotter) (span, error) {
	for start := time.Now(); ctx.Err() == nil; time.Sleep(stage.Patience) {
		if made, any := node.newest(); any && made.begun.After(start) {
			time.Sleep(calm)
			return made, nil
		}
	}
	return span{}, errors.New("no snapshot was made")
}

// slowest keeps the slowest of the puts that ended in each 10 ms. It is safe for
// concurrent use.
type slowest struct {
	start time.Time

	mu    sync.Mutex // guards slots
	slots map[time.Duration]span
}

func newSlowest() *slowest {
	return &slowest{start: time.Now(), slots: make(map[time.Duration]span)}
}

func (s *slowest) add(put span) {
	slot := put.ended.Sub(s.start) / (10 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if put.took() > s.slots[slot].took() {
		s.slots[slot] = put
	}
}

func (s *slowest) all() (puts []span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, put := range s.slots {
		puts = append(puts, put)
	}
	return puts
}

// snapshotLog is a log handler that takes note of what kith says when it has made
// a snapshot: "snapshot", with how long it took.
type snapshotLog struct {
	slog.Handler
	seen *snapshotsSeen
}

type snapshotsSeen struct {
	mu     sync.Mutex // guards newest
	newest span
}

func (l *snapshotLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "snapshot" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "took" && a.Value.Kind() == slog.KindDuration {
				l.seen.add(span{r.Time.Add(-a.Value.Duration()), r.Time})
			}
			return true
		})
	}
	return l.Handler.Handle(ctx, r)
}

func (l *snapshotLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &snapshotLog{l.Handler.WithAttrs(attrs), l.seen}
}

func (l *snapshotLog) WithGroup(name string) slog.Handler {
	return &snapshotLog{l.Handler.WithGroup(name), l.seen}
}

func (s *snapshotsSeen) add(made span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = made
}

func (s *snapshotsSeen) get() (made span, any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest, !s.newest.ended.IsZero()
}
