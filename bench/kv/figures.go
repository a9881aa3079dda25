package main

import (
	"fmt"
	"regexp"
	"slices"
)

// place is the role of the node that the callers talk to.
type place string

const (
	leader   place = "leader"
	follower place = "follower"
)

// grid is what is measured of every system that can do it, for each number of
// callers.
var grid = []struct {
	op operation
	at place
}{
	{puts, leader},
	{puts, follower},
	{reads, leader},
	{reads, follower},
	{localReads, follower},
}

// cpuCallers is the load at which CPU times are compared.
const cpuCallers = 64

// contender is a system as one kind of user meets it. kith is two of them: one
// with the callers inside its nodes, which is what it is made for, and one with
// them in another process, as they are with the rivals.
type contender struct {
	name    string // "kith", "etcd", "nats"
	path    string // " over HTTP", or nothing
	inside  bool   // the callers live in the servers
	cannot  []operation
	cluster *cluster
}

// worker is the process from which load is put on a node.
func (c *contender) worker(node int) *child {
	if c.inside {
		return c.cluster.servers[node]
	}
	return c.cluster.load
}

// pids are the processes that do this contender's work.
func (c *contender) pids() []int {
	pids := c.cluster.pids()
	if !c.inside {
		pids = append(pids, c.cluster.load.pid())
	}
	return pids
}

func (c *contender) ours() bool { return c.name == "kith" }

// cell is one square of the table.
type cell struct {
	who     *contender
	op      operation
	at      place
	callers int
}

// The figures' names. The path is that of kith's contender; the rival's part in
// both figures is the same.
func rateName(op operation, at place, path string, callers int) string {
	return fmt.Sprintf("%s %s%s c=%d", op, at, path, callers)
}

func cpuName(op operation, at place, path string, callers int) string {
	return "CPU per 10k " + rateName(op, at, path, callers)
}

func killName(path string) string { return "leader killed to first write" + path }

// chosen tells by a figure's name whether to measure what it needs.
type chosen struct {
	only  *regexp.Regexp // nil for all
	paths []string       // of kith's contenders
}

func (c chosen) figure(name string) bool { return c.only == nil || c.only.MatchString(name) }

func (c chosen) cell(m cell) bool {
	return slices.ContainsFunc(c.pathsOf(m.who), func(path string) bool {
		return c.figure(rateName(m.op, m.at, path, m.callers)) ||
			m.callers == cpuCallers && c.figure(cpuName(m.op, m.at, path, m.callers))
	})
}

func (c chosen) kill(who *contender) bool {
	return slices.ContainsFunc(c.pathsOf(who), func(path string) bool { return c.figure(killName(path)) })
}

// pathsOf returns the paths of the figures that a contender has a part in.
func (c chosen) pathsOf(who *contender) []string {
	if who.ours() || len(c.paths) == 0 {
		return []string{who.path}
	}
	return c.paths
}
