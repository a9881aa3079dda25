package main

import (
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// The figures of -extra.
const (
	idleName    = "idle CPU of the three servers"
	memoryName  = "memory per million keys in one server"
	restartName = "restart of a killed server with a million keys"
	// These are kith's alone.
	snapshotName = "snapshot of a million keys"
	stallName    = "worst put during a snapshot of a million keys"
	calmName     = "worst put before and after it"
)

const (
	idleSettle = 3 * time.Second // until an idle system has finished what it was doing
	idleWindow = 2               // so many -times
	// snapshotLimit bounds the puts until a log has grown enough for a snapshot.
	snapshotLimit = 2 * time.Minute
)

// measureExtra measures what a system costs when nothing is asked of it, and
// what a million keys cost.
func (b *bench) measureExtra() error {
	if !b.extra {
		return nil
	}
	for _, who := range b.contenders {
		if who.Ours() && !who.Inside {
			continue // the same servers as those of the other
		}
		if err := who.Cluster.Resume(); err != nil {
			return err
		}
		if b.chosen.Any(idleName) {
			if err := b.idle(who); err != nil {
				return err
			}
		}
		if b.chosen.Any(memoryName, restartName) || who.Ours() && b.chosen.Any(snapshotName, stallName, calmName) {
			if err := b.manyKeys(who); err != nil {
				return err
			}
		}
		if err := who.Cluster.Pause(); err != nil {
			return err
		}
	}
	return nil
}

// idle measures in percent of one CPU.
func (b *bench) idle(who *stage.Contender) error {
	stage.Progress("idle: %s", who.Name)
	time.Sleep(idleSettle)
	before, err := stage.CPUOf(who.Cluster.PIDs())
	if err != nil {
		return err
	}
	start := time.Now()
	time.Sleep(idleWindow * b.Window)
	after, err := stage.CPUOf(who.Cluster.PIDs())
	if err != nil {
		return err
	}
	b.report.AddEvent(idleName, "%", who, 100*(after-before).Seconds()/time.Since(start).Seconds())
	return nil
}

// manyKeys fills the system with a million keys. It weighs the servers before
// and after, garbage collected: the cost of keeping keys, not of writing them. It
// has kith make a snapshot, then kills a server that does not lead and times its
// way back.
func (b *bench) manyKeys(who *stage.Contender) error {
	c := who.Cluster
	stage.Progress("a million keys: %s", who.Name)
	before, err := c.Memory()
	if err != nil {
		return err
	}
	if err := b.fill(who, b.million); err != nil {
		return err
	}
	led, err := c.Leader()
	if err != nil {
		return err
	}
	for i := range c.Servers {
		if err := c.CaughtUp(i, led); err != nil {
			return err
		}
	}
	after, err := c.Memory()
	if err != nil {
		return err
	}
	added := float64(b.million - keyCount) // the first keys were there
	b.report.AddEvent(memoryName, "MiB", who, (after-before)/added*1e6/(1<<20))

	if who.Ours() && b.chosen.Any(snapshotName, stallName, calmName) {
		if err := b.snapshot(who, led); err != nil {
			return err
		}
	}
	if !b.chosen.Any(restartName) {
		return nil
	}
	victim := c.Follower(led)
	took, err := c.Restart(victim, led)
	if err != nil {
		return err
	}
	b.report.AddEvent(restartName, "ms", who, stage.Milliseconds(took))
	return nil
}

// snapshot puts load on the leader until it makes one.
func (b *bench) snapshot(who *stage.Contender, led int) error {
	q := &snapshotting{Node: led, Callers: stage.CPUCallers, Limit: snapshotLimit}
	var made snapshotted
	if err := who.Worker(led).Ask(q.Limit+stage.Drain, "snapshot", q, &made); err != nil {
		return err
	}
	b.report.AddEvent(snapshotName, "ms", who, stage.Milliseconds(made.Took))
	b.report.AddEvent(stallName, "ms", who, stage.Milliseconds(made.Worst))
	b.report.AddEvent(calmName, "ms", who, stage.Milliseconds(made.Calm))
	return nil
}
