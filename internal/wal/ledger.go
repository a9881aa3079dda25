package wal

import "fmt"

// ledger is what the log holds, without the entries: the same for a log that is
// written and for one that is read again. Every batch passes through it.
type ledger struct {
	base     position // the entry before the first
	last     uint64   // index of the last entry, or of base
	state    State
	segments []*segment // oldest first; the last one is written to
}

// admits reports why a batch of entries cannot follow what is there.
func (g *ledger) admits(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].Index
	switch {
	case first <= g.base.index:
		return fmt.Errorf("entry %d is to be written, but the log begins after %d", first, g.base.index)
	case first > g.last+1:
		return fmt.Errorf("entry %d is to be written, but the last one is %d", first, g.last)
	}
	for i := range entries {
		if entries[i].Index != first+uint64(i) {
			return fmt.Errorf("entry %d is to follow entry %d", entries[i].Index, first+uint64(i)-1)
		}
	}
	return nil
}

// add takes in an append batch that was admitted; the last segment holds it.
func (g *ledger) add(st *State, entries []Entry) {
	if st != nil {
		g.state = *st
	}
	if len(entries) == 0 {
		return
	}
	if first := entries[0].Index; first <= g.last {
		g.forget(first - 1)
	}
	g.last = entries[len(entries)-1].Index
	seg := g.segments[len(g.segments)-1]
	seg.last = g.last
	for i := range entries {
		seg.dataBytes += int64(len(entries[i].Data))
	}
}

// forget notes that no entry after last is part of the log any more.
func (g *ledger) forget(last uint64) {
	for _, seg := range g.segments {
		seg.last = min(seg.last, last)
	}
}

// compact takes in that nothing up to base is needed any more.
func (g *ledger) compact(base position) { g.base = base }

// reset begins anew after base.
func (g *ledger) reset(base position, st State) {
	g.forget(0)
	g.base, g.last, g.state = base, base.index, st
}

// unneeded returns the segments, all of them before the last, that hold nothing of
// the log. Only the oldest in a row count: each segment but the first relies on
// the one before it.
func (g *ledger) unneeded() []*segment {
	n := 0
	for n < len(g.segments)-1 && g.segments[n].last <= g.base.index {
		n++
	}
	return g.segments[:n]
}
