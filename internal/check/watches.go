package check

import (
	"maps"
	"slices"
	"strings"
)

// Watches reports, as joined *Violations, what is wrong with the streams:
//
//   - events out of order, or not newer than what was told before;
//   - a change within the prefix that is missing: every one counts that was
//     acknowledged, or told to any watcher or reader, from where the stream began to its
//     last event, but for those that a Resync owns up to;
//   - a previous revision that is not that of the version before;
//   - a current state, at the beginning or after a Resync, that is not the state of its
//     revision.
//
// Events that contradict an answer or another watcher, or that nobody asked for, are
// found by [Revisions], which takes events and answers for equally good.
//
// A stream that stopped too early looks like one that was not read further. Where
// that matters the test writes a last key and reads every stream until it comes.
func Watches(r Record) error {
	f := &faults{rule: "watches"}
	t := newTruth(r, new(faults))
	for _, s := range r.Streams {
		w := &watcher{truth: t, stream: s, faults: f, state: s.After == 0, at: s.After, from: s.After, view: make(map[string]uint64)}
		for i, e := range s.Events {
			w.event(e, s.seen[i])
		}
		if !w.state {
			w.complete()
		}
	}
	return f.err()
}

// watcher follows one stream.
type watcher struct {
	truth  *truth
	stream Stream
	faults *faults

	// state: what is told now is the current state, as of a revision yet to come.
	state bool
	// full: view has all keys. A stream that began after a revision does not know what
	// was there.
	full  bool
	at    uint64            // the latest revision told
	more  bool              // the rest of at is yet to come
	view  map[string]uint64 // what is where, as told; 0: removed
	from  uint64            // the changes above it must have been told
	told  []Event           // the changes since from
	swept uint64            // removals by prefix up to it are seen in view
}

func (w *watcher) fault(format string, args ...any) {
	w.faults.add("%v: "+format, append([]any{w.stream}, args...)...)
}

func (w *watcher) event(e Event, seen moment) {
	if w.more && (e.Revision != w.at || e.Kind > Deleted) {
		w.fault("%v where the rest of revision %d was announced", e, w.at)
	}
	if e.Kind != Resync && e.Kind != Synced && !strings.HasPrefix(e.Key, w.stream.Prefix) {
		w.fault("%v is not of the prefix", e)
	}
	switch e.Kind {
	case Resync:
		if !w.state {
			w.at = max(w.at, e.Prev)
			w.complete()
		}
		w.state, w.more = true, false
		clear(w.view)
	case Existing:
		w.item(e)
	case Synced:
		w.synced(e, seen)
	default:
		if w.state && e.Kind == Deleted {
			w.item(e)
			return
		}
		w.change(e)
	}
}

// item follows a part of the current state, which may correct what was told before.
func (w *watcher) item(e Event) {
	if !w.state {
		w.fault("%v amid changes, without a resync", e)
	}
	if before, again := w.view[e.Key]; again && e.Revision <= before {
		w.fault("%v although the same state had it @%d", e, before)
	}
	w.view[e.Key] = e.Revision
	if e.Kind == Deleted {
		delete(w.view, e.Key)
	}
}

// synced compares the state that was told with what is known of its revision.
func (w *watcher) synced(e Event, seen moment) {
	if !w.state {
		w.fault("%v amid changes, without a resync", e)
	}
	if e.Revision < w.at {
		w.fault("backwards: %v after revision %d", e, w.at)
	}
	for key, revision := range w.view {
		if revision > e.Revision {
			w.fault("the state as of %d has %q at %d", e.Revision, key, revision)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w.truth.versions)) {
		v := w.truth.at(key, e.Revision)
		if v == nil || !strings.HasPrefix(key, w.stream.Prefix) {
			continue
		}
		switch told, ok := w.view[key]; {
		case !ok && !v.deleted && !w.truth.mayBeGone(v, seen):
			w.fault("the state as of %d lacks %v, told by\n  %v", e.Revision, v, v.by)
		case ok && told != v.Revision:
			w.fault("the state as of %d has %q at %d, but it was %v, told by\n  %v", e.Revision, key, told, v, v.by)
		}
	}
	w.state, w.full = false, true
	w.at, w.from, w.swept, w.told = e.Revision, e.Revision, e.Revision, nil
}

// change follows a Put or Deleted.
func (w *watcher) change(e Event) {
	switch {
	case w.state:
		w.fault("%v before the current state is complete", e)
		return
	case e.Revision < w.at:
		w.fault("backwards: %v after revision %d", e, w.at)
		return
	case e.Revision == w.at && !w.more:
		w.fault("%v after revision %d was complete", e, w.at)
		return
	case e.Revision == w.at && slices.ContainsFunc(w.told, func(t Event) bool { return t.Revision == e.Revision && t.Key == e.Key }):
		w.fault("%v twice", e)
		return
	}
	if e.Revision > w.at {
		w.sweep(e.Revision - 1) // an earlier one would have been told by now
	}
	prev, known := w.view[e.Key]
	switch {
	case (known || w.full) && e.Prev != prev:
		w.fault("%v, but the version before, as told, was @%d", e, prev)
	case !known && !w.full && e.Prev > w.stream.After:
		w.fault("%v, but no version @%d was told", e, e.Prev)
	}
	w.view[e.Key] = e.Revision
	if e.Kind == Deleted {
		w.view[e.Key] = 0
	}
	w.at, w.more = e.Revision, e.More
	w.told = append(w.told, e)
}

// complete checks that all changes since from were told, until now.
func (w *watcher) complete() {
	to := w.at
	if w.more {
		to--
	}
	type change struct {
		key      string
		revision uint64
	}
	told := make(map[change]bool, len(w.told))
	for _, e := range w.told {
		told[change{e.Key, e.Revision}] = true
	}
	for _, key := range slices.Sorted(maps.Keys(w.truth.versions)) {
		if !strings.HasPrefix(key, w.stream.Prefix) {
			continue
		}
		for _, v := range w.truth.versions[key] {
			if v.Revision > w.from && v.Revision <= to && !told[change{key, v.Revision}] {
				w.fault("%v is missing, told by\n  %v", v, v.by)
			}
		}
	}
	w.sweep(to)
}

// sweep checks that what acknowledged removals by prefix removed, up to the revision,
// is gone from the view. Their answers do not name the keys.
func (w *watcher) sweep(to uint64) {
	for _, s := range w.truth.sweeps {
		r := s.revision()
		if r <= w.swept || r > to {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(w.view)) {
			if at := w.view[key]; at > 0 && at < r && s.covers(key) {
				w.fault("the removal of %q@%d is missing, told by\n  %v", key, at, s.by)
			}
		}
	}
	w.swept = max(w.swept, to)
}
