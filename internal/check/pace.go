package check

import (
	"cmp"
	"slices"
	"sort"
)

// pace tells at which moments the store can have come to a revision, by all that was told
// of revisions, whatever it was about.
type pace struct {
	revisions []uint64 // ascending
	called    []moment // the latest call of what was told of this revision, or of earlier ones
	returned  []moment // the earliest return of what was told of this revision, or of later ones
}

// report is that the store was at a revision at some moment.
type report struct {
	revision         uint64
	called, returned moment
}

func newPace(r Record) *pace {
	var all []report
	for i := range r.Operations {
		if o := &r.Operations[i]; o.done() && o.Result.Revision > 0 && !o.Result.Conflict && o.Op.Kind != Get {
			all = append(all, report{o.Result.Revision, o.called, o.returned})
		}
	}
	for _, s := range r.Sights {
		if s.called != never {
			all = append(all, report{s.Revision, s.called, s.returned})
		}
	}
	for _, t := range r.Tenures {
		if told := earliest(t.entered, t.granted); told != never {
			all = append(all, report{t.Token, t.asked, told})
		}
	}
	slices.SortFunc(all, func(a, b report) int { return cmp.Compare(a.revision, b.revision) })
	p := new(pace)
	for i, told := range all {
		p.revisions = append(p.revisions, told.revision)
		p.called, p.returned = append(p.called, told.called), append(p.returned, told.returned)
		if i > 0 {
			p.called[i] = latest(p.called[i-1], told.called)
		}
	}
	for i := len(all) - 2; i >= 0; i-- {
		p.returned[i] = earliest(p.returned[i], p.returned[i+1])
	}
	return p
}

// narrow returns the part of an interval in which something can have happened that came
// with a revision of at least from and at most to. What contradicts that is left as it is:
// then something is wrong, and not here.
func (p *pace) narrow(in interval, from, to uint64) interval {
	part := in
	if i := sort.Search(len(p.revisions), func(i int) bool { return p.revisions[i] >= from }); i > 0 {
		part.called = latest(part.called, p.called[i-1])
	}
	if i := sort.Search(len(p.revisions), func(i int) bool { return p.revisions[i] >= to }); i < len(p.revisions) {
		part.returned = earliest(part.returned, p.returned[i])
	}
	if part.called.seq >= part.returned.seq {
		return in
	}
	return part
}

// interval is between two moments.
type interval struct{ called, returned moment }

func earliest(all ...moment) moment {
	return slices.MinFunc(all, func(a, b moment) int { return cmp.Compare(a.seq, b.seq) })
}

func latest(a, b moment) moment {
	if a.seq > b.seq {
		return a
	}
	return b
}
