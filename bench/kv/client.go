package main

import (
	"context"

	"github.com/kith-go/kith/bench/stage"
)

// cast is what children can be and do.
var cast = stage.Cast[client]{
	Kinds: map[string]func(context.Context, stage.Spec) (client, func(), error){
		"kith":      kithServer,
		"kith-load": kithLoad,
		"etcd":      etcdServer,
		"etcd-load": etcdLoad,
		"nats":      natsServer,
		"nats-load": natsLoad,
	},
	Jobs: map[string]func() stage.Job[client]{
		"load":     func() stage.Job[client] { return new(load) },
		"kill":     func() stage.Job[client] { return new(killing) },
		"snapshot": func() stage.Job[client] { return new(snapshotting) },
		"fill":     func() stage.Job[client] { return new(filling) },
	},
}

// client is a system as the process sees it that puts load on it.
type client interface {
	stage.Observer
	// conns returns one conn to a node for each of n callers; they may share
	// connections.
	conns(ctx context.Context, node, n int) ([]conn, error)
}

// conn is one caller's way to one node. A value read is fetched and thrown away.
type conn interface {
	put(ctx context.Context, key string, value []byte) error
	read(ctx context.Context, key string) error      // linearizable
	readLocal(ctx context.Context, key string) error // may be stale
}

// probe shows that node serves.
func probe(ctx context.Context, c client, node int) error {
	conns, err := c.conns(ctx, node, 1)
	if err != nil {
		return err
	}
	return conns[0].put(ctx, "probe", make([]byte, valueSize))
}
