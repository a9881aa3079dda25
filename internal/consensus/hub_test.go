package consensus

import (
	"testing"

	"github.com/kith-go/kith/internal/state"
)

func woken(c <-chan uint64) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestHubWakesWhomItConcerns(t *testing.T) {
	var h Hub
	all, stopAll := h.Subscribe("")
	a, stopA := h.Subscribe("a/")
	a2, stopA2 := h.Subscribe("a/")
	b, stopB := h.Subscribe("b")
	h.notify([]state.Change{{Name: "a/1"}, {Name: "a/2"}})
	if !woken(all) || !woken(a) || !woken(a2) || woken(b) {
		t.Error("a/1 must wake all and a, not b")
	}
	if woken(a) {
		t.Error("two changes at once are one wake-up")
	}
	stopA()
	stopA() // twice is once
	h.notify([]state.Change{{Name: "a/3"}, {Name: "b"}})
	if woken(a) || !woken(a2) || !woken(b) {
		t.Error("only those that stay are woken")
	}
	h.WakeAll()
	if !woken(all) || !woken(a2) || !woken(b) {
		t.Error("WakeAll wakes all")
	}
	stopAll()
	stopA2()
	stopB()
	h.notify([]state.Change{{Name: "x"}})
	if len(h.prefixes) != 0 || len(h.lengths) != 0 {
		t.Errorf("left behind: %v %v", h.prefixes, h.lengths)
	}
}
