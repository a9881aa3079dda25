// Package smoke has the tests that every benchmark has: that it runs, and that an
// interrupt ends it.
package smoke

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

// asProgram makes a test's own binary the benchmark.
const asProgram = "KITH_BENCH_PROGRAM"

// Main is what a benchmark's TestMain does. program is the benchmark's main: the
// test's own binary is the benchmark when these tests start it, and a child when
// that does.
func Main(m *testing.M, program func()) {
	if os.Getenv(asProgram) != "" || stage.IsChild() {
		program()
		return
	}
	os.Exit(m.Run())
}

// command is the benchmark with dir for its state.
func command(t *testing.T, args []string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no servers are started")
	}
	dir = t.TempDir()
	cmd = exec.Command(os.Args[0], append([]string{"-dir", dir}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.SysProcAttr = stage.Apart() // a test that ends too early leaves nothing running
	return cmd, dir
}

func clean(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Run runs the benchmark and looks for a line like each of the figures, which are
// regular expressions. It asserts nothing about the figures but that they are there.
func Run(t *testing.T, args []string, figures []string) {
	t.Helper()
	cmd, dir := command(t, args)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Errorf("it failed: %v", err)
	}
	for _, figure := range figures {
		if !regexp.MustCompile(`(?m)^` + figure + `$`).Match(out.Bytes()) {
			t.Errorf("no line like %s", figure)
		}
	}
	clean(t, dir)
	if t.Failed() {
		t.Logf("\n%s\n%s", out.String(), progress.String())
	}
}

// Interrupt runs the benchmark until its progress says until, and interrupts it. All
// of its children, of which there should be as many, must end then.
func Interrupt(t *testing.T, args []string, until string, want int) {
	t.Helper()
	cmd, dir := command(t, args)
	progress := make(lines, 100)
	cmd.Stderr = progress
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	progress.await(t, until)
	children := childrenOf(t, cmd.Process.Pid)
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted benchmark succeeds")
	}
	if len(children) != want {
		t.Errorf("%d children ran, want %d", len(children), want)
	}
	for _, pid := range children {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("child %s still runs", pid)
		}
	}
	clean(t, dir)
}

// childrenOf returns the process IDs of the children of all of a process's threads.
func childrenOf(t *testing.T, pid int) (children []string) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Skip("/proc does not tell a process's children")
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, strings.Fields(string(text))...)
	}
	return children
}

// lines passes on what is written to it.
type lines chan string

func (l lines) Write(text []byte) (int, error) {
	l <- string(text)
	return len(text), nil
}

func (l lines) await(t *testing.T, text string) {
	t.Helper()
	for limit := time.After(time.Minute); ; {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-limit:
			t.Fatalf("%q was not printed within a minute", text)
		}
	}
}
