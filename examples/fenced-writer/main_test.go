package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kith-go/kith/examples/internal/replicas"
)

func TestMain(m *testing.M) { replicas.Main(m, main) }

// TestStoppedWriterIsRefused: a writer that is stopped loses the lock to another, and
// what it writes when it wakes up changes nothing.
func TestStoppedWriterIsRefused(t *testing.T) {
	c := replicas.New(t, "alpha", "bravo", "charlie")
	at := fmt.Sprintf("127.0.0.1:%d", replicas.FreePort(t))
	store := c.Run("the store", "-serve", at)
	store.AwaitLine("the store is at http://" + at)
	var waiting []*replicas.Process
	for _, name := range []string{"alpha", "bravo", "charlie"} {
		waiting = append(waiting, c.Start(name, "-store", "http://"+at))
	}
	awaitHolder := func() (p *replicas.Process) {
		t.Helper()
		replicas.Await(t, "one of those who wait holds the lock", func() bool {
			i := slices.IndexFunc(waiting, func(p *replicas.Process) bool { return p.Said("holds the lock") })
			if i >= 0 {
				p = waiting[i]
				waiting = slices.Delete(waiting, i, i+1)
			}
			return p != nil
		})
		return p
	}
	first := awaitHolder()
	first.Type("of the first")
	first.AwaitLine(`has written "of the first"`)
	first.Pause()

	second := awaitHolder()
	if line := second.AwaitLine("holds the lock"); !strings.HasSuffix(line, `the store has "of the first"`) {
		t.Errorf("the second says %s", line)
	}
	second.Type("of the second")
	second.AwaitLine(`has written "of the second"`)
	first.Type("of the first, late")
	first.Resume()
	first.AwaitLine(first.Name + " was refused: stale token")
	if first.Said("late") {
		t.Error("what came late was written")
	}

	second.End()
	third := awaitHolder()
	if line := third.AwaitLine("holds the lock"); !strings.HasSuffix(line, `the store has "of the second"`) {
		t.Errorf("the third says %s", line)
	}
	third.End()
	first.End()
	store.End()
}

// TestStoreRemembersTokens: a store that is opened again refuses whom it refused before,
// and has what it had.
func TestStoreRemembersTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.json")
	open := func() client {
		s, err := openStore(path)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		t.Cleanup(http.DefaultClient.CloseIdleConnections)
		return client{server.URL}
	}
	store := open()
	for _, tt := range []struct {
		reopen bool
		method string
		token  uint64
		value  string
		want   string // "" for a refusal
	}{
		{false, "PUT", 0, "nobody's", ""},
		{false, "PUT", 7, "a", "a"},
		{false, "PUT", 6, "late", ""},
		{false, "PUT", 7, "b", "b"},
		{true, "PUT", 6, "late", ""},
		{true, "GET", 9, "", "b"}, // the next holder has only looked
		{false, "PUT", 7, "late", ""},
		{true, "PUT", 7, "late", ""},
		{false, "GET", 9, "", "b"},
	} {
		if tt.reopen {
			store = open()
		}
		got, err := store.send(t.Context(), tt.method, tt.token, tt.value)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s %q with token %d: %q, %v, want %q", tt.method, tt.value, tt.token, got, err, tt.want)
		}
	}
}
