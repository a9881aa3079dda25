package check

import (
	"maps"
	"slices"
)

// Revisions reports, as joined *Violations, where the revisions in answers and events
// contradict one another, real time, or what was asked:
//
//   - a revision given to two changes, or two versions of a key with one revision;
//   - a version that no operation can have made (a value out of thin air, a write
//     applied twice, one seen before it was asked for);
//   - a change whose revision is not above one that anybody knew of before its call;
//   - a read that returned a version replaced at a revision that anybody knew of
//     before its call, whatever the key with which that one became known.
func Revisions(r Record) error {
	f := &faults{rule: "revisions"}
	t := newTruth(r, f)
	for _, key := range slices.Sorted(maps.Keys(t.versions)) {
		for _, v := range t.unexplained(t.versions[key]) {
			t.blame(v, f)
		}
	}
	for i := range r.Operations {
		if o := &r.Operations[i]; o.done() {
			t.order(o, f)
		}
	}
	return f.err()
}

// blame says what is wrong with a version that nothing explains.
func (t *truth) blame(v *version, f *faults) {
	if o := t.changes[v.Revision]; o != nil {
		f.add("%v was seen by\n  %v\nbut its revision was given to\n  %v", v, v.by, o)
		return
	}
	for _, made := range t.versions[v.Key] {
		if made != v && made.deleted == v.deleted && made.Value == v.Value && made.maker != nil {
			f.add("%v was seen by\n  %v\nbut that was done once already, at revision %d:\n  %v", v, v.by, made.Revision, made.maker)
			return
		}
	}
	f.add("%v was seen by\n  %v\nbut nobody asked for it who may have been obeyed then", v, v.by)
}

// order compares what o was told with what was known when it was called.
func (t *truth) order(o *Operation, f *faults) {
	known := t.reachedBefore(o.called)
	if t.changes[o.Result.Revision] == o && o.Result.Revision <= known.revision {
		f.add("the change\n  %v\nis not later than revision %d, known before it was called from\n  %v", o, known.revision, known.by)
	}
	if o.Op.Kind == List && o.Result.Revision > 0 && o.Result.Revision < known.revision {
		f.add("stale: the store was read at revision %d by\n  %v\nbut known before to be at %d from\n  %v", o.Result.Revision, o, known.revision, known.by)
	}
	if o.Op.Kind == Get && !o.Result.Found {
		t.missing(o, known, f)
	}
	if revision := o.Result.Revision; (o.Op.Kind == List || o.Op.Kind == Txn) && revision > known.revision {
		known = reached{revision: revision, by: o} // of the store itself, at the moment of reading
	}
	claims, _, _ := effects(o)
	for _, v := range claims {
		if v.maker == o {
			continue
		}
		if next := t.after(v.Key, v.Revision); next != nil && next.Revision <= known.revision && next.maker != o {
			f.add("stale: %v was read by\n  %v\nafter %v, told by\n  %v\nand the store was known to be at revision %d from\n  %v",
				v, o, next, next.by, known.revision, known.by)
		}
	}
}

// missing looks for a version that a Get which found none should have found: one
// that was the key's until a revision known before and that nothing can have removed.
func (t *truth) missing(o *Operation, known reached, f *faults) {
	v := t.at(o.Op.Key, known.revision)
	if v == nil || v.deleted || t.mayBeGone(v, o.returned) {
		return
	}
	if t.after(v.Key, v.Revision) != nil {
		return // that may be the removal, or come after it: the search knows more
	}
	f.add("stale: nothing was found by\n  %v\nalthough %v was told by\n  %v\nand nothing removed it", o, v, v.by)
}
