package kv

import (
	"context"
	"fmt"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// write is the command for one operation on one key, with everything that it is
// made of in one piece of memory.
type write struct {
	op   string
	name string // the key, or the prefix

	conditions []Condition
	lifetime   Lifetime

	command statepb.Command
	txn     statepb.Command_Txn
	body    statepb.Txn
	then    [1]*statepb.Op
	do      statepb.Op
	put     statepb.Op_Put
	putBody statepb.Put
}

func newWrite(op, name string) *write {
	w := &write{op: op, name: name}
	w.then[0] = &w.do
	w.body.Then = w.then[:]
	w.txn.Txn = &w.body
	w.command.Op = &w.txn
	return w
}

// Set writes the key and returns the revision of that. Conditions and a lifetime
// may come with it. It blocks until the write is in force here and on a majority's
// disks, until ctx ends, or the node.
//
// If a condition does not hold the error has a *ConflictError in its chain, or is
// ErrNotHeld; others are ErrInvalid, ErrTooLarge, ErrQuota and those of every
// agreement call. A write whose outcome is unknown may still be done later. value
// is not kept.
func (s *Store) Set(ctx context.Context, key string, value []byte, options ...SetOption) (Revision, error) {
	w := newWrite("set", key)
	w.putBody.Key, w.putBody.Value = key, value
	w.put.Put = &w.putBody
	w.do.Do = &w.put
	err := s.checkPut(key, value)
	if err == nil {
		err = w.take(options)
	}
	if err != nil {
		return 0, notDone(w.op, key, err)
	}
	r, err := s.do(ctx, w)
	return Revision(r.GetRevision()), err
}

// Delete deletes the key and returns the revision of that. A key that is not there
// is no error: nothing changes, and the revision is the cluster's current one; who
// wants to know says IfExists. Blocking and errors are as with Set.
func (s *Store) Delete(ctx context.Context, key string, conditions ...Condition) (Revision, error) {
	w := newWrite("delete", key)
	w.do.Do = &statepb.Op_Delete{Delete: &statepb.Delete{Key: key}}
	w.conditions = conditions
	if err := s.checkPut(key, nil); err != nil {
		return 0, notDone(w.op, key, err)
	}
	r, err := s.do(ctx, w)
	return Revision(r.GetRevision()), err
}

// DeletePrefix deletes all keys with the prefix, in one change, and returns how
// many there were and the revision. An empty prefix is that of all keys. The only
// condition that makes sense is IfHeld. Blocking and errors are as with Set.
func (s *Store) DeletePrefix(ctx context.Context, prefix string, conditions ...Condition) (int, Revision, error) {
	w := newWrite("delete prefix", prefix)
	w.do.Do = &statepb.Op_DeletePrefix{DeletePrefix: &statepb.DeletePrefix{Prefix: prefix}}
	w.conditions = conditions
	err := checkText("prefix", prefix)
	for _, c := range conditions {
		if err == nil && c.test != isHeld {
			err = fmt.Errorf("%w: %s is no condition for a prefix: use a transaction", ErrInvalid, c)
		}
	}
	if err != nil {
		return 0, 0, notDone(w.op, prefix, err)
	}
	r, err := s.do(ctx, w)
	if err != nil {
		return 0, 0, err
	}
	return int(r.GetOps()[0].GetDeleted()), Revision(r.GetRevision()), nil
}

// take sorts the options of a Set.
func (w *write) take(options []SetOption) error {
	var lifetimes []Lifetime
	for _, o := range options {
		switch o := o.(type) {
		case Condition:
			w.conditions = append(w.conditions, o)
		case Lifetime:
			lifetimes = append(lifetimes, o)
		default:
			return fmt.Errorf("%w: an option that is nil", ErrInvalid)
		}
	}
	var err error
	w.lifetime, err = join(lifetimes)
	return err
}

// condition adds the conditions. Where one is about the key, a refusal brings the
// key's revision at that moment with it.
func (w *write) condition() error {
	if len(w.conditions) == 0 {
		return nil
	}
	w.body.Conditions = make([]*statepb.Condition, len(w.conditions))
	for i := range w.conditions {
		c := w.conditions[i]
		if err := c.check(w.name); err != nil {
			return err
		}
		if c.test != isHeld {
			if c.key != "" && c.key != w.name {
				return fmt.Errorf("%w: a condition on another key, %q: use a transaction", ErrInvalid, c.key)
			}
			if w.body.Otherwise != nil {
				return fmt.Errorf("%w: more than one condition on the key: use a transaction", ErrInvalid)
			}
			c.key = w.name
			w.body.Otherwise = []*statepb.Op{{Do: &statepb.Op_Get{Get: &statepb.Get{Key: c.key}}}}
		}
		w.body.Conditions[i] = c.encode()
	}
	return nil
}

// do has the cluster do w.
func (s *Store) do(ctx context.Context, w *write) (*statepb.Result, error) {
	if err := w.condition(); err != nil {
		return nil, notDone(w.op, w.name, err)
	}
	if err := s.encode(ctx, w.lifetime, &w.putBody); err != nil {
		return nil, outcome.With(w.op, w.name, err, outcome.NotDone)
	}
	r, err := s.replica.Propose(ctx, &w.command)
	if err != nil {
		return nil, outcome.With(w.op, w.name, err, outcome.Unknown)
	}
	switch r.GetCode() {
	case statepb.Result_OK:
		return r, nil
	case statepb.Result_CONDITION_FAILED:
		return nil, notDone(w.op, w.name, w.conflict(r))
	case statepb.Result_TOO_LARGE:
		if conflict := s.conflictNow(w); conflict != nil {
			return nil, notDone(w.op, w.name, conflict)
		}
	}
	return nil, refused(w.op, w.name, r)
}

// conflict says which condition did not hold: the one about the key, if what the
// machine found there says so, else one of the others.
func (w *write) conflict(r *statepb.Result) error {
	if len(r.GetOps()) > 0 {
		if err := w.conflictWith(r.GetOps()[0]); err != nil {
			return err
		}
	}
	for _, c := range w.conditions {
		if c.test == isHeld {
			return fmt.Errorf("%w: %s", ErrNotHeld, c)
		}
	}
	return fmt.Errorf("%w: a condition failed, and the answer does not tell which", ErrInvalid)
}

// conflictWith returns a *ConflictError if the condition about the key does not
// hold where the key is as found.
func (w *write) conflictWith(found *statepb.OpResult) error {
	for _, c := range w.conditions {
		if c.test != isHeld && !c.met(found) {
			c.value = nil // the caller's
			return &ConflictError{Key: w.name, Wanted: c, Actual: Revision(found.GetRevision())}
		}
	}
	return nil
}

// conflictNow is for an answer that the write is too large. A conflict brings the
// key's value along, for which there may be no room; the write itself has been
// found small enough before it was sent.
func (s *Store) conflictNow(w *write) (conflict error) {
	if w.body.Otherwise == nil {
		return nil
	}
	err := s.replica.View(func(m *state.Machine) {
		item, ok := m.Get(w.name)
		conflict = w.conflictWith(&statepb.OpResult{Found: ok, Value: item.Value, Revision: item.Revision})
	})
	if err != nil {
		return nil
	}
	return conflict
}
