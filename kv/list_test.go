package kv_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

func keysOf(entries []kv.Entry) []string {
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	return keys
}

// TestPagesAreComplete: with writes between the pages, what was there all the time is seen
// once, in order; everything seen was there at some time; each page is of one moment.
func TestPagesAreComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(replicatest.New(nil))
		ctx := t.Context()
		for range rapid.IntRange(0, 15).Draw(t, "before") {
			if err := m.write(ctx, drawStep(t, writing)); err != nil {
				t.Fatal(err)
			}
		}
		prefix := rapid.SampledFrom([]string{"", "a", "a/", "b/2", "zz"}).Draw(t, "prefix")
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		always := maps.Clone(m.current())
		var seen []string
		after := ""
		for {
			p := must(m.writer.List(ctx, prefix, kv.Limit(limit), kv.After(after)))
			checkPage(t, m, p, prefix, after, limit)
			seen = append(seen, keysOf(p.Entries)...)
			if after = p.Next; after == "" {
				break
			}
			for range rapid.IntRange(0, 3).Draw(t, "between") {
				if err := m.write(ctx, drawStep(t, writing)); err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(always, func(key string, _ value) bool { return m.current()[key].revision == 0 })
			}
		}
		if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Fatalf("out of order: %q", seen)
		}
		for key := range always {
			if strings.HasPrefix(key, prefix) && !slices.Contains(seen, key) {
				t.Fatalf("%q was there all the time and is not in %q", key, seen)
			}
		}
	})
}

// checkPage compares a page with what there was at its revision.
func checkPage(t *rapid.T, m *model, p kv.Page, prefix, after string, limit int) {
	var want []string
	for key := range m.at(uint64(p.Revision)) {
		if strings.HasPrefix(key, prefix) && key > after {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	more := len(want) > limit
	want = want[:min(limit, len(want))]
	if got := keysOf(p.Entries); !slices.Equal(got, want) || more != (p.Next != "") {
		t.Fatalf("got %q, next %q; want %q, more: %v", got, p.Next, want, more)
	}
	for _, e := range p.Entries {
		if is := m.at(uint64(p.Revision))[e.Key]; string(e.Value) != is.text || uint64(e.Revision) != is.revision || e.Ephemeral != is.ephemeral {
			t.Fatalf("got %+v, want %+v", e, is)
		}
		clear(e.Value) // it is ours
		if again := must(m.writer.Stale().Get(context.Background(), e.Key)); string(again.Value) != m.current()[e.Key].text {
			t.Fatalf("the page's values are the machine's: %+v", again)
		}
	}
}

// fill writes keys 0000, 0001 and so on.
func fill(t testing.TB, s *kv.Store, n, size int) {
	for from := 0; from < n; from += 100 {
		txn := kv.Txn()
		for i := range min(100, n-from) {
			txn.Then(kv.Put(fmt.Sprintf("%04d", from+i), make([]byte, size)))
		}
		must(s.Commit(t.Context(), txn))
	}
}

func TestAll(t *testing.T) {
	s, node := newStore(t)
	const n = 2*kv.MaxPage + 500
	fill(t, s, n, 10)
	tests := []struct {
		name        string
		options     []kv.ListOption
		first, want int
	}{
		{"everything", nil, 0, n},
		{"after", []kv.ListOption{kv.After("0000")}, 1, n - 1},
		{"after what is not there", []kv.ListOption{kv.After("00005")}, 1, n - 1},
		{"limit on one page", []kv.ListOption{kv.Limit(7)}, 0, 7},
		{"limit on several pages", []kv.ListOption{kv.Limit(kv.MaxPage + 7)}, 0, kv.MaxPage + 7},
		{"limit of a page", []kv.ListOption{kv.Limit(kv.MaxPage)}, 0, kv.MaxPage},
		{"keys only", []kv.ListOption{kv.KeysOnly(), kv.Limit(3)}, 0, 3},
	}
	for _, test := range tests {
		got, asked := 0, node.Barriers.Load()
		for e, err := range s.All(t.Context(), "", test.options...) {
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%04d", test.first+got); e.Key != want || (len(e.Value) == 0) != (test.name == "keys only") {
				t.Fatalf("%s: got %+v, want %s", test.name, e, want)
			}
			got++
		}
		if got != test.want {
			t.Errorf("%s: %d entries, want %d", test.name, got, test.want)
		}
		if asked = node.Barriers.Load() - asked; asked != 1 {
			t.Errorf("%s: the cluster was asked %d times", test.name, asked)
		}
	}
	for range s.All(t.Context(), "") {
		break // the caller may stop
	}
}

// TestAllEndsWithItsError, on whichever page that is.
func TestAllEndsWithItsError(t *testing.T) {
	s, n := newStore(t)
	fill(t, s, kv.MaxPage+1, 0)
	seen := 0
	for e, err := range s.All(t.Context(), "") {
		if seen++; seen == kv.MaxPage+1 {
			wantError(t, err, errInjected, outcome.NotDone, "list")
		} else if err != nil || e.Key == "" {
			t.Fatal(e, err)
		}
		if seen == 1 {
			n.FailViews(errInjected)
		}
	}
	if seen != kv.MaxPage+1 {
		t.Errorf("%d elements", seen)
	}
}

// TestPagesAreBounded, in entries and in bytes, with everything found nevertheless.
func TestPagesAreBounded(t *testing.T) {
	s, _ := newStore(t)
	fill(t, s, kv.MaxPage+1, 0)
	if p := must(s.List(t.Context(), "", kv.Limit(1<<30))); len(p.Entries) != kv.MaxPage || p.Next != p.Entries[kv.MaxPage-1].Key {
		t.Errorf("%d entries, next %q", len(p.Entries), p.Next)
	}
	if p := must(s.List(t.Context(), "", kv.Limit(-1))); len(p.Entries) != 1 {
		t.Errorf("%d entries", len(p.Entries))
	}
	big := kv.New(replicatest.New(&statepb.Limits{ValueBytes: 4 << 20}).Join())
	for i := range 3 {
		must(big.Set(t.Context(), fmt.Sprint(i), make([]byte, 3<<20)))
	}
	if p := must(big.List(t.Context(), "")); len(p.Entries) != 2 || p.Next != "1" {
		t.Errorf("%q, next %q", keysOf(p.Entries), p.Next)
	}
	if p := must(big.List(t.Context(), "", kv.KeysOnly())); len(p.Entries) != 3 {
		t.Errorf("%q without values", keysOf(p.Entries))
	}
	seen := 0
	for range big.All(t.Context(), "") {
		seen++
	}
	if seen != 3 {
		t.Errorf("All saw %d", seen)
	}
}
