package group_test

import (
	"context"
	"testing"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

func TestMain(m *testing.M) { leak.Main(m) }

// world is a cluster whose nodes use groups.
type world struct {
	t       testing.TB
	cluster *replicatest.Cluster
	nodes   []*node
}

// node is a node with its places. Its PID is 10, 20, … in the order of joining.
type node struct {
	*replicatest.Node
	places *queue.Places
	pid    uint32
}

// newWorld makes a cluster of n nodes. It ends with close.
func newWorld(t testing.TB, n int) *world {
	w := &world{t: t, cluster: replicatest.New(nil)}
	for range n {
		r := w.cluster.Join()
		w.nodes = append(w.nodes, &node{Node: r, places: queue.New(r, r.Name), pid: uint32(10 * (len(w.nodes) + 1))})
	}
	return w
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.Close()
		n.places.Close()
	}
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, nodes int, f func(t *testing.T, w *world)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes)
		defer w.close()
		f(t, w)
	})
}

func (n *node) group(name string, options ...group.Option) *group.Group {
	return group.New(n.places, n.pid, name, options...)
}

// end ends the node's session: its time is up.
func (n *node) end() { n.Cluster().End(n.SessionID()) }

// stands returns the names of those in the group, as the cluster's log has it.
func (w *world) stands(name string) []string {
	names := []string{}
	for _, s := range w.slots(name) {
		names = append(names, s.Member)
	}
	return names
}

func (w *world) slots(name string) []state.Slot {
	return w.cluster.Queue(statepb.QueueName_GROUP, name)
}

func join(t testing.TB, g *group.Group, options ...group.JoinOption) *group.Seat {
	t.Helper()
	seat, err := g.Join(t.Context(), options...)
	if err != nil {
		t.Fatal(err)
	}
	return seat
}

func leave(t testing.TB, s *group.Seat) {
	t.Helper()
	if err := s.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func names(members []group.Member) []string {
	all := []string{}
	for _, m := range members {
		all = append(all, m.Name)
	}
	return all
}

// canceled is a context that has ended.
func canceled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
