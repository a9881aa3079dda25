package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/kith-go/kith/kv"
)

// Txn is the body of POST /txn: if all conditions hold Then is done, else Else, as one
// change with one revision.
//
//	{"if": [{"key": "a", "revision": 5}, {"key": "b", "exists": false}, {"key": "c", "value": "x"}],
//	 "then": [{"put": "a", "value": "1", "ttl_ms": 60000}, {"delete": "c"}],
//	 "else": [{"get": "a"}, {"delete_prefix": "tmp/"}]}
type Txn struct {
	If   []TxnCondition `json:"if,omitempty"`
	Then []TxnOp        `json:"then,omitempty"`
	Else []TxnOp        `json:"else,omitempty"`
}

// TxnCondition is a condition on a key; exactly one of the fields beside Key is set.
type TxnCondition struct {
	Key string `json:"key"`
	// Revision is the one the key must be at; 0: it must not be there.
	Revision *kv.Revision `json:"revision,omitempty"`
	// Exists tells whether the key must be there, or must not.
	Exists *bool `json:"exists,omitempty"`
	// Value is what the key must hold.
	Value *Value `json:"value,omitempty"`
}

// TxnOp is an operation: exactly one of Put, Delete, DeletePrefix and Get is set.
type TxnOp struct {
	// Put is a key to be written. Value is what, TTL how long it lasts, 0 for ever.
	Put   *string `json:"put,omitempty"`
	Value *Value  `json:"value,omitempty"`
	TTL   Millis  `json:"ttl_ms,omitzero"`
	// Delete is a key, DeletePrefix the beginning of all those, to be deleted.
	Delete       *string `json:"delete,omitempty"`
	DeletePrefix *string `json:"delete_prefix,omitempty"`
	// Get is a key to be read.
	Get *string `json:"get,omitempty"`
}

// TxnResult is the answer to POST /txn. The meaning of its fields is that of
// [kv.TxnResult].
type TxnResult struct {
	Succeeded bool          `json:"succeeded"`
	Revision  kv.Revision   `json:"revision"`
	Results   []TxnOpResult `json:"results"`
}

// TxnOpResult is what one operation has led to, as [kv.OpResult] has it.
type TxnOpResult struct {
	Previous kv.Revision `json:"previous,omitzero"`
	Deleted  int         `json:"deleted,omitzero"`
	Found    bool        `json:"found,omitzero"`
	Value    *Value      `json:"value,omitempty"`
	Revision kv.Revision `json:"revision,omitzero"`
	Created  kv.Revision `json:"created,omitzero"`
}

func (h *Handler) txn(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "timeout")
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	body, release, err := h.body(w, r, MaxTxnBody)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	t, err := ParseTxn(body)
	var built *kv.Transaction
	if err == nil {
		built, err = t.build()
	}
	if err != nil {
		h.fail(w, r, notDone(fmt.Errorf("%w: %w", kv.ErrInvalid, err)))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	result, err := h.node.KV().Commit(ctx, built)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	setRevision(w, result.Revision)
	h.reply(w, newTxnResult(result))
}

// ParseTxn reads a transaction in JSON. What it does not know it refuses: half of a
// transaction is not what was asked for.
func ParseTxn(text []byte) (Txn, error) {
	if !utf8.Valid(text) {
		return Txn{}, errors.New(`it is not UTF-8; give such values as {"base64": "…"}`)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var t Txn
	if err := dec.Decode(&t); err != nil {
		return Txn{}, fmt.Errorf("it is no transaction: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Txn{}, errors.New("something follows the transaction")
	}
	return t, nil
}

// build returns t as package kv has it.
func (t Txn) build() (*kv.Transaction, error) {
	built := kv.Txn()
	for i, c := range t.If {
		condition, err := c.build()
		if err != nil {
			return nil, fmt.Errorf("condition %d: %w", i+1, err)
		}
		built.If(condition)
	}
	for i, op := range t.Then {
		o, err := op.build()
		if err != nil {
			return nil, fmt.Errorf("operation %d of then: %w", i+1, err)
		}
		built.Then(o)
	}
	for i, op := range t.Else {
		o, err := op.build()
		if err != nil {
			return nil, fmt.Errorf("operation %d of else: %w", i+1, err)
		}
		built.Else(o)
	}
	return built, nil
}

func (c TxnCondition) build() (kv.Condition, error) {
	var built []kv.Condition
	if c.Revision != nil {
		built = append(built, kv.IfRevision(*c.Revision))
	}
	if c.Exists != nil && *c.Exists {
		built = append(built, kv.IfExists())
	}
	if c.Exists != nil && !*c.Exists {
		built = append(built, kv.IfAbsent())
	}
	if c.Value != nil {
		built = append(built, kv.IfValue(*c.Value))
	}
	switch {
	case c.Key == "":
		return kv.Condition{}, errors.New("key is missing")
	case len(built) != 1:
		return kv.Condition{}, errors.New("give one of revision, exists and value")
	}
	return built[0].Of(c.Key), nil
}

func (o TxnOp) build() (kv.Op, error) {
	var built []kv.Op
	if o.Put != nil {
		if o.Value == nil {
			return kv.Op{}, errors.New("put without a value")
		}
		var lifetime []kv.Lifetime
		if o.TTL != 0 {
			lifetime = append(lifetime, kv.TTL(time.Duration(o.TTL)))
		}
		built = append(built, kv.Put(*o.Put, *o.Value, lifetime...))
	} else if o.Value != nil || o.TTL != 0 {
		return kv.Op{}, errors.New("value and ttl_ms belong to put")
	}
	if o.Delete != nil {
		built = append(built, kv.Delete(*o.Delete))
	}
	if o.DeletePrefix != nil {
		built = append(built, kv.DeletePrefix(*o.DeletePrefix))
	}
	if o.Get != nil {
		built = append(built, kv.Get(*o.Get))
	}
	if len(built) != 1 {
		return kv.Op{}, errors.New("give one of put, delete, delete_prefix and get")
	}
	return built[0], nil
}

func newTxnResult(r kv.TxnResult) TxnResult {
	t := TxnResult{Succeeded: r.Succeeded, Revision: r.Revision, Results: make([]TxnOpResult, len(r.Results))}
	for i, op := range r.Results {
		t.Results[i] = TxnOpResult{
			Previous: op.Previous, Deleted: op.Deleted, Found: op.Found, Revision: op.Revision, Created: op.Created,
		}
		if op.Found {
			t.Results[i].Value = (*Value)(&op.Value)
		}
	}
	return t
}
