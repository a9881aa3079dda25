//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// armed returns a real watchdog that is armed with the will; everything it runs is in dir.
func armed(t *testing.T, w will, left time.Duration) (g *guard, dir string) {
	t.Helper()
	needShell(t)
	t.Setenv(beKith, "1") // for the watchdog
	dir = t.TempDir()
	t.Setenv("D", dir)
	var out lockedBuffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: os.Getenv}
	g, err := a.startWatchdog()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.kill()
		g.close()
		if t.Failed() {
			t.Logf("the children said: %s", &out)
		}
	})
	if w.Grace == 0 {
		w.Grace = time.Second
	}
	g.arm(w, g.clock()+left)
	return g, dir
}

// until takes reports until one is like that.
func until(t *testing.T, g *guard, what string, like func(report) bool) report {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		select {
		case r, ok := <-g.reports:
			if !ok {
				t.Fatalf("the watchdog ended before %s", what)
			}
			g.note(r)
			if like(r) {
				return r
			}
		case <-limit:
			t.Fatalf("never reported: %s", what)
		}
	}
}

func untilEnded(t *testing.T, g *guard) ending {
	t.Helper()
	return *until(t, g, "the end", func(r report) bool { return r.Ended != nil }).Ended
}

func untilExited(t *testing.T, g *guard, id int) report {
	t.Helper()
	return until(t, g, fmt.Sprintf("the end of job %d", id), func(r report) bool { return r.Exited == id })
}

// alive reports whether there is a process that has not ended.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(text), ") Z ")
}

// pidIn waits for the number of a process in a file.
func pidIn(t *testing.T, file string) (pid int) {
	t.Helper()
	eventually(t, "there is a process in "+filepath.Base(file), func() bool {
		text, _ := os.ReadFile(file)
		var err error
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && strings.HasSuffix(string(text), "\n")
	})
	return pid
}

// TestWatchdogRuns: codes of what ends by itself, environment, and what never starts.
func TestWatchdogRuns(t *testing.T) {
	g, dir := armed(t, will{}, time.Minute)
	for i, tt := range []struct {
		job  job
		code int
	}{
		{job{Argv: []string{"true"}}, 0},
		{job{Line: "exit 7"}, 7},
		{job{Line: `test "$X" = "a b" && echo "$X" > $D/env`, Env: []string{"X=a b"}}, 0},
		{job{Line: "kill -TERM $$"}, 128 + 15},
		{job{Line: "kill -KILL $$"}, 128 + 9},
		{job{Argv: []string{filepath.Join(dir, "nosuch")}}, exitNotFound},
		{job{Argv: []string{dir}}, exitCannotRun},
		{job{Line: "trap 'exit 9' USR1; echo > $D/ready; while :; do sleep 0.01; done"}, 9},
	} {
		tt.job.ID = i + 1
		g.start(tt.job)
		if tt.code == 9 {
			eventually(t, "it is ready", func() bool { _, err := os.Stat(filepath.Join(dir, "ready")); return err == nil })
			g.signal(syscall.SIGUSR1)
		}
		if r := untilExited(t, g, i+1); r.Code != tt.code {
			t.Errorf("%v ended with %d (%s), want %d", tt.job, r.Code, r.Error, tt.code)
		}
	}
	holds(t, filepath.Join(dir, "env"), "a b\n")
	g.end()
	if e := untilEnded(t, g); e != (ending{}) {
		t.Errorf("the end: %+v", e)
	}
}

// stubborn ignores what asks it to end, as does what it has started.
const stubborn = `trap '' TERM INT HUP; sh -c 'echo $$ > $D/grandchild; while :; do sleep 0.01; done' & echo $$ > $D/child; wait; while :; do sleep 0.01; done`

// gentle ends when asked to, and says so.
const gentle = `trap 'echo asked >> $D/said; exit 3' TERM; echo $$ > $D/child; while :; do sleep 0.01; done`

const tellStop = `echo stop $KITH_RANK >> $D/said`

// TestWatchdogEnds: whoever brings the end about, everything is asked to go, then killed in
// time, and then the stop script runs, as the last job's.
func TestWatchdogEnds(t *testing.T) {
	for name, bringAbout := range map[string]func(g *guard){
		"told":              func(g *guard) { g.end() },
		"guardian gone":     func(g *guard) { g.release() },
		"deadline":          func(g *guard) { g.extend(g.clock() + 200*time.Millisecond) },
		"deadline long ago": func(g *guard) { g.extend(g.clock() - time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			g, dir := armed(t, will{Stop: tellStop}, time.Hour)
			g.start(job{ID: 1, Line: gentle, Env: []string{"KITH_RANK=1"}})
			pid := pidIn(t, filepath.Join(dir, "child"))
			bringAbout(g)
			if strings.HasPrefix(name, "deadline") {
				until(t, g, "the deadline has passed", func(r report) bool { return r.Late })
			}
			if e := untilEnded(t, g); e != (ending{}) {
				t.Errorf("the end: %+v", e)
			}
			if alive(pid) {
				t.Error("the child lives")
			}
			said := read(t, filepath.Join(dir, "said"))
			if name == "deadline long ago" { // there is hardly time to ask
				said = "asked\n" + strings.TrimPrefix(said, "asked\n")
			}
			if said != "asked\nstop 1\n" {
				t.Errorf("said: %q", said)
			}
		})
		t.Run(name+", stubborn", func(t *testing.T) {
			g, dir := armed(t, will{Stop: tellStop + "; exit 4"}, time.Hour)
			g.start(job{ID: 1, Line: stubborn, Env: []string{"KITH_RANK=2"}})
			child, grandchild := pidIn(t, filepath.Join(dir, "child")), pidIn(t, filepath.Join(dir, "grandchild"))
			g.extend(g.clock() + 300*time.Millisecond)
			bringAbout(g)
			gone := until(t, g, "all are gone", func(r report) bool { return r.Gone || r.Ended != nil })
			if !gone.Gone || alive(child) || alive(grandchild) {
				t.Errorf("%+v: child lives %v, grandchild lives %v", gone, alive(child), alive(grandchild))
			}
			if e := untilEnded(t, g); e.Stop != 4 || e.Left {
				t.Errorf("the end: %+v", e)
			}
			holds(t, filepath.Join(dir, "said"), "stop 2\n")
		})
	}
}

// TestWatchdogKillsInTime: the kill comes within the grace, not after.
func TestWatchdogKillsInTime(t *testing.T) {
	g, dir := armed(t, will{Grace: 6 * time.Second}, time.Hour)
	g.start(job{ID: 1, Line: stubborn})
	pidIn(t, filepath.Join(dir, "child"))
	deadline := g.clock() + 100*time.Millisecond
	g.extend(deadline)
	until(t, g, "all are gone", func(r report) bool { return r.Gone })
	if took := g.clock() - deadline; took < 3*time.Second || took > 6*time.Second {
		t.Errorf("it was gone %v after the deadline, want half of the grace of 6s", took)
	}
	untilEnded(t, g)
}

// TestWatchdogDeadlineMoves: while new deadlines come nothing ends; and after the end
// nothing starts.
func TestWatchdogDeadlineMoves(t *testing.T) {
	g, dir := armed(t, will{}, 5*time.Second)
	g.start(job{ID: 1, Line: gentle})
	pid := pidIn(t, filepath.Join(dir, "child"))
	for range 20 {
		g.extend(g.clock() + 5*time.Second)
		time.Sleep(10 * time.Millisecond)
	}
	if !alive(pid) {
		t.Fatal("it ended before its deadline")
	}
	g.extend(g.clock() - 1)
	g.start(job{ID: 2, Line: "echo > $D/too-late"})
	until(t, g, "the deadline has passed", func(r report) bool { return r.Late })
	untilEnded(t, g)
	if _, err := os.Stat(filepath.Join(dir, "too-late")); err == nil {
		t.Error("something was started after the deadline")
	}
}

// TestWatchdogLeftovers: what a job leaves behind in its group ends with the tenure, what has
// left the group does not.
func TestWatchdogLeftovers(t *testing.T) {
	g, dir := armed(t, will{}, time.Minute)
	g.start(job{ID: 1, Line: `sleep 1000 & echo $! > $D/left; setsid sh -c 'echo $$ > $D/daemon; exec sleep 1000' &
		while ! test -s $D/daemon; do sleep 0.01; done`})
	if r := untilExited(t, g, 1); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	left, daemon := pidIn(t, filepath.Join(dir, "left")), pidIn(t, filepath.Join(dir, "daemon"))
	defer syscall.Kill(daemon, syscall.SIGKILL)
	if !alive(left) {
		t.Error("it was ended with its parent")
	}
	g.end()
	untilEnded(t, g)
	if alive(left) || !alive(daemon) {
		t.Errorf("at the end what was left lives: %v, the daemon: %v", alive(left), alive(daemon))
	}
}

// TestWatchdogFails: a watchdog that is killed, or stopped, does not save its children.
func TestWatchdogFails(t *testing.T) {
	for name, fail := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			g, dir := armed(t, will{Stop: tellStop}, time.Minute)
			g.start(job{ID: 1, Line: stubborn})
			child, grandchild := pidIn(t, filepath.Join(dir, "child")), pidIn(t, filepath.Join(dir, "grandchild"))
			until(t, g, "it runs", func(r report) bool { return r.Started == 1 })
			syscall.Kill(parentOf(t, child), fail)
			if name == "killed" {
				for r := range g.reports {
					t.Errorf("reported: %+v", r)
				}
				if runtime.GOOS == "linux" {
					eventually(t, "the child dies with the watchdog", func() bool { return !alive(child) })
				}
				if !alive(grandchild) {
					t.Error("the grandchild is gone already; this test shows nothing")
				}
			}
			if e := g.takeOver([]string{"KITH_RANK=5"}, g.clock()+200*time.Millisecond); e.Left || e.Stop != 0 {
				t.Errorf("the end: %+v", e)
			}
			if alive(child) || alive(grandchild) {
				t.Errorf("child lives %v, grandchild lives %v", alive(child), alive(grandchild))
			}
			holds(t, filepath.Join(dir, "said"), "stop 5\n")
		})
	}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skip("there is no /proc to learn the watchdog's number from")
	}
	fields := strings.Fields(string(text)[strings.LastIndex(string(text), ")")+1:])
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

// TestWatchdogIgnoresSignals: only the guardian ends it, and its children do not inherit
// that.
func TestWatchdogIgnoresSignals(t *testing.T) {
	g, dir := armed(t, will{}, time.Minute)
	g.start(job{ID: 1, Line: `echo $$ > $D/child; while :; do sleep 0.01; done`})
	child := pidIn(t, filepath.Join(dir, "child"))
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGUSR1, syscall.SIGPIPE} {
		syscall.Kill(parentOf(t, child), s)
	}
	g.signal(syscall.SIGTERM)
	if r := untilExited(t, g, 1); r.Code != 128+15 {
		t.Errorf("%+v", r)
	}
	g.end()
	untilEnded(t, g)
}

// TestWatchdogByHand: nobody starts one by accident.
func TestWatchdogByHand(t *testing.T) {
	p := launch(t, t.TempDir(), watchdogWord)
	if code := p.wait(); code != exitUsage || !strings.Contains(p.err.String(), "by hand") {
		t.Errorf("code %d: %s", code, &p.err)
	}
}

// TestMailbox: orders keep their order, and of deadlines the last one counts.
func TestMailbox(t *testing.T) {
	m := newMailbox()
	for i := range 1000 {
		m.put(order{Deadline: time.Duration(i + 1)})
	}
	m.put(order{Signal: 3})
	m.put(order{Deadline: 5})
	m.put(order{End: true, Deadline: 6})
	m.put(order{Deadline: 7})
	m.close()
	var got []order
	m.deliver(func(o order) error { got = append(got, o); return nil })
	if want := fmt.Sprint([]order{{Deadline: 1000}, {Signal: 3}, {Deadline: 5}, {End: true, Deadline: 6}, {Deadline: 7}}); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	m = newMailbox()
	m.put(order{End: true})
	m.deliver(func(order) error { return errors.New("gone") })
}
