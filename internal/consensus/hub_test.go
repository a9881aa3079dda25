package consensus

import (
	"sync"
	"sync/atomic"
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

// TestHubCallsWhoListens: once after any number of changes, for exactly that name, without a
// lock that the call could need.
func TestHubCallsWhoListens(t *testing.T) {
	var h Hub
	calls := map[string]int{}
	var stops []func()
	listen := func(name string) {
		stops = append(stops, h.Listen(name, func() {
			calls[name]++
			h.Listen("other", func() {})()
		}))
	}
	listen("a")
	listen("a")
	listen("ab")
	check := func(what string, a, ab int) {
		t.Helper()
		if calls["a"] != a || calls["ab"] != ab {
			t.Errorf("%s: a was called %d times, ab %d times; want %d and %d", what, calls["a"], calls["ab"], a, ab)
		}
		clear(calls)
	}
	h.notify([]state.Change{{Name: "a"}, {Name: "x"}, {Name: "a"}})
	check("two changes of a", 2, 0)
	h.notify([]state.Change{{Name: "ab"}, {Name: "abc"}, {Name: ""}})
	check("one of ab", 0, 1)
	h.WakeAll()
	check("another state", 2, 1)
	stops[0]()
	stops[0]() // twice is once
	h.notify([]state.Change{{Name: "a"}, {Name: "ab"}})
	check("one has stopped", 1, 1)
	stops[1]()
	stops[2]()
	h.notify([]state.Change{{Name: "a"}, {Name: "ab"}})
	h.WakeAll()
	check("all have stopped", 0, 0)
	if len(h.listeners) != 0 || len(h.spare) != 0 {
		t.Errorf("left behind: %v %v", h.listeners, h.spare)
	}
}

// TestHubIsToldByTwo: by who applies, and by who puts a replica in force.
func TestHubIsToldByTwo(t *testing.T) {
	var h Hub
	var calls atomic.Int64
	defer h.Listen("a", func() { calls.Add(1) })()
	var two sync.WaitGroup
	two.Go(func() {
		for range 1000 {
			h.notify([]state.Change{{Name: "a"}})
		}
	})
	two.Go(func() {
		for range 1000 {
			h.WakeAll()
		}
	})
	two.Wait()
	if n := calls.Load(); n != 2000 {
		t.Errorf("called %d times, want 2000", n)
	}
}
