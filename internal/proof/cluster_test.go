//go:build unix

package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/peers"
)

// patience bounds every wait for what must come in the end.
const patience = time.Minute

// cluster is a number of replicas of one peers file. Its methods are safe for
// concurrent use where they do not fail the test.
type cluster struct {
	t     *testing.T
	dir   string // has the peers file, the key, and a directory for each replica
	logs  string
	names []string
	wg    sync.WaitGroup // of those who watch over processes

	mu      sync.Mutex // guards the field below
	running map[string]*process
}

// found starts replicas of these names and waits until they are a cluster. It ends,
// and shows the logs of a failure, with the test.
func found(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := prepare(t, names...)
	for _, name := range names {
		c.start(name)
	}
	c.ready()
	return c
}

// prepare makes the files of a cluster, and starts nothing.
func prepare(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), logs: t.ArtifactDir(), names: names, running: make(map[string]*process)}
	list := &peers.Peers{}
	ports := freePorts(t, 2*len(names))
	for i, name := range names {
		list.Peers = append(list.Peers, &peers.Peer{
			PID: uint32(i + 1), Name: name, IPAddr: "127.0.0.1", Port: ports[2*i], ControlPort: ports[2*i+1],
		})
	}
	if err := list.Dump(c.peersPath()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "key"), []byte(kith.NewKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	return c
}

// freePorts draws n different ports of loopback that nobody uses, for TCP or UDP.
// They are below those that the system gives to outgoing connections, or one of
// these would have the port of a replica that is dead for a moment.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for attempt := 0; len(ports) < n; attempt++ {
		port := 12000 + rand.N(uint16(19000))
		if attempt > 1000 {
			t.Fatal("there are no free ports")
		}
		if slices.Contains(ports, port) {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		if err == nil {
			ports = append(ports, port)
			udp.Close()
		}
		tcp.Close()
	}
	return ports
}

func (c *cluster) peersPath() string             { return filepath.Join(c.dir, "peers.json") }
func (c *cluster) replicaDir(name string) string { return filepath.Join(c.dir, name) }
func (c *cluster) logPath(name string) string    { return filepath.Join(c.logs, name+".log") }
func (c *cluster) spec(name string) spec         { return spec{name, c.peersPath(), c.replicaDir(name), 0} }
func (c *cluster) client(name string) *client    { return &client{c, name} }
func (c *cluster) others(not ...string) []string { return without(c.names, not...) }
func without(all []string, not ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(not, name) })
}

// end stops all replicas, and shows their logs if the test has failed.
func (c *cluster) end() {
	var all sync.WaitGroup
	for _, name := range c.names {
		if p := c.at(name); p != nil {
			all.Go(func() {
				if err := p.close(patience / 2); err != nil {
					c.t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	all.Wait()
	c.wg.Wait()
	if !c.t.Failed() {
		return
	}
	c.showLogs()
}

func (c *cluster) showLogs() {
	for _, name := range c.names {
		text, err := os.ReadFile(c.logPath(name))
		if err != nil {
			c.t.Logf("%s has no log: %v", name, err)
			continue
		}
		const most = 6000
		c.t.Logf("%s logged, at the end:\n%s", name, text[max(0, len(text)-most):])
	}
}

// at returns the replica's process, nil while it has none that lives.
func (c *cluster) at(name string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.running[name]; p != nil && !p.dead() {
		return p
	}
	return nil
}

// start starts the replica and does not wait until it serves. Its end is an error
// unless the test has brought it about.
func (c *cluster) start(name string) {
	c.t.Helper()
	p, err := launch(c.spec(name), c.logPath(name))
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.running[name] = p
	c.mu.Unlock()
	c.wg.Go(func() {
		<-p.ended
		if !p.invited.Load() {
			c.t.Errorf("%s ended by itself: %v, started: %v", name, p.cmd.ProcessState, p.started(context.Background()))
		}
	})
}

// kill sends SIGKILL to the replicas that run, as nearly at once as can be, and waits
// until they are dead.
func (c *cluster) kill(names ...string) {
	var dying []*process
	for _, name := range names {
		if p := c.at(name); p != nil {
			dying = append(dying, p)
		}
	}
	for _, p := range dying {
		p.kill()
	}
	for _, p := range dying {
		p.wg.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.running, name)
	}
}

// revive wakes all that are stopped, starts all that are dead, and waits until
// everybody is back.
func (c *cluster) revive() {
	c.t.Helper()
	for _, name := range c.names {
		if p := c.at(name); p != nil {
			p.resume()
		} else {
			c.start(name)
		}
	}
	c.ready()
}

// ready waits until the replicas that run take part in agreement and have seen all
// that was acknowledged.
func (c *cluster) ready() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for _, name := range c.names {
		p := c.at(name)
		if p == nil {
			continue
		}
		if err := p.started(ctx); err != nil {
			c.t.Fatalf("%s does not start: %v", name, err)
		}
		if _, _, err := p.ask(ctx, request{Ready: true}, nil); err != nil {
			c.t.Fatalf("%s is not ready: %v", name, err)
		}
	}
}

// status returns how the replica sees itself; not ok if it does not say so soon.
func (c *cluster) status(name string) (s status, ok bool) {
	p := c.at(name)
	if p == nil {
		return s, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	a, _, err := p.ask(ctx, request{Status: true}, nil)
	if err != nil || a.Status == nil {
		return s, false
	}
	return *a.Status, true
}

// leader waits until the replicas that run agree on a leader, and returns its name.
func (c *cluster) leader() string {
	c.t.Helper()
	var leader string
	c.await("a leader", func() bool {
		leader = ""
		for _, name := range c.names {
			if c.at(name) == nil {
				continue
			}
			s, ok := c.status(name)
			if !ok || s.Agreement.Leader == "" || leader != "" && s.Agreement.Leader != leader {
				return false
			}
			leader = s.Agreement.Leader
		}
		s, ok := c.status(leader)
		return ok && s.Agreement.State == "leader"
	})
	return leader
}

// await waits until ok.
func (c *cluster) await(what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// must does op on the replica and fails the test unless it was done.
func (c *cluster) must(name string, op check.Op) check.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	r := c.client(name).Do(ctx, op)
	if r.Outcome != outcome.Done {
		c.t.Fatalf("%s on %s: %v", op, name, r.Err)
	}
	return r
}

// held returns what each replica holds under a prefix.
func (c *cluster) held(prefix string) []check.Replica {
	c.t.Helper()
	var all []check.Replica
	for _, name := range c.names {
		r := check.Replica{Name: name}
		op := check.Op{Kind: check.List, Key: prefix}
		for {
			page := c.must(name, op).Entries
			if len(page) == 0 {
				break
			}
			r.Entries = append(r.Entries, page...)
			op.After = page[len(page)-1].Key
		}
		all = append(all, r)
	}
	return all
}

// client is a check.Client of one replica, whichever process that has.
type client struct {
	cluster *cluster
	name    string
}

// Do implements check.Client. Without an answer the outcome is unknown, unless the
// replica never heard of op.
func (l *client) Do(ctx context.Context, op check.Op) check.Result {
	p := l.cluster.at(l.name)
	if p == nil {
		return check.Result{Err: errEnded}
	}
	a, sent, err := p.ask(ctx, request{Op: &op}, nil)
	var r check.Result
	switch {
	case a.Result != nil:
		r = *a.Result
	case sent:
		r.Outcome = outcome.Unknown
	}
	r.Err = err
	return r
}

// watch records what the replica tells of the keys with the prefix, until it tells of
// the key until. After a restart, it goes on from where it was.
func (c *cluster) watch(h *check.History, name, prefix, until string) {
	var after uint64
	for done := false; !done && c.t.Context().Err() == nil; {
		p := c.at(name)
		if p == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		feed := h.Watch(name, prefix, after)
		whole := after > 0 // the state was told, and changes follow
		_, _, err := p.ask(c.t.Context(), request{Watch: &watchFrom{Prefix: prefix, After: after, Until: until}}, func(e check.Event) {
			feed.Saw(e)
			switch e.Kind {
			case check.Synced:
				whole = true
			case check.Resync:
				whole = false
			}
			if whole && !e.More {
				after = e.Revision
			}
			done = done || e.Key == until
		})
		if err != nil && !errors.Is(err, errEnded) && c.t.Context().Err() == nil {
			c.t.Errorf("%s ended its watch: %v", name, err)
			return
		}
	}
}
