package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// beConfig makes the test binary run as the example.
const beConfig = "TEST_BINARY_IS_CONFIG"

func TestMain(m *testing.M) {
	if os.Getenv(beConfig) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestConfig runs the example as a cluster of one until it prints what it has set.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	list := fmt.Sprintf(`{"replicas":[{"pid":1,"name":"alpha","ip_address":"127.0.0.1","port":%d,"control_port":%d}]}`, freePort(t), freePort(t))
	if err := os.WriteFile(filepath.Join(dir, "peers.json"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-name", "alpha", "-set", `{"motd":"good morning","max_users":3}`)
	cmd.Dir = dir
	cmd.Env = []string{beConfig + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "PEERS_PATH=" + filepath.Join(dir, "peers.json")}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	if want := "settings at revision 1: {Motd:good morning MaxUsers:3}"; !lines.Scan() || lines.Text() != want {
		t.Errorf("it printed %q, want %q", lines.Text(), want)
	}
	cmd.Process.Signal(os.Interrupt) // it says goodbye
	for lines.Scan() {
		t.Errorf("it went on to print %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// freePort returns a port that was free for TCP a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}
