package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Standing is one place in a line, as it was seen.
type Standing struct {
	Token uint64
	Label string // the tenure's
}

// Sight is what somebody was told of a line: all who stand in it, from the head.
type Sight struct {
	Who      string
	Line     string
	Revision uint64 // the store's at that moment
	Places   []Standing

	// called is never for what a watcher was told: that was true some time before.
	called, returned moment
}

// String returns the sight on one line.
func (s *Sight) String() string {
	var b strings.Builder
	if s.called != never {
		fmt.Fprintf(&b, "[%.6f ", s.called.at.Seconds())
	} else {
		b.WriteString("[… ")
	}
	fmt.Fprintf(&b, "%.6f] %s saw %q@%d:", s.returned.at.Seconds(), s.Who, s.Line, s.Revision)
	for _, p := range s.Places {
		fmt.Fprintf(&b, " %d(%s)", p.Token, p.Label)
	}
	return b.String()
}

func (s *Sight) has(token uint64) bool {
	return slices.ContainsFunc(s.Places, func(p Standing) bool { return p.Token == token })
}

func (s *Sight) tokens() (tokens []uint64) {
	for _, p := range s.Places {
		tokens = append(tokens, p.Token)
	}
	return tokens
}

// Look is a question about a line that has no answer yet.
type Look struct {
	h     *History
	sight Sight
}

// Look records that somebody asks now who stands in the line, and is to be told what is
// true between now and the answer.
func (h *History) Look(who, line string) *Look {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &Look{h, Sight{Who: who, Line: line, called: h.nowLocked()}}
}

// Saw records the answer. A question that was not answered tells nothing.
func (l *Look) Saw(revision uint64, places []Standing) {
	l.sight.Revision, l.sight.Places = revision, places
	l.h.saw(l.sight)
}

// Noticed records that a watcher was told now how the line was at some time before.
func (h *History) Noticed(who, line string, revision uint64, places []Standing) {
	h.saw(Sight{Who: who, Line: line, Revision: revision, Places: places, called: never})
}

func (h *History) saw(s Sight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.returned = h.nowLocked()
	h.sights = append(h.sights, &s)
}

// line is all that was recorded of one.
type line struct {
	name    string
	tenures []*Tenure // in the order of asking; those seen have their tokens
	granted []*Tenure // of these, in the order of tokens
	sights  []*Sight  // by revision
	breaks  []Break
}

// newLines gathers what r tells of each line. What cannot be goes to f.
func newLines(r Record, f *faults) (all []*line) {
	byName := make(map[string]*line)
	named := func(name string) *line {
		l := byName[name]
		if l == nil {
			l = &line{name: name}
			byName[name] = l
			all = append(all, l)
		}
		return l
	}
	byLabel := make(map[string]*Tenure, len(r.Tenures))
	for i := range r.Tenures {
		t := r.Tenures[i]
		byLabel[t.Label] = &t
		named(t.Line).tenures = append(named(t.Line).tenures, &t)
	}
	for _, s := range r.Sights {
		l := named(s.Line)
		l.sights = append(l.sights, s)
		for _, p := range s.Places {
			switch t := byLabel[p.Label]; {
			case t == nil || t.Line != s.Line || t.asked.seq > s.returned.seq:
				f.add("nobody had asked for the place of token %d: %v", p.Token, s)
			case t.Token == 0:
				t.Token = p.Token
			case t.Token != p.Token:
				f.add("one attempt with two tokens: %v\n  %v", t, s)
			}
		}
	}
	for _, b := range r.Breaks {
		named(b.Line).breaks = append(named(b.Line).breaks, b)
	}
	for _, l := range all {
		for _, t := range l.tenures {
			if t.granted != never {
				l.granted = append(l.granted, t)
			}
		}
		slices.SortStableFunc(l.granted, func(a, b *Tenure) int { return cmp.Compare(a.Token, b.Token) })
		slices.SortStableFunc(l.sights, func(a, b *Sight) int { return cmp.Compare(a.Revision, b.Revision) })
	}
	return all
}
