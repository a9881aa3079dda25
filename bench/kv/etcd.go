package main

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/system"
)

func etcdServer(ctx context.Context, s stage.Spec) (client, func(), error) {
	stop, err := system.Etcd(ctx, s)
	return nil, stop, err
}

// etcdClient spreads the callers over its connections in turn, as etcd's own
// benchmark does.
type etcdClient struct{ *system.EtcdClients }

func etcdLoad(_ context.Context, s stage.Spec) (client, func(), error) {
	c := &etcdClient{system.NewEtcdClients(s)}
	return c, c.Close, nil
}

// Serves is a stage.Observer's.
func (c *etcdClient) Serves(ctx context.Context, node int) error { return probe(ctx, c, node) }

func (c *etcdClient) conns(_ context.Context, node, n int) ([]conn, error) {
	pool, err := c.Pool(node, n)
	if err != nil {
		return nil, err
	}
	conns := make([]conn, n)
	for i := range conns {
		conns[i] = etcdConn{pool[i%len(pool)]}
	}
	return conns, nil
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
