package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/kith-go/kith/bench/stage"
)

// allSystems in the order in which they take turns.
var allSystems = []string{"kith", "etcd", "nats"}

// bench is one run of the benchmark.
type bench struct {
	*options
	family     *stage.Family
	report     *stage.Report
	dir        string
	contenders []*stage.Contender
	chosen     stage.Chosen
}

func (b *bench) run(w io.Writer) error {
	software := []string{"etcd " + stage.ModuleVersion("go.etcd.io/etcd/server/v3"),
		"nats-server " + stage.ModuleVersion("github.com/nats-io/nats-server/v2")}
	what := fmt.Sprintf(`every system: %d processes on loopback, fsync before acknowledgement, %d-byte values, %d keys;
%v measured after %v of warm-up, median of %d rounds; systems that are not measured are stopped`,
		stage.ClusterSize, valueSize, keyCount, b.Window, b.Warm, b.Rounds)
	if err := stage.Describe(w, b.Dir, software, what); err != nil {
		return err
	}
	// Half an hour of figures is not thrown away because of the last one.
	return errors.Join(b.measure(), b.report.Print(w))
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
	for _, system := range b.Systems {
		stage.Progress("starting %s", system)
		c, err := stage.StartCluster(b.family, stage.Setup{System: system, Dir: b.dir, Profile: b.Profile, Conns: b.Conns,
			Inside: system == "kith", Load: true})
		if err != nil {
			return err
		}
		who := &stage.Contender{Name: system, Cluster: c}
		b.contenders = append(b.contenders, who)
		if who.Ours() {
			who.Inside = true
			b.contenders = append(b.contenders, &stage.Contender{Name: system, Path: " over HTTP", Cluster: c})
		}
		if err := b.fill(who, keyCount); err != nil {
			return err
		}
		if err := c.Pause(); err != nil {
			return err
		}
	}
	b.chosen = stage.Chosen{Only: b.Only, Name: stage.RateName}
	for _, who := range b.contenders {
		if who.Ours() {
			b.chosen.Paths = append(b.chosen.Paths, who.Path)
		}
	}
	return nil
}

// fill writes the first n keys.
func (b *bench) fill(who *stage.Contender, n int) error {
	return who.Worker(0).Ask(stage.FillLimit, "fill", filling{Keys: n}, nil)
}

// measureGrid fills the table. For each operation the systems take turns, so
// that whatever else happens on the machine happens to all of them.
func (b *bench) measureGrid() error {
	for _, g := range grid {
		for round := range b.Rounds {
			for _, who := range b.contenders {
				var cells []stage.Cell
				for _, n := range b.callers {
					m := stage.Cell{Who: who, Op: string(g.op), At: g.at, Callers: n}
					if !cannot(who, g.op) && b.chosen.Cell(m) {
						cells = append(cells, m)
					}
				}
				if len(cells) == 0 {
					continue
				}
				stage.Progress("%s %s, round %d of %d: %s%s", g.op, g.at, round+1, b.Rounds, who.Name, who.Path)
				if err := who.Turn(b.report, cells, b.sample); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sample runs one load.
func (b *bench) sample(m stage.Cell) (*stage.Sample, error) {
	var s stage.Sample
	err := m.Who.Steady(m.At, func(node int) error {
		l := &load{Loop: stage.Loop{Callers: m.Callers, Warm: b.Warm, Window: b.Window, PIDs: m.Who.PIDs()},
			Op: operation(m.Op), Node: node}
		return m.Who.Worker(node).Ask(b.Warm+b.Window+2*stage.Drain, "load", l, &s)
	})
	return &s, err
}

// measureKills lets the systems' leaders die in turns.
func (b *bench) measureKills() error {
	for round := range b.Kills {
		for _, who := range b.contenders {
			if !killed(b.chosen, who) {
				continue
			}
			o, err := b.killOnce(who)
			if err != nil {
				return err
			}
			stage.Progress("leader killed, round %d of %d: %s%s %s, %d attempts failed",
				round+1, b.Kills, who.Name, who.Path, stage.Short(o.Took), o.Failed)
			b.report.AddEvent(killName(""), "ms", who, stage.Milliseconds(o.Took))
		}
	}
	return nil
}
