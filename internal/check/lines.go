package check

import (
	"cmp"
	"fmt"
	"io"
	"math"
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
	pace := newPace(r)
	for _, l := range newLines(r, new(faults)) {
		p, ok := newProcession(l, r, pace)
		if !ok {
			continue // tokens that are no tokens: Holds tells
		}
		switch verdict, _ := search(lineModel(p), p.history(p.steps)); verdict {
		case porcupine.Unknown:
			return p.violation(fmt.Sprintf("history too large: no explanation found in %d steps", maxSteps))
		case porcupine.Illegal:
			return p.violation("nothing explains")
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
	kind  stepKind
	who   int // rank of the token, where it is about one
	limit int
	line  []int
	interval
	// revision is that of standing; where it is a change, the lowest that it can have.
	revision uint64
	// looks is how many of those standing have a lower revision, and so come before.
	looks int
	// proofs is, of one that leaves, how many others need that it is there, and so come before.
	proofs int
	text   fmt.Stringer
}

func (s *lineStep) changes() bool { return s.kind == enters || s.kind == leaves }
func (s *lineStep) proves() bool  { return s.kind == holds || s.kind == writes || s.kind == heads }

// procession is a line made ready for the search: those in it are known by their ranks in
// the order of tokens.
type procession struct {
	name  string
	rank  map[uint64]int
	steps []*lineStep
}

// newProcession is not ok if a token was given twice.
func newProcession(l *line, r Record, pace *pace) (*procession, bool) {
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
		in := pace.narrow(interval{s.called, s.returned}, s.Revision, s.Revision+1)
		step := &lineStep{kind: standing, interval: in, revision: s.Revision, text: s}
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
			p.add(heads, who, t, interval{t.asked, t.gone}, 0, t)
		}
		if t.Token != 0 {
			p.career(t, l, r, pace)
		}
	}
	return p, true
}

func (p *procession) add(kind stepKind, who int, t *Tenure, in interval, revision uint64, text fmt.Stringer) {
	p.steps = append(p.steps, &lineStep{kind: kind, who: who, limit: t.Limit, interval: in, revision: revision, text: text})
}

// career adds all that happens to t. What others saw narrows down when it did: that is
// what keeps the search short.
func (p *procession) career(t *Tenure, l *line, r Record, pace *pace) {
	who := p.rank[t.Token]
	p.add(enters, who, t, pace.narrow(interval{t.asked, earliest(t.entered, t.granted)}, t.Token, t.Token), t.Token, t)
	if t.granted != never {
		p.add(holds, who, t, interval{t.asked, t.granted}, 0, t)
	}
	if from := t.mayGo(l); from != never {
		seen, missed := t.sightings(l)
		p.add(leaves, who, t, pace.narrow(interval{from, t.gone}, seen+1, missed), seen+1, t)
	}
	for _, id := range t.Guarded {
		o := &r.Operations[id-1]
		in := interval{o.called, o.returned}
		switch {
		case o.done() && !o.Result.Conflict:
			p.add(writes, who, t, in, 0, o)
		case o.Result.NotHeld && t.granted != never && t.granted.seq < o.called.seq:
			p.add(refuses, who, t, in, 0, o)
		}
	}
}

// sightings returns the highest revision at which the place was seen, and the lowest at
// which it was seen to be gone.
func (t *Tenure) sightings(l *line) (seen, missed uint64) {
	seen, missed = t.Token, math.MaxUint64
	for _, s := range l.sights {
		switch {
		case s.has(t.Token):
			seen = max(seen, s.Revision)
		case s.Revision >= t.Token:
			missed = min(missed, s.Revision)
		}
	}
	return seen, missed
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

// queued is the state of a line: those in it by rank, with how often each was proved to be
// there, how many have entered so far, and how often all of it was told. It is never
// changed, only replaced.
//
// What is not proved yet keeps one from leaving, and who looks does so in turn. So whoever
// can go, may at once: nothing that comes later can need that it has waited, and the search
// has nothing to take back but what is wrong.
type queued struct {
	entered, looks int
	line, proofs   []int
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
			return x == y || x.entered == y.entered && x.looks == y.looks && slices.Equal(x.line, y.line) && slices.Equal(x.proofs, y.proofs)
		},
		Hash: func(s any) uint64 {
			h := uint64(s.(*queued).entered) ^ uint64(s.(*queued).looks)<<32
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
// rank, since tokens are given in the order of arrival, and who looks the next by revision.
func (q *queued) step(s *lineStep) *queued {
	at := slices.Index(q.line, s.who)
	switch {
	case q.looks < s.looks:
	case s.kind == enters && s.who == q.entered:
		return &queued{q.entered + 1, q.looks, append(slices.Clip(q.line), s.who), append(slices.Clip(q.proofs), 0)}
	case s.kind == leaves && at >= 0 && q.proofs[at] == s.proofs:
		return &queued{q.entered, q.looks, slices.Delete(slices.Clone(q.line), at, at+1), slices.Delete(slices.Clone(q.proofs), at, at+1)}
	case s.kind == standing && s.looks == q.looks && slices.Equal(q.line, s.line):
		return &queued{q.entered, q.looks + 1, q.line, q.proofs}
	case (s.kind == holds || s.kind == writes) && at >= 0 && at < s.limit, s.kind == heads && at == 0:
		proofs := slices.Clone(q.proofs)
		proofs[at]++
		return &queued{q.entered, q.looks, q.line, proofs}
	case s.kind == refuses && at < 0:
		return q
	}
	return nil
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
	sorted := slices.SortedStableFunc(slices.Values(inTurn(steps)), func(a, b *lineStep) int { return cmp.Compare(a.called.seq, b.called.seq) })
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

// inTurn returns the same steps with the numbers of looks and proofs that come before them.
func inTurn(steps []*lineStep) (numbered []*lineStep) {
	var looks []*lineStep
	proofs := make(map[int]int)
	for _, s := range steps {
		step := *s
		numbered = append(numbered, &step)
		if s.kind == standing {
			looks = append(looks, &step)
		}
		if s.proves() {
			proofs[s.who]++
		}
	}
	slices.SortFunc(looks, func(a, b *lineStep) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.called.seq, b.called.seq))
	})
	for i, s := range looks {
		s.looks = i
	}
	for _, s := range numbered {
		s.proofs = proofs[s.who]
		if s.kind != standing {
			s.looks, _ = slices.BinarySearchFunc(looks, s.revision, func(l *lineStep, revision uint64) int { return cmp.Compare(l.revision, revision) })
		}
	}
	return numbered
}

// violation describes the shortest beginning of the record for which no explanation was found.
func (p *procession) violation(what string) *Violation {
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
		if verdict, _ := search(lineModel(p), p.history(p.until(ends[mid]))); verdict != porcupine.Ok {
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
	v := &Violation{Rule: "lines", Text: fmt.Sprintf("%s, of %q, that\n  %s\nafter%s", what, p.name, culprit, &b)}
	if verdict, _ := search(lineModel(p), p.history(shortest)); verdict == porcupine.Illegal { // else the picture takes as long
		v.picture = func(w io.Writer) error {
			_, info := porcupine.CheckOperationsVerbose(lineModel(p), p.history(shortest), 0)
			return porcupine.Visualize(lineModel(p), info, w)
		}
	}
	return v
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
