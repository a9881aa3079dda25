package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// etcdServer is one member with etcd's defaults, but for fewer log lines.
func etcdServer(ctx context.Context, s spec) (client, func(), error) {
	self := s.Members[s.Node]
	clients := []url.URL{{Scheme: "http", Host: self.clientAddr()}}
	peers := []url.URL{{Scheme: "http", Host: self.peerAddr()}}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = self.Name, self.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = clients, clients
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers, peers
	var initial []string
	for _, m := range s.Members {
		initial = append(initial, fmt.Sprintf("%s=http://%s", m.Name, m.peerAddr()))
	}
	cfg.InitialCluster = strings.Join(initial, ",")
	cfg.LogLevel = "warn"
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
		return nil, server.Close, nil
	case err = <-server.Err():
	case <-server.Server.StopNotify():
		err = errors.New("etcd stopped while it was starting")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	server.Close()
	return nil, nil, err
}

// etcdClient holds a pool of connections to each member, every connection with
// that member as its only endpoint. The callers are spread over them in turn, as
// etcd's own benchmark does.
type etcdClient struct {
	members []member
	size    int // of a pool

	mu    sync.Mutex // guards pools
	pools map[int][]*clientv3.Client
}

func etcdLoad(_ context.Context, s spec) (client, func(), error) {
	c := &etcdClient{members: s.Members, size: s.Conns, pools: make(map[int][]*clientv3.Client)}
	return c, c.close, nil
}

func (c *etcdClient) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pool := range c.pools {
		for _, each := range pool {
			each.Close()
		}
	}
}

// pool returns at least n connections to the node, or as many as are allowed.
func (c *etcdClient) pool(node, n int) ([]*clientv3.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pools[node]) < min(n, c.size) {
		// clientv3.New does not wait for the connection.
		each, err := clientv3.New(clientv3.Config{
			Endpoints: []string{c.members[node].clientAddr()},
			Logger:    zap.NewNop(),
		})
		if err != nil {
			return nil, err
		}
		c.pools[node] = append(c.pools[node], each)
	}
	return slices.Clone(c.pools[node][:min(n, c.size)]), nil
}

func (c *etcdClient) conns(_ context.Context, node, n int) ([]conn, error) {
	pool, err := c.pool(node, n)
	if err != nil {
		return nil, err
	}
	conns := make([]conn, n)
	for i := range conns {
		conns[i] = etcdConn{pool[i%len(pool)]}
	}
	return conns, nil
}

func (c *etcdClient) status(ctx context.Context, node int) (*clientv3.StatusResponse, error) {
	pool, err := c.pool(node, 1)
	if err != nil {
		return nil, err
	}
	return pool[0].Status(ctx, c.members[node].clientAddr())
}

func (c *etcdClient) leader(ctx context.Context, node int) (int, error) {
	status, err := c.status(ctx, node)
	if err != nil {
		return 0, err
	}
	pool, err := c.pool(node, 1)
	if err != nil {
		return 0, err
	}
	list, err := pool[0].MemberList(ctx)
	if err != nil {
		return 0, err
	}
	for _, m := range list.Members {
		if m.ID == status.Leader {
			return indexOf(c.members, m.Name)
		}
	}
	return 0, errors.New("etcd: no leader")
}

// indexOf finds a member by its name.
func indexOf(members []member, name string) (int, error) {
	i := slices.IndexFunc(members, func(m member) bool { return m.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("no member is called %q", name)
	}
	return i, nil
}

func (c *etcdClient) applied(ctx context.Context, node int) (uint64, error) {
	status, err := c.status(ctx, node)
	if err != nil {
		return 0, err
	}
	return status.RaftAppliedIndex, nil
}

type etcdConn struct{ client *clientv3.Client }

func (c etcdConn) put(ctx context.Context, key string, value []byte) error {
	_, err := c.client.Put(ctx, key, string(value))
	return err
}

func (c etcdConn) read(ctx context.Context, key string) error {
	return found(c.client.Get(ctx, key))
}

func (c etcdConn) readLocal(ctx context.Context, key string) error {
	return found(c.client.Get(ctx, key, clientv3.WithSerializable()))
}

func found(r *clientv3.GetResponse, err error) error {
	if err == nil && len(r.Kvs) != 1 {
		err = errors.New("etcd: the key is not there")
	}
	return err
}
