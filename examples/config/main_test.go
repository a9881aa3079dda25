package main

import (
	"testing"

	"github.com/kith-go/kith/examples/internal/replicas"
)

func TestMain(m *testing.M) { replicas.Main(m, main) }

// TestConfig runs the example as a cluster of one until it prints what it has set.
func TestConfig(t *testing.T) {
	p := replicas.New(t, "alpha").Start("alpha", "-set", `{"motd":"good morning","max_users":3}`)
	p.AwaitLine("settings at revision 1: {Motd:good morning MaxUsers:3}")
	p.End()
	if lines := p.Lines(); len(lines) != 1 {
		t.Errorf("it printed %q, want one line", lines)
	}
}
