package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// load is a closed loop of requests, each of which comes back as it is.
type load struct {
	stage.Loop
	Size int
	Name string // of its profile
}

// ProfileName is this load's among those of its process.
func (l *load) ProfileName() string { return l.Name }

// Run returns a *stage.Sample.
func (l *load) Run(ctx context.Context, p party) (any, error) {
	if own, ok := p.(looper); ok {
		return own.loop(ctx, l)
	}
	a, ok := p.(asker)
	if !ok {
		return nil, fmt.Errorf("a %T asks nobody", p)
	}
	callers := make([]func(context.Context) error, l.Callers)
	for i := range callers {
		do, done, err := a.caller(l.Size)
		if err != nil {
			return nil, err
		}
		defer done()
		callers[i] = do
	}
	return l.Loop.Run(ctx, func(i int) func(context.Context) error { return callers[i] })
}

// profileName makes a file's name of a cell's.
func profileName(m stage.Cell) string {
	return strings.ReplaceAll(fmt.Sprintf("%s %s %d", m.Op, m.At, m.Callers), " ", "-")
}

// phase is where a loop is that counts for itself. C reads it too.
type phase int32

const (
	warming phase = iota
	counting
	over
)

// watch leads a loop that runs elsewhere through its phases, and returns what it took
// while it was counting.
func watch(l stage.Loop, at *int32) (*stage.Sample, error) {
	defer atomic.StoreInt32(at, int32(over))
	time.Sleep(l.Warm)
	before, err := stage.CPUOf(l.PIDs)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	atomic.StoreInt32(at, int32(counting))
	time.Sleep(l.Window)
	atomic.StoreInt32(at, int32(over))
	took := time.Since(start)
	after, err := stage.CPUOf(l.PIDs)
	return &stage.Sample{Took: took, CPU: after - before}, err
}

// serving lets a server be profiled while a load is on it.
type serving struct {
	stage.Loop
	Name string
}

// ProfileName is that of the load.
func (q *serving) ProfileName() string { return q.Name }

// Run returns nothing.
func (q *serving) Run(context.Context, party) (any, error) {
	time.Sleep(q.Warm + q.Window)
	return nil, nil
}
