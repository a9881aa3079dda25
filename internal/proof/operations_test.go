//go:build unix

package proof

import (
	"context"
	"errors"

	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

// do does a checker's operation on keys. A result that has an outcome other than Done
// comes with the error that says so; a condition that did not hold is no error.
func do(ctx context.Context, keys *kv.Store, op check.Op) (check.Result, error) {
	r, err := attempt(ctx, keys, op)
	if conflict, ok := errors.AsType[*kv.ConflictError](err); ok {
		return check.Result{Outcome: outcome.Done, Conflict: true, Found: conflict.Actual > 0, Revision: uint64(conflict.Actual)}, nil
	}
	if err != nil {
		r = check.Failed(err)
		r.Err = nil // it travels apart
		return r, err
	}
	r.Outcome = outcome.Done
	return r, nil
}

func attempt(ctx context.Context, keys *kv.Store, op check.Op) (check.Result, error) {
	switch op.Kind {
	case check.Get:
		e, err := keys.Get(ctx, op.Key)
		if errors.Is(err, kv.ErrNotFound) {
			return check.Result{}, nil
		}
		return check.Result{Found: true, Value: string(e.Value), Revision: uint64(e.Revision)}, err
	case check.Set:
		var options []kv.SetOption
		for _, c := range conditions(op.If) {
			options = append(options, c)
		}
		rev, err := keys.Set(ctx, op.Key, []byte(op.Value), options...)
		return check.Result{Revision: uint64(rev)}, err
	case check.Delete:
		// kv.Delete tells nothing of what there was, and the revision of a conflict; a
		// transaction the other way round.
		t, err := keys.Commit(ctx, kv.Txn().If(conditions(op.If)...).Then(kv.Delete(op.Key)))
		if err == nil && t.Succeeded {
			return check.Result{Revision: uint64(t.Revision), Found: t.Results[0].Deleted > 0}, nil
		}
		r := check.Result{Untold: true}
		if err == nil {
			var rev kv.Revision
			rev, err = keys.Delete(ctx, op.Key, conditions(op.If)...)
			r.Revision = uint64(rev)
		}
		return r, err
	case check.DeletePrefix:
		n, rev, err := keys.DeletePrefix(ctx, op.Key, conditions(op.If)...)
		return check.Result{Count: n, Revision: uint64(rev)}, err
	case check.List:
		return list(ctx, keys, op)
	}
	return commit(ctx, keys, op)
}

func list(ctx context.Context, keys *kv.Store, op check.Op) (check.Result, error) {
	options := []kv.ListOption{kv.After(op.After)}
	if op.Limit > 0 {
		options = append(options, kv.Limit(op.Limit))
	}
	page, err := keys.List(ctx, op.Key, options...)
	r := check.Result{Revision: uint64(page.Revision)}
	for _, e := range page.Entries {
		r.Entries = append(r.Entries, check.Entry{Key: e.Key, Value: string(e.Value), Revision: uint64(e.Revision)})
	}
	return r, err
}

func commit(ctx context.Context, keys *kv.Store, op check.Op) (check.Result, error) {
	t, err := keys.Commit(ctx, kv.Txn().If(conditions(op.If)...).Then(operations(op.Then)...).Else(operations(op.Else)...))
	if err != nil {
		return check.Result{}, err
	}
	r := check.Result{Revision: uint64(t.Revision), Conflict: !t.Succeeded}
	for _, one := range t.Results {
		r.Ops = append(r.Ops, check.Result{
			Outcome: outcome.Done, Found: one.Found || one.Deleted > 0, Value: string(one.Value), Revision: uint64(one.Revision), Count: one.Deleted,
		})
	}
	return r, nil
}

func conditions(all []check.Condition) []kv.Condition {
	var made []kv.Condition
	for _, c := range all {
		switch c.Test {
		case check.AtRevision:
			made = append(made, kv.IfRevision(kv.Revision(c.Revision)).Of(c.Key))
		case check.Exists:
			made = append(made, kv.IfExists().Of(c.Key))
		case check.HasValue:
			made = append(made, kv.IfValue([]byte(c.Value)).Of(c.Key))
		}
	}
	return made
}

func operations(all []check.Op) []kv.Op {
	var made []kv.Op
	for _, op := range all {
		switch op.Kind {
		case check.Get:
			made = append(made, kv.Get(op.Key))
		case check.Set:
			made = append(made, kv.Put(op.Key, []byte(op.Value)))
		case check.Delete:
			made = append(made, kv.Delete(op.Key))
		case check.DeletePrefix:
			made = append(made, kv.DeletePrefix(op.Key))
		}
	}
	return made
}
