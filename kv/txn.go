package kv

import (
	"bytes"
	"context"
	"fmt"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Transaction is a number of operations that take effect together, as one change
// with one revision, on conditions. It is a description, which Commit sends; it can
// be committed again. Values and conditions are not copied: leave them alone until
// Commit has returned. Building it is not safe for concurrent use.
type Transaction struct {
	conditions []Condition
	then       []Op
	otherwise  []Op
}

// Op is an operation of a transaction: see Put, Delete, DeletePrefix and Get. The
// zero Op is invalid.
type Op struct {
	do       action
	key      string
	value    []byte
	lifetime Lifetime
	err      error // found when it was made, told by Commit
}

type action uint8

const (
	noAction action = iota
	put
	del
	deletePrefix
	get
)

// Put is the operation that writes a key.
func Put(key string, value []byte, lifetime ...Lifetime) Op {
	l, err := join(lifetime)
	return Op{do: put, key: key, value: value, lifetime: l, err: err}
}

// Delete is the operation that deletes a key, if it is there.
func Delete(key string) Op { return Op{do: del, key: key} }

// DeletePrefix is the operation that deletes all keys with the prefix.
func DeletePrefix(prefix string) Op { return Op{do: deletePrefix, key: prefix} }

// Get is the operation that reads a key. What one transaction reads is at most 1
// MiB in all.
func Get(key string) Op { return Op{do: get, key: key} }

// Txn begins a transaction. Without conditions it does what Then says.
//
//	kv.Txn().If(kv.IfRevision(5).Of("a")).Then(kv.Put("a", v), kv.Delete("b")).Else(kv.Get("a"))
func Txn() *Transaction { return new(Transaction) }

// If adds conditions. Those on keys say which with Of.
func (t *Transaction) If(conditions ...Condition) *Transaction {
	t.conditions = append(t.conditions, conditions...)
	return t
}

// Then adds operations that are done, in order, if all conditions hold. Each sees
// what those before it did.
func (t *Transaction) Then(ops ...Op) *Transaction {
	t.then = append(t.then, ops...)
	return t
}

// Else adds operations that are done, in order, if a condition does not hold.
func (t *Transaction) Else(ops ...Op) *Transaction {
	t.otherwise = append(t.otherwise, ops...)
	return t
}

// TxnResult is what a transaction has led to.
type TxnResult struct {
	// Succeeded tells that all conditions held and Then was done; else Else was.
	Succeeded bool
	// Revision is that of the change; if nothing changed, the cluster's current
	// one.
	Revision Revision
	// Results has one element for each operation of the branch that was done.
	Results []OpResult
}

// OpResult is what one operation of a transaction has led to.
type OpResult struct {
	// Previous is, of Put and Delete, the revision the key was at before the
	// operation; 0 if it was not there.
	Previous Revision
	// Deleted is, of Delete and DeletePrefix, how many keys are gone.
	Deleted int
	// Found tells, of Get, that the key is there; then the fields below are set.
	Found bool
	// Value is the caller's own copy.
	Value             []byte
	Revision, Created Revision
}

// Commit has the cluster do the transaction. Conditions that do not hold are no
// error: see TxnResult.Succeeded. It blocks until the transaction is in force here
// and on a majority's disks, until ctx ends, or the node.
//
// Errors are ErrInvalid, ErrTooLarge, ErrQuota and those of every agreement call.
// If the outcome is NotDone nothing of it was done, else all of it or nothing.
func (s *Store) Commit(ctx context.Context, t *Transaction) (TxnResult, error) {
	const op = "txn"
	if err := s.checkTxn(t); err != nil {
		return TxnResult{}, notDone(op, "", err)
	}
	body := &statepb.Txn{Conditions: make([]*statepb.Condition, len(t.conditions))}
	for i := range t.conditions {
		body.Conditions[i] = t.conditions[i].encode()
	}
	var err error
	if body.Then, err = s.encodeOps(ctx, t.then); err == nil {
		body.Otherwise, err = s.encodeOps(ctx, t.otherwise)
	}
	if err != nil {
		return TxnResult{}, outcome.With(op, "", err, outcome.NotDone)
	}
	r, err := s.replica.Propose(ctx, &statepb.Command{Op: &statepb.Command_Txn{Txn: body}})
	if err != nil {
		return TxnResult{}, outcome.With(op, "", err, outcome.Unknown)
	}
	if code := r.GetCode(); code != statepb.Result_OK && code != statepb.Result_CONDITION_FAILED {
		return TxnResult{}, refused(op, "", r)
	}
	return txnResult(r), nil
}

func txnResult(r *statepb.Result) TxnResult {
	t := TxnResult{
		Succeeded: r.GetCode() == statepb.Result_OK,
		Revision:  Revision(r.GetRevision()),
		Results:   make([]OpResult, len(r.GetOps())),
	}
	for i, o := range r.GetOps() {
		t.Results[i] = OpResult{
			Previous: Revision(o.GetPrevious()),
			Deleted:  int(o.GetDeleted()),
			Found:    o.GetFound(),
			Value:    bytes.Clone(o.GetValue()), // the machine keeps the answer
			Revision: Revision(o.GetRevision()),
			Created:  Revision(o.GetCreated()),
		}
	}
	return t
}

// checkTxn refuses what the machine would refuse, before it is sent.
func (s *Store) checkTxn(t *Transaction) error {
	size := 0
	for i := range t.conditions {
		c := &t.conditions[i]
		if err := c.check(""); err != nil {
			return err
		}
		size += len(c.key) + len(c.value)
	}
	for _, ops := range [2][]Op{t.then, t.otherwise} {
		for i := range ops {
			if err := s.checkOp(&ops[i]); err != nil {
				return fmt.Errorf("%w (operation %d)", err, i+1)
			}
			size += len(ops[i].key) + len(ops[i].value)
		}
	}
	if err := checkSize("transaction", size, MaxTxn); err != nil {
		return err
	}
	most := max(len(t.conditions), len(t.then), len(t.otherwise))
	if most <= leastTxnOps {
		return nil
	}
	if l := s.limits(); l != nil && uint64(most) > l.GetTxnOps() {
		return fmt.Errorf("%w: %d conditions or operations, the limit is %d", ErrTooLarge, most, l.GetTxnOps())
	}
	return nil
}

func (s *Store) checkOp(o *Op) error {
	switch o.do {
	case put:
		if o.err != nil {
			return o.err
		}
		return s.checkPut(o.key, o.value)
	case deletePrefix:
		return checkText("prefix", o.key)
	case del, get:
		return s.checkPut(o.key, nil)
	}
	return fmt.Errorf("%w: an empty operation", ErrInvalid)
}

func (s *Store) encodeOps(ctx context.Context, ops []Op) ([]*statepb.Op, error) {
	encoded := make([]*statepb.Op, len(ops))
	for i := range ops {
		o := &ops[i]
		e := &statepb.Op{}
		switch o.do {
		case put:
			p := &statepb.Put{Key: o.key, Value: o.value}
			if err := s.encode(ctx, o.lifetime, p); err != nil {
				return nil, err
			}
			e.Do = &statepb.Op_Put{Put: p}
		case del:
			e.Do = &statepb.Op_Delete{Delete: &statepb.Delete{Key: o.key}}
		case deletePrefix:
			e.Do = &statepb.Op_DeletePrefix{DeletePrefix: &statepb.DeletePrefix{Prefix: o.key}}
		case get:
			e.Do = &statepb.Op_Get{Get: &statepb.Get{Key: o.key}}
		}
		encoded[i] = e
	}
	return encoded, nil
}
