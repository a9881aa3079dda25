package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kith-go/kith/bench/stage"
)

var natsKinds = kinds{
	"nats":             natsServer,
	"nats-echo":        natsEcho,
	"nats-load":        natsLoad,
	"nats-subscribers": natsSubscribers,
}

const natsName = "nats"

// natsBroker is a server with its defaults.
type natsBroker struct {
	bystander
	port int
}

func (b natsBroker) places() []place { return []place{{natsName, b.port}} }

func natsServer(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, nil, err
	}
	opts := &server.Options{ServerName: natsName, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true}
	if hidden.tls != nil {
		opts.TLS, opts.TLSConfig = true, hidden.tls
	}
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
	return natsBroker{port: opts.Port}, stop, nil
}

// natsDial makes n connections to the server.
func natsDial(s stage.Spec, n int) (all []*nats.Conn, closeAll func(), err error) {
	closeAll = func() {
		for _, nc := range all {
			nc.Close()
		}
	}
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, nil, err
	}
	broker, err := at(s, natsName)
	if err != nil {
		return nil, nil, err
	}
	var opts []nats.Option
	if hidden.tls != nil {
		opts = append(opts, nats.Secure(hidden.tls))
	}
	for range n {
		nc, err := nats.Connect("nats://"+broker.ClientAddr(), opts...)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, nc)
	}
	return all, closeAll, nil
}

// natsEcho answers requests, in a process of its own, as kith's server does.
func natsEcho(_ context.Context, s stage.Spec) (party, func(), error) {
	conns, stop, err := natsDial(s, s.Conns)
	if err != nil {
		return nil, nil, err
	}
	for _, nc := range conns {
		// The queue group has each request answered once.
		_, err := nc.QueueSubscribe(echoSubject, "servers", func(m *nats.Msg) { m.Respond(m.Data) })
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			stop()
			return nil, nil, err
		}
	}
	return bystander{}, stop, nil
}

// natsAsker spreads its callers over its connections.
type natsAsker struct {
	bystander
	conns []*nats.Conn
	next  atomic.Int64
}

func natsLoad(_ context.Context, s stage.Spec) (party, func(), error) {
	conns, stop, err := natsDial(s, s.Conns)
	if err != nil {
		return nil, nil, err
	}
	return &natsAsker{conns: conns}, stop, nil
}

// Serves tells whether the server is there; whoever answers requests has told that it
// is ready.
func (a *natsAsker) Serves(context.Context, int) error { return a.conns[0].FlushTimeout(time.Second) }

func (a *natsAsker) caller(size int) (func(context.Context) error, func(), error) {
	body, nc := make([]byte, size), a.conns[int(a.next.Add(1))%len(a.conns)]
	return func(ctx context.Context) error {
		reply, err := nc.RequestWithContext(ctx, echoSubject, body)
		if err != nil {
			return err
		}
		return echoed(len(reply.Data), size)
	}, func() {}, nil
}

// hang never ends: a requester at a broker does not learn that who would answer is
// gone.
func (a *natsAsker) hang(context.Context) error { return errCannot }
func (a *natsAsker) try(context.Context) error  { return errCannot }

func (a *natsAsker) publisher(size int) func() error {
	body := make([]byte, size)
	return func() error { return a.conns[0].Publish(topic, body) }
}

// natsAudience is subscribers, each with a connection of its own.
type natsAudience struct {
	bystander
	*acks
}

func natsSubscribers(_ context.Context, s stage.Spec) (party, func(), error) {
	a, err := newAcks()
	if err != nil {
		return nil, nil, err
	}
	conns, stop, err := natsDial(s, subscribers)
	if err != nil {
		return nil, nil, err
	}
	for i, nc := range conns {
		nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			fmt.Println(err)
			a.tell(ackLost)
		})
		_, err := nc.Subscribe(topic, func(*nats.Msg) { a.got(i, nil) })
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			stop()
			return nil, nil, err
		}
	}
	return natsAudience{acks: a}, func() { a.close(); stop() }, nil
}
