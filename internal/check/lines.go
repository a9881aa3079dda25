package check

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Lines reports, as a *Violation, that no order of entering, leaving, and all that was
// told of a line explains the record: of a lock, a semaphore or a group, each on its own.
//
// To the model a line is what it is to its users: who enters stands behind all others, and
// whoever is among the first, as many as the limit says, holds. One that was given up, or
// whose holder stopped, goes at some moment after that or never. A guarded write that
// was done was under a place that held then; one that was refused came after the place.
//
// An attempt of which nobody ever knew the token is left out: it can only have kept
// others from what they were not told to have.
func Lines(r Record) error {
	for _, l := range newLines(r, new(faults)) {
		p, ok := newProcession(l, r)
		if !ok {
			continue // tokens that are no tokens: Holds tells
		}
		switch verdict, _ := search(lineModel(p), p.history(p.steps)); verdict {
		case porcupine.Unknown:
			return &Violation{Rule: "lines", Text: fmt.Sprintf(
				"history too large: no verdict after %d steps about the %d of %q; record fewer", maxSteps, len(p.steps), l.name)}
		case porcupine.Illegal:
			return p.violation()
		}
	}
	return nil
}

// stepKind is what happens to a line in one moment.
type stepKind uint8

const (
	enters stepKind = iota
	leaves
	holds    // is told to be among the first
	writes   // was done, guarded by the place
	refuses  // a write was, because the place is not held
	heads    // is told to somebody else to be at the head
	standing // all of the line is told
)

// lineStep is what happens at one moment between called and returned.
type lineStep struct {
	kind             stepKind
	who              int // rank of the token, where it is about one
	limit            int
	line             []int
	called, returned moment
	text             fmt.Stringer
}

func (s *lineStep) changes() bool { return s.kind == enters || s.kind == leaves }

// procession is a line made ready for the search: those in it are known by their ranks in
// the order of tokens.
type procession struct {
	name  string
	rank  map[uint64]int
	steps []*lineStep
}

// newProcession is not ok if a token was given twice.
func newProcession(l *line, r Record) (*procession, bool) {
	p := &procession{name: l.name, rank: make(map[uint64]int)}
	var known []*Tenure
	for _, t := range l.tenures {
		if t.Token != 0 {
			known = append(known, t)
		}
	}
	slices.SortFunc(known, func(a, b *Tenure) int { return cmp.Compare(a.Token, b.Token) })
	for i, t := range known {
		if i > 0 && known[i-1].Token == t.Token {
			return nil, false
		}
		p.rank[t.Token] = i
	}
	for _, s := range l.sights {
		if s.called == never {
			continue
		}
		step := &lineStep{kind: standing, called: s.called, returned: s.returned, text: s}
		for _, place := range s.Places {
			who, ok := p.rank[place.Token]
			if !ok {
				who = -1 // nobody's, which nothing explains
			}
			step.line = append(step.line, who)
		}
		p.steps = append(p.steps, step)
	}
	for _, t := range l.tenures {
		if who, ok := p.rank[t.head]; ok && t.head != 0 {
			p.add(heads, who, t, t.asked, t.gone)
		}
		if t.Token != 0 {
			p.career(t, l, r)
		}
	}
	return p, true
}

func (p *procession) add(kind stepKind, who int, t *Tenure, called, returned moment) {
	p.steps = append(p.steps, &lineStep{kind: kind, who: who, limit: t.Limit, called: called, returned: returned, text: t})
}

// career adds all that happens to t. What others saw narrows down when it did: that is
// what keeps the search short.
func (p *procession) career(t *Tenure, l *line, r Record) {
	who := p.rank[t.Token]
	seen, missed := t.sightings(l)
	p.add(enters, who, t, t.asked, earliest(t.entered, t.granted, seen.returned))
	if t.granted != never {
		p.add(holds, who, t, t.asked, t.granted)
	}
	if from := t.mayGo(l); from != never {
		called, returned := from, earliest(t.gone, missed)
		if seen.called.seq > from.seq && seen.called != never {
			called = seen.called
		}
		if returned.seq <= called.seq { // then it is wrong, and the search says so
			called, returned = from, t.gone
		}
		p.add(leaves, who, t, called, returned)
	}
	for _, id := range t.Guarded {
		switch o := &r.Operations[id-1]; {
		case o.done() && !o.Result.Conflict:
			p.write(writes, who, t, o)
		case o.Result.NotHeld && t.granted != never && t.granted.seq < o.called.seq:
			p.write(refuses, who, t, o)
		}
	}
}

func (p *procession) write(kind stepKind, who int, t *Tenure, o *Operation) {
	p.steps = append(p.steps, &lineStep{kind: kind, who: who, limit: t.Limit, called: o.called, returned: o.returned, text: o})
}

// mayGo returns from when on the place may go, never if it may not.
func (t *Tenure) mayGo(l *line) moment {
	if t.granted != never {
		return t.over
	}
	from := t.quit
	for _, b := range l.breaks {
		if b.Token == t.Token { // it waited, so it is removed
			from = earliest(from, b.asked)
		}
	}
	return from
}

// interval is between two moments.
type interval struct{ called, returned moment }

// sightings returns the last call and the first return of those who saw the place, and
// the first return of those who saw that it was gone.
func (t *Tenure) sightings(l *line) (seen interval, missed moment) {
	seen, missed = interval{never, never}, never
	for _, s := range l.sights {
		switch {
		case s.has(t.Token):
			seen.returned = earliest(seen.returned, s.returned)
			if s.called != never && (seen.called == never || s.called.seq > seen.called.seq) {
				seen.called = s.called
			}
		case s.Revision >= t.Token:
			missed = earliest(missed, s.returned)
		}
	}
	return seen, missed
}

func earliest(all ...moment) moment {
	return slices.MinFunc(all, func(a, b moment) int { return cmp.Compare(a.seq, b.seq) })
}

// queued is the state of a line: those in it by rank, and how many have entered so far. It
// is never changed, only replaced.
type queued struct {
	entered int
	line    []int
}

// lineModel is the sequential specification of a line.
func lineModel(p *procession) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return &queued{} },
		Step: func(s, input, _ any) (bool, any) {
			next := s.(*queued).step(input.(*lineStep))
			return next != nil, next
		},
		Equal: func(a, b any) bool {
			x, y := a.(*queued), b.(*queued)
			return x == y || x.entered == y.entered && slices.Equal(x.line, y.line)
		},
		Hash: func(s any) uint64 {
			h := uint64(s.(*queued).entered)
			for _, who := range s.(*queued).line {
				h = (h ^ uint64(who+1)) * 0x9e3779b97f4a7c15
				h ^= h >> 29
			}
			return h
		},
		DescribeOperation: func(input, _ any) string { return p.describe(input.(*lineStep)) },
		DescribeState:     func(s any) string { return fmt.Sprint(s.(*queued).line) },
	}
}

// step does one, and returns nil if it contradicts the line. Who enters must be the next by
// rank: tokens are given in the order of arrival.
func (q *queued) step(s *lineStep) *queued {
	at := slices.Index(q.line, s.who)
	ok := false
	switch s.kind {
	case enters:
		if s.who != q.entered {
			return nil
		}
		return &queued{q.entered + 1, append(slices.Clip(q.line), s.who)}
	case leaves:
		if at < 0 {
			return nil
		}
		return &queued{q.entered, slices.Delete(slices.Clone(q.line), at, at+1)}
	case holds, writes:
		ok = at >= 0 && at < s.limit
	case refuses:
		ok = at < 0
	case heads:
		ok = at == 0
	case standing:
		ok = slices.Equal(q.line, s.line)
	}
	if !ok {
		return nil
	}
	return q
}

func (p *procession) describe(s *lineStep) string {
	return fmt.Sprintf("%s %d: %v", [...]string{"enters", "leaves", "holds", "writes", "is refused", "is the head", "standing"}[s.kind], s.who, s.text)
}

// history returns steps in porcupine's form, those without an end behind all others. Rows
// are of steps that do not overlap.
func (p *procession) history(steps []*lineStep) []porcupine.Operation {
	last := int64(0)
	for _, s := range steps {
		last = max(last, s.called.seq)
		if s.returned != never {
			last = max(last, s.returned.seq)
		}
	}
	sorted := slices.SortedStableFunc(slices.Values(steps), func(a, b *lineStep) int { return cmp.Compare(a.called.seq, b.called.seq) })
	var rows []int64 // the end of each
	var history []porcupine.Operation
	for _, s := range sorted {
		end := min(s.returned.seq, last+1)
		row := slices.IndexFunc(rows, func(free int64) bool { return free < s.called.seq })
		if row < 0 {
			row = len(rows)
			rows = append(rows, 0)
		}
		rows[row] = end
		history = append(history, porcupine.Operation{ClientId: row, Input: s, Call: s.called.seq, Return: end})
	}
	return history
}

// violation describes the shortest beginning of the record that has no explanation.
func (p *procession) violation() *Violation {
	var ends []moment
	for _, s := range p.steps {
		if s.returned != never {
			ends = append(ends, s.returned)
		}
	}
	slices.SortFunc(ends, func(a, b moment) int { return cmp.Compare(a.seq, b.seq) })
	low, high := 0, len(ends)-1
	for low < high {
		mid := (low + high) / 2
		if verdict, _ := search(lineModel(p), p.history(p.until(ends[mid]))); verdict == porcupine.Illegal {
			high = mid
		} else {
			low = mid + 1
		}
	}
	shortest := p.until(ends[low])
	slices.SortStableFunc(shortest, func(a, b *lineStep) int { return cmp.Compare(a.called.seq, b.called.seq) })
	var culprit string
	var b strings.Builder
	for i, s := range shortest {
		if s.returned == ends[low] {
			culprit = p.describe(s)
		}
		if i >= len(shortest)-40 {
			fmt.Fprintf(&b, "\n  %s", p.describe(s))
		}
	}
	return &Violation{
		Rule: "lines", Text: fmt.Sprintf("nothing explains, of %q, that\n  %s\nafter%s", p.name, culprit, &b),
		picture: func(w io.Writer) error {
			_, info := porcupine.CheckOperationsVerbose(lineModel(p), p.history(shortest), 0)
			return porcupine.Visualize(lineModel(p), info, w)
		},
	}
}

// until returns the steps as they were recorded at the moment end.
func (p *procession) until(end moment) (then []*lineStep) {
	for _, s := range p.steps {
		switch {
		case s.called.seq > end.seq:
		case s.returned.seq <= end.seq:
			then = append(then, s)
		case s.changes():
			open := *s
			open.returned = never
			then = append(then, &open)
		}
	}
	return then
}
