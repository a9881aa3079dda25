package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// cluster starts two nodes; in a program, each of them is a kith.Node.
func cluster() (alpha, bravo *node, stop func()) {
	c := replicatest.New(nil)
	alpha, bravo = join(c), join(c)
	return alpha, bravo, func() { alpha.close(); bravo.close() }
}

func Example() {
	alpha, bravo, stop := cluster()
	defer stop()
	ctx := context.Background()

	held, err := alpha.lock("migrate").Acquire(ctx, lock.Data([]byte("to version 7")))
	if err != nil {
		fmt.Println(err)
		return
	}
	// What is done under the lock is done with held.Context().
	fmt.Println("working:", held.Context().Err() == nil)

	_, err = bravo.lock("migrate").TryAcquire(ctx)
	if other, ok := errors.AsType[*lock.HeldError](err); ok {
		fmt.Println("held by", other.Owner.Name)
	}
	if err := held.Release(context.WithoutCancel(ctx)); err != nil {
		fmt.Println(err)
	}
	fmt.Println("the cause:", context.Cause(held.Context()))
	// Output:
	// working: true
	// held by alpha
	// the cause: kith: given up by its holder
}

// register is a store of the user's own. It keeps the fence beside what it guards, and
// checks and writes in one critical section.
type register struct {
	mu    sync.Mutex
	fence lock.Fence
	value string
}

func (r *register) write(token uint64, value string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fence.Check(token); err != nil {
		return err
	}
	r.value = value
	return nil
}

// A holder that was paused for longer than its session lasts wakes up and writes. The
// store refuses it, because it has seen the token of its successor.
func ExampleFence() {
	alpha, bravo, stop := cluster()
	defer stop()
	ctx := context.Background()
	var store register

	first, _ := alpha.lock("writer").Acquire(ctx)
	fmt.Println("alpha:", store.write(first.Token(), "of alpha"))

	alpha.Cluster().End(alpha.SessionID()) // alpha is paused, and its session runs out

	second, _ := bravo.lock("writer").Acquire(ctx)
	fmt.Println("bravo:", store.write(second.Token(), "of bravo"))

	err := store.write(first.Token(), "of alpha, late")
	_, stale := errors.AsType[*lock.StaleTokenError](err)
	fmt.Println("alpha, late, is refused:", stale)
	fmt.Println("it is still", store.value)
	// Output:
	// alpha: <nil>
	// bravo: <nil>
	// alpha, late, is refused: true
	// it is still of bravo
}

// For kith's own keys there is no need for a fence: the write itself depends on the
// lock.
func ExampleHeld_Fence() {
	alpha, bravo, stop := cluster()
	defer stop()
	ctx := context.Background()

	first, _ := alpha.lock("writer").Acquire(ctx)
	alpha.Cluster().End(alpha.SessionID())
	_, _ = bravo.lock("writer").Acquire(ctx)

	_, err := kv.New(alpha).Set(ctx, "config", []byte("late"), kv.IfHeld(first))
	fmt.Println(errors.Is(err, kv.ErrNotHeld))
	// Output: true
}

// Three may work at a time.
func ExampleLimit() {
	alpha, _, stop := cluster()
	defer stop()
	ctx := context.Background()
	for range 3 {
		_, _ = alpha.lock("workers", lock.Limit(3)).Acquire(ctx)
	}
	_, err := alpha.lock("workers", lock.Limit(3)).TryAcquire(ctx)
	fmt.Println(errors.Is(err, lock.ErrHeld))
	_, err = alpha.lock("workers").TryAcquire(ctx)
	mismatch, _ := errors.AsType[*lock.LimitError](err)
	fmt.Println(mismatch)
	// Output:
	// true
	// the limit is 3 while others are in the queue, not 1
}
