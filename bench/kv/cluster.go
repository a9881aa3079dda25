package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	clusterSize  = 3
	startLimit   = 60 * time.Second // for a cluster or a server to be ready
	recoverLimit = 30 * time.Second // for a cluster to serve after a server's end
	fillLimit    = 20 * time.Minute
	patience     = 5 * time.Millisecond // between two questions
)

// cluster is one system: its servers and the process that puts load on them from
// outside. All of them are stopped, with SIGSTOP, while another one is measured:
// an idle cluster uses the CPU too.
type cluster struct {
	system  string
	family  *family
	spec    spec // Kind and Node differ between the processes
	servers []*child
	load    *child
	inside  bool // the servers are clients, too
}

// startCluster returns when the cluster serves and has its keys.
func startCluster(f *family, system, dir, profile string, conns int) (*cluster, error) {
	c := &cluster{system: system, family: f, spec: spec{Conns: conns, Profile: profile},
		servers: make([]*child, clusterSize), inside: system == "kith"}
	ports, err := freePorts(3 * clusterSize)
	if err != nil {
		return nil, err
	}
	for i := range c.servers {
		name := fmt.Sprintf("%s-%d", system, i)
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		c.spec.Members = append(c.spec.Members, member{Name: name, Dir: own,
			Client: ports[3*i], Peer: ports[3*i+1], HTTP: ports[3*i+2]})
	}
	for i := range c.servers {
		if err := c.launch(i); err != nil {
			return nil, err
		}
	}
	for _, server := range c.servers {
		if err := server.ready(startLimit); err != nil {
			return nil, err
		}
	}
	s := c.spec
	s.Kind = system + "-load"
	if c.load, err = f.start(s.Kind, s); err != nil {
		return nil, err
	}
	if err := c.load.ready(startLimit); err != nil {
		return nil, err
	}
	if err := c.serves(); err != nil {
		return nil, err
	}
	return c, c.fill(keyCount)
}

func (c *cluster) launch(i int) (err error) {
	s := c.spec
	s.Kind, s.Node = c.system, i
	c.servers[i], err = c.family.start(s.Members[i].Name, s)
	return err
}

// observer is the process that knows how node is.
func (c *cluster) observer(node int) *child {
	if c.inside {
		return c.servers[node]
	}
	return c.load
}

// until asks until there is an answer that will do.
func (c *cluster) until(limit time.Duration, q request, ok func(reply) bool) (reply, error) {
	var last error
	for start := time.Now(); time.Since(start) < limit; time.Sleep(patience) {
		a, err := c.observer(q.Node).ask(q, askTimeout+drain)
		if _, said := errors.AsType[*replyError](err); err != nil && !said {
			return a, err
		}
		if err == nil && ok(a) {
			return a, nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("the answer is still %d", a.Number)
		}
	}
	return reply{}, fmt.Errorf("%s: %q through node %d: nothing of use within %v: %w", c.system, q.Ask, q.Node, limit, last)
}

func anything(reply) bool { return true }

// serves waits until a write goes through each of the nodes.
func (c *cluster) serves() error {
	for i := range c.servers {
		if _, err := c.until(startLimit, request{Ask: "put", Node: i}, anything); err != nil {
			return err
		}
	}
	return nil
}

// leader returns the node that leads, as the first one knows it.
func (c *cluster) leader() (int, error) {
	a, err := c.until(startLimit, request{Ask: "leader"}, anything)
	return int(a.Number), err
}

// follower returns a node other than the leader.
func (c *cluster) follower(leader int) int { return (leader + 1) % clusterSize }

func (c *cluster) fill(n int) error {
	_, err := c.observer(0).ask(request{Ask: "fill", Node: 0, Keys: n}, fillLimit)
	return err
}

// caughtUp waits until node has applied what the other one has by now.
func (c *cluster) caughtUp(node, other int) error {
	target, err := c.until(recoverLimit, request{Ask: "applied", Node: other}, anything)
	if err != nil {
		return err
	}
	_, err = c.until(fillLimit, request{Ask: "applied", Node: node}, func(a reply) bool { return a.Number >= target.Number })
	return err
}

// restart starts a server that was killed and waits until it has caught up with
// another one, which lives; it returns how long that took.
func (c *cluster) restart(node, other int) (time.Duration, error) {
	start := time.Now()
	if err := c.launch(node); err != nil {
		return 0, err
	}
	if err := c.servers[node].ready(startLimit); err != nil {
		return 0, err
	}
	if err := c.caughtUp(node, other); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, c.serves()
}

// pids are those of the servers.
func (c *cluster) pids() (pids []int) {
	for _, server := range c.servers {
		pids = append(pids, server.pid())
	}
	return pids
}

func (c *cluster) all() []*child { return append([]*child{c.load}, c.servers...) }

// pause stops all processes, and has the file system write what they left to it.
func (c *cluster) pause() error {
	var errs []error
	for _, each := range c.all() {
		errs = append(errs, each.pause())
	}
	syscall.Sync()
	return errors.Join(errs...)
}

// resume continues them, and waits until they serve again.
func (c *cluster) resume() error {
	var errs []error
	for _, each := range c.all() {
		errs = append(errs, each.resume())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.serves()
}

// freePorts finds n ports on loopback that nobody has, for TCP and UDP. They are
// below those that kernels give to outgoing connections, so that one is still
// free when a killed server comes back to it.
func freePorts(n int) ([]int, error) {
	const low, high = 20_000, 32_000
	taken := make(map[int]bool)
	var ports []int
	for range high - low {
		port := low + rand.IntN(high-low)
		if !taken[port] && free(port) {
			ports = append(ports, port)
		}
		taken[port] = true
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("found only %d free ports of %d between %d and %d", len(ports), n, low, high)
}

func free(port int) bool {
	tcp, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return false
	}
	udp.Close()
	return true
}
