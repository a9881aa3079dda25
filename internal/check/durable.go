package check

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// Durable reports, as joined *Violations, where entries, which are all that the named
// replica holds when the clients are done and it has caught up, lack or contradict
// what was acknowledged, or told to any reader or watcher: each key must be at its
// latest known version, or at a later one that an operation of unknown outcome can
// have made.
func Durable(r Record, replica string, entries []Entry) error {
	f := &faults{rule: "durable"}
	t := newTruth(r, new(faults))
	held := make(map[string]Entry, len(entries))
	for _, e := range entries {
		if _, twice := held[e.Key]; twice {
			f.add("%s holds %q twice", replica, e.Key)
		}
		held[e.Key] = e
	}
	for _, key := range slices.Sorted(maps.Keys(t.versions)) {
		v := t.at(key, math.MaxUint64)
		e, ok := held[key]
		switch {
		case !ok && !v.deleted && !t.mayBeGone(v, never):
			f.add("lost: %s does not hold %v, told by\n  %v", replica, v, v.by)
		case ok && e.Revision < v.Revision:
			f.add("lost: %s holds %v, but not %v, told by\n  %v", replica, e, v, v.by)
		case ok && e.Revision == v.Revision && (v.deleted || e.Value != v.Value):
			f.add("%s holds %v, but it was %v, told by\n  %v", replica, e, v, v.by)
		}
	}
	for _, e := range slices.SortedFunc(maps.Values(held), func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) }) {
		v := t.at(e.Key, e.Revision)
		if v != nil && v.Revision == e.Revision {
			continue
		}
		last := &version{Entry: e, told: never, by: holder(replica)}
		if slices.Contains(t.unexplained(append(slices.Clone(t.versions[e.Key]), last)), last) {
			t.blame(last, f)
		}
	}
	return f.err()
}

// holder is a replica as the one who tells of a version.
type holder string

func (h holder) String() string { return string(h) + ", which holds it in the end" }
