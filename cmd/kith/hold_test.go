//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/httpapi"
)

// holder gives commands an agent in this process, and what they start a directory.
func holder(t *testing.T) (kithWith func(args ...string) result, dir string) {
	t.Helper()
	needShell(t)
	_, node := keyAgent(t)
	ln, err := httpapi.Listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, ln, httpapi.New(node, httpapi.Options{})) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	api := ln.Addr().String()
	t.Setenv(beKith, "1") // for watchdogs
	dir = t.TempDir()
	t.Setenv("D", dir)
	env := map[string]string{"KITH_API": api, "KITH_NAME": "me"}
	return func(args ...string) result { return cliWith(t, "", env, args...) }, dir
}

// TestLock: codes, environment, and what it does not wait for.
func TestLock(t *testing.T) {
	kithWith, dir := holder(t)
	for i, tt := range []struct {
		line string
		code int
		said string
	}{
		{"lock m true", exitOK, ""},
		{"lock m false", 1, ""},
		{"lock m -- sh -c", 2, "requires an argument"},
		{"lock m nosuch-command", exitNotFound, "kith: the command cannot be run"},
		{"lock --try m echo -n -try --json", exitOK, "-n -try --json"},
		{"lock m --ttl 0 true", exitUsage, "--ttl 0"},
		{"lock m --ttl 10ms true", exitFailed, "kith: "},
	} {
		r := kithWith(strings.Fields(tt.line)...)
		if said := r.out + r.err; r.code != tt.code || tt.code != 2 && !strings.Contains(said, strings.ReplaceAll(tt.said, "-n ", "")) {
			t.Errorf("%d. kith %s ends with %d, want %d: %s", i, tt.line, r.code, tt.code, said)
		}
	}
	kithWith("lock", "m", "sh", "-c", "kill -KILL $$").want(t, 128+9)
	kithWith("lock", "m", dir).want(t, exitCannotRun)

	// Each holder has a larger token, and sees itself.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for range 2 {
		r := kithWith("lock", "m", "sh", "-c", `echo $KITH_LOCK $KITH_NAME $KITH_TOKEN; `+self+` owners m`).want(t, exitOK)
		fields := strings.Fields(r.out)
		if len(fields) != 4 || fields[0] != "m" || fields[1] != "me" || fields[3] != "*" {
			t.Fatalf("the command said %q", r.out)
		}
		token, err := strconv.Atoi(fields[2])
		if err != nil || token <= last {
			t.Errorf("the token is %s after %d", fields[2], last)
		}
		last = token
	}
	if r := kithWith("owners", "m").want(t, exitOK); r.out != "" {
		t.Errorf("it is held still: %s", r.out)
	}
	kithWith("explain", "lock", "m").want(t, exitOK, "nobody holds m")
	kithWith("break", "lock", "m").want(t, exitAbsent, "nobody holds m")
	kithWith("break", "lock", "m", "--token", "4711").want(t, exitAbsent)
}

// TestLockHeld: others wait in line, or do not, see who holds it, and can break it.
func TestLockHeld(t *testing.T) {
	kithWith, dir := holder(t)
	first := make(chan result)
	go func() { first <- kithWith("lock", "m", "sh", "-c", gentle) }()
	pid := pidIn(t, filepath.Join(dir, "child"))

	kithWith("lock", "m", "--try", "true").want(t, exitHeld, "held by me")
	kithWith("lock", "m", "--timeout", "50ms", "true").want(t, exitTimeout)
	kithWith("lock", "m", "--limit", "2", "true").want(t, exitFailed, "limit")
	if r := kithWith("owners", "m", "-json").want(t, exitOK); r.out != `["me"]`+"\n" {
		t.Errorf("owners: %q", r.out)
	}
	kithWith("explain", "lock", "m").want(t, exitOK, "1 holder at a time", "holds", "me")
	q := decode[httpapi.Queue](t, kithWith("explain", "lock", "m", "--json").out)
	if len(q.Places) != 1 || q.Places[0].Token == 0 { // those who did not wait, or no longer, are gone
		t.Fatalf("explain: %+v", q)
	}

	second := make(chan result)
	go func() {
		second <- kithWith("lock", "m", "sh", "-c", fmt.Sprintf("kill -0 %d 2>&1; echo $KITH_TOKEN", pid))
	}()
	eventually(t, "the second one waits", func() bool { return strings.Contains(kithWith("explain", "lock", "m").out, "waits") })
	if r := kithWith("break", "lock", "m").want(t, exitOK); r.out != fmt.Sprintln(q.Places[0].Token) {
		t.Errorf("break printed %q, want %d", r.out, q.Places[0].Token)
	}
	(<-first).want(t, exitLost, `somebody has broken the lock "m"`)
	holds(t, filepath.Join(dir, "said"), "asked\n")
	(<-second).want(t, exitOK, "No such process") // it began behind the end of the first
}

// trio are three agents: one cluster for many tests.
type trio struct {
	dir    string
	agents map[string]*program
	api    map[string]string
}

var trioNames = []string{"alpha", "bravo", "charlie"}

// startTrio runs three agents.
func startTrio(t *testing.T) *trio {
	t.Helper()
	needShell(t)
	c := &trio{dir: t.TempDir(), agents: make(map[string]*program), api: make(map[string]string)}
	s := &stage{peersFile: filepath.Join(c.dir, "peers.json"), dir: c.dir, ports: make(map[uint16]bool)}
	if err := s.writePeers(t.Context(), trioNames...); err != nil {
		t.Fatal(err)
	}
	for _, name := range trioNames {
		c.startAgent(t, name, "127.0.0.1:0")
	}
	for _, name := range trioNames {
		c.api[name] = strings.TrimPrefix(c.agents[name].ready(t).HTTP, "http://")
	}
	for _, name := range trioNames {
		eventually(t, name+" finds all well", func() bool { return cli(t, "status", "--api", c.api[name]).code == exitOK })
	}
	return c
}

func (c *trio) startAgent(t *testing.T, name, http string) {
	t.Helper()
	c.agents[name] = launch(t, c.dir, "agent", "--name", name, "--dir", name, "--http", http, "--json")
}

// kith starts a command that asks these agents, in a directory of the test's own, $D, to
// which PATH leads first, and in which kith is.
func (c *trio) kith(t *testing.T, dir string, agents []string, args ...string) *program {
	t.Helper()
	if !slices.Contains(args, "--ttl") { // the machine may be busy with other tests
		args = slices.Insert(args, 1, "--ttl", "10s")
	}
	addresses := make([]string, len(agents))
	for i, name := range agents {
		addresses[i] = c.api[name]
	}
	return launchWith(t, dir, func(cmd *exec.Cmd) {
		ownGroup(cmd, true)
		cmd.Env = append(cmd.Env, "KITH_API="+strings.Join(addresses, ","), "D="+dir, "PATH="+dir+":"+c.bin(t)+":"+os.Getenv("PATH"))
	}, args...)
}

// bin returns a directory with kith in it.
func (c *trio) bin(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(c.dir, "bin")
	os.Mkdir(bin, 0o755)
	if err := os.Symlink(self, filepath.Join(bin, "kith")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return bin
}

// TestHolding are the tests of kith lock and kith run with a real cluster.
func TestHolding(t *testing.T) {
	c := startTrio(t)
	t.Run("together", func(t *testing.T) { // those that leave the agents alone
		for name, test := range map[string]func(*testing.T, *trio){
			"cron runs once": testCronOnce, "killed": testHolderKilled, "stopped": testHolderStopped, "ghosts": testNoGhosts,
			"signals": testRunSignals, "ranks": testRunRanks, "failures": testRunFailures, "broken": testRunBroken, "join": testJoin,
			"mysql": testSeedMySQL, "openstack": testSeedOpenStack, "hung up": testHangup, "lasts": testLasts,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, c)
			})
		}
	})
	t.Run("agent gone", func(t *testing.T) { testAgentGone(t, c) })
}

// testLasts: a command may run longer than a session lasts without renewal.
func testLasts(t *testing.T, c *trio) {
	p := c.kith(t, t.TempDir(), []string{"alpha"}, "lock", "lasts", "--ttl", "5s", "sh", "-c", "sleep 6; exit 3")
	if code := p.wait(); code != 3 {
		t.Errorf("the code is %d: %s", code, &p.err)
	}
}

// testCronOnce: what all replicas do at the same time is done once.
func testCronOnce(t *testing.T, c *trio) {
	dir := t.TempDir()
	var all []*program
	for _, name := range trioNames {
		all = append(all, c.kith(t, dir, []string{name}, "lock", "--try", "nightly", "sh", "-c", "echo ran >> $D/log; while ! test -e $D/others; do sleep 0.01; done"))
	}
	codes := []int{}
	eventually(t, "two gave up", func() bool {
		codes = codes[:0]
		for _, p := range all {
			select {
			case <-p.ended:
				codes = append(codes, p.wait())
			default:
			}
		}
		return len(codes) == 2
	})
	write(t, filepath.Join(dir, "others"), "")
	codes = codes[:0]
	for _, p := range all {
		codes = append(codes, p.wait())
	}
	if slices.Sort(codes); !slices.Equal(codes, []int{exitOK, exitHeld, exitHeld}) {
		t.Errorf("they ended with %v", codes)
	}
	holds(t, filepath.Join(dir, "log"), "ran\n")
}

// watched is a child that a test can see, with one of its own, both of which do not want
// to end.
const watched = `echo $$ > $D/$KITH_NAME.child; sh -c 'trap "" TERM; echo $$ > $D/$KITH_NAME.grandchild; while :; do sleep 0.01; done' & trap '' TERM; while :; do sleep 0.01; done`

// successor notes whether the processes of another one live when it begins.
const successor = `for f in child grandchild; do kill -0 $(cat $D/one.$f) 2>/dev/null && ! grep -q ') Z ' /proc/$(cat $D/one.$f)/stat && echo "$f lives" >> $D/bad; done; echo $KITH_TOKEN > $D/two`

func hasBegun(t *testing.T, dir string) {
	t.Helper()
	pidIn(t, filepath.Join(dir, "one.child"))
	pidIn(t, filepath.Join(dir, "one.grandchild"))
}

func nobodyDoubled(t *testing.T, dir string) {
	t.Helper()
	if text, err := os.ReadFile(filepath.Join(dir, "bad")); err == nil {
		t.Errorf("when the next one began: %s", text)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "two")); err != nil {
		t.Error("the next one never ran")
	}
}

// testHolderKilled: kith is killed outright; its command does not survive it, and the next
// in line follows at once, without waiting for the session's time to run out.
func testHolderKilled(t *testing.T, c *trio) {
	dir := t.TempDir()
	one := c.kith(t, dir, []string{"alpha"}, "lock", "killed", "--name", "one", "--ttl", "5m", "sh", "-c", strings.NewReplacer(`trap "" TERM;`, "", "trap '' TERM", "trap 'sleep 0.3; exit' TERM").Replace(watched))
	hasBegun(t, dir)
	two := c.kith(t, dir, []string{"bravo"}, "lock", "killed", "--name", "two", "sh", "-c", successor)
	c.waits(t, "lock", "killed", "two")
	// With all of its process group, in which the watchdog is not.
	if err := syscall.Kill(-one.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next one runs, long before five minutes", func() bool {
		select {
		case <-two.ended:
			return true
		default:
			return false
		}
	})
	if code := two.wait(); code != exitOK {
		t.Errorf("the next one ended with %d", code)
	}
	nobodyDoubled(t, dir)
	one.wait()
}

// waits waits until somebody is second in line.
func (c *trio) waits(t *testing.T, kind, name, who string) {
	t.Helper()
	eventually(t, who+" waits", func() bool {
		q := decode[httpapi.Queue](t, cli(t, "explain", kind, name, "--json", "--api", c.api["charlie"]).out)
		return len(q.Places) > 1 && q.Places[1].Name == who
	})
}

// testHolderStopped: kith is stopped; its command is ended before the session's time is
// up, and when it wakes it says that it has lost.
func testHolderStopped(t *testing.T, c *trio) {
	dir := t.TempDir()
	one := c.kith(t, dir, []string{"bravo"}, "lock", "stopped", "--name", "one", "sh", "-c", watched)
	hasBegun(t, dir)
	two := c.kith(t, dir, []string{"charlie"}, "lock", "stopped", "--name", "two", "sh", "-c", successor)
	c.waits(t, "lock", "stopped", "two")
	one.signal(t, syscall.SIGSTOP)
	if code := two.wait(); code != exitOK {
		t.Errorf("the next one ended with %d", code)
	}
	nobodyDoubled(t, dir)
	one.signal(t, syscall.SIGCONT)
	if code := one.wait(); code != exitLost || !strings.Contains(one.err.String(), `the lock "stopped" is lost`) {
		t.Errorf("the one that woke ended with %d: %s", code, &one.err)
	}
}

// testNoGhosts: who is interrupted while waiting leaves no place behind.
func testNoGhosts(t *testing.T, c *trio) {
	dir := t.TempDir()
	one := c.kith(t, dir, []string{"alpha"}, "lock", "ghosts", "--name", "one")
	eventually(t, "it holds", func() bool { return strings.HasSuffix(one.out.String(), "\n") })
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		two := c.kith(t, dir, []string{"bravo"}, "lock", "ghosts", "--name", "two", "--ttl", "1m", "sh", "-c", "echo > $D/ran")
		c.waits(t, "lock", "ghosts", "two")
		two.signal(t, s)
		if code := two.wait(); code != exitInterrupted {
			t.Errorf("after %v the code is %d: %s", s, code, &two.err)
		}
		if q := decode[httpapi.Queue](t, cli(t, "explain", "lock", "ghosts", "--json", "--api", c.api["alpha"]).out); len(q.Places) != 1 {
			t.Errorf("after %v there are %d in line", s, len(q.Places))
		}
	}
	one.signal(t, syscall.SIGINT)
	if code := one.wait(); code != exitOK {
		t.Errorf("after Ctrl-C the holder without a command ends with %d", code)
	}
	cli(t, "explain", "lock", "ghosts", "--api", c.api["alpha"]).want(t, exitOK, "nobody")
	noLitter(t, dir)
}

// testRunSignals: a signal is handed on, the command's code becomes kith's, and the stop
// script runs behind it; kith's end leaves nobody in the group.
func testRunSignals(t *testing.T, c *trio) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGTERM: 5, syscall.SIGINT: 6, syscall.SIGHUP: 7, syscall.SIGUSR1: 8} {
		dir := t.TempDir()
		p := c.kith(t, dir, []string{"alpha", "bravo"}, "run", fmt.Sprint("signals", code), "-start", "echo start >> $D/log", "-stop", "echo stop >> $D/log",
			"-exec", "trap 'exit 5' TERM; trap 'exit 6' INT; trap 'exit 7' HUP; trap 'exit 8' USR1; echo run >> $D/log; while :; do sleep 0.01; done")
		holds(t, filepath.Join(dir, "log"), "start\nrun\n")
		p.signal(t, signal)
		if got := p.wait(); got != code {
			t.Errorf("after %v the code is %d, want %d: %s", signal, got, code, &p.err)
		}
		holds(t, filepath.Join(dir, "log"), "start\nrun\nstop\n")
		if r := cli(t, "members", fmt.Sprint("signals", code), "--api", c.api["charlie"]).want(t, exitOK); r.out != "" {
			t.Errorf("left in the group: %s", r.out)
		}
	}
}

// testHangup: also a kith with scripts alone, and one that waits for its turn, end well.
func testHangup(t *testing.T, c *trio) {
	dir := t.TempDir()
	scripts := []string{"-start", "echo start $KITH_NAME >> $D/log", "-stop", "echo stop $KITH_NAME >> $D/log"}
	one := c.kith(t, dir, []string{"alpha"}, append([]string{"run", "hangup", "-name", "one"}, scripts...)...)
	holds(t, filepath.Join(dir, "log"), "start one\n")
	two := c.kith(t, dir, []string{"bravo"}, append([]string{"run", "hangup", "-name", "two"}, scripts...)...)
	c.waits(t, "group", "hangup", "two")
	two.signal(t, syscall.SIGTERM)
	if code := two.wait(); code != exitOK {
		t.Errorf("the one that waited ends with %d: %s", code, &two.err)
	}
	one.signal(t, syscall.SIGHUP)
	if code := one.wait(); code != exitOK {
		t.Errorf("the one at work ends with %d: %s", code, &one.err)
	}
	holds(t, filepath.Join(dir, "log"), "start one\nstop one\n")

	// With a stop script alone there is nothing to run until then.
	three := c.kith(t, dir, []string{"alpha"}, "run", "hangup-stop", "-name", "three", "-stop", "true")
	eventually(t, "three is in", func() bool { return cli(t, "members", "hangup-stop", "--api", c.api["bravo"]).out == "three\n" })
	time.Sleep(100 * time.Millisecond) // it may have learnt by then that it leads
	three.signal(t, syscall.SIGTERM)
	if code := three.wait(); code != exitOK {
		t.Errorf("the one with a stop script alone ends with %d: %s", code, &three.err)
	}
}

// testRunRanks: the start script runs again when the rank or the leader changes, once for
// several changes while it runs, and sees itself among the members.
func testRunRanks(t *testing.T, c *trio) {
	dir := t.TempDir()
	start := `mkdir $D/$KITH_NAME.runs || echo $KITH_NAME >> $D/twice; echo $KITH_RANK $KITH_LEADER "$(echo "$(kith members ranks)" | paste -s -d ' ')" >> $D/$KITH_NAME.log; while test -e $D/slow; do sleep 0.01; done; rmdir $D/$KITH_NAME.runs`
	run := func(name, agent string) *program {
		p := c.kith(t, dir, []string{agent}, "run", "ranks", "-count", "3", "-name", name, "-start", start, "-stop", "echo stopped >> $D/"+name+".log")
		eventually(t, name+" is in", func() bool {
			return strings.Contains(cli(t, "members", "ranks", "--api", c.api["alpha"]).out, name)
		})
		return p
	}
	log := func(name string) string { return filepath.Join(dir, name+".log") }
	a := run("a", "alpha")
	holds(t, log("a"), "0 a *\n")
	b := run("b", "bravo")
	holds(t, log("b"), "1 a a *\n")
	cc := run("c", "charlie")
	holds(t, log("c"), "2 a a b *\n")
	d := run("d", "alpha") // in reserve
	write(t, filepath.Join(dir, "slow"), "")
	a.signal(t, syscall.SIGTERM)
	if code := a.wait(); code != exitOK {
		t.Errorf("a ends with %d: %s", code, &a.err)
	}
	holds(t, log("a"), "0 a *\nstopped\n")
	holds(t, log("b"), "1 a a *\n0 b * c d\n")
	holds(t, log("c"), "2 a a b *\n1 b b * d\n")
	holds(t, log("d"), "2 b b c *\n")
	// While its script still runs c moves up twice: the script runs once more, for where it
	// is then.
	b.signal(t, syscall.SIGKILL) // whose stop script its watchdog runs
	holds(t, log("b"), "1 a a *\n0 b * c d\nstopped\n")
	eventually(t, "b is gone", func() bool { return cli(t, "members", "ranks", "--api", c.api["alpha"]).out == "c\nd\n" })
	os.Remove(filepath.Join(dir, "slow"))
	holds(t, log("c"), "2 a a b *\n1 b b * d\n0 c * d\n")
	holds(t, log("d"), "2 b b c *\n1 c c *\n")
	if text, err := os.ReadFile(filepath.Join(dir, "twice")); err == nil {
		t.Errorf("two start scripts ran at the same time, of %s", text)
	}
	for _, p := range []*program{cc, d} {
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(); code != exitOK {
			t.Errorf("one ends with %d: %s", code, &p.err)
		}
	}
}

// testRunFailures: a failing start script or command gives the place to the next, after
// the stop script.
func testRunFailures(t *testing.T, c *trio) {
	for name, tt := range map[string]struct {
		args []string
		code int
		said string
	}{
		"start":   {[]string{"-start", "echo start >> $D/log; exit 3", "sleep", "1000"}, 3, `the start script "echo start >> $D/log; exit 3" failed with code 3`},
		"command": {[]string{"-start", "echo start >> $D/log", "sh", "-c", "exit 4"}, 4, ""},
		"done":    {[]string{"-start", "echo start >> $D/log", "true"}, 0, ""},
		"killed":  {[]string{"-start", "echo start >> $D/log", "sh", "-c", "kill -9 $$"}, 128 + 9, ""},
		"shell":   {[]string{"-start", "echo start >> $D/log", "-exec", "nosuch-command"}, exitNotFound, "not found"},
	} {
		dir := t.TempDir()
		p := c.kith(t, dir, []string{"bravo"}, append([]string{"run", "failures-" + name, "-stop", "echo stop >> $D/log; exit 9"}, tt.args...)...)
		code := p.wait()
		if tt.code == 0 {
			tt.code = 9 // of the stop script
		}
		if code != tt.code || !strings.Contains(p.err.String(), tt.said) || !strings.Contains(p.err.String(), "failed with code 9") {
			t.Errorf("%s: code %d, want %d: %s", name, code, tt.code, &p.err)
		}
		holds(t, filepath.Join(dir, "log"), "start\nstop\n")
		if r := cli(t, "members", "failures-"+name, "--api", c.api["charlie"]).want(t, exitOK); r.out != "" {
			t.Errorf("%s: left in the group: %s", name, r.out)
		}
	}
}

// testRunBroken: a member that is asked to go stops, and joins again at the end of the line.
func testRunBroken(t *testing.T, c *trio) {
	dir := t.TempDir()
	scripts := []string{"-start", "echo start $KITH_NAME >> $D/log", "-stop", "echo stop $KITH_NAME >> $D/log"}
	one := c.kith(t, dir, []string{"alpha"}, append([]string{"run", "broken", "-name", "one"}, scripts...)...)
	holds(t, filepath.Join(dir, "log"), "start one\n")
	two := c.kith(t, dir, []string{"bravo"}, append([]string{"run", "broken", "-name", "two"}, scripts...)...)
	c.waits(t, "group", "broken", "two")
	cli(t, "break", "group", "broken", "--api", c.api["charlie"]).want(t, exitOK)
	holds(t, filepath.Join(dir, "log"), "start one\nstop one\nstart two\n")
	c.waits(t, "group", "broken", "one")
	two.signal(t, syscall.SIGTERM)
	two.wait()
	holds(t, filepath.Join(dir, "log"), "start one\nstop one\nstart two\nstop two\nstart one\n")
	one.signal(t, syscall.SIGTERM)
	if code := one.wait(); code != exitOK {
		t.Errorf("the code is %d: %s", code, &one.err)
	}
}

// testJoin: the rank is told at first, and when it changes.
func testJoin(t *testing.T, c *trio) {
	dir := t.TempDir()
	one := c.kith(t, dir, []string{"alpha"}, "join", "joined", "-name", "one", "-data", "first data")
	eventually(t, "it leads", func() bool { return one.out.String() == "0 one\n" })
	two := c.kith(t, dir, []string{"bravo"}, "join", "joined", "-name", "two", "--json")
	eventually(t, "it follows", func() bool { return strings.HasSuffix(two.out.String(), "\n") })
	if j := decode[joined](t, two.out.String()); j.Rank != 1 || j.Leader != "one" || j.Name != "two" || j.Token <= j.LeaderToken {
		t.Errorf("it says %+v", j)
	}
	cli(t, "explain", "group", "joined", "--api", c.api["charlie"]).want(t, exitOK, "leads", "one", `"first data"`, "member")
	if r := cli(t, "members", "joined", "-limit", "1", "--api", c.api["charlie"]); r.out != "one\n" {
		t.Errorf("members: %q", r.out)
	}
	one.signal(t, syscall.SIGTERM)
	if code := one.wait(); code != exitOK {
		t.Errorf("the code is %d", code)
	}
	eventually(t, "it leads", func() bool { return strings.Count(two.out.String(), "\n") == 2 })
	two.signal(t, syscall.SIGINT)
	two.wait()
}

// testAgentGone: with another agent to ask nothing is lost; with none everything is ended
// in time, and begins again when there is one.
func testAgentGone(t *testing.T, c *trio) {
	dir := t.TempDir()
	scripts := func(name string) []string {
		return []string{"-name", name, "-start", "echo start >> $D/" + name, "-stop", "echo stop >> $D/" + name}
	}
	safe := c.kith(t, dir, []string{"charlie", "bravo"}, append([]string{"run", "gone-safe", "--ttl", "6s"}, scripts("safe")...)...)
	lonely := c.kith(t, dir, []string{"charlie"}, append([]string{"run", "gone-lonely", "--ttl", "6s"}, scripts("lonely")...)...)
	holds(t, filepath.Join(dir, "safe"), "start\n")
	holds(t, filepath.Join(dir, "lonely"), "start\n")
	c.agents["charlie"].signal(t, syscall.SIGKILL)
	c.agents["charlie"].wait()
	holds(t, filepath.Join(dir, "lonely"), "start\nstop\n")
	c.startAgent(t, "charlie", c.api["charlie"])
	holds(t, filepath.Join(dir, "lonely"), "start\nstop\nstart\n")
	holds(t, filepath.Join(dir, "safe"), "start\n")
	for name, p := range map[string]*program{"safe": safe, "lonely": lonely} {
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(); code != exitOK {
			t.Errorf("%s ends with %d: %s", name, code, &p.err)
		}
	}
	holds(t, filepath.Join(dir, "safe"), "start\nstop\n")
	holds(t, filepath.Join(dir, "lonely"), "start\nstop\nstart\nstop\n")
}
