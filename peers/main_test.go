package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for something that is to happen.
const patience = 20 * time.Second

// some returns a valid list of n peers on one machine.
func some(n int) *Peers {
	list := &Peers{Info: map[string]any{}}
	for i := range n {
		list.Peers = append(list.Peers, &Peer{
			PID:    uint32(i + 1),
			Name:   fmt.Sprintf("peer-%d", i+1),
			IPAddr: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255),
			Port:   3264,
		})
	}
	list.Peers = list.Peers[:n:n]
	return list
}

// encoded is the file of a list.
func encoded(t testing.TB, list *Peers) []byte {
	t.Helper()
	data, err := list.encodeFile()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// inDir writes a file of that content into a new directory.
func inDir(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peers.json")
	write(t, path, []byte(content))
	return path
}

// home points every place of the look-up into a new directory.
func home(t *testing.T) (wd, homeDir string) {
	t.Helper()
	wd, homeDir = t.TempDir(), t.TempDir()
	t.Chdir(wd)
	t.Setenv("HOME", homeDir)
	t.Setenv("PEERS_PATH", "")
	return wd, homeDir
}
