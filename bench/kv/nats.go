package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kith-go/kith/bench/stage"
)

const natsBucket = "bench"

// natsServer is one server of a cluster with JetStream and the server's
// defaults, but for one: it syncs every write before it acknowledges.
func natsServer(_ context.Context, s stage.Spec) (client, func(), error) {
	self := s.Members[s.Node]
	var routes []string
	for _, m := range s.Members {
		routes = append(routes, "nats://"+m.PeerAddr())
	}
	conf := fmt.Sprintf(`
server_name: %s
listen: %q
jetstream { store_dir: %q, sync_interval: always }
cluster { name: bench, listen: %q, routes: [%s] }
`, self.Name, self.ClientAddr(), self.Dir, self.PeerAddr(), strings.Join(routes, ", "))
	path := self.Dir + ".conf"
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		return nil, nil, err
	}
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		return nil, nil, err
	}
	opts.NoSigs = true
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, nil, err
	}
	srv.ConfigureLogger()
	srv.Start()
	stop := func() { srv.Shutdown(); srv.WaitForShutdown() }
	if !srv.ReadyForConnections(stage.StartLimit) {
		stop()
		return nil, nil, errors.New("nats: not ready for connections")
	}
	return nil, stop, nil
}

// natsClient holds a pool of connections to each server.
type natsClient struct {
	members []stage.Member
	size    int // of a pool

	mu    sync.Mutex // guards pools
	pools map[int][]natsConn
}

// natsConn is one connection, bound to the bucket. It has no linearizable read:
// JetStream serves reads from one server's state without asking the others.
type natsConn struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	bucket jetstream.KeyValue
}

// natsLoad makes the bucket, as soon as the servers can.
func natsLoad(ctx context.Context, s stage.Spec) (client, func(), error) {
	c := &natsClient{members: s.Members, size: s.Conns, pools: make(map[int][]natsConn)}
	ctx, cancel := context.WithTimeout(ctx, stage.StartLimit)
	defer cancel()
	nc, err := nats.Connect(s.Members[0].ClientAddr())
	if err != nil {
		return nil, nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	for {
		try, cancel := context.WithTimeout(ctx, stage.AskTimeout)
		_, err := js.CreateOrUpdateKeyValue(try, jetstream.KeyValueConfig{
			Bucket: natsBucket, Replicas: len(s.Members), Storage: jetstream.FileStorage,
		})
		cancel()
		if err == nil {
			return c, c.close, nil
		}
		if ctx.Err() != nil {
			return nil, nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *natsClient) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pool := range c.pools {
		for _, each := range pool {
			each.nc.Close()
		}
	}
}

// pool returns at least n connections to the node, or as many as are allowed.
func (c *natsClient) pool(ctx context.Context, node, n int) ([]natsConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pools[node]) < min(n, c.size) {
		each, err := c.dial(ctx, node)
		if err != nil {
			return nil, err
		}
		c.pools[node] = append(c.pools[node], each)
	}
	return slices.Clone(c.pools[node][:min(n, c.size)]), nil
}

func (c *natsClient) dial(ctx context.Context, node int) (natsConn, error) {
	// To this server only, and again and again if it restarts.
	nc, err := nats.Connect(c.members[node].ClientAddr(), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.IgnoreDiscoveredServers())
	if err != nil {
		return natsConn{}, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return natsConn{}, err
	}
	bucket, err := js.KeyValue(ctx, natsBucket)
	if err != nil {
		nc.Close()
		return natsConn{}, err
	}
	return natsConn{nc, js, bucket}, nil
}

func (c *natsClient) conns(ctx context.Context, node, n int) ([]conn, error) {
	pool, err := c.pool(ctx, node, n)
	if err != nil {
		return nil, err
	}
	conns := make([]conn, n)
	for i := range conns {
		conns[i] = pool[i%len(pool)]
	}
	return conns, nil
}

// stream asks about the stream that the bucket is kept in.
func (c *natsClient) stream(ctx context.Context, node int) (*jetstream.StreamInfo, error) {
	pool, err := c.pool(ctx, node, 1)
	if err != nil {
		return nil, err
	}
	stream, err := pool[0].js.Stream(ctx, "KV_"+natsBucket)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo() // fetched just now
	if info.Cluster == nil || info.Cluster.Leader == "" {
		return nil, errors.New("nats: the stream has no leader")
	}
	return info, nil
}

// Serves is a stage.Observer's.
func (c *natsClient) Serves(ctx context.Context, node int) error { return probe(ctx, c, node) }

// Leader is a stage.Observer's.
func (c *natsClient) Leader(ctx context.Context, node int) (int, error) {
	info, err := c.stream(ctx, node)
	if err != nil {
		return 0, err
	}
	return stage.IndexOf(c.members, info.Cluster.Leader)
}

// applied is the leader's last sequence less what it says that the node lacks.
// The leader is asked through the node, which is thereby known to be up.
// Applied is a stage.Observer's.
func (c *natsClient) Applied(ctx context.Context, node int) (uint64, error) {
	info, err := c.stream(ctx, node)
	if err != nil {
		return 0, err
	}
	if info.Cluster.Leader == c.members[node].Name {
		return info.State.LastSeq, nil
	}
	for _, r := range info.Cluster.Replicas {
		if r.Name == c.members[node].Name && r.Current {
			return info.State.LastSeq - r.Lag, nil
		}
	}
	return 0, fmt.Errorf("nats: %s is not current", c.members[node].Name)
}

func (c natsConn) put(ctx context.Context, key string, value []byte) error {
	_, err := c.bucket.Put(ctx, key, value)
	return err
}

func (c natsConn) read(context.Context, string) error {
	return errors.New("nats: JetStream has no linearizable reads")
}

func (c natsConn) readLocal(ctx context.Context, key string) error {
	_, err := c.bucket.Get(ctx, key)
	return err
}
