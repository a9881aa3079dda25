package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Codec turns values of type T into bytes and back. It is safe for concurrent use
// and keeps neither what it is given nor what it returns.
type Codec[T any] interface {
	Encode(value T) ([]byte, error)
	Decode(data []byte) (T, error)
}

// JSON returns the codec that Typed uses by default: encoding/json.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(value T) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec[T]) Decode(data []byte) (value T, err error) {
	err = json.Unmarshal(data, &value)
	return value, err
}

// View is the keys with a prefix as values of one type. Its keys are without the
// prefix; errors name them with it. Its methods are those of Store, with the same
// blocking, outcomes and errors, and two more: a value that cannot be encoded is
// ErrInvalid, one that cannot be decoded a *DecodeError. It is safe for concurrent
// use.
type View[T any] struct {
	store  *Store
	prefix string
	codec  Codec[T]
}

// Item is what Entry is, with the value decoded.
type Item[T any] struct {
	Key               string // without the view's prefix
	Value             T
	Revision, Created Revision
	TTL               time.Duration
	Ephemeral         bool
}

// ItemChange is what Change is, with the value decoded.
type ItemChange[T any] struct {
	Kind Kind
	Item[T]
	Previous Revision
	Existing bool
	Last     bool
}

// Typed returns the keys of s with the prefix, which may be empty, as values of
// type T. A nil codec is JSON. On a Stale store the view is stale.
func Typed[T any](s *Store, prefix string, codec Codec[T]) *View[T] {
	if codec == nil {
		codec = JSON[T]()
	}
	return &View[T]{store: s, prefix: prefix, codec: codec}
}

// Get returns the key's item: see Store.Get.
func (v *View[T]) Get(ctx context.Context, key string) (Item[T], error) {
	e, err := v.store.Get(ctx, v.prefix+key)
	if err != nil {
		return Item[T]{}, err
	}
	return v.item("get", &e)
}

// Set writes the key: see Store.Set.
func (v *View[T]) Set(ctx context.Context, key string, value T, options ...SetOption) (Revision, error) {
	data, err := v.codec.Encode(value)
	if err != nil {
		return 0, notDone("set", v.prefix+key, fmt.Errorf("%w: the value cannot be encoded: %w", ErrInvalid, err))
	}
	return v.store.Set(ctx, v.prefix+key, data, options...)
}

// Delete deletes the key: see Store.Delete.
func (v *View[T]) Delete(ctx context.Context, key string, conditions ...Condition) (Revision, error) {
	return v.store.Delete(ctx, v.prefix+key, conditions...)
}

// All goes over the view's items, in the order of keys: see Store.All. After an
// item that cannot be decoded, which comes with its key and a *DecodeError, it goes
// on if the caller does; any other error is the last element.
func (v *View[T]) All(ctx context.Context) iter.Seq2[Item[T], error] {
	return func(yield func(Item[T], error) bool) {
		for e, err := range v.store.All(ctx, v.prefix) {
			if err != nil {
				yield(Item[T]{}, err)
				return
			}
			if !yield(v.item("list", &e)) {
				return
			}
		}
	}
}

// Watch tells the changes of the view's items: see Store.Watch. After a value that
// cannot be decoded, whose change comes with a *DecodeError, it goes on if the
// caller does; any other error is the last element.
func (v *View[T]) Watch(ctx context.Context, after Revision) iter.Seq2[ItemChange[T], error] {
	return func(yield func(ItemChange[T], error) bool) {
		for c, err := range v.store.Watch(ctx, v.prefix, after) {
			told := ItemChange[T]{Kind: c.Kind, Previous: c.Previous, Existing: c.Existing, Last: c.Last}
			switch {
			case err != nil:
			case c.Kind == Written:
				told.Item, err = v.item("watch", &c.Entry)
			default:
				told.Key, told.Revision = strings.TrimPrefix(c.Key, v.prefix), c.Revision
			}
			if !yield(told, err) {
				return
			}
		}
	}
}

// item decodes an entry. Whatever becomes of the value, the rest of the item is
// there.
func (v *View[T]) item(op string, e *Entry) (Item[T], error) {
	i := Item[T]{
		Key:       strings.TrimPrefix(e.Key, v.prefix),
		Revision:  e.Revision,
		Created:   e.Created,
		TTL:       e.TTL,
		Ephemeral: e.Ephemeral,
	}
	value, err := v.codec.Decode(e.Value)
	if err != nil {
		return i, notDone(op, e.Key, &DecodeError{Key: i.Key, Revision: i.Revision, Err: err})
	}
	i.Value = value
	return i, nil
}
