package main

import (
	"testing"

	"github.com/kith-go/kith/examples/internal/replicas"
)

func TestMain(m *testing.M) { replicas.Main(m, main) }

// TestReplica: of two replicas each sees the other come, and one sees the other leave.
func TestReplica(t *testing.T) {
	c := replicas.New(t, "alpha", "bravo")
	alpha, bravo := c.Start("alpha"), c.Start("bravo")
	alpha.AwaitLine("now: alpha alive, bravo alive")
	bravo.AwaitLine("now: alpha alive, bravo alive")
	bravo.End()
	alpha.AwaitLine("bravo left")
	alpha.End()
}
