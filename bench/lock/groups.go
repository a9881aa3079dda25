package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// joiners is how many join at a time.
const joiners = 64

// groupName is the i-th group's.
func groupName(i int) string { return fmt.Sprintf("group-%06d", i) }

// joining has each of the members join each of the groups, and stay.
type joining struct {
	Groups  int
	Members []seat // Lock is the member's name
}

// Run returns nothing but an error.
func (j *joining) Run(ctx context.Context, c client) (any, error) {
	var members []member
	for _, at := range j.Members {
		m, err := c.member(ctx, at.Node, at.Lock)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	total := j.Groups * len(members)
	leave, errs := make([]func(context.Context) error, total), make([]error, joiners)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range joiners {
		wg.Go(func() {
			for errs[w] == nil {
				k := int(next.Add(1)) - 1
				if k >= total {
					return
				}
				leave[k], errs[w] = members[k%len(members)].join(ctx, groupName(k/len(members)))
			}
			next.Store(int64(total)) // the others need not go on
		})
	}
	wg.Wait()
	d := c.joined()
	d.leave = append(d.leave, leave...)
	return nil, errors.Join(errs...)
}

// leaving gives up seats, one after the other.
type leaving struct{ Count int }

// Run returns how long each took, sorted.
func (l *leaving) Run(ctx context.Context, c client) (any, error) {
	d := c.joined()
	if len(d.leave) < l.Count {
		return nil, fmt.Errorf("%d seats are too few to leave %d", len(d.leave), l.Count)
	}
	var took []time.Duration
	for _, leave := range d.leave[:l.Count] {
		begun := time.Now()
		if err := leave(ctx); err != nil {
			return nil, fmt.Errorf("leave: %w", err)
		}
		took = append(took, time.Since(begun))
	}
	d.leave = d.leave[l.Count:]
	slices.Sort(took)
	return took, nil
}
