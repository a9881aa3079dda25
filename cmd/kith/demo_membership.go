package main

import (
	"context"
	"slices"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/membership"
)

// membershipAct shows that nodes find each other through the peers file and
// notice who comes and goes.
var membershipAct = act{"membership", []step{
	{"write a peers file of three", writeThree},
	{"start three agents", startThree},
	{"kill bravo (SIGKILL)", killBravo},
	{"start bravo again", restartBravo},
	{"add delta to the peers file", addDelta},
	{"start delta", startDelta},
}}

func writeThree(ctx context.Context, s *stage) (string, error) {
	return "alpha, bravo and charlie on 127.0.0.1, with a cluster key", s.writePeers(ctx, "alpha", "bravo", "charlie")
}

func startThree(ctx context.Context, s *stage) (string, error) {
	if err := s.start(ctx, "alpha", "bravo", "charlie"); err != nil {
		return "", err
	}
	return "each of the three sees all three alive", s.everybody(ctx, "all three are alive", areAlive(3))
}

// killBravo ends a process without warning and waits until the others know.
func killBravo(ctx context.Context, s *stage) (string, error) {
	s.agents["bravo"].kill()
	return "alpha and charlie both say that bravo failed",
		s.everybody(ctx, "bravo failed", is("bravo", membership.StatusFailed.String()))
}

func restartBravo(ctx context.Context, s *stage) (string, error) {
	if err := s.start(ctx, "bravo"); err != nil {
		return "", err
	}
	return "all three see bravo alive again", s.everybody(ctx, "bravo is back", areAlive(3))
}

func addDelta(ctx context.Context, s *stage) (string, error) {
	if err := s.addPeers(ctx, "delta"); err != nil {
		return "", err
	}
	return "all three have read the file and miss delta",
		s.everybody(ctx, "delta is in the peers file", is("delta", httpapi.StatusAbsent))
}

func startDelta(ctx context.Context, s *stage) (string, error) {
	if err := s.start(ctx, "delta"); err != nil {
		return "", err
	}
	return "all four see all four alive", s.everybody(ctx, "all four are alive", areAlive(4))
}

// areAlive looks for exactly n nodes that are alive, none otherwise.
func areAlive(n int) func(httpapi.Nodes) bool {
	return func(nodes httpapi.Nodes) bool {
		return len(nodes.Nodes) == n && !slices.ContainsFunc(nodes.Nodes, func(n httpapi.NodeInfo) bool {
			return n.Status != membership.StatusAlive.String()
		})
	}
}

// is looks for a node in a state.
func is(name, status string) func(httpapi.Nodes) bool {
	return func(nodes httpapi.Nodes) bool {
		return slices.ContainsFunc(nodes.Nodes, func(n httpapi.NodeInfo) bool {
			return n.Name == name && n.Status == status
		})
	}
}
