package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestSearchStaysSmall: histories of the size that tests record are far from the bound.
func TestSearchStaysSmall(t *testing.T) {
	for _, tt := range []struct {
		name string
		w    Workload
		lost float64
		most int
	}{
		{"one key at a time", Workload{Clients: 5, Ops: 400, Keys: 8, Mix: SingleKey()}, 0.05, 2_000},
		{"one key at a time, a tenth lost", Workload{Clients: 5, Ops: 400, Keys: 8, Mix: SingleKey()}, 0.1, 4_000},
		{"many keys at once", Workload{Clients: 5, Ops: 200, Keys: 8, Mix: MultiKey()}, 0.05, 200_000},
	} {
		for tt.w.Seed = range uint64(3) {
			r, _ := crowd(t, tt.w, noBug, tt.lost)
			for _, p := range parts(r.Operations) {
				j := newJudge(p.keys)
				if v := j.verdict(p.ops); v != porcupine.Ok || j.steps > tt.most {
					t.Errorf("%s, seed %d: %v for %q after %d steps", tt.name, tt.w.Seed, v, p.keys, j.steps)
				}
			}
		}
	}
}

func TestParts(t *testing.T) {
	s := script{NewHistory()}
	s.did(set("a", "1"), at(1))
	s.did(set("b", "1"), at(2))
	s.did(set("c/1", "1"), at(3))
	s.did(set("c/2", "1"), at(4))
	s.did(set("d", "1"), at(5))
	s.did(set("e", "1"), notDone)
	s.did(get("f"), unknown)
	s.did(Op{Kind: Txn, If: []Condition{{Key: "a"}}, Else: []Op{get("d")}}, unknown)
	s.did(Op{Kind: Txn, If: []Condition{{Key: "a"}}, Then: []Op{set("d", "2")}}, unknown)
	s.did(list("c/"), listed(5, Entry{"c/1", "1", 3}, Entry{"c/2", "1", 4}))
	s.did(Op{Kind: Txn}, none)
	var got []string
	for _, p := range parts(s.Record().Operations) {
		got = append(got, fmt.Sprint(p.keys, len(p.ops)))
	}
	if want := []string{"[a d] 3", "[b] 1", "[c/ c/1 c/2] 3"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}

// TestShortestFailure: of a long history, the report names the answer that breaks it
// and shows what led there, not what came after.
func TestShortestFailure(t *testing.T) {
	s := script{NewHistory()}
	for i := range 200 {
		s.did(set("a", fmt.Sprint(i)), at(uint64(i+1)))
		r := found(fmt.Sprint(i), uint64(i+1))
		if i == 150 {
			r = found("140", 141)
		}
		s.did(get("a"), r)
	}
	err := Linearizable(s.Record().Operations)
	v, ok := err.(*Violation)
	if !ok || !strings.Contains(v.Text, "#302 ") || strings.Contains(v.Text, "#303 ") {
		t.Fatalf("%v", err)
	}
	var page strings.Builder
	if err := v.picture(&page); err != nil || !strings.Contains(page.String(), "<html") || !strings.Contains(page.String(), "#302 ") {
		t.Errorf("picture: %v, %d bytes", err, page.Len())
	}
}

// TestTooLarge: a search that is given up is a failure that says so.
func TestTooLarge(t *testing.T) {
	s := script{NewHistory()}
	for i := range 24 {
		s.Call(i, set("a", fmt.Sprint(i)))
	}
	s.did(get("a"), found("from nowhere", 1))
	if err := Linearizable(s.Record().Operations); err == nil || !strings.Contains(err.Error(), "history too large") {
		t.Errorf("%v", err)
	}
}

// BenchmarkJudge judges 5 clients with 400 operations each.
func BenchmarkJudge(b *testing.B) {
	for name, mix := range map[string]Mix{"single": SingleKey(), "multi": MultiKey()} {
		b.Run(name, func(b *testing.B) {
			h, s := NewHistory(), newStore(1, noBug)
			w := Workload{Seed: 1, Clients: 5, Ops: 400, Keys: 8, Mix: mix}
			w.Run(b.Context(), h, func(int) Client { return direct{s} })
			r := h.Record()
			for b.Loop() {
				if err := Judge(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
