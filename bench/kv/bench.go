package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// allSystems in the order in which they take turns.
var allSystems = []string{"kith", "etcd", "nats"}

// bench is one run of the benchmark.
type bench struct {
	*options
	family     *family
	report     *report
	dir        string
	contenders []*contender
	chosen     chosen
}

func (b *bench) run(w io.Writer) error {
	if err := describe(w, b.options, b.dir); err != nil {
		return err
	}
	// Half an hour of figures is not thrown away because of the last one.
	return errors.Join(b.measure(), b.report.print(w))
}

func (b *bench) measure() error {
	for _, step := range []func() error{b.startAll, b.measureGrid, b.measureKills, b.measureExtra} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// startAll starts the systems one after another, and stops each until its turn.
func (b *bench) startAll() error {
	for _, system := range b.systems {
		progress("starting %s", system)
		c, err := startCluster(b.family, system, b.dir, b.profile, b.conns)
		if err != nil {
			return err
		}
		if err := c.pause(); err != nil {
			return err
		}
		who := contender{name: system, cluster: c}
		switch system {
		case "kith":
			inside, http := who, who
			inside.inside, http.path = true, " over HTTP"
			b.contenders = append(b.contenders, &inside, &http)
		case "nats":
			who.cannot = []operation{reads}
			fallthrough
		default:
			b.contenders = append(b.contenders, &who)
		}
	}
	b.chosen.only = b.only
	for _, who := range b.contenders {
		if who.ours() {
			b.chosen.paths = append(b.chosen.paths, who.path)
		}
	}
	return nil
}

// measureGrid fills the table. For each operation the systems take turns, so
// that whatever else happens on the machine happens to all of them.
func (b *bench) measureGrid() error {
	for _, g := range grid {
		for round := range b.rounds {
			for _, who := range b.contenders {
				var cells []cell
				for _, n := range b.callers {
					if m := (cell{who, g.op, g.at, n}); !slices.Contains(who.cannot, g.op) && b.chosen.cell(m) {
						cells = append(cells, m)
					}
				}
				if len(cells) == 0 {
					continue
				}
				progress("%s %s, round %d of %d: %s%s", g.op, g.at, round+1, b.rounds, who.name, who.path)
				if err := b.turn(who, g.at, cells); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// turn runs one contender's cells, all of the same place.
func (b *bench) turn(who *contender, at place, cells []cell) error {
	c := who.cluster
	if err := c.resume(); err != nil {
		return err
	}
	for _, m := range cells {
		s, err := b.sample(who, at, m)
		if err != nil {
			return err
		}
		if s.Failed > 0 {
			progress("  %d of %s's operations failed, the first with: %s", s.Failed, who.name, s.Error)
		}
		progress("  c=%d: %.0f/s, p50 %s, p99 %s", m.callers, s.rate(), short(s.P50), short(s.P99))
		b.report.add(m, s)
	}
	return c.pause()
}

// sample runs one load, again if the leader changed meanwhile.
func (b *bench) sample(who *contender, at place, m cell) (*sample, error) {
	c := who.cluster
	for range 3 {
		led, err := c.leader()
		if err != nil {
			return nil, err
		}
		node := led
		if at == follower {
			node = c.follower(led)
		}
		a, err := who.worker(node).ask(request{Load: &load{Op: m.op, Node: node, Callers: m.callers,
			Warm: b.warm, Window: b.window, PIDs: who.pids()}}, b.warm+b.window+2*drain)
		if err != nil {
			return nil, err
		}
		if a.Sample == nil {
			return nil, errors.New("a reply without what was asked")
		}
		now, err := c.leader()
		if err != nil {
			return nil, err
		}
		if now == led {
			return a.Sample, nil
		}
		progress("  %s's leader changed from %d to %d: once more", who.name, led, now)
	}
	return nil, fmt.Errorf("%s: the leader changed under three loads", who.name)
}

// measureKills lets the systems' leaders die in turns.
func (b *bench) measureKills() error {
	for round := range b.kills {
		for _, who := range b.contenders {
			if !b.chosen.kill(who) {
				continue
			}
			o, err := b.killOnce(who)
			if err != nil {
				return err
			}
			progress("leader killed, round %d of %d: %s%s %s, %d attempts failed",
				round+1, b.kills, who.name, who.path, short(o.Took), o.Failed)
			b.report.addEvent(killName(""), "ms", who, milliseconds(o.Took))
		}
	}
	return nil
}

// progress goes to standard error; standard output is for the report.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
