package kv

import (
	"context"
	"fmt"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Event is a name that can be fired and waited for; nothing else is behind it.
// Events, keys, locks and groups have names of their own: one name may stand for
// each.
type Event struct {
	store *Store
	name  string
}

// Event returns the event of that name. It need not have been fired before.
func (s *Store) Event(name string) *Event { return &Event{s, name} }

// Name returns the event's name.
func (e *Event) Name() string { return e.name }

// Fire fires the event and returns the revision of that, which is greater than any
// before. The only condition it takes is IfRevision with the revision at which the
// event was fired last. It blocks, and fails, as Set does.
func (e *Event) Fire(ctx context.Context, conditions ...Condition) (Revision, error) {
	return e.store.Fire(ctx, e.name, conditions...)
}

// Revision returns the revision at which the event was fired last; 0 if it never
// was, or so long ago that the cluster has forgotten it. It blocks as Get does.
func (e *Event) Revision(ctx context.Context) (Revision, error) {
	const op = "event"
	if err := checkName("event", e.name); err != nil {
		return 0, notDone(op, e.name, err)
	}
	if err := e.store.barrier(ctx, op, e.name); err != nil {
		return 0, err
	}
	return e.store.fired(op, e.name)
}

// fired looks at the local state.
func (s *Store) fired(op, name string) (at Revision, err error) {
	err = s.replica.View(func(m *state.Machine) { at = Revision(m.Event(name)) })
	return at, outcome.With(op, name, err, outcome.NotDone)
}

// Wait returns once the event was fired after that revision, at once if it was
// already, and returns the newest such revision. Given what the last Wait or
// Revision returned it misses nothing, though it may tell several fires as one.
// When the node joins another cluster meanwhile, where revisions count anew, it
// returns what is true there. It blocks until then, until ctx ends, or the node.
func (e *Event) Wait(ctx context.Context, after Revision) (Revision, error) {
	const op = "wait for event"
	if err := checkName("event", e.name); err != nil {
		return 0, notDone(op, e.name, err)
	}
	at, err := e.store.waitFor(ctx, op, e.name, func(m *state.Machine, _ uint64) (uint64, bool) {
		at := m.Event(e.name)
		return at, at > uint64(after)
	})
	return Revision(at), err
}

// Fire fires the event of that name: see Event.Fire.
func (s *Store) Fire(ctx context.Context, name string, conditions ...Condition) (Revision, error) {
	const op = "fire"
	fire := &statepb.Fire{Name: name}
	err := checkName("event", name)
	for _, c := range conditions {
		switch {
		case c.test != atRevision || c.revision == 0 || c.key != "":
			err = fmt.Errorf("%w: %s is no condition for an event: it takes a revision at which it was fired", ErrInvalid, c)
		case fire.IfRevision != 0:
			err = fmt.Errorf("%w: more than one condition", ErrInvalid)
		}
		fire.IfRevision = uint64(c.revision)
	}
	if err != nil {
		return 0, notDone(op, name, err)
	}
	r, err := s.replica.Propose(ctx, &statepb.Command{Op: &statepb.Command_Fire{Fire: fire}})
	if err != nil {
		return 0, outcome.With(op, name, err, outcome.Unknown)
	}
	switch r.GetCode() {
	case statepb.Result_OK:
		return Revision(r.GetRevision()), nil
	case statepb.Result_CONDITION_FAILED:
		actual, err := s.fired(op, name)
		if err != nil {
			return 0, err
		}
		return 0, notDone(op, name, &ConflictError{Key: name, Wanted: conditions[0].Of(name), Actual: actual})
	}
	return 0, refused(op, name, r)
}
