package main

import (
	"context"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// cast is what children can be and do. ZooKeeper's servers are no children of
// this program's kind: they are its own, in Java.
var cast = stage.Cast[client]{
	Kinds: map[string]func(context.Context, stage.Spec) (client, func(), error){
		"kith":           kithServer,
		"etcd":           etcdServer,
		"etcd-load":      etcdLoad,
		"zookeeper-load": zookeeperLoad,
	},
	Jobs: map[string]func() stage.Job[client]{
		"compete": func() stage.Job[client] { return new(competition) },
		"hold":    func() stage.Job[client] { return new(holding) },
		"succeed": func() stage.Job[client] { return new(succeeding) },
		"join":    func() stage.Job[client] { return new(joining) },
		"leave":   func() stage.Job[client] { return new(leaving) },
	},
}

// client is a system as the process sees it that works with its locks.
type client interface {
	stage.Observer
	// contenders returns one for each of the seats, and how to be rid of them. Those
	// for the same lock compete with one another.
	contenders(ctx context.Context, seats []seat) ([]contender, func(), error)
	// candidate is a contender whose death the system notices as soon as it can.
	candidate(ctx context.Context, at seat) (contender, func(), error)
	// member returns somebody who can join groups through node. It lives as long as
	// the process.
	member(ctx context.Context, node int, name string) (member, error)
	// joined is where the job that joins leaves its seats for the one that leaves.
	joined() *departures
}

// seat is where a contender sits: the node that it talks to, and the lock that it
// wants.
type seat struct {
	Node int
	Lock string
}

// contender is one who acquires a lock and releases it, in turn.
type contender interface {
	acquire(ctx context.Context) error
	release(ctx context.Context) error
}

// member takes a place in a group, behind those who are in it.
type member interface {
	join(ctx context.Context, group string) (leave func(context.Context) error, err error)
}

// departures are the ways out of the groups that were joined.
type departures struct{ leave []func(context.Context) error }

func (d *departures) joined() *departures { return d }

// insist tries again until it works or ctx ends: a system that was stopped, or
// has lost a server, needs a moment. It returns how many attempts failed, and the
// first failure.
func insist(ctx context.Context, do func(context.Context) error) (failed int, first error, ok bool) {
	for {
		err := do(ctx)
		if err == nil {
			return failed, first, true
		}
		if failed++; first == nil {
			first = err
		}
		select {
		case <-ctx.Done():
			return failed, first, false
		case <-time.After(time.Millisecond): // no storm of failures
		}
	}
}
