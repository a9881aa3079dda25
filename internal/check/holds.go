package check

import (
	"cmp"
	"fmt"
	"slices"
)

// Tenure is the story of one place in a lock, a semaphore, or the first seats of a
// group: asked for, granted with a token, over.
type Tenure struct {
	Lock   string
	Client int
	Limit  int // how many may hold together, at least 1
	Token  uint64
	// Writes are the revisions of writes that committed on condition that the place was
	// still held.
	Writes []uint64

	asked, granted, over moment // never: not so far
}

// String returns the tenure on one line.
func (t Tenure) String() string {
	when := func(m moment) string {
		if m == never {
			return "…"
		}
		return fmt.Sprintf("%.6f", m.at.Seconds())
	}
	return fmt.Sprintf("client %d in %q (limit %d), token %d, asked %s, granted %s, over %s, writes %v",
		t.Client, t.Lock, t.Limit, t.Token, when(t.asked), when(t.granted), when(t.over), t.Writes)
}

// Hold records one Tenure. It is safe for concurrent use.
type Hold struct {
	h      *History
	tenure Tenure
}

// Ask records that client asks now for a place among the limit holders of the lock.
func (h *History) Ask(client int, lock string, limit int) *Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	hold := &Hold{h: h, tenure: Tenure{Lock: lock, Client: client, Limit: limit,
		asked: h.nowLocked(), granted: never, over: never}}
	h.holds = append(h.holds, hold)
	return hold
}

// Granted records that the client was told now that it holds.
func (l *Hold) Granted(token uint64) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.tenure.Token, l.tenure.granted = token, l.h.nowLocked()
}

// Wrote records that a write on condition of the hold was acknowledged.
func (l *Hold) Wrote(revision uint64) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.tenure.Writes = append(l.tenure.Writes, revision)
}

// Over records that the client, as of now, does not believe any more that it holds:
// it is about to release, its context has ended, or it was killed.
func (l *Hold) Over() {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.tenure.over = l.h.nowLocked()
}

// Holds reports, as joined *Violations, where holders got in one another's way:
//
//   - a token given twice;
//   - a token that is not greater than one granted before it was asked for;
//   - a place granted while as many as the limit stood before it, by their tokens,
//     and were not yet over. So nobody holds together with too many, and nobody
//     overtakes;
//   - a fenced write that is older than its token or, of a lock with limit 1, newer
//     than one under a greater token.
//
// A tenure that was not granted counts for nothing: it may have given up. The line is
// in the order of tokens, which is that of arrival; a line with another precedence is
// not for this checker.
func Holds(r Record) error {
	f := &faults{rule: "holds"}
	byLock := make(map[string][]Tenure)
	var locks []string
	for _, t := range r.Tenures {
		if t.granted == never {
			continue
		}
		if byLock[t.Lock] == nil {
			locks = append(locks, t.Lock)
		}
		byLock[t.Lock] = append(byLock[t.Lock], t)
	}
	for _, lock := range locks {
		line := byLock[lock]
		slices.SortFunc(line, func(a, b Tenure) int { return cmp.Compare(a.Token, b.Token) })
		for i := range line {
			place(line, i, f)
		}
		fences(line, f)
	}
	return f.err()
}

// place checks the i-th of those granted, in the order of their tokens, against those
// before it.
func place(line []Tenure, i int, f *faults) {
	t := line[i]
	if i > 0 && line[i-1].Token == t.Token {
		f.add("one token twice:\n  %v\n  %v", line[i-1], t)
	}
	for _, later := range line[i+1:] {
		if later.granted.seq < t.asked.seq {
			f.add("a token not greater than one granted before it was asked for:\n  %v\n  %v", later, t)
		}
	}
	var before []Tenure
	for _, other := range line[:i] {
		if other.over.seq > t.granted.seq {
			before = append(before, other)
		}
	}
	if len(before) >= t.Limit {
		f.add("granted too early:\n  %v\nbefore it stood %v", t, before)
	}
}

// fences checks the writes under tokens.
func fences(line []Tenure, f *faults) {
	var latest uint64
	for i, t := range line {
		if len(t.Writes) == 0 {
			continue
		}
		if first := slices.Min(t.Writes); first <= t.Token {
			f.add("a write at %d under a later token: %v", first, t)
		} else if t.Limit == 1 && first <= latest {
			f.add("a write at %d, after which one under an earlier token committed at %d:\n  %v\nbefore it %v", first, latest, t, line[:i])
		}
		latest = max(latest, slices.Max(t.Writes))
	}
}
