package main

import (
	"errors"
	"slices"
	"time"
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
		if who.ours() && !who.inside {
			continue // the same servers as those of the other
		}
		if err := who.cluster.resume(); err != nil {
			return err
		}
		if b.any(idleName) {
			if err := b.idle(who); err != nil {
				return err
			}
		}
		if b.any(memoryName, restartName) || who.ours() && b.any(snapshotName, stallName, calmName) {
			if err := b.manyKeys(who); err != nil {
				return err
			}
		}
		if err := who.cluster.pause(); err != nil {
			return err
		}
	}
	return nil
}

// any tells whether one of these figures is to be measured.
func (b *bench) any(names ...string) bool { return slices.ContainsFunc(names, b.chosen.figure) }

// idle measures in percent of one CPU.
func (b *bench) idle(who *contender) error {
	progress("idle: %s", who.name)
	time.Sleep(idleSettle)
	before, err := cpuOf(who.cluster.pids())
	if err != nil {
		return err
	}
	start := time.Now()
	time.Sleep(idleWindow * b.window)
	after, err := cpuOf(who.cluster.pids())
	if err != nil {
		return err
	}
	b.report.addEvent(idleName, "%", who, 100*(after-before).Seconds()/time.Since(start).Seconds())
	return nil
}

// manyKeys fills the system with a million keys. It weighs the servers before
// and after, garbage collected: the cost of keeping keys, not of writing them. It
// has kith make a snapshot, then kills a server that does not lead and times its
// way back.
func (b *bench) manyKeys(who *contender) error {
	c := who.cluster
	progress("a million keys: %s", who.name)
	before, err := c.memory()
	if err != nil {
		return err
	}
	if err := c.fill(b.million); err != nil {
		return err
	}
	led, err := c.leader()
	if err != nil {
		return err
	}
	for i := range c.servers {
		if err := c.caughtUp(i, led); err != nil {
			return err
		}
	}
	after, err := c.memory()
	if err != nil {
		return err
	}
	added := float64(b.million - keyCount) // the first keys were there
	b.report.addEvent(memoryName, "MiB", who, (after-before)/added*1e6/(1<<20))

	if who.ours() && b.any(snapshotName, stallName, calmName) {
		if err := b.snapshot(who, led); err != nil {
			return err
		}
	}
	if !b.any(restartName) {
		return nil
	}
	victim := c.follower(led)
	b.family.kill(c.servers[victim])
	took, err := c.restart(victim, led)
	if err != nil {
		return err
	}
	b.report.addEvent(restartName, "ms", who, milliseconds(took))
	return nil
}

// snapshot puts load on the leader until it makes one.
func (b *bench) snapshot(who *contender, led int) error {
	q := &snapshotting{Node: led, Callers: cpuCallers, Limit: snapshotLimit}
	a, err := who.worker(led).ask(request{Snap: q}, q.Limit+drain)
	if err != nil {
		return err
	}
	if a.Made == nil {
		return errors.New("a reply without what was asked")
	}
	b.report.addEvent(snapshotName, "ms", who, milliseconds(a.Made.Took))
	b.report.addEvent(stallName, "ms", who, milliseconds(a.Made.Worst))
	b.report.addEvent(calmName, "ms", who, milliseconds(a.Made.Calm))
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// memory is the mean of the servers, in bytes.
func (c *cluster) memory() (float64, error) {
	var sum int64
	for _, server := range c.servers {
		if _, err := server.ask(request{Ask: "collect"}, drain); err != nil {
			return 0, err
		}
		bytes, err := ownMemory(server.pid())
		if err != nil {
			return 0, err
		}
		sum += bytes
	}
	return float64(sum) / float64(len(c.servers)), nil
}
