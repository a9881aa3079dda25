package kith

import (
	"path/filepath"
	"testing"
)

// TestStateParent is the row of DESIGN's first hour about Dir.
func TestStateParent(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, tc := range []struct {
		systemd, xdg string
		euid         int
		want         string
	}{
		{"/run/state", "/xdg", 0, "/run/state"},
		{"/run/state", "", 1000, "/run/state"},
		{"", "/xdg", 0, "/var/lib/kith"},
		{"", "/xdg", 1000, "/xdg/kith"},
		{"", "", 1000, filepath.Join(home, ".local/state/kith")},
	} {
		t.Setenv("STATE_DIRECTORY", tc.systemd)
		t.Setenv("XDG_STATE_HOME", tc.xdg)
		if got, err := stateParent(tc.euid); err != nil || got != tc.want {
			t.Errorf("%+v: got %q, %v", tc, got, err)
		}
	}
	t.Setenv("HOME", "")
	if got, err := stateParent(1000); err == nil {
		t.Errorf("without a home: %q", got)
	}
}
