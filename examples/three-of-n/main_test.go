package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/kith-go/kith/examples/internal/replicas"
)

func TestMain(m *testing.M) { replicas.Main(m, main) }

// TestThreeOfFive: three of five work; one of them is killed, another asked to end, and
// each time the first of those that wait goes to work.
func TestThreeOfFive(t *testing.T) {
	names := []string{"alpha", "bravo", "charlie", "delta", "echo"}
	c := replicas.New(t, names...)
	var running []*replicas.Process
	for _, name := range names {
		running = append(running, c.Start(name))
	}
	var at, waiting []string
	await := func(what string, want int) {
		t.Helper()
		replicas.Await(t, what, func() bool {
			at, waiting = nil, nil
			for _, p := range running {
				if works(p) {
					at = append(at, p.Name)
				} else if p.Said("working:") {
					waiting = append(waiting, p.Name)
				}
			}
			return len(at) == workers && len(waiting) == want
		})
	}
	await("three work, two wait", 2)
	for _, end := range []func(*replicas.Process){(*replicas.Process).Kill, (*replicas.Process).End} {
		i := slices.IndexFunc(running, works)
		gone := running[i]
		stayed := slices.DeleteFunc(slices.Clone(at), func(name string) bool { return name == gone.Name })
		end(gone)
		running = slices.Delete(running, i, i+1)
		await("three work after the end of "+gone.Name, len(waiting)-1)
		for _, name := range stayed {
			if !slices.Contains(at, name) {
				t.Errorf("%s does not work any more, because %s ended; %v do", name, gone.Name, at)
			}
		}
	}
}

// works reports whether the process has begun to work and not stopped.
func works(p *replicas.Process) bool {
	working := false
	for _, line := range p.Lines() {
		switch {
		case strings.HasPrefix(line, p.Name+" works, with token "):
			working = true
		case strings.HasPrefix(line, p.Name+" has stopped: "):
			working = false
		}
	}
	return working
}
