package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/outcome"
)

// witness is a test that notes what it is told.
type witness struct {
	dir  string
	told string
}

func (w *witness) Helper()                           {}
func (w *witness) Name() string                      { return "TestCluster/seed=7 (a+b)" }
func (w *witness) ArtifactDir() string               { return w.dir }
func (w *witness) Errorf(format string, args ...any) { w.told += fmt.Sprintf(format, args...) }

func TestVerify(t *testing.T) {
	s := script{NewHistory()}
	s.did(set("a", "1"), at(1))
	w := &witness{dir: t.TempDir()}
	Verify(w, Origin{Seed: 42}, s.History, Replica{"alpha", []Entry{{"a", "1", 1}}})
	if w.told != "" {
		t.Fatalf("a good history failed: %s", w.told)
	}
	s.did(set("a", "2"), at(2))
	s.did(get("a"), found("1", 1))
	Verify(w, Origin{Seed: 42}, s.History, Replica{"alpha", []Entry{{"a", "1", 1}}})
	for _, want := range []string{
		"linearizable: nothing explains the answer to\n  #3 ", "revisions: stale", "durable: lost: alpha",
		"seed 42; again with: go test -race -count=1 -artifacts -run '^TestCluster$/^seed=7 \\(a\\+b\\)$'",
		"see " + filepath.Join(w.dir, "history.txt"), "see " + filepath.Join(w.dir, "violation-2.html"),
	} {
		if !strings.Contains(w.told, want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Log(w.told)
	}
	for file, want := range map[string]string{"history.txt": `#3 client 0 [`, "violation-2.html": "<html"} {
		if b, err := os.ReadFile(filepath.Join(w.dir, file)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v, %q", file, err, b)
		}
	}
	w.told, w.dir = "", filepath.Join(w.dir, "gone")
	Verify(w, Origin{Command: "make soak"}, s.History)
	if !strings.Contains(w.told, "again with: make soak\nnot written: ") {
		t.Errorf("%s", w.told)
	}
}

func TestFailed(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want outcome.Outcome
	}{
		{&outcome.Error{Outcome: outcome.NotDone, Err: outcome.ErrClosed}, outcome.NotDone},
		{&outcome.Error{Outcome: outcome.Unknown, Err: outcome.ErrClosed}, outcome.Unknown},
		{&outcome.Error{Outcome: outcome.Done, Err: outcome.ErrClosed}, outcome.Unknown},
		{errors.New("says nothing"), outcome.Unknown},
	} {
		if r := Failed(tt.err); r.Outcome != tt.want || r.Err != tt.err {
			t.Errorf("%v: %v", tt.err, r)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		v    fmt.Stringer
		want string
	}{
		{get("a"), `get "a"`},
		{set("a", "1").at(7), `set "a"="1" if "a"@7`},
		{sweep("p/"), `delete-prefix "p/"`},
		{Op{Kind: List, Key: "p/", After: "p/1", Limit: 3}, `list "p/" after "p/1" limit 3`},
		{Op{Kind: Txn, If: []Condition{{Key: "a", Test: Exists}, {Key: "b", Test: HasValue, Value: "1"}}, Then: []Op{del("a")}, Else: []Op{get("b")}},
			`txn if "a" exists and "b"="1" then [delete "a"] else [get "b"]`},
		{found("1", 7), `ok found "1" @7`},
		{conflict(7), `ok conflict found @7`},
		{Result{Outcome: outcome.Done, Count: 2, Ops: []Result{none}}, `ok count 2 [ok]`},
		{listed(3, Entry{"a", "1", 2}), `ok @3 ["a"="1"@2]`},
		{Failed(errLost), "unknown: the answer was lost"},
		{notDone, "not done"},
		{put("a", "1", 3, 2).more(), `put "a"="1"@3, was @2 more`},
		{deleted("a", 3, 2), `deleted "a"@3, was @2`},
		{existing("a", "1", 3), `existing "a"="1"@3`},
		{synced(3), "synced @3"},
		{Event{Kind: Resync, Prev: 3}, "resync after @3"},
		{Result{Outcome: outcome.Done, Untold: true}, "ok found or not"},
	} {
		if got := tt.v.String(); got != tt.want {
			t.Errorf("%s, not %s", got, tt.want)
		}
	}
}
