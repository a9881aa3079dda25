package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/system"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
)

// kithClient is a node with its callers inside.
type kithClient struct {
	*system.Node
	snapshots *snapshotsSeen
}

// kithServer is a node that serves the HTTP API, too.
func kithServer(ctx context.Context, s stage.Spec) (client, func(), error) {
	snapshots := new(snapshotsSeen)
	log := slog.New(&snapshotLog{slog.NewTextHandler(os.Stderr, nil), snapshots})
	ln, err := httpapi.Listen(ctx, s.Members[s.Node].ThirdAddr(), "")
	if err != nil {
		return nil, nil, err
	}
	node, err := system.StartNode(ctx, s, log)
	if err != nil {
		ln.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var http sync.WaitGroup
	http.Go(func() {
		if err := httpapi.Serve(ctx, ln, httpapi.New(node.Node, httpapi.Options{Logger: log})); err != nil {
			log.Error("the HTTP API", "error", err)
		}
	})
	stop := func() { cancel(); http.Wait(); node.Close() }
	return &kithClient{node, snapshots}, stop, nil
}

// Serves is a stage.Observer's.
func (c *kithClient) Serves(ctx context.Context, node int) error { return probe(ctx, c, node) }

func (c *kithClient) conns(_ context.Context, _, n int) ([]conn, error) {
	return slices.Repeat([]conn{kithConn{c.KV(), c.KV().Stale()}}, n), nil
}

func (c *kithClient) newest() (span, bool) { return c.snapshots.get() }

type kithConn struct{ store, stale *kv.Store }

func (c kithConn) put(ctx context.Context, key string, value []byte) error {
	_, err := c.store.Set(ctx, key, value)
	return err
}

func (c kithConn) read(ctx context.Context, key string) error {
	_, err := c.store.Get(ctx, key)
	return err
}

func (c kithConn) readLocal(ctx context.Context, key string) error {
	_, err := c.stale.Get(ctx, key)
	return err
}
