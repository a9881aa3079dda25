package stage

import (
	"fmt"
	"regexp"
	"slices"
)

// Place is the role of the node that callers talk to.
type Place string

// The places there are.
const (
	Leader   Place = "leader"
	Follower Place = "follower"
	Anywhere Place = "all three"
)

// CPUCallers is the load at which CPU times are compared.
const CPUCallers = 64

// Contender is a system as one kind of user meets it. kith can be two of them: one
// with the callers inside its nodes, which is what it is made for, and one with
// them in another process, as they are with the rivals.
type Contender struct {
	Name    string // "kith", or a rival's
	Path    string // " over HTTP", or nothing
	Inside  bool   // the callers live in the servers
	Cluster *Cluster
}

// Worker is the process from which load is put on a node.
func (c *Contender) Worker(node int) *Child {
	if c.Inside {
		return c.Cluster.Servers[node]
	}
	return c.Cluster.Load
}

// PIDs are the processes that do this contender's work.
func (c *Contender) PIDs() []int {
	pids := c.Cluster.PIDs()
	if !c.Inside {
		pids = append(pids, c.Cluster.Load.PID())
	}
	return pids
}

// Ours tells kith from its rivals.
func (c *Contender) Ours() bool { return c.Name == "kith" }

// Cell is one square of the table.
type Cell struct {
	Who     *Contender
	Op      string
	At      Place
	Callers int
}

// Namer gives the figure its name that compares kith, on the given path, with its
// rivals in a cell.
type Namer func(m Cell, path string) string

// RateName is the usual one: "puts leader over HTTP c=16".
func RateName(m Cell, path string) string {
	return fmt.Sprintf("%s %s%s c=%d", m.Op, m.At, path, m.Callers)
}

// CPUName names the CPU time of a rate.
func CPUName(rate string) string { return "CPU per 10k " + rate }

// VersusName names a rate and a rival.
func VersusName(rate string, rival *Contender) string { return rate + " vs " + rival.Name }

// Chosen tells by a figure's name whether to measure what it needs.
type Chosen struct {
	Only  *regexp.Regexp // nil for all
	Paths []string       // of kith's contenders
	Name  Namer
}

// Figure tells whether the figure of this name is wanted.
func (c Chosen) Figure(name string) bool { return c.Only == nil || c.Only.MatchString(name) }

// Any tells whether one of these figures is wanted.
func (c Chosen) Any(names ...string) bool { return slices.ContainsFunc(names, c.Figure) }

// Cell tells whether a figure is wanted that m has a part in.
func (c Chosen) Cell(m Cell) bool {
	return slices.ContainsFunc(c.PathsOf(m.Who), func(path string) bool {
		name := c.Name(m, path)
		return c.Figure(name) || m.Callers == CPUCallers && c.Figure(CPUName(name))
	})
}

// PathsOf returns the paths of the figures that a contender has a part in.
func (c Chosen) PathsOf(who *Contender) []string {
	if who.Ours() || len(c.Paths) == 0 {
		return []string{who.Path}
	}
	return c.Paths
}

// Steady calls do with a node at that place, again if the leader changed
// meanwhile. The cluster must run.
func (c *Contender) Steady(at Place, do func(node int) error) error {
	for range 3 {
		led, err := c.Cluster.Leader()
		if err != nil {
			return err
		}
		node := led
		if at == Follower {
			node = c.Cluster.Follower(led)
		}
		if err := do(node); err != nil {
			return err
		}
		now, err := c.Cluster.Leader()
		if err != nil {
			return err
		}
		if now == led {
			return nil
		}
		Progress("  %s's leader changed from %d to %d: once more", c.Name, led, now)
	}
	return fmt.Errorf("%s: the leader changed under three loads", c.Name)
}

// Turn resumes the contender's cluster, measures each cell, and pauses it again.
// measure is given the cell; its sample goes into the report.
func (c *Contender) Turn(r *Report, cells []Cell, measure func(Cell) (*Sample, error)) error {
	if err := c.Cluster.Resume(); err != nil {
		return err
	}
	for _, m := range cells {
		s, err := measure(m)
		if err != nil {
			return err
		}
		if s.Failed > 0 {
			Progress("  %d of %s's operations failed, the first with: %s", s.Failed, c.Name, s.Error)
		}
		Progress("  c=%d: %.0f/s, p50 %s, p99 %s", m.Callers, s.Rate(), Short(s.P50()), Short(s.P99()))
		r.Add(m, s)
	}
	return c.Cluster.Pause()
}
