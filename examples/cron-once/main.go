// Command cron-once runs a job at regular times, at most once each, on one of all the
// replicas: every one of them wakes up, whoever is first runs the job, and the others see
// that it was.
//
// At most once: that a job is due is written down before it runs, so a replica that dies
// in the middle leaves it undone. A job that must be done and can be repeated is written
// down afterwards instead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// run is the value of the key cron/report: the newest slot whose job was run.
type run struct {
	Slot time.Time `json:"slot"`
	By   string    `json:"by"`
}

func main() {
	name := flag.String("name", "", "which peer of peers.json this is; by default the only one of this host")
	every := flag.Duration("every", time.Minute, "time from one slot to the next; at least a second")
	flag.Parse()
	if *every < time.Second {
		log.Fatal("-every must be a second or more")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	node, err := kith.Start(ctx, kith.Config{Name: *name})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Leave(context.Background())

	for {
		slot := time.Now().UTC().Truncate(*every).Add(*every) // the same moments on all replicas
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(slot)):
		}
		if err := wake(ctx, node, slot); err != nil && ctx.Err() == nil {
			log.Print(err)
		}
	}
}

// wake runs the job of a slot, unless somebody else has. The lock keeps jobs of different
// slots apart, too: one that takes long is never joined by the next.
func wake(ctx context.Context, node *kith.Node, slot time.Time) error {
	held, err := node.Lock("cron/report").Acquire(ctx)
	if err != nil {
		return err
	}
	defer held.Release(ctx)
	last, mine, err := claim(ctx, node, held, slot)
	switch {
	case err != nil:
		return err
	case !mine && last.Slot.Equal(slot):
		fmt.Printf("slot %s: %s has run it\n", clock(slot), last.By)
		return nil
	case !mine:
		fmt.Printf("slot %s: too late, %s has run %s\n", clock(slot), last.By, clock(last.Slot))
		return nil
	}
	return report(held.Context(), node.Name(), slot)
}

// claim writes down that this node runs the job of a slot. If that or a later one was run
// it writes nothing and returns the newest. Clocks may differ: the one that is ahead
// decides when, never how often. And a replica may be paused at any point, even here, and
// wake up when others hold the lock: then IfHeld refuses what it writes.
func claim(ctx context.Context, node *kith.Node, held *lock.Held, slot time.Time) (last run, mine bool, err error) {
	runs := kv.Typed[run](node.KV(), "cron/", nil)
	newest, err := runs.Get(ctx, "report")
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return run{}, false, err
	}
	if !slot.After(newest.Value.Slot) {
		return newest.Value, false, nil
	}
	_, err = runs.Set(ctx, "report", run{Slot: slot, By: node.Name()}, kv.IfHeld(held))
	return newest.Value, err == nil, err
}

// report is the job. ctx ends before anybody else can hold the lock.
func report(ctx context.Context, name string, slot time.Time) error {
	fmt.Printf("slot %s: run by %s\n", clock(slot), name)
	return ctx.Err()
}

func clock(slot time.Time) string { return slot.Format(time.DateTime) }
