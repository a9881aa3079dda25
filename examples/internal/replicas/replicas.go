package replicas

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/peers"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// beExample makes the test binary run as the example.
const beExample = "TEST_BINARY_IS_EXAMPLE"

// Main is all of an example's TestMain: it runs the tests of m and exits, or in a process
// that one of them has started, it runs main.
func Main(m *testing.M, main func()) {
	if os.Getenv(beExample) == "" {
		leak.Main(m)
	}
	go func() { // the test's end, however sudden, is the example's
		io.Copy(io.Discard, os.NewFile(leash, "leash"))
		os.Exit(1)
	}()
	main()
}

// Cluster is a list of replicas on the loopback. None runs until Start.
type Cluster struct {
	t   testing.TB
	dir string

	mu        sync.Mutex // guards processes
	processes []*Process
}

// New writes a peers.json of replicas with these names and free ports. What is started
// ends with the test; what it has said is logged if the test fails. Where processes
// cannot be sent signals, the test is skipped.
func New(t testing.TB, names ...string) *Cluster {
	t.Helper()
	if !signals {
		t.Skip("processes cannot be stopped and asked to end here")
	}
	c := &Cluster{t: t, dir: t.TempDir()}
	list := &peers.Peers{}
	taken := make(map[uint16]bool)
	for i, name := range names {
		list.Peers = append(list.Peers, &peers.Peer{
			PID: uint32(i + 1), Name: name, IPAddr: "127.0.0.1", Port: freePort(t, taken), ControlPort: freePort(t, taken),
		})
	}
	text, err := json.Marshal(list)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, "peers.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// Dir returns the directory that the processes run in. It is the test's own.
func (c *Cluster) Dir() string { return c.dir }

// Start runs the example as the replica of that name. It does not wait for anything.
func (c *Cluster) Start(name string, args ...string) *Process {
	c.t.Helper()
	return c.Run(name, append([]string{"-name", name}, args...)...)
}

// Run runs the example with these arguments alone; name is for messages.
func (c *Cluster) Run(name string, args ...string) *Process {
	c.t.Helper()
	p, err := start(c.t, name, c.dir, args)
	if err != nil {
		c.t.Fatalf("starting %s: %v", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes = append(c.processes, p)
	return p
}

// close ends all that runs.
func (c *Cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		p.Kill()
		if c.t.Failed() {
			c.t.Logf("%s printed:\n%s\nand to standard error:\n%s", p.Name, &p.out, &p.err)
		}
	}
}

// Await waits until ok returns true, which it asks again and again. It fails the test,
// naming what, after a minute. It must be called from the test's goroutine.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// FreePort returns a port that was free for TCP and UDP a moment ago.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	return freePort(t, nil)
}

// freePort returns one that is not taken, and takes it. It lies below those that systems
// serve outgoing connections from, so that none of them takes it before the example does.
func freePort(t testing.TB, taken map[uint16]bool) uint16 {
	t.Helper()
	for range 200 {
		port := uint16(20000 + rand.IntN(12000))
		if taken[port] || !isFree(port) {
			continue
		}
		if taken != nil {
			taken[port] = true
		}
		return port
	}
	t.Fatal("no free port between 20000 and 32000 on 127.0.0.1")
	return 0
}

func isFree(port uint16) bool {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer ln.Close()
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	return pc.Close() == nil
}

// environment is all that the example is given.
func environment(dir string) []string {
	return []string{
		beExample + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH"),
		"PEERS_PATH=" + filepath.Join(dir, "peers.json"), fmt.Sprintf("STATE_DIRECTORY=%s", dir),
	}
}
