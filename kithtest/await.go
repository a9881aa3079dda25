package kithtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/kith-go/kith/membership"
)

// Await waits until ok returns true, which it asks again and again. It fails the
// test, naming what, after Options.Patience.
func (c *Cluster) Await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(c.patience)
	for !ok() {
		if time.Now().After(deadline) {
			c.t.Fatalf("kithtest: waited %v in vain: %s\n%s", c.patience, what, c.Table())
		}
		time.Sleep(c.poll)
	}
}

// AwaitAlive waits until every running node sees every running node alive and
// reaches it.
func (c *Cluster) AwaitAlive() {
	c.t.Helper()
	c.Await("all running nodes see one another alive", func() bool {
		nodes := c.Nodes()
		for _, observer := range nodes {
			view := membership.View{Members: observer.Members()}
			for _, node := range nodes {
				m, _ := view.Find(node.Name())
				if m.Status != membership.StatusAlive || m.Unreachable || m.Incarnation != node.Status().Incarnation {
					return false
				}
			}
		}
		return true
	})
}

// AwaitSeen waits until every running node but name itself gives name the
// status; 0 stands for "never heard of". Across a partition that never comes:
// use Await and Sees.
func (c *Cluster) AwaitSeen(name string, want membership.Status) {
	c.t.Helper()
	c.Await(fmt.Sprintf("all see %s as %s", name, want), func() bool {
		for _, observer := range c.Nodes() {
			if observer.Name() != name && status(observer, name) != want {
				return false
			}
		}
		return true
	})
}

// Table returns who sees what, a line per running node, for messages.
func (c *Cluster) Table() string {
	var b strings.Builder
	for _, observer := range c.Nodes() {
		fmt.Fprintf(&b, "%s sees:", observer.Name())
		for _, m := range observer.Members() {
			fmt.Fprintf(&b, " %s=%s", m.Name, m.Status)
			if m.Unreachable {
				fmt.Fprintf(&b, "(unreachable: %s)", m.Reason)
			}
		}
		for _, p := range observer.Status().Problems {
			fmt.Fprintf(&b, "\n\tproblem: %s", p)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
