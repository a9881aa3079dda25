package system

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

	"github.com/kith-go/kith/bench/stage"
)

// Etcd is one member with etcd's defaults, but for fewer log lines.
func Etcd(ctx context.Context, s stage.Spec) (stop func(), err error) {
	self := s.Members[s.Node]
	clients := []url.URL{{Scheme: "http", Host: self.ClientAddr()}}
	peers := []url.URL{{Scheme: "http", Host: self.PeerAddr()}}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = self.Name, self.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = clients, clients
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers, peers
	var initial []string
	for _, m := range s.Members {
		initial = append(initial, fmt.Sprintf("%s=http://%s", m.Name, m.PeerAddr()))
	}
	cfg.InitialCluster = strings.Join(initial, ",")
	cfg.LogLevel = "warn"
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
		return server.Close, nil
	case err = <-server.Err():
	case <-server.Server.StopNotify():
		err = errors.New("etcd stopped while it was starting")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	server.Close()
	return nil, err
}

// EtcdClients holds a pool of connections to each member, every connection with
// that member as its only endpoint. The callers are spread over them in turn, as
// etcd's own benchmark does.
type EtcdClients struct {
	members []stage.Member
	size    int // of a pool

	mu    sync.Mutex // guards pools
	pools map[int][]*clientv3.Client
}

// NewEtcdClients returns a pool for the members of s, without connections yet.
func NewEtcdClients(s stage.Spec) *EtcdClients {
	return &EtcdClients{members: s.Members, size: s.Conns, pools: make(map[int][]*clientv3.Client)}
}

// Close closes the connections.
func (c *EtcdClients) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pool := range c.pools {
		for _, each := range pool {
			each.Close()
		}
	}
}

// Pool returns at least n connections to the node, or as many as are allowed.
func (c *EtcdClients) Pool(node, n int) ([]*clientv3.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pools[node]) < min(n, c.size) {
		// clientv3.New does not wait for the connection.
		each, err := clientv3.New(clientv3.Config{
			Endpoints: []string{c.members[node].ClientAddr()},
			Logger:    zap.NewNop(),
		})
		if err != nil {
			return nil, err
		}
		c.pools[node] = append(c.pools[node], each)
	}
	return slices.Clone(c.pools[node][:min(n, c.size)]), nil
}

func (c *EtcdClients) status(ctx context.Context, node int) (*clientv3.StatusResponse, error) {
	pool, err := c.Pool(node, 1)
	if err != nil {
		return nil, err
	}
	return pool[0].Status(ctx, c.members[node].ClientAddr())
}

// Leader returns the index of the member that leads, as node knows it.
func (c *EtcdClients) Leader(ctx context.Context, node int) (int, error) {
	status, err := c.status(ctx, node)
	if err != nil {
		return 0, err
	}
	pool, err := c.Pool(node, 1)
	if err != nil {
		return 0, err
	}
	list, err := pool[0].MemberList(ctx)
	if err != nil {
		return 0, err
	}
	for _, m := range list.Members {
		if m.ID == status.Leader {
			return stage.IndexOf(c.members, m.Name)
		}
	}
	return 0, errors.New("etcd: no leader")
}

// Applied returns the index of the last entry that node has applied.
func (c *EtcdClients) Applied(ctx context.Context, node int) (uint64, error) {
	status, err := c.status(ctx, node)
	if err != nil {
		return 0, err
	}
	return status.RaftAppliedIndex, nil
}
