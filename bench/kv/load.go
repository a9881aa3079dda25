package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/kith-go/kith/bench/stage"
)

// What every system is given to store.
const (
	valueSize = 128 // bytes
	keyCount  = 10_000
)

// keyNames returns the first n keys.
func keyNames(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("bench/%08d", i)
	}
	return keys
}

// operation is what a caller does.
type operation string

const (
	puts       operation = "puts"
	reads      operation = "linearizable reads"
	localReads operation = "local reads"
)

// load is a closed loop in which each caller does Op with a random key.
type load struct {
	stage.Loop
	Op   operation
	Node int // that the callers talk to
}

// ProfileName is this load's among those of its process.
func (l *load) ProfileName() string { return fmt.Sprintf("%s-%d", l.Op, l.Callers) }

// Run returns a *stage.Sample.
func (l *load) Run(ctx context.Context, c client) (any, error) {
	conns, err := c.conns(ctx, l.Node, l.Callers)
	if err != nil {
		return nil, err
	}
	keys := keyNames(keyCount)
	return l.Loop.Run(ctx, func(i int) func(context.Context) error { return l.Op.with(conns[i], keys) })
}

// with returns a function that does the operation with one of the keys.
func (op operation) with(to conn, keys []string) func(context.Context) error {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	value := make([]byte, valueSize)
	do := map[operation]func(context.Context, string) error{
		puts: func(ctx context.Context, key string) error {
			binary.LittleEndian.PutUint64(value, random.Uint64()) // no two alike
			return to.put(ctx, key, value)
		},
		reads:      to.read,
		localReads: to.readLocal,
	}[op]
	return func(ctx context.Context) error { return do(ctx, keys[random.IntN(len(keys))]) }
}

// filling writes the first Keys keys through Node, with many callers at a time.
type filling struct{ Node, Keys int }

// Run returns nothing but an error.
func (f *filling) Run(ctx context.Context, c client) (any, error) {
	return nil, fill(ctx, c, f.Node, f.Keys)
}

// fill writes the first n keys through a node, with many callers at a time.
func fill(ctx context.Context, c client, node, n int) error {
	conns, err := c.conns(ctx, node, 256)
	if err != nil {
		return err
	}
	keys, value := keyNames(n), make([]byte, valueSize)
	errs := make([]error, len(conns))
	var next atomic.Int64
	var wg sync.WaitGroup
	for i, to := range conns {
		wg.Go(func() {
			for errs[i] == nil {
				k := int(next.Add(1)) - 1
				if k >= len(keys) {
					return
				}
				errs[i] = to.put(ctx, keys[k], value)
			}
			next.Store(int64(len(keys))) // the others need not go on
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
