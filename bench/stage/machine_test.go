package stage

import (
	"os"
	"testing"
)

func TestFileSystem(t *testing.T) {
	if _, err := os.Stat("/proc/self/mounts"); err != nil {
		t.Skip("no /proc")
	}
	if kind, err := fileSystem("/proc/self"); err != nil || kind != "proc" {
		t.Errorf("/proc is on %q, error %v", kind, err)
	}
	if _, err := fileSystem("/nowhere/at/all"); err == nil {
		t.Error("no error for a directory that is not there")
	}
	for _, test := range []struct {
		mount, dir string
		want       bool
	}{{"/", "/tmp", true}, {"/tmp", "/tmp", true}, {"/tmp", "/tmp/a", true}, {"/tmp", "/tmpfs", false}} {
		if got := within(test.mount, test.dir); got != test.want {
			t.Errorf("within(%q, %q) = %t", test.mount, test.dir, got)
		}
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, port := range ports {
		if seen[port] || !free(port) {
			t.Errorf("port %d is given twice, or taken", port)
		}
		seen[port] = true
	}
}
