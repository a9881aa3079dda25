package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kith-go/kith/httpapi"
)

// program is kith as a process.
type program struct {
	cmd      *exec.Cmd
	out, err lockedBuffer
	ended    chan struct{}
}

// launch starts kith with no environment of the machine but PATH. It is killed
// at the end of the test if it still runs.
func launch(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	return launchWith(t, dir, func(*exec.Cmd) {}, args...)
}

// launchWith lets prepare change the command before it starts.
func launchWith(t *testing.T, dir string, prepare func(*exec.Cmd), args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: exec.Command(self, args...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = []string{beKith + "=1", "HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + t.TempDir()}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	bindToParent(p.cmd) // a test that is killed leaves nothing either
	prepare(p.cmd)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("kith %s\nout: %s\nerr: %s", strings.Join(args, " "), &p.out, &p.err)
		}
	})
	return p
}

// wait returns the exit code, -1 if a signal ended the process.
func (p *program) wait() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ready waits for the ready line of an agent that was started with --json.
func (p *program) ready(t *testing.T) agentReady {
	t.Helper()
	eventually(t, "the agent is ready", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the agent ended: %s", &p.err)
		default:
		}
		return strings.Contains(p.out.String(), "\n")
	})
	r := decode[agentReady](t, p.out.String())
	if !r.Ready || r.Control == "" {
		t.Fatalf("the ready line is %s", &p.out)
	}
	return r
}

func needSignals(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to end a process with")
	}
}

func TestAgentAlone(t *testing.T) {
	needSignals(t)
	p := launch(t, t.TempDir(), "agent", "-json", "-http", "127.0.0.1:0", "-name", "solo", "-tag", "zone=a", "-tag", "rack=7")
	ready := p.ready(t)
	if ready.Name != "solo" || ready.Process != p.cmd.Process.Pid || !strings.HasPrefix(ready.HTTP, "http://127.0.0.1:") {
		t.Errorf("ready: %+v", ready)
	}
	eventually(t, "it leads its cluster of one", func() bool {
		s := decode[httpapi.Status](t, cli(t, "status", "--json", "--api", ready.HTTP).out)
		return s.Healthy && s.Agreement != nil && s.Agreement.State == "leader"
	})
	cli(t, "status", "--api", ready.HTTP).want(t, exitOK, "solo", "healthy")
	nodes := decode[httpapi.Nodes](t, cli(t, "nodes", "--api", ready.HTTP, "--json").want(t, exitOK).out)
	if len(nodes.Nodes) != 1 || nodes.Nodes[0].Tags["rack"] != "7" {
		t.Errorf("nodes: %+v", nodes)
	}

	// Its port is taken now: the next one says so, and how to mend it.
	taken := launch(t, t.TempDir(), "agent", "--http", strings.TrimPrefix(ready.HTTP, "http://"))
	if code := taken.wait(); code != exitFailed || !strings.Contains(taken.err.String(), "--http") ||
		!strings.Contains(taken.err.String(), strings.TrimPrefix(ready.HTTP, "http://")) {
		t.Errorf("a taken port: code %d, %s", code, &taken.err)
	}

	p.signal(t, syscall.SIGTERM)
	if code := p.wait(); code != exitOK {
		t.Errorf("after SIGTERM the code is %d", code)
	}
	cli(t, "status", "--api", ready.HTTP).want(t, exitUnreachable)
}

// pair writes a peers file of alpha and bravo with free ports.
func pair(t *testing.T, dir string) (peersFile string) {
	t.Helper()
	s := &stage{peersFile: filepath.Join(dir, "peers.json"), dir: dir, ports: make(map[uint16]bool)}
	if err := s.writePeers(t.Context(), "alpha", "bravo"); err != nil {
		t.Fatal(err)
	}
	return s.peersFile
}

// TestAgentLeaves: an agent that is told to end says goodbye.
func TestAgentLeaves(t *testing.T) {
	needSignals(t)
	dir := t.TempDir()
	pair(t, dir)
	agent := func(name string) *program {
		return launch(t, dir, "agent", "--name", name, "--dir", name, "--http", "127.0.0.1:0", "--json", "--log-format", "json")
	}
	alpha, bravo := agent("alpha"), agent("bravo")
	api := alpha.ready(t).HTTP
	bravo.ready(t)
	var lines lockedBuffer
	stop := watching(t, &lines, "--api", api)
	eventually(t, "alpha sees bravo", func() bool { return cli(t, "nodes", "--api", api).code == exitOK })
	cli(t, "status", "--api", api).want(t, exitOK, "encrypted")

	bravo.signal(t, os.Interrupt)
	if code := bravo.wait(); code != exitOK {
		t.Errorf("after SIGINT bravo's code is %d", code)
	}
	eventually(t, "alpha is told that bravo left", func() bool { return strings.Contains(lines.String(), "bravo left") })
	cli(t, "nodes", "--api", api).want(t, exitUnhealthy, "left")

	alpha.signal(t, syscall.SIGHUP)
	if code := alpha.wait(); code != exitOK {
		t.Errorf("after SIGHUP alpha's code is %d", code)
	}
	if code := stop(); strings.Contains(lines.String(), "failed") {
		t.Errorf("somebody is called failed who left (the watch ended with %d):\n%s", code, &lines)
	}
	for line := range strings.Lines(alpha.err.String()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("a line of the log is not JSON: %s", line)
		}
	}
}

// TestAgentNameTaken: two nodes of one name cannot know of each other until a
// third one knows both; then the younger one's agent ends by itself, and says why.
func TestAgentNameTaken(t *testing.T) {
	needSignals(t)
	dir := t.TempDir()
	file := pair(t, dir)

	// The impostor has alpha's name at another address.
	s := &stage{ports: make(map[uint16]bool)}
	p, err := s.newPeer("alpha")
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.json")
	write(t, other, read(t, file))
	cli(t, "peers", "remove", "alpha", "--file", other).want(t, exitOK)
	cli(t, "peers", "add", "alpha", "--file", other, "--ip", p.IPAddr, "--pid", "1",
		"--port", fmt.Sprint(p.Port), "--control-port", fmt.Sprint(p.ControlPort)).want(t, exitOK)

	alpha := launch(t, dir, "agent", "--name", "alpha", "--dir", "a", "--http", "127.0.0.1:0", "--json")
	api := alpha.ready(t).HTTP
	impostor := launch(t, dir, "agent", "--name", "alpha", "--peers", other, "--dir", "c", "--http", "127.0.0.1:0", "--json")
	impostor.ready(t)
	launch(t, dir, "agent", "--name", "bravo", "--dir", "b", "--http", "off")

	if code := impostor.wait(); code != exitFailed || !strings.Contains(impostor.err.String(), "kith: the node has ended: ") ||
		!strings.Contains(impostor.err.String(), "name") {
		t.Errorf("the impostor ended with %d: %s", code, &impostor.err)
	}
	eventually(t, "alpha stays, and sees bravo", func() bool { return cli(t, "nodes", "--api", api).code == exitOK })
}

func TestAgentMistakes(t *testing.T) {
	dir := t.TempDir()
	pair(t, dir)
	write(t, filepath.Join(dir, "exposed"), "kith1-x")
	write(t, filepath.Join(dir, "empty"), "")
	write(t, filepath.Join(dir, "two"), "two words")
	write(t, filepath.Join(dir, "bad.json"), `{"replicas":[{"pid":1}]}`)
	for _, tt := range []struct {
		line  string
		code  int
		words string
	}{
		{"--http 0.0.0.0:0", exitFailed, "--http-token-file"},
		{"--http nosuch.invalid:1", exitFailed, "cannot listen on nosuch.invalid:1"},
		{"--http off", exitFailed, "--name"}, // two peers are on this host
		{"--http off --name zulu", exitFailed, "zulu"},
		{"--http off --peers none.json", exitFailed, "none.json"},
		{"--http off --peers bad.json", exitInvalid, "bad.json"},
		{"--http off --key-file none", exitFailed, "none"},
		{"--http off --key-file exposed --name alpha", exitFailed, "exposed"},
		{"--http 127.0.0.1:0 --http-token-file none", exitFailed, "none"},
		{"--http 127.0.0.1:0 --http-token-file empty", exitFailed, "empty"},
		{"--http 127.0.0.1:0 --http-token-file two", exitFailed, "two"},
	} {
		p := launch(t, dir, append([]string{"agent"}, strings.Fields(tt.line)...)...)
		if code := p.wait(); code != tt.code || !strings.Contains(p.err.String(), tt.words) || p.out.String() != "" {
			t.Errorf("agent %s: code %d, want %d and %q\nout: %s\nerr: %s", tt.line, code, tt.code, tt.words, &p.out, &p.err)
		}
	}
}

// left returns the directories and the processes of agents that a demo left in dir.
func left(t *testing.T, dir string) (dirs []string, agents []int) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, "kith-demo-*"))
	if err != nil {
		t.Fatal(err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, _ := os.ReadFile(path)
		if bytes.Contains(text, []byte(filepath.Join(dir, "kith-demo-"))) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				agents = append(agents, pid)
			}
		}
	}
	return dirs, agents
}

// TestDemo: it plays to the end, its agents find nothing of what the user has set, and
// nothing is left.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	p := launchWith(t, dir, func(cmd *exec.Cmd) {
		for _, name := range []string{"PEERS_PATH", "KITH_KEY_FILE", "KITH_TOKEN_FILE", "STATE_DIRECTORY"} {
			cmd.Env = append(cmd.Env, name+"="+filepath.Join(dir, "nowhere"))
		}
		cmd.Env = append(cmd.Env, "PEERS_SYNC_URL=http://127.0.0.1:1/", "PEERS_SYNC_APIKEY=x", "KITH_API=127.0.0.1:1")
	}, "demo", "--json")
	if code := p.wait(); code != exitOK {
		t.Fatalf("the demo ends with %d", code)
	}
	bill := decode[playbill](t, p.out.String())
	var want, got []string
	for _, act := range acts {
		for _, s := range act.steps {
			want = append(want, act.name+": "+s.title)
		}
	}
	for _, s := range bill.Steps {
		got = append(got, s.Act+": "+s.Step)
		if !s.OK || s.Seen == "" {
			t.Errorf("step %+v", s)
		}
	}
	if !bill.OK || !slices.Equal(got, want) {
		t.Errorf("the demo played %q, want %q", got, want)
	}
	for title, words := range map[string]string{
		"kill the leader (SIGKILL) amid writes": "none lost, longest gap",
		"kill the one that leads (SIGKILL)":     "took over from",
		"start it again":                        "is the last in line now",
		"stop the one that leads (SIGSTOP)":     either(runtime.GOOS == "windows", "cannot stop", "took over from"),
		"let it go on (SIGCONT)":                either(runtime.GOOS == "windows", "nothing was stopped", "its late write is refused"),
	} {
		i := slices.IndexFunc(bill.Steps, func(p played) bool { return p.Step == title })
		if i < 0 || !strings.Contains(bill.Steps[i].Seen, words) {
			t.Errorf("%q is missing in the step %q: %+v", words, title, bill.Steps)
		}
	}
	if dirs, agents := left(t, dir); len(dirs) > 0 || len(agents) > 0 {
		t.Errorf("left behind: %v and %d agents", dirs, len(agents))
	}
}

// TestDemoInterrupted: Ctrl-C leaves nothing behind, whether agents run or workers, one of
// them stopped.
func TestDemoInterrupted(t *testing.T) {
	needSignals(t)
	for _, during := range []string{"kill bravo", "stop the one that leads"} {
		dir := t.TempDir()
		p := launch(t, dir, "demo")
		eventually(t, "it comes to "+during, func() bool { return strings.Contains(p.out.String(), during) })
		p.signal(t, os.Interrupt)
		if code := p.wait(); code != exitInterrupted {
			t.Errorf("%s: the interrupted demo ends with %d", during, code)
		}
		if dirs, agents := left(t, dir); len(dirs) > 0 || len(agents) > 0 {
			t.Errorf("%s: left behind: %v and %d processes", during, dirs, len(agents))
		}
	}
}

// TestDemoKilled: even when the demo cannot clean up, no process is left.
func TestDemoKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can tell a child to die with its parent")
	}
	dir := t.TempDir()
	p := launch(t, dir, "demo")
	eventually(t, "the agents run", func() bool { return strings.Contains(p.out.String(), "kill bravo") })
	t.Cleanup(func() {
		_, agents := left(t, dir)
		for _, pid := range agents { // only if the test failed
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
	})
	p.signal(t, syscall.SIGKILL)
	p.wait()
	eventually(t, "the agents are gone", func() bool { _, agents := left(t, dir); return len(agents) == 0 })
}

// TestDemoHangup: a terminal that is closed ends the demo as Ctrl-C does.
func TestDemoHangup(t *testing.T) {
	needSignals(t)
	dir := t.TempDir()
	p := launch(t, dir, "demo")
	eventually(t, "the agents run", func() bool { return strings.Contains(p.out.String(), "kill bravo") })
	p.signal(t, syscall.SIGHUP)
	if code := p.wait(); code != exitInterrupted {
		t.Errorf("the demo ends with %d", code)
	}
	if dirs, agents := left(t, dir); len(dirs) > 0 || len(agents) > 0 {
		t.Errorf("left behind: %v and %d agents", dirs, len(agents))
	}
}

// TestDemoPipe: kith demo | head -1 leaves nothing behind.
func TestDemoPipe(t *testing.T) {
	needSignals(t)
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := launchWith(t, dir, func(cmd *exec.Cmd) { cmd.Stdout = w }, "demo")
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Error(err)
	}
	r.Close()
	if code := p.wait(); code != exitFailed || p.err.String() != "" {
		t.Errorf("the demo ends with %d: %s", code, &p.err)
	}
	if dirs, agents := left(t, dir); len(dirs) > 0 || len(agents) > 0 {
		t.Errorf("left behind: %v and %d agents", dirs, len(agents))
	}
}

// TestSignalsWhileReading: the first signal ends a command that reads standard
// input, and the second one a command that cannot be asked.
func TestSignalsWhileReading(t *testing.T) {
	needSignals(t)
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p := launchWith(t, dir, func(cmd *exec.Cmd) { cmd.Stdin = r }, "peers", "show", "-")
	r.Close()
	// What it reads it has begun to read: more than a pipe takes.
	if _, err := w.WriteString(strings.Repeat(" ", 1<<20)); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(); code != exitInterrupted {
		t.Errorf("after one signal the code is %d", code)
	}

	fifo := filepath.Join(dir, "fifo")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Skipf("no named pipes here: %v %s", err, out)
	}
	p = launch(t, dir, "nodes", "--token-file", fifo)
	token, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for kith to read
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	eventually(t, "the signals end it", func() bool {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	if code := p.wait(); code != -1 {
		t.Errorf("after two signals the code is %d, want the end by a signal", code)
	}
}

// TestDemoFails: a failed step shows the logs and leaves nothing either.
func TestDemoFails(t *testing.T) {
	t.Setenv(beKith, "1") // for the agents that the demo starts
	t.Setenv("TMPDIR", t.TempDir())
	before := acts
	defer func() { acts = before }()
	acts = []act{{"broken", []step{
		membershipAct.steps[0],
		membershipAct.steps[1],
		{"ask for the impossible", func(_ context.Context, s *stage) (string, error) {
			return "", fmt.Errorf("the stage at %s is bare", filepath.Base(s.dir))
		}},
		{"never played", nil},
	}}}
	r := cli(t, "demo").want(t, exitFailed, "the stage at kith-demo-", "the end of alpha's log", "the end of bravo's log", "listening", "failed, see above")
	if strings.Contains(r.out, "never played") {
		t.Errorf("the demo went on:\n%s", r.out)
	}
	if dirs, agents := left(t, os.Getenv("TMPDIR")); len(dirs) > 0 || len(agents) > 0 {
		t.Errorf("left behind: %v and %d agents", dirs, len(agents))
	}
}
