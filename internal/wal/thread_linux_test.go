package wal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/wal"
)

// TestCloseEndsTheThread: a log on a real disk has one that writes, and takes it with it.
func TestCloseEndsTheThread(t *testing.T) {
	log, _, err := wal.Open(disk.System{}, filepath.Join(t.TempDir(), "log"), wal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(&wal.State{Term: 1}, []wal.Entry{{Index: 1, Term: 1}}, true); err != nil {
		t.Error(err)
	}
	if n := writers(t); n > 1 {
		t.Errorf("%d threads write", n)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if n := writers(t); n != 0 {
		t.Errorf("%d threads are left", n)
	}
}

func writers(t *testing.T) (n int) {
	names, err := filepath.Glob("/proc/self/task/*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(comm)) == "kith-disk" {
			n++
		}
	}
	return n
}
