package main

import (
	"slices"

	"github.com/kith-go/kith/bench/stage"
)

// grid is what is measured of every system that can do it, for each number of
// callers.
var grid = []struct {
	op operation
	at stage.Place
}{
	{puts, stage.Leader},
	{puts, stage.Follower},
	{reads, stage.Leader},
	{reads, stage.Follower},
	{localReads, stage.Follower},
}

// cannot tells what a system has not: NATS no linearizable reads.
func cannot(who *stage.Contender, op operation) bool { return who.Name == "nats" && op == reads }

func killName(path string) string { return "leader killed to first write" + path }

// killed tells whether a figure is wanted that has who's leader killed.
func killed(c stage.Chosen, who *stage.Contender) bool {
	return slices.ContainsFunc(c.PathsOf(who), func(path string) bool { return c.Figure(killName(path)) })
}
