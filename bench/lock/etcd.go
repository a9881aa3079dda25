package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/system"
)

func etcdServer(ctx context.Context, s stage.Spec) (client, func(), error) {
	stop, err := system.Etcd(ctx, s)
	return nil, stop, err
}

// etcdClient uses etcd's own recipes, package concurrency. Sessions belong to one
// job: those of a system that was stopped have run out.
type etcdClient struct {
	*system.EtcdClients
	size int
	departures
}

func etcdLoad(_ context.Context, s stage.Spec) (client, func(), error) {
	c := &etcdClient{EtcdClients: system.NewEtcdClients(s), size: s.Conns}
	return c, c.Close, nil
}

// Serves writes a key.
func (c *etcdClient) Serves(ctx context.Context, node int) error {
	pool, err := c.Pool(node, 1)
	if err != nil {
		return err
	}
	_, err = pool[0].Put(ctx, "probe", "")
	return err
}

// sessions opens and closes them.
type etcdSessions struct {
	client *etcdClient
	all    []*concurrency.Session
}

func (s *etcdSessions) close() {
	for _, each := range s.all {
		each.Close()
	}
}

// open opens a session through the i-th connection to node.
func (s *etcdSessions) open(node, i int, options ...concurrency.SessionOption) (*concurrency.Session, error) {
	pool, err := s.client.Pool(node, s.client.size)
	if err != nil {
		return nil, err
	}
	session, err := concurrency.NewSession(pool[i%len(pool)], options...)
	if err != nil {
		return nil, err
	}
	s.all = append(s.all, session)
	return session, nil
}

// contenders share a session on each connection, as callers in one process do; but
// in etcd those who want the same lock must have one each.
func (c *etcdClient) contenders(_ context.Context, seats []seat) ([]contender, func(), error) {
	sessions := &etcdSessions{client: c}
	type connection struct{ node, i int }
	shared := make(map[connection]*concurrency.Session)
	named := make(map[string]int)
	for _, at := range seats {
		named[at.Lock]++
	}
	var all []contender
	for i, at := range seats {
		key := connection{at.Node, i % c.size}
		session := shared[key]
		if named[at.Lock] > 1 || session == nil {
			var err error
			if session, err = sessions.open(at.Node, key.i); err != nil {
				sessions.close()
				return nil, nil, err
			}
			shared[key] = session
		}
		all = append(all, etcdContender{concurrency.NewMutex(session, "/lock/"+at.Lock)})
	}
	return all, sessions.close, nil
}

type etcdContender struct{ mutex *concurrency.Mutex }

func (e etcdContender) acquire(ctx context.Context) error { return e.mutex.Lock(ctx) }
func (e etcdContender) release(ctx context.Context) error { return e.mutex.Unlock(ctx) }

// candidate stands for an Election with the least TTL; etcd makes of one second
// what its election timeout allows.
func (c *etcdClient) candidate(_ context.Context, at seat) (contender, func(), error) {
	sessions := &etcdSessions{client: c}
	session, err := sessions.open(at.Node, 0, concurrency.WithTTL(1))
	if err != nil {
		return nil, nil, err
	}
	return etcdCandidate{concurrency.NewElection(session, "/election/"+at.Lock)}, sessions.close, nil
}

type etcdCandidate struct{ election *concurrency.Election }

func (e etcdCandidate) acquire(ctx context.Context) error { return e.election.Campaign(ctx, "me") }
func (e etcdCandidate) release(ctx context.Context) error { return e.election.Resign(ctx) }

// member has a session of its own, as whoever stands for an Election has: there is
// one candidate to a lease.
func (c *etcdClient) member(_ context.Context, node int, name string) (member, error) {
	session, err := (&etcdSessions{client: c}).open(node, 0)
	return etcdMember{session, name}, err
}

type etcdMember struct {
	session *concurrency.Session
	name    string
}

// join writes the key that Election.Campaign writes, and does not wait for
// anything. Leaving deletes it as Resign does.
func (m etcdMember) join(ctx context.Context, group string) (func(context.Context) error, error) {
	key := fmt.Sprintf("/group/%s/%x", group, m.session.Lease())
	absent := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	r, err := m.session.Client().Txn(ctx).If(absent).Then(clientv3.OpPut(key, m.name, clientv3.WithLease(m.session.Lease()))).Commit()
	if err == nil && !r.Succeeded {
		err = errors.New("this member is in the group")
	}
	if err != nil {
		return nil, err
	}
	own := clientv3.Compare(clientv3.CreateRevision(key), "=", r.Header.Revision)
	return func(ctx context.Context) error {
		r, err := m.session.Client().Txn(ctx).If(own).Then(clientv3.OpDelete(key)).Commit()
		if err == nil && !r.Succeeded {
			err = errors.New("this member is not in the group any more")
		}
		return err
	}, nil
}
