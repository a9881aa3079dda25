package kith

import (
	"errors"
	"testing"
)

// TestMovedBeforeBirth: a node that changes its address while its log is still read, when
// others may have met it already, registers anew as one that moves later does (S12).
func TestMovedBeforeBirth(t *testing.T) {
	n, err := Start(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	l := n.agreed.now()
	replica := l.replica
	session, err := n.SessionContext(t.Context()) // stands for the registration
	if err != nil {
		t.Fatal(err)
	}
	n.agreed.set(func() { l.replica = nil })
	n.agreed.relocate()
	n.agreed.serve(l, replica)
	if session.Err() == nil {
		t.Error("it goes on under the registration of the old address")
	}
	if s, err := n.SessionContext(t.Context()); err != nil || s.Err() != nil {
		t.Errorf("the next session: %v, %v", s, err)
	}
	if err := n.Close(); err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
