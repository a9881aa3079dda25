package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

const zookeeper = "zookeeper"

// allSystems in the order in which they take turns.
var allSystems = []string{"kith", "etcd", zookeeper}

// bench is one run of the benchmark.
type bench struct {
	*options
	family     *stage.Family
	report     *stage.Report
	dir        string
	contenders []*stage.Contender
	chosen     stage.Chosen
	killed     int // times that something was
}

func (b *bench) run(w io.Writer) error {
	if err := b.describe(w); err != nil {
		return err
	}
	// Half an hour of figures is not thrown away because of the last one.
	return errors.Join(b.measure(), b.report.Print(w))
}

// describe leaves out ZooKeeper if it is not installed, and says so.
func (b *bench) describe(w io.Writer) error {
	software := []string{"etcd " + stage.ModuleVersion("go.etcd.io/etcd/server/v3")}
	missing := ""
	if slices.Contains(b.Systems, zookeeper) {
		version, err := findZookeeper()
		if err == nil {
			software = append(software, version)
		} else {
			missing = fmt.Sprintf("\nWITHOUT ZooKeeper, which is not installed: %v", err)
			b.Systems = slices.DeleteFunc(slices.Clone(b.Systems), func(s string) bool { return s == zookeeper })
		}
	}
	return stage.Describe(w, b.Dir, software, fmt.Sprintf(`every system: %d processes on loopback, fsync before acknowledgement;
own locks %v after %v of warm-up, one lock %v, median of %d rounds; systems that are not measured are stopped%s`,
		stage.ClusterSize, b.Window, b.Warm, b.window(oneLock), b.Rounds, missing))
}

func (b *bench) measure() error {
	for _, step := range []func() error{b.startAll, b.warmUp, b.measureGrid, b.measureKills, b.measureGroups} {
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
		setup := stage.Setup{System: system, Dir: b.dir, Profile: b.Profile, Conns: b.Conns, Load: true}
		switch system {
		case "kith":
			setup.Inside, setup.Load = true, false
		case zookeeper:
			setup.Command = zookeeperCommand
		}
		c, err := stage.StartCluster(b.family, setup)
		if err != nil {
			return err
		}
		if err := c.Pause(); err != nil {
			return err
		}
		b.contenders = append(b.contenders, &stage.Contender{Name: system, Inside: setup.Inside, Cluster: c})
	}
	return nil
}

// warmUp has each system work a little before anything is counted: ZooKeeper's Java
// is compiled while it runs.
func (b *bench) warmUp() error {
	for _, who := range b.contenders {
		stage.Progress("warming up %s", who.Name)
		if err := who.Cluster.Resume(); err != nil {
			return err
		}
		m := stage.Cell{Who: who, Op: ownLock, At: stage.Leader, Callers: 16}
		for node := range stage.ClusterSize {
			if _, err := b.compete(m, seats(m, node)); err != nil {
				return err
			}
		}
		if err := who.Cluster.Pause(); err != nil {
			return err
		}
	}
	return nil
}

// measureGrid fills the table. For each load the systems take turns, so that
// whatever else happens on the machine happens to all of them.
func (b *bench) measureGrid() error {
	cells := grid(b.options)
	for len(cells) > 0 {
		first := cells[0]
		n := slices.IndexFunc(cells, func(m stage.Cell) bool { return m.Op != first.Op || m.At != first.At })
		if n < 0 {
			n = len(cells)
		}
		if err := b.measureRow(cells[:n]); err != nil {
			return err
		}
		cells = cells[n:]
	}
	return nil
}

// measureRow measures cells that differ in the number of callers.
func (b *bench) measureRow(cells []stage.Cell) error {
	for round := range b.Rounds {
		for _, who := range b.contenders {
			var wanted []stage.Cell
			for _, m := range cells {
				m.Who = who
				if b.chosen.Cell(m) || m.Op == oneLock && b.chosen.Figure(grantsName(m.Callers)) {
					wanted = append(wanted, m)
				}
			}
			if len(wanted) == 0 {
				continue
			}
			stage.Progress("%s %s, round %d of %d: %s", cells[0].Op, cells[0].At, round+1, b.Rounds, who.Name)
			if err := who.Turn(b.report, wanted, b.sample); err != nil {
				return err
			}
		}
	}
	return nil
}

// window is how long a load is measured. With 16 contenders a rival's lock is handed
// over a hundred times a second: for a few seconds one grant more or less would show.
func (b *bench) window(op string) time.Duration {
	if op == oneLock {
		return 2 * b.Window
	}
	return b.Window
}

// sample runs one load.
func (b *bench) sample(m stage.Cell) (s *stage.Sample, err error) {
	err = m.Who.Steady(m.At, func(node int) (err error) {
		s, err = b.compete(m, seats(m, node))
		return err
	})
	if err == nil && m.Op == oneLock {
		b.report.AddEvent(grantsName(m.Callers), "", m.Who, float64(slices.Max(s.By))/float64(slices.Min(s.By)))
	}
	return s, err
}

// seats gives each caller a lock of its own at node, or spreads them over the
// three nodes, beginning with the leader, who want one lock.
func seats(m stage.Cell, node int) (all []seat) {
	for i := range m.Callers {
		at := seat{node, fmt.Sprintf("own-%d-%d", node, i)}
		if m.Op == oneLock {
			at = seat{(node + i) % stage.ClusterSize, fmt.Sprintf("one-%d", m.Callers)}
		}
		all = append(all, at)
	}
	return all
}

// startTogether is how long all processes of a load have to be ready for it.
const startTogether = 200 * time.Millisecond

// compete runs a load in all processes that have a part in it, at the same time.
func (b *bench) compete(m stage.Cell, all []seat) (*stage.Sample, error) {
	jobs := make(map[*stage.Child]*competition)
	for _, at := range all {
		worker := m.Who.Worker(at.Node)
		q := jobs[worker]
		if q == nil {
			window := b.window(m.Op)
			q = &competition{Loop: stage.Loop{Window: window, At: time.Now().Add(b.Warm + startTogether)},
				Name: strings.ReplaceAll(fmt.Sprintf("%s %s %d", m.Op, m.At, m.Callers), " ", "-")}
			if len(jobs) == 0 {
				q.PIDs = m.Who.PIDs() // one counts for all
			}
			jobs[worker] = q
		}
		q.Seats = append(q.Seats, at)
	}
	var (
		mu   sync.Mutex // guards the two below
		sum  *stage.Sample
		errs []error
		wg   sync.WaitGroup
	)
	for worker, q := range jobs {
		wg.Go(func() {
			s := new(stage.Sample)
			err := worker.Ask(b.Warm+startTogether+q.Window+2*stage.Drain, "compete", q, s)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, err)
			case sum == nil:
				sum = s
			default:
				sum.Merge(s)
			}
		})
	}
	wg.Wait()
	return sum, errors.Join(errs...)
}
