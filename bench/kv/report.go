package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// report collects what was measured, in the order of the first measurement.
type report struct {
	cells   []cell
	samples map[cell][]*sample
	events  []*event
}

// event is a measurement outside the table: its values by contender.
type event struct {
	name   string
	unit   string
	whos   []*contender
	values map[*contender][]float64
}

func newReport() *report { return &report{samples: make(map[cell][]*sample)} }

func (r *report) add(m cell, s *sample) {
	if r.samples[m] == nil {
		r.cells = append(r.cells, m)
	}
	r.samples[m] = append(r.samples[m], s)
}

// addEvent adds a value for which less is better.
func (r *report) addEvent(name, unit string, who *contender, value float64) {
	i := slices.IndexFunc(r.events, func(e *event) bool { return e.name == name })
	if i < 0 {
		i = len(r.events)
		r.events = append(r.events, &event{name: name, unit: unit, values: make(map[*contender][]float64)})
	}
	e := r.events[i]
	if e.values[who] == nil {
		e.whos = append(e.whos, who)
	}
	e.values[who] = append(e.values[who], value)
}

// median returns the middle value, the mean of the middle two, or 0 of none.
func median[T float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// middle is the median over the rounds, each measure for itself.
func middle[T float64 | time.Duration](samples []*sample, measure func(*sample) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = measure(s)
	}
	return median(values)
}

func (r *report) rate(m cell) float64 { return middle(r.samples[m], (*sample).rate) }
func (r *report) cpu(m cell) float64  { return middle(r.samples[m], (*sample).cpuPer10k) }

// print prints all of it: the tables, then the figures.
func (r *report) print(w io.Writer) error {
	for _, table := range []func(io.Writer) error{r.cellTable, r.eventTable} {
		if err := table(w); err != nil {
			return err
		}
	}
	r.lines(w)
	return nil
}

// cellTable prints a row for each cell.
func (r *report) cellTable(w io.Writer) error {
	if len(r.cells) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "system\toperation\tat\tcallers\tops/s\tp50\tp99\tworst\tCPU s/10k\tfailed\t")
	cells := slices.SortedStableFunc(slices.Values(r.cells), func(a, b cell) int {
		return cmp.Or(indexInGrid(a)-indexInGrid(b), a.callers-b.callers)
	})
	for _, m := range cells {
		samples := r.samples[m]
		var failed uint64
		for _, s := range samples {
			failed += s.Failed
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\t%d\t%.0f\t%s\t%s\t%s\t%.3f\t%d\t\n", m.who.name, m.who.path, m.op, m.at, m.callers,
			r.rate(m),
			short(middle(samples, func(s *sample) time.Duration { return s.P50 })),
			short(middle(samples, func(s *sample) time.Duration { return s.P99 })),
			short(middle(samples, func(s *sample) time.Duration { return s.Max })),
			r.cpu(m), failed)
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// eventTable prints a row for each contender in each event.
func (r *report) eventTable(w io.Writer) error {
	if len(r.events) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measure\tsystem\tmedian\tleast\tmost\tof")
	for _, e := range r.events {
		for _, who := range e.whos {
			v := e.values[who]
			fmt.Fprintf(t, "%s\t%s%s\t%s\t%s\t%s\t%d\n", e.name, who.name, who.path, quantity(median(v), e.unit),
				quantity(slices.Min(v), e.unit), quantity(slices.Max(v), e.unit), len(v))
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

func indexInGrid(m cell) int {
	for i, g := range grid {
		if g.op == m.op && g.at == m.at {
			return i
		}
	}
	return len(grid)
}

// short gives three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// lines prints a line for each figure: kith beside a rival. A ratio above 1 is
// better for kith.
func (r *report) lines(w io.Writer) {
	for _, m := range r.cells {
		if !m.who.ours() {
			continue
		}
		for _, rival := range r.cells {
			if rival.who.ours() || rival != (cell{rival.who, m.op, m.at, m.callers}) {
				continue
			}
			a, b := r.rate(m), r.rate(rival)
			fmt.Fprintf(w, "%s: kith %.0f/s %s %.0f/s ratio %.1f\n",
				rateName(m.op, m.at, m.who.path, m.callers), a, rival.who.name, b, a/b)
			if m.callers == cpuCallers {
				less(w, cpuName(m.op, m.at, m.who.path, m.callers), "s", r.cpu(m), rival.who, r.cpu(rival))
			}
		}
	}
	for _, e := range r.events {
		e.lines(w)
	}
}

func (e *event) lines(w io.Writer) {
	for _, who := range e.whos {
		if !who.ours() {
			continue
		}
		name, alone := e.name+who.path, true
		for _, rival := range e.whos {
			if !rival.ours() {
				less(w, name, e.unit, median(e.values[who]), rival, median(e.values[rival]))
				alone = false
			}
		}
		if alone {
			fmt.Fprintf(w, "%s: kith %s\n", name, quantity(median(e.values[who]), e.unit))
		}
	}
}

// less prints a figure of which less is better.
func less(w io.Writer, name, unit string, ours float64, rival *contender, theirs float64) {
	fmt.Fprintf(w, "%s: kith %s %s %s ratio %.1f\n", name, quantity(ours, unit), rival.name, quantity(theirs, unit), theirs/ours)
}

func quantity(v float64, unit string) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f %s", v, unit)
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}
