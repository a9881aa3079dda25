package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/system"
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/lock"
)

// kithClient is a node with its contenders inside, as a program has that embeds it.
type kithClient struct {
	*system.Node
	departures
}

func kithServer(ctx context.Context, s stage.Spec) (client, func(), error) {
	node, err := system.StartNode(ctx, s, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return nil, nil, err
	}
	return &kithClient{Node: node}, func() { node.Close() }, nil
}

// Serves shows that this node's session can hold something: one that was stopped
// for long has to open a new one.
func (c *kithClient) Serves(ctx context.Context, node int) error {
	k := c.contender(fmt.Sprint("probe-", node))
	if err := k.acquire(ctx); err != nil {
		return err
	}
	return k.release(ctx)
}

func (c *kithClient) contender(name string) *kithContender {
	return &kithContender{lock: c.Lock(name)}
}

func (c *kithClient) contenders(_ context.Context, seats []seat) ([]contender, func(), error) {
	var all []contender
	for _, at := range seats {
		all = append(all, c.contender(at.Lock))
	}
	return all, func() {}, nil
}

func (c *kithClient) candidate(_ context.Context, at seat) (contender, func(), error) {
	return c.contender(at.Lock), func() {}, nil
}

type kithContender struct {
	lock *lock.Lock
	held *lock.Held
}

func (k *kithContender) acquire(ctx context.Context) (err error) {
	k.held, err = k.lock.Acquire(ctx)
	return err
}

func (k *kithContender) release(ctx context.Context) error { return k.held.Release(ctx) }

func (c *kithClient) member(_ context.Context, _ int, name string) (member, error) {
	return kithMember{c.Node, name}, nil
}

type kithMember struct {
	node *system.Node
	name string
}

func (m kithMember) join(ctx context.Context, name string) (func(context.Context) error, error) {
	s, err := m.node.Group(name).Join(ctx, group.Name(m.name))
	if err != nil {
		return nil, err
	}
	return s.Leave, nil
}
