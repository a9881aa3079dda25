package stage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ClusterSize is how many servers every system has.
const ClusterSize = 3

const (
	// StartLimit bounds how long a cluster or a server may take to be ready.
	StartLimit = 60 * time.Second
	// FillLimit bounds what takes a system long: to take a million keys, or to get
	// them back.
	FillLimit = 20 * time.Minute
	// RecoverLimit bounds how long a cluster may take to serve after a server's end.
	RecoverLimit = 30 * time.Second
	// Patience is the time between two questions.
	Patience = 5 * time.Millisecond
)

// Setup says how a system is started.
type Setup struct {
	System  string // kind of its servers; that of its load is System+"-load"
	Dir     string // in which each server gets a directory of its own
	Profile string
	Conns   int
	Inside  bool // its servers are clients, too
	Load    bool // it has a process that puts load on it from outside
	// Command is how a server is started that is a program of the rival's own.
	Command func(Spec) (*exec.Cmd, error)
}

// Cluster is one system: its servers and, if it has one, the process that puts
// load on them from outside. All of them are stopped, with SIGSTOP, while another
// one is measured: an idle cluster uses the CPU too.
type Cluster struct {
	System  string
	Servers []*Child
	Load    *Child // nil if it has none

	family *Family
	setup  Setup
	spec   Spec // Kind and Node differ between the processes
}

// StartCluster returns when the cluster serves.
func StartCluster(f *Family, setup Setup) (*Cluster, error) {
	c := &Cluster{System: setup.System, Servers: make([]*Child, ClusterSize), family: f, setup: setup,
		spec: Spec{Conns: setup.Conns, Profile: setup.Profile}}
	ports, err := freePorts(3 * ClusterSize)
	if err != nil {
		return nil, err
	}
	for i := range c.Servers {
		name := fmt.Sprintf("%s-%d", setup.System, i)
		own := filepath.Join(setup.Dir, name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		c.spec.Members = append(c.spec.Members, Member{Name: name, Dir: own,
			Client: ports[3*i], Peer: ports[3*i+1], Third: ports[3*i+2]})
	}
	for i := range c.Servers {
		if err := c.launch(i); err != nil {
			return nil, err
		}
	}
	for _, server := range c.Servers {
		if err := server.Ready(StartLimit); err != nil {
			return nil, err
		}
	}
	if setup.Load {
		if c.Load, err = c.StartLoad(); err != nil {
			return nil, err
		}
	}
	return c, c.serves()
}

// StartLoad starts another process that puts load on the system from outside. The
// caller ends it before the cluster is paused.
func (c *Cluster) StartLoad() (*Child, error) {
	s := c.spec
	s.Kind = c.System + "-load"
	load, err := c.family.Start(s.Kind, s)
	if err != nil {
		return nil, err
	}
	return load, load.Ready(StartLimit)
}

func (c *Cluster) launch(i int) (err error) {
	s := c.spec
	s.Kind, s.Node = c.System, i
	if c.setup.Command == nil {
		c.Servers[i], err = c.family.Start(s.Members[i].Name, s)
		return err
	}
	cmd, err := c.setup.Command(s)
	if err != nil {
		return err
	}
	c.Servers[i], err = c.family.StartForeign(s.Members[i].Name, cmd)
	return err
}

// Worker is the process that works on node, and knows how it is.
func (c *Cluster) Worker(node int) *Child {
	if c.setup.Inside {
		return c.Servers[node]
	}
	return c.Load
}

// until asks until there is an answer that will do.
func until[T any](c *Cluster, limit time.Duration, ask string, node int, ok func(T) bool) (T, error) {
	var last error
	for start := time.Now(); time.Since(start) < limit; time.Sleep(Patience) {
		var a T
		var result any = &a
		if ask == askServes {
			result = nil
		}
		err := c.Worker(node).Ask(AskTimeout+Drain, ask, question{node}, result)
		if _, said := errors.AsType[*ReplyError](err); err != nil && !said {
			return a, err
		}
		if err == nil && ok(a) {
			return a, nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("the answer is still %v", a)
		}
	}
	var none T
	return none, fmt.Errorf("%s: %q through node %d: nothing of use within %v: %w", c.System, ask, node, limit, last)
}

func anything[T any](T) bool { return true }

// serves waits until a write goes through each of the nodes.
func (c *Cluster) serves() error {
	for i := range c.Servers {
		if _, err := until(c, StartLimit, askServes, i, anything[int]); err != nil {
			return err
		}
	}
	return nil
}

// Leader returns the node that leads, as the first one knows it.
func (c *Cluster) Leader() (int, error) { return until(c, StartLimit, askLeader, 0, anything[int]) }

// Follower returns a node other than the leader.
func (c *Cluster) Follower(leader int) int { return (leader + 1) % ClusterSize }

// CaughtUp waits until node has applied what the other one has by now.
func (c *Cluster) CaughtUp(node, other int) error {
	target, err := until(c, RecoverLimit, askApplied, other, anything[uint64])
	if err != nil {
		return err
	}
	_, err = until(c, FillLimit, askApplied, node, func(n uint64) bool { return n >= target })
	return err
}

// Restart ends a server, if it still runs, starts it again and waits until it has
// caught up with another one, which lives; it returns how long that took from its
// start.
func (c *Cluster) Restart(node, other int) (time.Duration, error) {
	c.family.Kill(c.Servers[node])
	start := time.Now()
	if err := c.launch(node); err != nil {
		return 0, err
	}
	if err := c.Servers[node].Ready(StartLimit); err != nil {
		return 0, err
	}
	if err := c.CaughtUp(node, other); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, c.serves()
}

// Memory is the mean of the servers, in bytes: anonymous resident pages, after a
// garbage collection if the server can be asked for one.
func (c *Cluster) Memory() (float64, error) {
	var sum int64
	for _, server := range c.Servers {
		if err := server.Collect(); err != nil {
			return 0, err
		}
		bytes, err := OwnMemory(server.PID())
		if err != nil {
			return 0, err
		}
		sum += bytes
	}
	return float64(sum) / float64(len(c.Servers)), nil
}

// PIDs are those of the servers.
func (c *Cluster) PIDs() (pids []int) {
	for _, server := range c.Servers {
		pids = append(pids, server.PID())
	}
	return pids
}

func (c *Cluster) all() []*Child {
	if c.Load == nil {
		return c.Servers
	}
	return append([]*Child{c.Load}, c.Servers...)
}

// Pause stops all processes, and has the file system write what they left to it.
func (c *Cluster) Pause() error {
	var errs []error
	for _, each := range c.all() {
		errs = append(errs, each.pause())
	}
	syscall.Sync()
	return errors.Join(errs...)
}

// Resume continues them, and waits until they serve again.
func (c *Cluster) Resume() error {
	var errs []error
	for _, each := range c.all() {
		errs = append(errs, each.resume())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.serves()
}
