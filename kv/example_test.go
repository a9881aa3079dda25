package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// exampleStore stands for node.KV().
func exampleStore() *kv.Store { return kv.New(newNode()) }

func Example() {
	ctx, store := context.Background(), exampleStore()

	if _, err := store.Set(ctx, "config/limit", []byte("100")); err != nil {
		fmt.Println(err)
		return
	}
	entry, err := store.Get(ctx, "config/limit")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s = %s\n", entry.Key, entry.Value)

	_, err = store.Get(ctx, "config/colour")
	fmt.Println(errors.Is(err, kv.ErrNotFound))
	// Output:
	// config/limit = 100
	// true
}

// A read-modify-write: whoever comes second is told, and begins again with what is
// there now.
func ExampleIfRevision() {
	ctx, store := context.Background(), exampleStore()
	increment := func(key string) error {
		for {
			var count int
			entry, err := store.Get(ctx, key)
			switch {
			case err == nil:
				if count, err = strconv.Atoi(string(entry.Value)); err != nil {
					return err
				}
			case !errors.Is(err, kv.ErrNotFound): // then Revision is 0, that of what is not there
				return err
			}
			_, err = store.Set(ctx, key, []byte(strconv.Itoa(count+1)), kv.IfRevision(entry.Revision))
			if _, conflict := errors.AsType[*kv.ConflictError](err); !conflict {
				return err
			}
		}
	}
	for range 3 {
		if err := increment("count"); err != nil {
			fmt.Println(err)
		}
	}
	entry, _ := store.Get(ctx, "count")
	fmt.Printf("%s\n", entry.Value)

	_, err := store.Set(ctx, "count", nil, kv.IfAbsent())
	fmt.Println(err)
	// Output:
	// 3
	// set "count": kv: conflict: wanted the key absent, but it is at 3 (not done)
}

func ExampleStore_Commit() {
	ctx, store := context.Background(), exampleStore()
	if _, err := store.Set(ctx, "accounts/alice", []byte("10")); err != nil {
		fmt.Println(err)
	}

	r, err := store.Commit(ctx, kv.Txn().
		If(kv.IfValue([]byte("10")).Of("accounts/alice"), kv.IfAbsent().Of("accounts/bob")).
		Then(kv.Put("accounts/alice", []byte("7")), kv.Put("accounts/bob", []byte("3"))).
		Else(kv.Get("accounts/alice")))
	fmt.Println(r.Succeeded, r.Revision, err)
	// Output: true 2 <nil>
}

// A reader that keeps a copy, applies whole transactions, and survives gaps.
func ExampleStore_Watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := exampleStore()
	for key, value := range map[string]string{"config/a": "1", "config/b": "2"} {
		if _, err := store.Set(ctx, key, []byte(value)); err != nil {
			fmt.Println(err)
		}
	}

	fresh := make(map[string]string)
	for c, err := range store.Watch(ctx, "config/", 0) {
		switch {
		case err != nil:
			fmt.Println(err)
			return
		case c.Kind == kv.Resync:
			clear(fresh)
		case c.Kind == kv.Written:
			fresh[c.Key] = string(c.Value)
		case c.Kind == kv.Deleted, c.Kind == kv.Expired:
			delete(fresh, c.Key)
		}
		if !c.Last {
			continue
		}
		fmt.Println(maps.Clone(fresh))
		if c.Kind != kv.Synced {
			return
		}
		if _, err := store.Commit(ctx, kv.Txn().Then(kv.Put("config/c", []byte("3")), kv.Delete("config/a"))); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// map[config/a:1 config/b:2]
	// map[config/b:2 config/c:3]
}

// A late holder's write is refused, however long the process was paused.
func ExampleIfHeld() {
	ctx, n := context.Background(), newNode()
	store := kv.New(n)
	held := enter(n, statepb.QueueName_LOCK, "migrate", "alpha", 1) // held, err := node.Lock("migrate").Acquire(ctx)

	_, err := store.Set(ctx, "schema", []byte("2"), kv.IfHeld(held))
	fmt.Println(err)
	leave(n, statepb.QueueName_LOCK, held) // or the session ends while the process sleeps
	_, err = store.Set(ctx, "schema", []byte("3"), kv.IfHeld(held))
	fmt.Println(errors.Is(err, kv.ErrNotHeld))
	// Output:
	// <nil>
	// true
}

func ExampleTyped() {
	type limits struct{ CPU, Memory int }
	ctx, store := context.Background(), exampleStore()
	teams := kv.Typed[limits](store, "limits/", nil)

	if _, err := teams.Set(ctx, "red", limits{CPU: 4, Memory: 16}); err != nil {
		fmt.Println(err)
	}
	for team, err := range teams.All(ctx) {
		fmt.Println(team.Key, team.Value.CPU, err)
	}
	// Output: red 4 <nil>
}

func ExampleEvent() {
	ctx, store := context.Background(), exampleStore()
	reload := store.Event("reload")
	last, err := reload.Revision(ctx)
	fmt.Println(last, err)
	go reload.Fire(ctx) // on any node
	at, err := reload.Wait(ctx, last)
	fmt.Println(at > last, err)
	// Output:
	// 0 <nil>
	// true <nil>
}
