package check

import (
	"cmp"
	"fmt"
	"slices"
)

// Tenure is the story of one attempt to have a place in a line, which is a lock, a
// semaphore or a group: asked for, in line, granted with a token, over, gone.
type Tenure struct {
	Line   string
	Client int
	Limit  int // how many from the head may hold together, at least 1
	// Label is unique in the history. Who looks at the line sees it beside the place, so
	// that a place is known also whose token was told to nobody.
	Label string
	Token uint64 // 0: not told
	// Guarded are the IDs of the writes that were asked for on condition that the place is
	// held.
	Guarded []int

	// head is the token of the one because of whom it was refused, 0 if it was not.
	head uint64
	// What is never has not happened so far.
	asked, entered, granted, quit, over, gone moment
}

// String returns the tenure on one line.
func (t Tenure) String() string {
	when := func(m moment) string {
		if m == never {
			return "…"
		}
		return fmt.Sprintf("%.6f", m.at.Seconds())
	}
	s := fmt.Sprintf("%s: client %d in %q (limit %d), token %d, asked %s", t.Label, t.Client, t.Line, t.Limit, t.Token, when(t.asked))
	for _, stage := range []struct {
		name string
		at   moment
	}{{"entered", t.entered}, {"granted", t.granted}, {"quit", t.quit}, {"over", t.over}, {"gone", t.gone}} {
		if stage.at != never {
			s += fmt.Sprintf(", %s %s", stage.name, when(stage.at))
		}
	}
	if t.head != 0 {
		s += fmt.Sprintf(", refused because of token %d", t.head)
	}
	if len(t.Guarded) > 0 {
		s += fmt.Sprintf(", writes %v", t.Guarded)
	}
	return s
}

// Hold records one Tenure. It is safe for concurrent use.
type Hold struct {
	h      *History
	tenure Tenure
}

// Ask records that client asks now for a place in the line, to be among the first
// limit. The place is taken after this, if at all.
func (h *History) Ask(client int, line string, limit int) *Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	hold := &Hold{h: h, tenure: Tenure{
		Line: line, Client: client, Limit: limit, Label: fmt.Sprint("t", len(h.holds)+1), asked: h.nowLocked(),
		entered: never, granted: never, quit: never, over: never, gone: never,
	}}
	h.holds = append(h.holds, hold)
	return hold
}

// Label returns what those who look at the line are to see beside the place.
func (l *Hold) Label() string { return l.tenure.Label }

// note does edit at this moment.
func (l *Hold) note(edit func(t *Tenure, now moment)) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	edit(&l.tenure, l.h.nowLocked())
}

// first sets m unless it is set.
func (m *moment) first(now moment) {
	if *m == never {
		*m = now
	}
}

// Entered records that the client was told now that it stands in line.
func (l *Hold) Entered(token uint64) {
	l.note(func(t *Tenure, now moment) { t.Token, t.entered = token, now })
}

// Granted records that the client was told now that it holds.
func (l *Hold) Granted(token uint64) {
	l.note(func(t *Tenure, now moment) { t.Token, t.granted = token, now })
}

// Refused records that the client was told now that it has no place and does not get
// one, because the one with the token head is at the head.
func (l *Hold) Refused(head uint64) {
	l.note(func(t *Tenure, now moment) { t.head, t.quit, t.gone = head, now, now })
}

// Quit records that the client does not want the place any more if it was not granted,
// or cannot keep it: from now on it may go. Only the first call counts.
func (l *Hold) Quit() { l.note(func(t *Tenure, now moment) { t.quit.first(now) }) }

// Over records that the client, as of now, does not believe any more that it holds:
// it is about to release, or its context has ended. Only the first call counts.
func (l *Hold) Over() { l.note(func(t *Tenure, now moment) { t.over.first(now) }) }

// Gone records that the client was told now that its place is not in line any more.
func (l *Hold) Gone() { l.note(func(t *Tenure, now moment) { t.gone.first(now) }) }

// Guarded records that the write c depends on the place's being held.
func (l *Hold) Guarded(c *Call) {
	l.note(func(t *Tenure, _ moment) { t.Guarded = append(t.Guarded, c.op.ID) })
}

// Died records that the process of those clients dies now: all that they have, and wait
// for, is over.
func (h *History) Died(client func(int) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.nowLocked()
	for _, l := range h.holds {
		if client(l.tenure.Client) {
			l.tenure.quit.first(now)
			l.tenure.over.first(now)
		}
	}
}

// Breaking records that somebody asks now that the one with the token should go.
func (h *History) Breaking(line string, token uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.breaks = append(h.breaks, Break{line, token, h.nowLocked()})
}

// Break is a request that one in a line should go. Who only waits is removed; who
// holds is not.
type Break struct {
	Line  string
	Token uint64
	asked moment
}

// String returns the request on one line.
func (b Break) String() string {
	return fmt.Sprintf("[%.6f] break of token %d in %q", b.asked.at.Seconds(), b.Token, b.Line)
}

// Holds reports, as joined *Violations, where holders got in one another's way:
//
//   - a token given twice;
//   - a token that is not greater than one granted before it was asked for;
//   - a place granted while as many as the limit stood before it, by their tokens,
//     and were not yet over. So nobody holds together with too many, and nobody
//     overtakes;
//   - a guarded write that is older than its token, newer than a revision at which
//     somebody saw that the place was gone or, with limit 1, newer than one under a greater
//     token: also one whose client was not told that it was done, if anybody has seen it;
//   - a line seen in an order that is not that of tokens, or in two ways at one
//     revision, or with somebody in it who was not there at an earlier revision though
//     the token is older.
//
// A tenure that was not granted holds nothing: it may have given up. The line is
// in the order of tokens, which is that of arrival; a line with another precedence is
// not for this checker.
func Holds(r Record) error {
	f := &faults{rule: "holds"}
	lines := newLines(r, f)
	if len(lines) == 0 {
		return nil
	}
	truth := newTruth(r, new(faults))
	for _, l := range lines {
		for i := range l.granted {
			l.place(i, f)
		}
		l.order(f)
		l.fences(r, truth, f)
	}
	return f.err()
}

// place checks the i-th of those granted, in the order of their tokens, against those
// before it.
func (l *line) place(i int, f *faults) {
	t := l.granted[i]
	if i > 0 && l.granted[i-1].Token == t.Token {
		f.add("one token twice:\n  %v\n  %v", l.granted[i-1], t)
	}
	for _, later := range l.granted[i+1:] {
		if later.granted.seq < t.asked.seq {
			f.add("a token not greater than one granted before it was asked for:\n  %v\n  %v", later, t)
		}
	}
	var before []*Tenure
	for _, other := range l.granted[:i] {
		if other.over.seq > t.granted.seq {
			before = append(before, other)
		}
	}
	if len(before) >= t.Limit {
		f.add("granted too early:\n  %v\nbefore it stood %v", t, before)
	}
}

// order checks what was seen of the line by the revisions at which that was.
func (l *line) order(f *faults) {
	var last *Sight
	for i := range l.sights {
		s := l.sights[i]
		if !slices.IsSortedFunc(s.Places, func(a, b Standing) int { return cmp.Compare(a.Token, b.Token) }) {
			f.add("out of order: %v", s)
		}
		if n := len(s.Places); n > 0 && s.Places[n-1].Token > s.Revision {
			f.add("seen before it came: %v", s)
		}
		if last != nil {
			l.since(last, s, f)
		}
		last = s
	}
}

// since compares what was seen at a revision with what was seen at an earlier one.
func (l *line) since(last, s *Sight, f *faults) {
	if last.Revision == s.Revision && !slices.Equal(last.tokens(), s.tokens()) {
		f.add("seen in two ways at one revision:\n  %v\n  %v", last, s)
		return
	}
	for _, p := range s.Places {
		if p.Token <= last.Revision && !last.has(p.Token) {
			f.add("token %d has come back:\n  %v\n  %v", p.Token, last, s)
		}
	}
}

// fences checks the writes under tokens.
func (l *line) fences(r Record, truth *truth, f *faults) {
	var latest uint64
	for i, t := range l.granted {
		writes := t.committed(r, truth)
		if len(writes) == 0 {
			continue
		}
		first, last := slices.Min(writes), slices.Max(writes)
		if first <= t.Token {
			f.add("a write at %d under a later token: %v", first, t)
		} else if t.Limit == 1 && first <= latest {
			f.add("a write at %d, after which one under an earlier token committed at %d:\n  %v\nbefore it %v", first, latest, t, l.granted[:i])
		}
		for _, s := range l.sights {
			if s.Revision >= t.Token && s.Revision < last && !s.has(t.Token) {
				f.add("a write at %d by one who was gone:\n  %v\n  %v", last, t, s)
				break
			}
		}
		latest = max(latest, last)
	}
}

// committed returns the revisions of the tenure's writes that were done, as far as
// anybody knows.
func (t *Tenure) committed(r Record, truth *truth) (revisions []uint64) {
	for _, id := range t.Guarded {
		o := &r.Operations[id-1]
		if o.done() && !o.Result.Conflict {
			revisions = append(revisions, o.Result.Revision)
			continue
		}
		for _, v := range truth.versions[o.Op.Key] {
			if !v.deleted && v.Value == o.Op.Value && o.Op.Value != "" { // values of guarded writes are unique
				revisions = append(revisions, v.Revision)
			}
		}
	}
	return revisions
}
