package main

import (
	"fmt"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

const (
	idleSettle = 3 * time.Second // at most, until an idle system has finished what it was doing
	idleWindow = 2               // so many -times
	leaves     = 200             // at most, of which the median counts
)

// measureGroups measures what many groups cost. It comes last: they stay.
func (b *bench) measureGroups() error {
	if !b.chosen.Any(memoryName(b.groups), idleName(b.groups), leaveName(b.groups)) {
		return nil
	}
	for _, who := range b.contenders {
		stage.Progress("%d groups: %s", b.groups, who.Name)
		if err := who.Cluster.Resume(); err != nil {
			return err
		}
		if err := b.crowd(who); err != nil {
			return err
		}
		if err := who.Cluster.Pause(); err != nil {
			return err
		}
	}
	return nil
}

// crowd has everybody join, spread over the three nodes, and measures. The system is
// not stopped meanwhile: sessions would run out.
func (b *bench) crowd(who *stage.Contender) error {
	c := who.Cluster
	before, err := c.Memory()
	if err != nil {
		return err
	}
	jobs := make(map[*stage.Child]*joining)
	for i := range groupSize {
		at := seat{i % stage.ClusterSize, fmt.Sprint("member-", i)}
		j := jobs[who.Worker(at.Node)]
		if j == nil {
			j = &joining{Groups: b.groups}
			jobs[who.Worker(at.Node)] = j
		}
		j.Members = append(j.Members, at)
	}
	for worker, j := range jobs {
		if err := worker.Ask(stage.FillLimit, "join", j, nil); err != nil {
			return err
		}
	}
	if err := b.idle(who); err != nil {
		return err
	}
	after, err := c.Memory()
	if err != nil {
		return err
	}
	if who.Name != zookeeper { // a JVM's size says nothing about what is in it
		b.report.AddEvent(memoryName(b.groups), "MiB", who, (after-before)/(1<<20))
	}
	led, err := c.Leader()
	if err != nil {
		return err
	}
	var took []time.Duration
	l := leaving{Count: min(leaves, b.groups)}
	if err := who.Worker(c.Follower(led)).Ask(stage.FillLimit, "leave", l, &took); err != nil {
		return err
	}
	b.report.AddEvent(leaveName(b.groups), "ms", who, stage.Milliseconds(stage.Median(took)))
	return nil
}

// idle measures in percent of one CPU.
func (b *bench) idle(who *stage.Contender) error {
	time.Sleep(min(idleSettle, idleWindow*b.Window))
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
	b.report.AddEvent(idleName(b.groups), "%", who, 100*(after-before).Seconds()/time.Since(start).Seconds())
	return nil
}
