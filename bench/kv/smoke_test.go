package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test's own binary the program: the benchmark itself with
// this variable, a child with childArg.
const asProgram = "KITH_BENCH_KV_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" || len(os.Args) == 2 && os.Args[1] == childArg {
		main()
		return
	}
	os.Exit(m.Run())
}

// A little of everything, in half a minute on an idle machine. It shows that the
// benchmark works; it asserts nothing about the figures but that they are there.
func TestSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no servers are started")
	}
	for _, test := range []struct {
		systems, only string
		figures       []string
	}{
		{"kith,etcd", `puts leader( over HTTP)? c=1$|^linearizable reads follower c=64|killed.*write$|memory|restart`, []string{
			`puts leader c=1: kith \d+/s etcd \d+/s ratio \d+\.\d`,
			`puts leader over HTTP c=1: kith \d+/s etcd \d+/s ratio \d+\.\d`,
			`linearizable reads follower c=64: kith \d+/s etcd \d+/s ratio \d+\.\d`,
			`CPU per 10k linearizable reads follower c=64: kith \S+ s etcd \S+ s ratio \d+\.\d`,
			`leader killed to first write: kith \S+ ms etcd \S+ ms ratio \d+\.\d`,
			`memory per million keys in one server: kith \S+ MiB etcd \S+ MiB ratio \S+`,
			`restart of a killed server with a million keys: kith \S+ ms etcd \S+ ms ratio \d+\.\d`,
		}},
		{"kith,nats", `puts leader c=1$|local reads .*c=1$`, []string{
			`puts leader c=1: kith \d+/s nats \d+/s ratio \d+\.\d`,
			`local reads follower c=1: kith \d+/s nats \d+/s ratio \d+\.\d`,
		}},
	} {
		t.Run(test.systems, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "-quick", "-dir", dir, "-extra", "-million", "12000", "-systems", test.systems, "-only", test.only)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			cmd.SysProcAttr = apart() // a test that ends too early leaves nothing running
			var out, progress bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &progress
			if err := cmd.Run(); err != nil {
				t.Errorf("it failed: %v", err)
			}
			for _, figure := range test.figures {
				if !regexp.MustCompile(`(?m)^` + figure + `$`).Match(out.Bytes()) {
					t.Errorf("no line like %s", figure)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if t.Failed() {
				t.Logf("\n%s\n%s", out.String(), progress.String())
			}
		})
	}
}

// Whatever the children are doing, an interrupt ends them and leaves nothing.
func TestInterrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no servers are started")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-systems", "etcd", "-dir", dir, "-time", "1h", "-only", "^puts leader c=1$")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.SysProcAttr = apart() // a test that ends too early leaves nothing running
	progress := make(lines, 100)
	cmd.Stderr = progress
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	progress.await(t, "puts leader")
	children := childrenOf(t, cmd.Process.Pid)
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted benchmark succeeds")
	}
	if len(children) != clusterSize+1 {
		t.Errorf("%d children ran, want %d servers and their load", len(children), clusterSize)
	}
	for _, pid := range children {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("child %s still runs", pid)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
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

func TestChildAnswers(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{``, ``},
		{`{"Kind":"etcd-load","Members":[{"Client":1}],"Conns":1}`, `{}`},
		{`{"Kind":"etcd-load","Conns":1}{"Ask":"nonsense"}{"Ask":"collect"}`, `{"Error":"no request is called \"nonsense\""} {}`},
		{`{"Kind":"kith-load","Conns":1}{"Ask":"leader"}`, `{"Error":"this child is no observer"}`},
		{`{"Kind":"kith-load","Conns":1}{"Snap":{}}`, `{"Error":"this child does not know about snapshots"}`},
	} {
		var out bytes.Buffer
		beChild(strings.NewReader(test.in), &out)
		var replies []string
		for decoder := json.NewDecoder(&out); ; {
			var a json.RawMessage
			if decoder.Decode(&a) != nil {
				break
			}
			replies = append(replies, string(a))
		}
		if got := strings.Join(replies, " "); !strings.HasSuffix(got, test.want) {
			t.Errorf("%s: answered %s, want %s at the end", test.in, got, test.want)
		}
	}
	if err := beChild(strings.NewReader(`{"Kind":"nobody"}`), new(bytes.Buffer)); err == nil {
		t.Error("a child of no kind lives")
	}
	if _, err := (request{Ask: "leader"}).answer(context.Background(), nil); err == nil {
		t.Error("a server that is no client answers")
	}
}
