package kv

import (
	"context"
	"errors"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
)

// WaitChange waits until the key, the lock, the group or the event of that name is
// not at the revision any more, and returns the revision of the name's last change;
// 0 if there is none that is remembered. It returns at once if none of them is at
// that revision; a revision that the cluster has not reached is waited for. With at
// = 0 it waits for the next change, whatever there is. It may return once too
// often, never too seldom.
//
// It begins as Get does, on a Stale store without asking the cluster, and then
// blocks until the change, until ctx ends, or the node. Its outcome is NotDone
// always.
func (s *Store) WaitChange(ctx context.Context, name string, at Revision) (Revision, error) {
	const op = "wait"
	if err := checkName("name", name); err != nil {
		return 0, notDone(op, name, err)
	}
	n := nameWait{name: name, at: uint64(at)}
	last, err := s.waitFor(ctx, op, name, n.look)
	return Revision(last), err
}

// waitFor calls look with the state, after each change of a name that begins with
// name, until it says that it is done, or the node has joined another cluster, and
// returns what it found.
func (s *Store) waitFor(ctx context.Context, op, name string, look func(m *state.Machine, woken uint64) (found uint64, done bool)) (uint64, error) {
	changed, cancel := s.replica.Subscribe(name)
	defer cancel()
	if err := s.barrier(ctx, op, name); err != nil {
		return 0, err
	}
	var woken uint64
	var home home
	for {
		var found uint64
		var done bool
		err := s.replica.View(func(m *state.Machine) {
			found, done = look(m, woken)
			done = done || home.left(m)
		})
		if err == nil && !done {
			woken, err = s.wait(ctx, changed)
		}
		if err != nil || done {
			return found, outcome.With(op, name, err, outcome.NotDone)
		}
	}
}

// nameWait is one WaitChange.
type nameWait struct {
	name string
	at   uint64
	// waiting tells that the name was where the caller said; it is left when its
	// last change is not `last` any more.
	waiting bool
	last    uint64
}

func (n *nameWait) look(m *state.Machine, woken uint64) (last uint64, done bool) {
	last = m.LastChange(n.name)
	switch {
	case n.waiting:
		return last, last != n.last || forgotten(m, woken)
	case n.at > m.Revision():
		return 0, false
	case n.at != 0 && !isAt(m, n.name, n.at):
		return last, true
	}
	n.waiting, n.last = true, last
	return 0, false
}

// isAt reports whether anything of that name is at the revision. The others of the
// name may have changed since: who asks about a key need not know of the lock.
func isAt(m *state.Machine, name string, revision uint64) bool {
	if item, ok := m.Get(name); ok && item.Revision == revision {
		return true
	}
	for _, kind := range queueKinds {
		if q, ok := m.Queue(kind, name); ok && q.Revision == revision {
			return true
		}
	}
	return m.Event(name) == revision || m.LastChange(name) == revision
}

// forgotten reports whether the change that a subscription has told of is not in
// the history any more, so that it could be of any name with the prefix.
func forgotten(m *state.Machine, revision uint64) bool {
	if revision == 0 {
		return false
	}
	_, _, err := m.Changes("", revision-1, 1)
	_, compacted := errors.AsType[*state.CompactedError](err)
	return compacted
}
