package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/examples/internal/replicas"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
)

func TestMain(m *testing.M) { replicas.Main(m, main) }

// TestOncePerSlot: of three replicas one runs the job of each slot and the others know
// which, also when the one that ran the last is killed.
func TestOncePerSlot(t *testing.T) {
	c := replicas.New(t, "alpha", "bravo", "charlie")
	var all []*replicas.Process
	for _, name := range []string{"alpha", "bravo", "charlie"} {
		all = append(all, c.Start(name, "-every", "1s"))
	}
	first := awaitSlots(t, all, "", 2)
	var killed *replicas.Process
	for _, p := range all {
		if p.Said("slot " + first + ": run by " + p.Name) {
			killed = p
		}
	}
	killed.Kill()
	awaitSlots(t, all, first, 3)
	for _, p := range all {
		if p != killed {
			p.End()
		}
	}
}

// awaitSlots waits until n slots after the one given were run, and others have said so,
// makes sure that none was run twice, and returns the last.
func awaitSlots(t *testing.T, all []*replicas.Process, after string, n int) (last string) {
	t.Helper()
	var ran map[string]string // who ran which slot, by what they say themselves
	replicas.Await(t, fmt.Sprintf("%d slots are run", n), func() bool {
		ran = make(map[string]string)
		told := make(map[string]string) // by what others say
		for _, p := range all {
			for _, line := range p.Lines() {
				slot, words, _ := strings.Cut(strings.TrimPrefix(line, "slot "), ": ")
				by, isTold := strings.CutSuffix(words, " has run it")
				switch {
				case isTold && told[slot] != "" && told[slot] != by:
					t.Fatalf("slot %s was run by %s, say some, and by %s, says %s", slot, told[slot], by, p.Name)
				case isTold:
					told[slot] = by
				case words == "run by "+p.Name:
					if ran[slot] != "" {
						t.Fatalf("slot %s was run by %s and by %s", slot, ran[slot], p.Name)
					}
					ran[slot] = p.Name
				}
			}
		}
		done := 0
		for slot, by := range ran {
			if told[slot] != "" && told[slot] != by {
				t.Fatalf("slot %s was run by %s, and others say by %s", slot, by, told[slot])
			}
			if slot > after && told[slot] != "" {
				done, last = done+1, max(last, slot)
			}
		}
		return done >= n
	})
	return last
}

// TestLateClaimIsRefused: who has lost the lock between looking and writing claims
// nothing.
func TestLateClaimIsRefused(t *testing.T) {
	node := kithtest.Start(t, 1, kithtest.Options{}).Node("alpha")
	held, err := node.Lock("cron/report").Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slot := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	if _, mine, err := claim(t.Context(), node, held, slot); err != nil || !mine {
		t.Fatalf("the holder's claim: %t, %v", mine, err)
	}
	if last, mine, err := claim(t.Context(), node, held, slot); err != nil || mine || !last.Slot.Equal(slot) || last.By != "alpha" {
		t.Fatalf("the same slot again: %t by %+v, %v", mine, last, err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, mine, err := claim(t.Context(), node, held, slot.Add(time.Second)); mine || !errors.Is(err, kv.ErrNotHeld) {
		t.Errorf("the claim of one who holds nothing: %t, %v", mine, err)
	}
}
