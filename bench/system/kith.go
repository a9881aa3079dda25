package system

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/peers"
)

// Node is one of kith's, which knows how its cluster is. It is its own way to the
// cluster, whatever node it is asked to go through; the parent asks the right one.
type Node struct {
	*kith.Node
	members []stage.Member
}

// StartNode starts a node with kith's defaults, on loopback and without a key: the
// rivals do not encrypt either.
func StartNode(ctx context.Context, s stage.Spec, log *slog.Logger) (*Node, error) {
	self := s.Members[s.Node]
	list := new(peers.Peers)
	for i, m := range s.Members {
		list.Peers = append(list.Peers, &peers.Peer{PID: uint32(i + 1), Name: m.Name, IPAddr: "127.0.0.1",
			Port: uint16(m.Client), ControlPort: uint16(m.Peer)})
	}
	node, err := kith.Start(ctx, kith.Config{Name: self.Name, Peers: list, Dir: self.Dir, Logger: log})
	if err != nil {
		return nil, err
	}
	return &Node{node, s.Members}, nil
}

// Leader returns the index of the node that leads.
func (n *Node) Leader(context.Context, int) (int, error) {
	s := n.Status().Agreement
	if s == nil || s.Leader == "" {
		return 0, fmt.Errorf("kith: no leader: %v", n.Status().Problems)
	}
	return stage.IndexOf(n.members, s.Leader)
}

// Applied returns the index of the last entry that this node has applied.
func (n *Node) Applied(context.Context, int) (uint64, error) {
	s := n.Status().Agreement
	if s == nil {
		return 0, fmt.Errorf("kith: not in agreement: %v", n.Status().Problems)
	}
	return s.Applied, nil
}
