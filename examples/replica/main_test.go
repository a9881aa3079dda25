package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// beReplica makes the test binary run as the example.
const beReplica = "TEST_BINARY_IS_REPLICA"

func TestMain(m *testing.M) {
	if os.Getenv(beReplica) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestReplica runs the example against a file of one peer until it names itself.
func TestReplica(t *testing.T) {
	dir := t.TempDir()
	list := fmt.Sprintf(`{"replicas":[{"pid":1,"name":"alpha","ip_address":"127.0.0.1","port":%d,"control_port":%d}]}`, freePort(t), freePort(t))
	if err := os.WriteFile(filepath.Join(dir, "peers.json"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-name", "alpha")
	cmd.Dir = dir
	cmd.Env = []string{beReplica + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "PEERS_PATH=" + filepath.Join(dir, "peers.json")}
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
	seen := false
	for lines := bufio.NewScanner(out); !seen && lines.Scan(); {
		seen = strings.Contains(lines.Text(), "alpha alive")
	}
	if !seen {
		t.Error("it never printed its own name")
	}
	cmd.Process.Kill()
	cmd.Wait()
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
