package stage

import (
	"os"
	"testing"
	"time"
)

func TestCPUTimesAreThoseOfTheProcesses(t *testing.T) {
	used, err := parseStat("7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 9 9 20 0 1 0 1 0 0")
	if err != nil || used != 1750*time.Millisecond {
		t.Errorf("parsed %v, error %v, want 1.75 s", used, err)
	}
	for _, bad := range []string{"", "7 (a)", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 x 25 9 9"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("parsed %q", bad)
		}
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	before, err := CPUOf([]int{os.Getpid()})
	for start := time.Now(); err == nil && before >= 0; {
		var now time.Duration
		if now, err = CPUOf([]int{os.Getpid()}); now > before {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatal("spinning for a minute took no CPU time")
		}
	}
	if err != nil {
		t.Error(err)
	}
	if bytes, err := OwnMemory(os.Getpid()); err != nil || bytes < 1<<20 {
		t.Errorf("this process has %d bytes, error %v", bytes, err)
	}
}
