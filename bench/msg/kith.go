package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/zmq"
)

var kithKinds = kinds{
	"kith":             kithServer,
	"kith-load":        kithLoad,
	"kith-subscribers": kithSubscribers,
	"kith-crowd":       kithCrowd,
}

// What is asked of the server.
const (
	echoSubject = "echo"
	hangSubject = "hang"
	topic       = "bench"
)

// node is one of kith's, as far as it carries messages: with the defaults of both
// transport and transport/zmq.
type node struct {
	bystander
	name   string
	engine *zmq.Engine
	*transport.Messenger
}

func newNode(name string, s stage.Spec) (*node, error) {
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, err
	}
	e := zmq.New(zmq.Config{Endpoint: "tcp://127.0.0.1:*", Key: hidden.key, Heartbeat: heartbeat})
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	m, err := transport.New(transport.Config{Name: name, Engine: e, Log: log})
	if err != nil {
		return nil, err
	}
	return &node{name: name, engine: e, Messenger: m}, nil
}

func (n *node) places() []place {
	endpoint := n.engine.Endpoint()
	port, err := strconv.Atoi(endpoint[strings.LastIndexByte(endpoint, ':')+1:])
	if err != nil {
		return nil // not of an endpoint that libzmq has bound
	}
	return []place{{n.name, port}}
}

// meet makes the others this node's peers.
func (n *node) meet(ctx context.Context, others []place) error {
	var list []transport.Address
	for _, p := range others {
		if p.Name != acksName {
			list = append(list, transport.Address{Name: p.Name, Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", p.Port)})
		}
	}
	n.SetPeers(list)
	for _, p := range n.Peers() {
		if err := p.Await(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) close() { n.Messenger.Close() }

// kithServer answers requests.
func kithServer(_ context.Context, s stage.Spec) (party, func(), error) {
	n, err := newNode("bravo", s)
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(
		n.Handle(echoSubject, func(_ context.Context, request transport.Message) (transport.Message, error) {
			return transport.Message{Body: request.Body}, nil
		}),
		n.Handle(hangSubject, func(ctx context.Context, _ transport.Message) (transport.Message, error) {
			<-ctx.Done()
			return transport.Message{}, ctx.Err()
		}))
	return n, n.close, err
}

// kithAsker is the node that asks.
type kithAsker struct{ *node }

func kithLoad(_ context.Context, s stage.Spec) (party, func(), error) {
	n, err := newNode("alpha", s)
	if err != nil {
		return nil, nil, err
	}
	return kithAsker{n}, n.close, nil
}

// Serves asks every peer.
func (a kithAsker) Serves(ctx context.Context, _ int) error {
	for _, p := range a.Peers() {
		if _, err := p.Request(ctx, "kith.ping", nil); err != nil {
			return err
		}
	}
	return nil
}

func (a kithAsker) caller(size int) (func(context.Context) error, func(), error) {
	body := make([]byte, size)
	return func(ctx context.Context) error {
		reply, err := a.Request(ctx, "bravo", echoSubject, body)
		if err != nil {
			return err
		}
		return echoed(len(reply.Body), size)
	}, func() {}, nil
}

func (a kithAsker) hang(ctx context.Context) error {
	_, err := a.Request(ctx, "bravo", hangSubject, nil)
	return err
}

func (a kithAsker) try(ctx context.Context) error {
	_, err := a.Request(ctx, "bravo", echoSubject, nil, transport.FailFast())
	return err
}

func (a kithAsker) publisher(size int) func() error {
	body := make([]byte, size)
	return func() error {
		reached, err := a.Publish(context.Background(), topic, body)
		if err == nil && reached != subscribers {
			err = fmt.Errorf("kith: reached %d subscribers", reached)
		}
		return err
	}
}

// crowd is many nodes in one process.
type crowd []*node

func newCrowd(n int, s stage.Spec) (crowd, error) {
	var c crowd
	for i := range n {
		each, err := newNode(fmt.Sprintf("peer-%d", i), s)
		if err != nil {
			c.close()
			return nil, err
		}
		c = append(c, each)
	}
	return c, nil
}

func (c crowd) close() {
	for _, n := range c {
		n.close()
	}
}

func (c crowd) places() (all []place) {
	for _, n := range c {
		all = append(all, n.places()...)
	}
	return all
}

func (c crowd) meet(ctx context.Context, others []place) error {
	for _, n := range c {
		if err := n.meet(ctx, others); err != nil {
			return err
		}
	}
	return nil
}

// gathered is a crowd as a party.
type gathered struct {
	bystander
	crowd
}

// kithCrowd is as many nodes as a load generator would have connections.
func kithCrowd(_ context.Context, s stage.Spec) (party, func(), error) {
	c, err := newCrowd(s.Conns, s)
	if err != nil {
		return nil, nil, err
	}
	return gathered{crowd: c}, c.close, nil
}

// kithAudience is a crowd that has subscribed.
type kithAudience struct {
	gathered
	*acks
	subscriptions []*transport.Subscription
}

func kithSubscribers(ctx context.Context, s stage.Spec) (party, func(), error) {
	c, err := newCrowd(subscribers, s)
	if err != nil {
		return nil, nil, err
	}
	a, err := newAcks()
	if err != nil {
		return nil, c.close, err
	}
	all := &kithAudience{gathered: gathered{crowd: c}, acks: a}
	for i, n := range c {
		sub, err := n.Subscribe(topic)
		if err != nil {
			return nil, c.close, err
		}
		all.subscriptions = append(all.subscriptions, sub)
		go func() { // until Close of its messenger
			for _, err := range sub.All(ctx) {
				a.got(i, err)
			}
		}()
	}
	return all, func() { a.close(); c.close() }, nil
}

func (a *kithAudience) places() []place { return append(a.acks.places(), a.crowd.places()...) }

// meet returns when the publisher knows of all subscriptions.
func (a *kithAudience) meet(ctx context.Context, others []place) error {
	if err := a.crowd.meet(ctx, others); err != nil {
		return err
	}
	for _, sub := range a.subscriptions {
		if err := sub.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}
