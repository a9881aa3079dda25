package kith_test

import (
	"context"
	"errors"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

// client does a checker's operations on a node's keys. node returns nil while the
// node does not run.
type client struct{ node func() *kith.Node }

// Do implements check.Client.
func (c client) Do(ctx context.Context, op check.Op) check.Result {
	node := c.node()
	if node == nil {
		return check.Result{}
	}
	r, err := do(ctx, node.KV(), op)
	if err == nil {
		r.Outcome = outcome.Done
		return r
	}
	if conflict, ok := errors.AsType[*kv.ConflictError](err); ok {
		return check.Result{Outcome: outcome.Done, Conflict: true, Found: conflict.Actual > 0, Revision: uint64(conflict.Actual)}
	}
	return check.Failed(err)
}

func do(ctx context.Context, keys *kv.Store, op check.Op) (check.Result, error) {
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
		t, err := keys.Commit(ctx, kv.Txn().If(conditions(op.If)...).Then(kv.Delete(op.Key)))
		if err == nil && t.Succeeded {
			return check.Result{Revision: uint64(t.Revision), Found: t.Results[0].Deleted > 0}, nil
		}
		if err == nil { // again as a Delete, which tells the key's revision
			_, err = keys.Delete(ctx, op.Key, conditions(op.If)...)
		}
		return check.Result{}, err
	case check.DeletePrefix:
		n, rev, err := keys.DeletePrefix(ctx, op.Key, conditions(op.If)...)
		return check.Result{Count: n, Revision: uint64(rev)}, err
	case check.List:
		return listed(ctx, keys, op)
	}
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

func listed(ctx context.Context, keys *kv.Store, op check.Op) (check.Result, error) {
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

// watch records the changes that a node tells, until ctx ends, and goes on from
// where it was after the node was started anew.
func watch(ctx context.Context, h *check.History, name string, node func() *kith.Node, pause func(context.Context)) {
	var after kv.Revision
	var feed *check.Feed
	for ctx.Err() == nil {
		n := node()
		if n == nil {
			pause(ctx)
			continue
		}
		if feed == nil {
			feed = h.Watch(name, "", 0)
		}
		for c, err := range n.KV().Watch(ctx, "", after) {
			if err != nil {
				break
			}
			feed.Saw(event(c))
			if c.Last || c.Kind == kv.Synced {
				after = c.Revision
			}
		}
		if ctx.Err() == nil { // the same reader, but in the midst of a revision it may be told some of it again
			feed = h.Watch(name, "", uint64(after))
			pause(ctx)
		}
	}
}

func event(c kv.Change) check.Event {
	e := check.Event{Key: c.Key, Value: string(c.Value), Revision: uint64(c.Revision), Prev: uint64(c.Previous)}
	switch {
	case c.Kind == kv.Written && c.Existing:
		e.Kind, e.Prev = check.Existing, 0
	case c.Kind == kv.Written:
		e.Kind, e.More = check.Put, !c.Last
	case c.Kind == kv.Deleted || c.Kind == kv.Expired:
		e.Kind, e.More = check.Deleted, !c.Last
	case c.Kind == kv.Resync:
		e.Kind, e.Prev = check.Resync, 0
	case c.Kind == kv.Synced:
		e.Kind, e.Prev = check.Synced, 0
	}
	return e
}
