//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// node is an engine, and what it reported.
type node struct {
	*Engine
	t    *testing.T
	self transport.Identity

	// handle, if not nil, is given what arrives, by the engine's own goroutines.
	handle func(l *line, head, body []byte)

	mu      sync.Mutex
	changed *sync.Cond
	lines   []*line
	failed  map[string]error
}

// line is one connection as a node was told of it.
type line struct {
	node   *node
	conn   transport.Conn
	remote transport.Remote

	packets []string // heads and bodies; guarded by node.mu, as all below
	ended   error
}

type option func(*Config, *Engine, *transport.Setup)

func withKey(key secret.Key) option {
	return func(c *Config, _ *Engine, _ *transport.Setup) { c.Key = key }
}

func at(endpoint string) option {
	return func(c *Config, _ *Engine, _ *transport.Setup) { c.Endpoint = endpoint }
}

// start starts a node on loopback.
func start(t *testing.T, name string, incarnation uint64, options ...option) *node {
	t.Helper()
	n, err := tryStart(t, name, incarnation, options...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func tryStart(t *testing.T, name string, incarnation uint64, options ...option) (*node, error) {
	n := &node{t: t, self: transport.Identity{Name: name, Incarnation: incarnation}, failed: map[string]error{}}
	n.changed = sync.NewCond(&n.mu)
	cfg := Config{Endpoint: "tcp://127.0.0.1:*", Heartbeat: time.Second}
	setup := transport.Setup{
		Self: n.self, MaxPacket: 4 << 20, MaxBacklog: 8 << 20,
		Log: slog.New(slog.DiscardHandler), Events: n,
	}
	probe := new(Engine)
	for _, o := range options {
		o(&cfg, probe, &setup)
	}
	n.Engine = New(cfg)
	n.forgetful, n.doorless = probe.forgetful, probe.doorless
	if err := n.Start(setup); err != nil {
		return nil, err
	}
	t.Cleanup(n.stopNow)
	return n, nil
}

func (n *node) stopNow() {
	if err := n.Close(); err != nil {
		n.t.Errorf("closing %s: %v", n.self.Name, err)
	}
}

func (n *node) Opened(c transport.Conn, r transport.Remote) transport.Line {
	l := &line{node: n, conn: c, remote: r}
	n.mu.Lock()
	n.lines = append(n.lines, l)
	n.changed.Broadcast()
	n.mu.Unlock()
	return l
}

func (n *node) Failed(peer string, cause error) {
	n.mu.Lock()
	n.failed[peer] = cause
	n.changed.Broadcast()
	n.mu.Unlock()
}

func (l *line) Received(head, body []byte) {
	if h := l.node.handle; h != nil {
		h(l, head, body)
		return
	}
	l.node.mu.Lock()
	l.packets = append(l.packets, string(head)+"|"+string(body))
	l.node.changed.Broadcast()
	l.node.mu.Unlock()
}

func (l *line) Closed(cause error) {
	l.node.mu.Lock()
	if l.ended != nil {
		l.node.t.Errorf("%s: a connection was closed twice", l.node.self.Name)
	}
	l.ended = cause
	l.node.changed.Broadcast()
	l.node.mu.Unlock()
}

// await waits until ok, which is called with the node's mutex held.
func (n *node) await(what string, ok func() bool) {
	n.t.Helper()
	late := false
	timer := time.AfterFunc(20*time.Second, func() {
		n.mu.Lock()
		late = true
		n.changed.Broadcast()
		n.mu.Unlock()
	})
	defer timer.Stop()
	n.mu.Lock()
	for !ok() && !late {
		n.changed.Wait()
	}
	failed := fmt.Sprint(n.failed)
	n.mu.Unlock()
	if late {
		n.t.Fatalf("%s: waited in vain for %s; what failed: %s", n.self.Name, what, failed)
	}
}

// open waits for a connection that is open, and matches.
func (n *node) open(what string, match func(transport.Remote) bool) (found *line) {
	n.t.Helper()
	n.await(what, func() bool {
		i := slices.IndexFunc(n.lines, func(l *line) bool { return l.ended == nil && match(l.remote) })
		if i >= 0 {
			found = n.lines[i]
		}
		return i >= 0
	})
	return found
}

// to waits for this node's own connection to a peer, by from what the peer began.
func (n *node) to(other *node) *line {
	n.t.Helper()
	return n.open("its connection to "+other.self.Name, func(r transport.Remote) bool { return r.Ours && r.Identity == other.self })
}

func (n *node) from(other *node) *line {
	n.t.Helper()
	return n.open("the connection from "+other.self.Name, func(r transport.Remote) bool { return !r.Ours && r.Identity == other.self })
}

// closed waits for the end of a connection.
func (l *line) closed() (cause error) {
	l.node.t.Helper()
	l.node.await("the end of a connection", func() bool { cause = l.ended; return cause != nil })
	return cause
}

// got waits for a packet.
func (l *line) got(head, body string) {
	l.node.t.Helper()
	l.node.await(fmt.Sprintf("%.40q", head+"|"+body), func() bool { return slices.Contains(l.packets, head+"|"+body) })
}

func (l *line) send(head, body string) {
	l.node.t.Helper()
	if err := l.conn.Send(transport.Packet{Head: []byte(head), Body: []byte(body)}); err != nil {
		l.node.t.Fatalf("%s: sending: %v", l.node.self.Name, err)
	}
}

func address(n *node) transport.Address {
	return transport.Address{Name: n.self.Name, Endpoint: n.Endpoint()}
}

// acquaint makes all nodes each other's peers.
func acquaint(nodes ...*node) {
	for _, n := range nodes {
		var peers []transport.Address
		for _, other := range nodes {
			if other != n {
				peers = append(peers, address(other))
			}
		}
		n.SetPeers(peers)
	}
}
