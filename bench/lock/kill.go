package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// measureKills lets holders die, and then leaders with them, in turns.
func (b *bench) measureKills() error {
	for _, figure := range []string{holderKilled, bothKilled} {
		if !b.chosen.Figure(figure) {
			continue
		}
		for round := range b.Kills {
			for _, who := range b.contenders {
				o, err := b.killOnce(who, figure == bothKilled)
				if err != nil {
					return err
				}
				stage.Progress("%s, round %d of %d: %s %s, %d attempts failed",
					figure, round+1, b.Kills, who.Name, stage.Short(o.Took), o.Failed)
				b.report.AddEvent(figure, "ms", who, stage.Milliseconds(o.Took))
			}
		}
	}
	return nil
}

// killOnce kills a holder, measures how long the next in line waits, and brings
// back what was killed. In kith the holder is in one server, which is the leader if
// both is set, and the next in line in another that does not lead. The rivals' are
// clients in processes of their own, at the same places.
func (b *bench) killOnce(who *stage.Contender, both bool) (*succession, error) {
	c := who.Cluster
	if err := c.Resume(); err != nil {
		return nil, err
	}
	led, err := c.Leader()
	if err != nil {
		return nil, err
	}
	b.killed++
	lock := fmt.Sprint("succession-", b.killed)
	at, next := seat{c.Follower(led), lock}, seat{c.Follower(c.Follower(led)), lock}
	if both {
		at.Node = led
	}
	holder := who.Worker(at.Node)
	if !who.Inside {
		if holder, err = c.StartLoad(); err != nil {
			return nil, err
		}
		defer b.family.Kill(holder)
	}
	if err := holder.Ask(stage.RecoverLimit+stage.Drain, "hold", holding{at}, nil); err != nil {
		return nil, err
	}
	q := &succeeding{At: next, PIDs: []int{holder.PID()}, Limit: stage.RecoverLimit,
		// Nobody should always die at the same point of his heartbeats.
		Before: 500*time.Millisecond + rand.N(time.Second)}
	if both && !who.Inside {
		q.PIDs = append(q.PIDs, c.Servers[led].PID())
	}
	var o succession
	if err := who.Worker(next.Node).Ask(q.Before+q.Limit+stage.Drain, "succeed", q, &o); err != nil {
		return nil, err
	}
	if both || who.Inside {
		if _, err := c.Restart(at.Node, next.Node); err != nil {
			return nil, err
		}
	}
	return &o, c.Pause()
}
