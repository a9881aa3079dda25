package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// The figures of a node that is connected to many others, with which it exchanges
// nothing but heartbeats.
func crowdCPUName(n int) string     { return fmt.Sprintf("idle CPU of a node with %d peers", n) }
func crowdMemoryName(n int) string  { return fmt.Sprintf("memory per peer of a node with %d", n) }
func crowdThreadsName(n int) string { return fmt.Sprintf("threads of a node with %d peers", n) }

// idleSettle is for connections that are new.
const idleSettle = 3 * time.Second

// measureCrowd has all peers in another process.
func (b *bench) measureCrowd() error {
	who := b.contender("kith")
	if who == nil || !b.figure(crowdCPUName(b.peers)) && !b.figure(crowdMemoryName(b.peers)) && !b.figure(crowdThreadsName(b.peers)) {
		return nil
	}
	stage.Progress("a node with %d peers", b.peers)
	s := stage.Spec{Members: []stage.Member{{Dir: b.secrets}}, Conns: b.peers}
	node, asking, err := b.child("kith-load", s)
	c := &stage.Cluster{System: "kith", Load: node}
	defer func() { b.dismiss(c) }()
	if err != nil {
		return err
	}
	crowd, answering, err := b.child("kith-crowd", s)
	if crowd != nil {
		c.Servers = []*stage.Child{crowd}
	}
	if err != nil {
		return err
	}
	before, err := weigh(node)
	if err != nil {
		return err
	}
	if err := b.introduce(c, asking, answering); err != nil {
		return err
	}
	time.Sleep(idleSettle)
	idle, err := idleOf(node.PID(), 2*b.Window)
	if err != nil {
		return err
	}
	after, err := weigh(node)
	if err != nil {
		return err
	}
	count, err := threads(node.PID())
	if err != nil {
		return err
	}
	b.report.AddEvent(crowdCPUName(b.peers), "%", who, idle)
	b.report.AddEvent(crowdMemoryName(b.peers), "KiB", who, (after-before)/float64(b.peers)/1024)
	b.report.AddEvent(crowdThreadsName(b.peers), "", who, float64(count))
	return nil
}

// weigh is the process's own memory in bytes, after a garbage collection.
func weigh(c *stage.Child) (float64, error) {
	if err := c.Collect(); err != nil {
		return 0, err
	}
	bytes, err := stage.OwnMemory(c.PID())
	return float64(bytes), err
}

// idleOf is in percent of one CPU.
func idleOf(pid int, window time.Duration) (float64, error) {
	before, err := stage.CPUOf([]int{pid})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(window)
	after, err := stage.CPUOf([]int{pid})
	return 100 * (after - before).Seconds() / time.Since(start).Seconds(), err
}

// threads is how many a process has.
func threads(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if n, ok := strings.CutPrefix(line, "Threads:"); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no Threads", pid)
}
