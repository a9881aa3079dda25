package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/peers"
)

// kithClient is a node with its callers inside. It is its own way to the cluster,
// whatever node it is asked to go through; the parent asks the right one.
type kithClient struct {
	node      *kith.Node
	members   []member
	snapshots *snapshotsSeen
}

// kithServer is a node with kith's defaults, on loopback and without a key: the
// rivals do not encrypt either. It serves the HTTP API, too.
func kithServer(ctx context.Context, s spec) (client, func(), error) {
	self := s.Members[s.Node]
	list := new(peers.Peers)
	for i, m := range s.Members {
		list.Peers = append(list.Peers, &peers.Peer{PID: uint32(i + 1), Name: m.Name, IPAddr: "127.0.0.1",
			Port: uint16(m.Client), ControlPort: uint16(m.Peer)})
	}
	snapshots := new(snapshotsSeen)
	log := slog.New(&snapshotLog{slog.NewTextHandler(os.Stderr, nil), snapshots})
	ln, err := httpapi.Listen(ctx, self.httpAddr(), "")
	if err != nil {
		return nil, nil, err
	}
	node, err := kith.Start(ctx, kith.Config{Name: self.Name, Peers: list, Dir: self.Dir, Logger: log})
	if err != nil {
		ln.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var http sync.WaitGroup
	http.Go(func() {
		if err := httpapi.Serve(ctx, ln, httpapi.New(node, httpapi.Options{Logger: log})); err != nil {
			log.Error("the HTTP API", "error", err)
		}
	})
	stop := func() { cancel(); http.Wait(); node.Close() }
	return &kithClient{node: node, members: s.Members, snapshots: snapshots}, stop, nil
}

func (c *kithClient) conns(_ context.Context, _, n int) ([]conn, error) {
	return slices.Repeat([]conn{kithConn{c.node.KV(), c.node.KV().Stale()}}, n), nil
}

func (c *kithClient) leader(context.Context, int) (int, error) {
	s := c.node.Status().Agreement
	if s == nil || s.Leader == "" {
		return 0, fmt.Errorf("kith: no leader: %v", c.node.Status().Problems)
	}
	return indexOf(c.members, s.Leader)
}

func (c *kithClient) applied(context.Context, int) (uint64, error) {
	s := c.node.Status().Agreement
	if s == nil {
		return 0, fmt.Errorf("kith: not in agreement: %v", c.node.Status().Problems)
	}
	return s.Applied, nil
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
