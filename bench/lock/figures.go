package main

import (
	"fmt"

	"github.com/kith-go/kith/bench/stage"
)

// The loads.
const (
	ownLock = "acquire+release own lock"
	oneLock = "handovers of one lock"
)

// grid is what is measured of every system.
func grid(o *options) (cells []stage.Cell) {
	for _, at := range []stage.Place{stage.Leader, stage.Follower} {
		for _, n := range o.callers {
			cells = append(cells, stage.Cell{Op: ownLock, At: at, Callers: n})
		}
	}
	for _, n := range o.contenders {
		cells = append(cells, stage.Cell{Op: oneLock, At: stage.Anywhere, Callers: n})
	}
	return cells
}

// rateName names the place only where it is not the usual one.
func rateName(m stage.Cell, path string) string {
	if m.At == stage.Follower {
		return stage.RateName(m, path)
	}
	return fmt.Sprintf("%s%s c=%d", m.Op, path, m.Callers)
}

// grantsName is the greatest number of grants that a contender got, divided by the
// least.
func grantsName(contenders int) string {
	return fmt.Sprintf("grants per contender, most/least, c=%d", contenders)
}

// The figures of kills.
const (
	holderKilled = "holder killed to next grant"
	bothKilled   = "leader and holder killed to next grant"
)

// groupSize is how many members each group has.
const groupSize = 10

func memoryName(groups int) string {
	return fmt.Sprintf("memory of %d groups of %d in one server", groups, groupSize)
}

func idleName(groups int) string {
	return fmt.Sprintf("idle CPU of the three servers with %d groups of %d", groups, groupSize)
}

func leaveName(groups int) string {
	return fmt.Sprintf("one leave with %d groups of %d", groups, groupSize)
}
