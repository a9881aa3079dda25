package check

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// truth is what a record tells about the versions of keys, without any search:
// revisions say how the versions follow one another.
type truth struct {
	versions map[string][]*version // ascending
	changes  map[uint64]*Operation // acknowledged, by their revisions
	sweeps   []removal             // acknowledged, in Txns too; ascending
	open     []*Operation          // those that may have changed something, at a revision unknown
	reached  []reached             // ascending in both
}

// version is one state of a key, or its removal.
type version struct {
	Entry
	deleted bool
	maker   *Operation   // whose answer told that it made it; nil if there is no such answer
	told    moment       // when somebody first knew of it
	by      fmt.Stringer // who: made into text only for a report
}

// removal is one by prefix: after it no key is there that has the prefix.
type removal struct {
	prefix string
	by     *Operation
}

func (s removal) revision() uint64 { return s.by.Result.Revision }

func (s removal) covers(key string) bool { return strings.HasPrefix(key, s.prefix) }

// version returns what the removal made of the key.
func (s removal) version(key string) *version {
	return &version{Entry: Entry{Key: key, Revision: s.revision()}, deleted: true, maker: s.by, told: s.by.returned, by: s.by}
}

// reached says that by some moment somebody knew the store to be at a revision.
type reached struct {
	seq      int64
	revision uint64
	by       fmt.Stringer
}

// sighting is an event as somebody's knowledge.
type sighting struct {
	stream *Stream
	event  Event
}

func (s sighting) String() string { return fmt.Sprintf("%v: %v", s.stream, s.event) }

// faults collects violations of one rule.
type faults struct {
	rule string
	errs []error
}

func (f *faults) add(format string, args ...any) {
	f.errs = append(f.errs, &Violation{Rule: f.rule, Text: fmt.Sprintf(format, args...)})
}

// err joins the first few.
func (f *faults) err() error {
	const most = 10
	if more := len(f.errs) - most; more > 0 {
		return errors.Join(append(f.errs[:most:most], &Violation{Rule: f.rule, Text: fmt.Sprintf("and %d more", more)})...)
	}
	return errors.Join(f.errs...)
}

// newTruth gathers what r tells. Contradictions go to f; the first claim stands.
func newTruth(r Record, f *faults) *truth {
	t := &truth{versions: make(map[string][]*version), changes: make(map[uint64]*Operation)}
	known := make(map[string]map[uint64]*version)
	var claims []*version
	for i := range r.Operations {
		claims = append(claims, t.operation(&r.Operations[i], f)...)
	}
	for i := range r.Streams {
		claims = append(claims, t.stream(&r.Streams[i])...)
	}
	// What a maker claims comes first, so that what others saw is compared with it.
	slices.SortStableFunc(claims, func(a, b *version) int {
		switch {
		case (a.maker != nil) == (b.maker != nil):
			return cmp.Compare(a.told.seq, b.told.seq)
		case a.maker != nil:
			return -1
		}
		return 1
	})
	for _, c := range claims {
		if known[c.Key] == nil {
			known[c.Key] = make(map[uint64]*version)
		}
		v := known[c.Key][c.Revision]
		switch {
		case v == nil:
			known[c.Key][c.Revision] = c
		case v.deleted != c.deleted || v.Value != c.Value:
			f.add("two versions of %q at revision %d: %v, told by\n  %v\nand %v, told by\n  %v", c.Key, c.Revision, v, v.by, c, c.by)
		case c.told.seq < v.told.seq:
			v.told, v.by = c.told, c.by
		}
	}
	for key, byRevision := range known {
		t.versions[key] = slices.SortedFunc(maps.Values(byRevision), func(a, b *version) int { return cmp.Compare(a.Revision, b.Revision) })
	}
	slices.SortFunc(t.sweeps, func(a, b removal) int { return cmp.Compare(a.revision(), b.revision()) })
	slices.SortFunc(t.reached, func(a, b reached) int { return cmp.Compare(a.seq, b.seq) })
	for i := 1; i < len(t.reached); i++ {
		if prev := t.reached[i-1]; prev.revision > t.reached[i].revision {
			t.reached[i].revision, t.reached[i].by = prev.revision, prev.by
		}
	}
	return t
}

// String returns the version as in `"a"="1"@7`.
func (v *version) String() string {
	if v.deleted {
		return fmt.Sprintf("%q removed@%d", v.Key, v.Revision)
	}
	return v.Entry.String()
}

// operation notes what o tells, and returns the versions it speaks of.
func (t *truth) operation(o *Operation, f *faults) []*version {
	if !o.done() {
		if o.perhaps() {
			t.open = append(t.open, o)
		}
		return nil
	}
	revision := o.Result.Revision
	if highest := highestTold(o); highest > 0 {
		t.reached = append(t.reached, reached{o.returned.seq, highest, o})
	}
	claims, changed, perhaps := effects(o)
	switch {
	case changed && revision == 0:
		t.open = append(t.open, o)
		return slices.DeleteFunc(claims, func(v *version) bool { return v.maker != nil })
	case !changed && perhaps: // the revision may be another's
		t.open = append(t.open, o)
		return claims
	case !changed:
		return claims
	}
	if other := t.changes[revision]; other != nil {
		f.add("revision %d was given twice, to\n  %v\n  %v", revision, other, o)
	} else {
		t.changes[revision] = o
	}
	for _, done := range branchOf(o) {
		if done.op.Kind == DeletePrefix {
			t.sweeps = append(t.sweeps, removal{done.op.Key, o})
		}
	}
	return claims
}

// done is one Op that was done, with its result.
type done struct {
	op Op
	r  Result
}

// branchOf returns what o, which was acknowledged, did: itself, or the branch of
// the Txn that was taken.
func branchOf(o *Operation) []done {
	switch {
	case o.Op.Kind != Txn && o.Result.Conflict:
		return nil
	case o.Op.Kind != Txn:
		return []done{{o.Op, o.Result}}
	}
	ops := o.Op.Then
	if o.Result.Conflict {
		ops = o.Op.Else
	}
	var all []done
	for i, op := range ops {
		r := Result{Untold: true}
		if i < len(o.Result.Ops) {
			r = o.Result.Ops[i]
		}
		all = append(all, done{op, r})
	}
	return all
}

// effects returns the versions that an acknowledged operation made or saw, and
// whether it changed anything, or perhaps did, by a removal of which no more was told.
func effects(o *Operation) (claims []*version, changed, perhaps bool) {
	claim := func(e Entry, deleted bool, maker *Operation) {
		if e.Revision > 0 || maker != nil {
			claims = append(claims, &version{Entry: e, deleted: deleted, maker: maker, told: o.returned, by: o})
		}
	}
	for _, d := range branchOf(o) {
		switch {
		case d.op.Kind == Get && d.r.Found:
			claim(Entry{d.op.Key, d.r.Value, d.r.Revision}, false, nil)
		case d.op.Kind == Set:
			claim(Entry{d.op.Key, d.op.Value, o.Result.Revision}, false, o)
			changed = true
		case d.op.Kind == Delete && d.r.Found:
			claim(Entry{Key: d.op.Key, Revision: o.Result.Revision}, true, o)
			changed = true
		case d.r.Count > 0:
			changed = true
		case d.r.Untold && d.op.writes():
			perhaps = true
		}
	}
	for _, e := range o.Result.Entries {
		claim(e, false, nil)
	}
	return claims, changed, perhaps
}

// highestTold returns the highest revision that o's answer tells.
func highestTold(o *Operation) uint64 {
	highest := o.Result.Revision
	for _, r := range o.Result.Ops {
		highest = max(highest, r.Revision)
	}
	for _, e := range o.Result.Entries {
		highest = max(highest, e.Revision)
	}
	return highest
}

// stream notes what a watcher was told, and returns the versions it speaks of.
func (t *truth) stream(s *Stream) []*version {
	var claims []*version
	for i, e := range s.Events {
		if e.Kind == Resync {
			continue
		}
		by := sighting{s, e}
		t.reached = append(t.reached, reached{s.seen[i].seq, e.Revision, by})
		if e.Kind != Synced {
			claims = append(claims, &version{Entry: Entry{e.Key, e.Value, e.Revision}, deleted: e.Kind == Deleted, told: s.seen[i], by: by})
		}
	}
	return claims
}

// reachedBefore returns the highest revision that anybody knew of before m.
func (t *truth) reachedBefore(m moment) reached {
	i := sort.Search(len(t.reached), func(i int) bool { return t.reached[i].seq >= m.seq })
	if i == 0 {
		return reached{}
	}
	return t.reached[i-1]
}

// at returns the version that key was at when the store was at the revision, as far
// as known; nil if nothing is known until then.
func (t *truth) at(key string, revision uint64) *version {
	all := t.versions[key]
	i := sort.Search(len(all), func(i int) bool { return all[i].Revision > revision })
	var latest *version
	if i > 0 {
		latest = all[i-1]
	}
	for _, s := range t.sweeps {
		if r := s.revision(); r <= revision && (latest == nil || r > latest.Revision) && s.covers(key) {
			latest = s.version(key)
		}
	}
	return latest
}

// after returns the first known version of key later than the revision, or nil.
func (t *truth) after(key string, revision uint64) *version {
	all := t.versions[key]
	i := sort.Search(len(all), func(i int) bool { return all[i].Revision > revision })
	var next *version
	if i < len(all) {
		next = all[i]
	}
	for _, s := range t.sweeps {
		if r := s.revision(); r > revision && (next == nil || r < next.Revision) && s.covers(key) {
			next = s.version(key)
		}
	}
	return next
}

// mayMake reports whether op can have made v, if it was done.
func mayMake(op Op, v *version) bool {
	switch op.Kind {
	case Set:
		return !v.deleted && op.Key == v.Key && op.Value == v.Value
	case Delete:
		return v.deleted && op.Key == v.Key
	case DeletePrefix:
		return v.deleted && strings.HasPrefix(v.Key, op.Key)
	}
	return slices.ContainsFunc(slices.Concat(op.Then, op.Else), func(sub Op) bool { return mayMake(sub, v) })
}

// mayBeGone reports whether somebody who asked before m can have removed v unseen.
func (t *truth) mayBeGone(v *version, m moment) bool {
	gone := &version{Entry: Entry{Key: v.Key}, deleted: true}
	return slices.ContainsFunc(t.open, func(o *Operation) bool { return o.called.seq < m.seq && mayMake(o.Op, gone) })
}

// unexplained returns those of the versions, all of one key, that no operation can
// have made: none was asked for it in time, or each is needed for another one.
func (t *truth) unexplained(versions []*version) []*version {
	m := matching{makers: make(map[*Operation]*version)}
	var left []*version
	for _, v := range versions {
		if o := t.changes[v.Revision]; o != nil {
			if !mayMake(o.Op, v) {
				left = append(left, v)
			}
			continue // that o was not too late is seen by its revision
		}
		m.tried = make(map[*Operation]bool)
		if !m.assign(t, v) {
			left = append(left, v)
		}
	}
	return left
}

// matching gives each version an operation of unknown outcome that made it, and no
// operation two versions.
type matching struct {
	makers map[*Operation]*version
	tried  map[*Operation]bool
}

// assign finds a maker for v, if need be one whose version finds another maker.
func (m *matching) assign(t *truth, v *version) bool {
	for _, o := range t.open {
		if m.tried[o] || o.called.seq > v.told.seq || !mayMake(o.Op, v) {
			continue
		}
		m.tried[o] = true
		if other := m.makers[o]; other == nil || m.assign(t, other) {
			m.makers[o] = v
			return true
		}
	}
	return false
}
