//go:build unix

package proof

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/kith-go/kith/internal/check"
)

// weather kills, stops and restarts replicas, by chance.
type weather struct {
	c      *cluster
	chance *rand.Rand
	h      *check.History // is told who cannot rely on what it holds
}

// rage goes on until ctx ends.
func (w *weather) rage(ctx context.Context) {
	for ctx.Err() == nil {
		w.pass(ctx, 200*time.Millisecond, 1500*time.Millisecond)
		w.strike(ctx)
		for _, name := range w.c.names {
			if w.c.at(name) == nil && w.chance.IntN(2) == 0 {
				w.c.start(name)
			}
		}
	}
}

// pass lets some time go by.
func (w *weather) pass(ctx context.Context, least, most time.Duration) {
	timer := time.NewTimer(least + time.Duration(w.chance.Int64N(int64(most-least))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (w *weather) strike(ctx context.Context) {
	name := w.c.names[w.chance.IntN(len(w.c.names))]
	switch w.chance.IntN(9) {
	case 0, 1:
		w.kill(name)
	case 2:
		w.kill(w.leader(name))
	case 3, 4:
		w.stop(ctx, name, func() {})
	case 5, 6:
		w.stop(ctx, w.leader(name), func() {})
	case 7: // it wakes in a world where another one is dead
		w.stop(ctx, name, func() { w.kill(w.c.others(name)[w.chance.IntN(len(w.c.names)-1)]) })
	case 8:
		w.kill(w.c.names...)
	}
}

func (w *weather) kill(names ...string) {
	w.c.died(w.h, names...)
	w.c.kill(names...)
}

// leader returns whom anybody takes for the leader, else the given one.
func (w *weather) leader(otherwise string) string {
	for _, name := range w.c.names {
		if s, ok := w.c.status(name); ok && s.Agreement.Leader != "" {
			return s.Agreement.Leader
		}
	}
	return otherwise
}

// stop pauses a replica for shorter or longer than the others take to miss a leader.
func (w *weather) stop(ctx context.Context, name string, meanwhile func()) {
	p := w.c.at(name)
	if p == nil {
		return
	}
	p.pause()
	w.c.died(w.h, name)
	defer p.resume()
	w.pass(ctx, 50*time.Millisecond, time.Second)
	meanwhile()
	w.pass(ctx, 50*time.Millisecond, time.Second)
}
