package stage

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report collects what was measured, in the order of the first measurement.
type Report struct {
	// Versus has the figures of the table named after the rival, too: "requests c=64
	// vs nats".
	Versus bool

	name    Namer
	cells   []Cell
	samples map[Cell][]*Sample
	events  []*event
}

// event is a measurement outside the table: its values by contender.
type event struct {
	name   string
	unit   string
	whos   []*Contender
	values map[*Contender][]float64
}

// NewReport returns an empty report, whose figures are named by name.
func NewReport(name Namer) *Report { return &Report{name: name, samples: make(map[Cell][]*Sample)} }

// Add adds the sample of one round.
func (r *Report) Add(m Cell, s *Sample) {
	if r.samples[m] == nil {
		r.cells = append(r.cells, m)
	}
	r.samples[m] = append(r.samples[m], s)
}

// AddEvent adds a value for which less is better.
func (r *Report) AddEvent(name, unit string, who *Contender, value float64) {
	i := slices.IndexFunc(r.events, func(e *event) bool { return e.name == name })
	if i < 0 {
		i = len(r.events)
		r.events = append(r.events, &event{name: name, unit: unit, values: make(map[*Contender][]float64)})
	}
	e := r.events[i]
	if e.values[who] == nil {
		e.whos = append(e.whos, who)
	}
	e.values[who] = append(e.values[who], value)
}

// Median returns the middle value, the mean of the middle two, or 0 of none.
func Median[T float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// middle is the median over the rounds, each measure for itself.
func middle[T float64 | time.Duration](samples []*Sample, measure func(*Sample) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = measure(s)
	}
	return Median(values)
}

func (r *Report) rate(m Cell) float64 { return middle(r.samples[m], (*Sample).Rate) }
func (r *Report) cpu(m Cell) float64  { return middle(r.samples[m], (*Sample).CPUPer10k) }

// Print prints all of it: the tables, then the figures.
func (r *Report) Print(w io.Writer) error {
	for _, table := range []func(io.Writer) error{r.cellTable, r.eventTable} {
		if err := table(w); err != nil {
			return err
		}
	}
	r.lines(w)
	return nil
}

// cellTable prints a row for each cell.
func (r *Report) cellTable(w io.Writer) error {
	if len(r.cells) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "system\toperation\tat\tcallers\tops/s\tp50\tp99\tworst\tCPU s/10k\tfailed\t")
	cells := slices.SortedStableFunc(slices.Values(r.cells), func(a, b Cell) int {
		return cmp.Or(r.row(a)-r.row(b), a.Callers-b.Callers)
	})
	for _, m := range cells {
		samples := r.samples[m]
		var failed uint64
		for _, s := range samples {
			failed += s.Failed
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\t%d\t%.0f\t%s\t%s\t%s\t%.3f\t%d\t\n", m.Who.Name, m.Who.Path, m.Op, m.At, m.Callers,
			r.rate(m),
			Short(middle(samples, (*Sample).P50)),
			Short(middle(samples, (*Sample).P99)),
			Short(middle(samples, (*Sample).Max)),
			r.cpu(m), failed)
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// row is the order of the kinds of cells: that of their first measurement.
func (r *Report) row(m Cell) int {
	return slices.IndexFunc(r.cells, func(other Cell) bool { return other.Op == m.Op && other.At == m.At })
}

// eventTable prints a row for each contender in each event.
func (r *Report) eventTable(w io.Writer) error {
	if len(r.events) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measure\tsystem\tmedian\tleast\tmost\tof")
	for _, e := range r.events {
		for _, who := range e.whos {
			v := e.values[who]
			fmt.Fprintf(t, "%s\t%s%s\t%s\t%s\t%s\t%d\n", e.name, who.Name, who.Path, quantity(Median(v), e.unit),
				quantity(slices.Min(v), e.unit), quantity(slices.Max(v), e.unit), len(v))
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// Short gives three digits.
func Short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// lines prints a line for each figure: kith beside a rival. A ratio above 1 is
// better for kith.
func (r *Report) lines(w io.Writer) {
	for _, m := range r.cells {
		if !m.Who.Ours() {
			continue
		}
		for _, rival := range r.cells {
			if rival.Who.Ours() || rival != (Cell{rival.Who, m.Op, m.At, m.Callers}) {
				continue
			}
			a, b, name := r.rate(m), r.rate(rival), r.name(m, m.Who.Path)
			if r.Versus {
				name = VersusName(name, rival.Who)
			}
			fmt.Fprintf(w, "%s: kith %.0f/s %s %.0f/s ratio %.1f\n", name, a, rival.Who.Name, b, a/b)
			if m.Callers == CPUCallers {
				less(w, CPUName(name), "s", r.cpu(m), rival.Who, r.cpu(rival))
			}
		}
	}
	for _, e := range r.events {
		e.lines(w)
	}
}

func (e *event) lines(w io.Writer) {
	for _, who := range e.whos {
		if !who.Ours() {
			continue
		}
		name, alone := e.name+who.Path, true
		for _, rival := range e.whos {
			if !rival.Ours() {
				less(w, name, e.unit, Median(e.values[who]), rival, Median(e.values[rival]))
				alone = false
			}
		}
		if alone {
			fmt.Fprintf(w, "%s: kith %s\n", name, quantity(Median(e.values[who]), e.unit))
		}
	}
}

// less prints a figure of which less is better.
func less(w io.Writer, name, unit string, ours float64, rival *Contender, theirs float64) {
	fmt.Fprintf(w, "%s: kith %s %s %s ratio %.1f\n", name, quantity(ours, unit), rival.Name, quantity(theirs, unit), theirs/ours)
}

// quantity gives three digits; a ratio has no unit.
func quantity(v float64, unit string) string {
	digits := fmt.Sprintf("%.3g", v)
	if v >= 100 {
		digits = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSuffix(digits+" "+unit, " ")
}

// Milliseconds is d as a value of a report.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
