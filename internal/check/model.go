package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// state is the store as far as the answers linearized until now tell, for the keys
// of one part. States are never changed, only replaced.
type state struct {
	// reached is the highest revision that the store is known to have reached: every
	// later change has a greater one.
	reached uint64
	cells   []cell
}

// cell is one key. The zero cell is an absent one.
type cell struct {
	value value
	// by is the ID of the operation that wrote the version while its revision is not
	// known, because the answer was lost; else 0.
	by int32
	// low is the version's revision or, while that is not known, one below it; high is
	// then one above it, 0 as long as there is none.
	low, high uint64
}

// model returns the sequential specification of a store for the keys of c.
//
// An operation of unknown outcome is always done when its turn comes, unless its
// conditions forbid it. Never to have been done is covered too: its turn comes after
// everything that could have noticed.
func model(c *compiler) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return &state{cells: make([]cell, len(c.keys))} },
		Step: func(s, input, _ any) (bool, any) {
			next, ok := step(s.(*state), input.(*program))
			return ok, next
		},
		Equal: func(a, b any) bool {
			s, t := a.(*state), b.(*state)
			return s == t || s.reached == t.reached && slices.Equal(s.cells, t.cells)
		},
		Hash:              func(s any) uint64 { return s.(*state).hash() },
		DescribeOperation: func(input, _ any) string { return input.(*program).op.String() },
		DescribeState:     func(s any) string { return c.describe(s.(*state)) },
	}
}

func (s *state) hash() uint64 {
	h := s.reached
	for _, c := range s.cells {
		h = (h ^ c.low ^ uint64(c.value)<<40 ^ uint64(c.by)<<20 ^ c.high<<1) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

func (c *compiler) describe(s *state) string {
	var b strings.Builder
	fmt.Fprintf(&b, "@%d", s.reached)
	for i, cell := range s.cells {
		switch {
		case cell.value == absent:
			continue
		case cell.by == 0:
			fmt.Fprintf(&b, " %q=%q@%d", c.keys[i], c.names[cell.value], cell.low)
		case cell.high == 0:
			fmt.Fprintf(&b, " %q=%q@>%d", c.keys[i], c.names[cell.value], cell.low)
		default:
			fmt.Fprintf(&b, " %q=%q@%d<?<%d", c.keys[i], c.names[cell.value], cell.low, cell.high)
		}
	}
	return b.String()
}

// step does p in the state s. It reports false if what p was told contradicts s.
func step(s *state, p *program) (*state, bool) {
	next, ok := run(s, p)
	if !ok && !p.known {
		return s, true // two conditions that cannot both hold
	}
	return next, ok
}

func run(s *state, p *program) (*state, bool) {
	d := draft{state: *s}
	branch, ok := d.branch(p)
	if !ok {
		return nil, false
	}
	for i := range branch {
		if !d.do(p, &branch[i]) {
			return nil, false
		}
	}
	if !d.stamp(p) {
		return nil, false
	}
	if !d.owned && d.reached == s.reached {
		return s, true
	}
	return &state{d.reached, d.cells}, true
}

// draft is the next state while it is made.
type draft struct {
	state
	owned   bool // the cells are no longer those of the state before
	changed bool // the program has changed the store
}

func (d *draft) own() {
	if !d.owned {
		d.cells, d.owned = slices.Clone(d.cells), true
	}
}

// branch returns what p does, by what it was told or, where that is not known, by
// its conditions. What the choice tells about revisions goes into the draft.
func (d *draft) branch(p *program) ([]action, bool) {
	hold, sure := true, true
	for _, c := range p.conditions {
		yes, certain := d.test(c)
		if certain && !yes {
			hold, sure = false, true
			break
		}
		sure = sure && certain
	}
	switch {
	case p.known && p.conflict:
		return p.otherwise, !sure || !hold
	case p.known && !hold:
		return nil, false
	case !hold:
		return p.otherwise, true
	}
	// Not sure, of an unknown outcome: the condition names a revision that no answer
	// has told yet. Assume that it holds; that it does not is again the case of never.
	// (An Else that writes would differ, but nobody guesses revisions.)
	for _, c := range p.conditions {
		if c.test == AtRevision && c.revision != 0 && !d.pin(c.cell, c.revision) {
			return nil, false
		}
	}
	return p.then, true
}

// test tells whether the condition holds, and whether that is certain.
func (d *draft) test(c condition) (yes, certain bool) {
	v := d.cells[c.cell]
	switch c.test {
	case Exists:
		return v.value != absent, true
	case HasValue:
		return v.value == c.value, true
	}
	switch {
	case v.value == absent || c.revision == 0:
		return (v.value == absent) == (c.revision == 0), true
	case v.by == 0:
		return v.low == c.revision, true
	}
	yes = v.low < c.revision && (v.high == 0 || c.revision < v.high)
	return yes, !yes
}

// do does one action, and compares it with what was told.
func (d *draft) do(p *program, a *action) bool {
	switch a.kind {
	case Get:
		return d.get(a)
	case List:
		return d.list(a)
	case Set:
		d.put(p, a.cells[0], a.value)
		return true
	case Delete:
		found := d.cells[a.cells[0]].value != absent
		d.put(p, a.cells[0], absent)
		return !a.told || found == a.found
	}
	count := 0
	for _, i := range a.cells {
		if d.cells[i].value != absent {
			d.put(p, i, absent)
			count++
		}
	}
	return !a.told || count == a.count
}

func (d *draft) get(a *action) bool {
	if !a.told {
		return true
	}
	v := d.cells[a.cells[0]].value
	switch {
	case !a.found || v == absent:
		return !a.found && v == absent
	case a.seen != v && a.seen != anyValue:
		return false
	}
	return a.revision == 0 || d.pin(a.cells[0], a.revision)
}

func (d *draft) list(a *action) bool {
	if !a.told {
		return true
	}
	rest := a.entries
	for _, i := range a.cells {
		if a.limit > 0 && len(a.entries)-len(rest) == a.limit {
			break
		}
		v := d.cells[i].value
		if v == absent {
			continue
		}
		if len(rest) == 0 || rest[0].cell != i || rest[0].value != v || !d.pin(i, rest[0].revision) {
			return false
		}
		rest = rest[1:]
	}
	return len(rest) == 0
}

// put makes v the value of cell i, by p.
func (d *draft) put(p *program, i int, v value) {
	if v == absent && d.cells[i].value == absent {
		return
	}
	d.own()
	d.changed = true
	switch {
	case v == absent:
		d.cells[i] = cell{}
	case p.known && p.revision != 0:
		d.cells[i] = cell{value: v, low: p.revision}
	default:
		d.cells[i] = cell{value: v, by: int32(p.op.ID), low: d.reached}
	}
}

// pin notes that the version in cell i has that revision, and with it all that the
// same operation wrote. It reports false if that cannot be.
func (d *draft) pin(i int, revision uint64) bool {
	c := d.cells[i]
	if c.by == 0 {
		return c.low == revision
	}
	if revision <= c.low || c.high != 0 && revision >= c.high {
		return false
	}
	d.own()
	for j, other := range d.cells {
		if other.by == c.by {
			d.cells[j] = cell{value: other.value, low: revision}
		}
	}
	d.reached = max(d.reached, revision)
	return true
}

// stamp takes account of the revision that p was told: its own if it has changed
// something, else the store's.
func (d *draft) stamp(p *program) bool {
	if !p.known || p.revision == 0 {
		return true
	}
	end := p.revision // what is there already came before it
	if !d.changed {
		end++
	}
	if d.reached >= end {
		return false
	}
	for i, c := range d.cells {
		if c.by != 0 && (c.high == 0 || c.high > end) {
			if c.low+1 >= end {
				return false
			}
			d.own()
			d.cells[i].high = end
		}
	}
	d.reached = p.revision
	return true
}
