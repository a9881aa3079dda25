package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kith-go/kith/examples/internal/replicas"
)

func TestMain(m *testing.M) { replicas.Main(m, main) }

// TestFailover: one of three is the master. When it is killed the next in line is; it
// comes back as the last; and one that is asked to end hands over.
func TestFailover(t *testing.T) {
	c := replicas.New(t, "alpha", "bravo", "charlie")
	running := make(map[string]*replicas.Process)
	for _, name := range []string{"alpha", "bravo", "charlie"} {
		running[name] = c.Start(name)
	}
	order, token := awaitOrder(t, running, 3)
	first, second, third := order[0], order[1], order[2]
	expect := func(what string, want ...string) {
		t.Helper()
		order, later := awaitOrder(t, running, len(want))
		if !slices.Equal(order, want) || later < token {
			t.Errorf("%s: the order is %v with token %d, want %v and more than %d", what, order, later, want, token)
		}
		token = later
	}

	running[first].Kill()
	delete(running, first)
	before := token
	expect("the master is killed", second, third)
	if token == before {
		t.Errorf("the next master has the same token, %d", token)
	}
	running[first] = c.Start(first)
	expect("it has come back", second, third, first)

	running[second].End()
	running[second].AwaitLine(second + " is the master no more")
	delete(running, second)
	expect("the master has ended", third, first)
}

// awaitOrder waits until all that run tell of the same n members, the first of whom runs
// the master, and nobody else who was not the master before. It returns their names and
// the master's token.
func awaitOrder(t *testing.T, running map[string]*replicas.Process, n int) (order []string, token uint64) {
	t.Helper()
	replicas.Await(t, fmt.Sprintf("all tell the same %d members", n), func() bool {
		told := make(map[string]bool)
		for _, p := range running {
			told[lastOrder(p)] = true
		}
		if len(told) != 1 {
			return false
		}
		line := slices.Collect(maps.Keys(told))[0]
		order = order[:0]
		for i, words := range strings.Split(line, ", ") {
			if i == 0 {
				var name string
				if _, err := fmt.Sscanf(words, "db: %s is the master (token %d)", &name, &token); err != nil {
					return false
				}
				order = append(order, name)
				continue
			}
			order = append(order, strings.TrimSuffix(strings.TrimPrefix(words, "then "), " is next"))
		}
		master := running[order[0]]
		return len(order) == n && master != nil && master.Said(fmt.Sprintf("%s is the master now, with token %d", order[0], token))
	})
	for _, name := range order[1:] {
		if p := running[name]; p == nil || p.Said("is the master now") {
			t.Errorf("%s is not the first of %v and says that it is the master", name, order)
		}
	}
	return order, token
}

// lastOrder returns the last line about the order, "" if there is none.
func lastOrder(p *replicas.Process) string {
	for _, line := range slices.Backward(p.Lines()) {
		if strings.HasPrefix(line, "db: ") {
			return line
		}
	}
	return ""
}
