package disk_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kith-go/kith/internal/disk"
)

// TestMain is also the process that holds a lock in TestLockDiesWithProcess.
func TestMain(m *testing.M) {
	if path := os.Getenv("DISK_TEST_LOCK"); path != "" {
		hold(path)
	}
	os.Exit(m.Run())
}

func hold(path string) {
	_, err := disk.System{}.Lock(path)
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("locked\n")
	select {} // until killed
}

// TestLockDiesWithProcess: the holder's process is named while it lives, and
// SIGKILL frees the lock.
func TestLockDiesWithProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "DISK_TEST_LOCK="+path)
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "locked\n" {
		t.Error(line, err)
	}
	_, err = disk.System{}.Lock(path)
	locked, ok := errors.AsType[*disk.LockedError](err)
	if !ok || locked.PID != holder.Process.Pid {
		t.Errorf("%v; the holder is %d", err, holder.Process.Pid)
	}
	must(t, holder.Process.Kill())
	holder.Wait() // says "killed"
	held, err := disk.System{}.Lock(path)
	must(t, err)
	must(t, held.Close())
}
