package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/kith-go/kith/bench/stage"
)

// party is a process that takes part. What can be asked of it depends on which of
// host, guest, asker, looper and publisher it is.
type party interface{ stage.Observer }

// host is a party that others connect to.
type host interface{ places() []place }

// place is where something listens on loopback.
type place struct {
	Name string
	Port int
}

// guest is a party that learns only after its start who the others are: kith's nodes
// know one another, and none is started first.
type guest interface {
	// meet returns when it is connected to all of them.
	meet(ctx context.Context, others []place) error
}

// asker is a party that sends requests.
type asker interface {
	// caller returns what sends one request with a body of that size and waits for
	// its echo, for one of many callers, and what frees what that took.
	caller(size int) (do func(context.Context) error, done func(), err error)
	// hang sends a request that is not answered, and returns what becomes of it.
	hang(ctx context.Context) error
	// try sends a request, and does not wait for a connection.
	try(ctx context.Context) error
}

// looper is an asker whose closed loop is its own business: C's.
type looper interface {
	loop(ctx context.Context, l *load) (*stage.Sample, error)
}

// publisher is a party that publishes messages of that size.
type publisher interface {
	publisher(size int) (publish func() error)
}

// kinds is all that children can be. A secured system's first member has a
// directory with the secrets; see secrets.
type kinds = map[string]func(context.Context, stage.Spec) (party, func(), error)

func allKinds() kinds {
	all := kinds{}
	for _, each := range []kinds{kithKinds, libzmqKinds, natsKinds, grpcKinds, tcpKinds} {
		maps.Copy(all, each)
	}
	return all
}

var cast = stage.Cast[party]{
	Kinds: allKinds(),
	Jobs: map[string]func() stage.Job[party]{
		"places":  func() stage.Job[party] { return new(finding) },
		"meet":    func() stage.Job[party] { return new(meeting) },
		"load":    func() stage.Job[party] { return new(load) },
		"publish": func() stage.Job[party] { return new(publishing) },
		"end":     func() stage.Job[party] { return new(ending) },
		"serve":   func() stage.Job[party] { return new(serving) },
	},
}

// finding asks where a party listens.
type finding struct{}

// Run returns a []place.
func (*finding) Run(_ context.Context, p party) (any, error) {
	if h, ok := p.(host); ok {
		return h.places(), nil
	}
	return []place{}, nil
}

// meeting tells a party who the others are.
type meeting struct{ Others []place }

// Run returns nothing but an error.
func (q *meeting) Run(ctx context.Context, p party) (any, error) {
	g, ok := p.(guest)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stage.StartLimit)
	defer cancel()
	return nil, g.meet(ctx, q.Others)
}

// bystander is no observer. Parties that serve are one.
type bystander struct{}

func (bystander) Serves(context.Context, int) error            { return stage.ErrNotAsked }
func (bystander) Leader(context.Context, int) (int, error)     { return 0, stage.ErrNotAsked }
func (bystander) Applied(context.Context, int) (uint64, error) { return 0, stage.ErrNotAsked }

// at finds a member that an earlier child had the parent know.
func at(s stage.Spec, name string) (stage.Member, error) {
	i, err := stage.IndexOf(s.Members, name)
	if err != nil {
		return stage.Member{}, err
	}
	return s.Members[i], nil
}

// echoed tells whether what came back is what was sent, by its size.
func echoed(got, want int) error {
	if got != want {
		return fmt.Errorf("an echo of %d bytes, want %d", got, want)
	}
	return nil
}

var errAnswered = errors.New("a request that nobody answers was answered")
