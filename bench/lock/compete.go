package main

import (
	"context"
	"fmt"

	"github.com/kith-go/kith/bench/stage"
)

// competition is a closed loop: each contender acquires its seat's lock and
// releases it at once.
type competition struct {
	stage.Loop
	Seats []seat
	Name  string // of the profile
}

// ProfileName is this load's among those of its process.
func (q *competition) ProfileName() string { return q.Name }

// Run returns a *stage.Sample.
func (q *competition) Run(ctx context.Context, c client) (any, error) {
	contenders, done, err := c.contenders(ctx, q.Seats)
	if err != nil {
		return nil, err
	}
	defer done()
	q.Callers = len(q.Seats)
	return q.Loop.Run(ctx, func(i int) func(context.Context) error {
		return func(ctx context.Context) error { return once(ctx, contenders[i]) }
	})
}

func once(ctx context.Context, c contender) error {
	if err := c.acquire(ctx); err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if err := c.release(ctx); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}
