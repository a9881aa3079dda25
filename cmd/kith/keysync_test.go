package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
)

// syncing runs kith sync until stop, which returns its exit code.
func syncing(t *testing.T, api string, args ...string) (said *lockedBuffer, stop func() int) {
	t.Helper()
	said = new(lockedBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"sync", "--api", api}, args...), strings.NewReader(""), said, said, func(string) string { return "" })
	}()
	stopped := false
	stop = func() int {
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return said, stop
}

func put(t *testing.T, node *kith.Node, key, value string) {
	t.Helper()
	if _, err := node.KV().Set(t.Context(), key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

// holds waits until a file has the content.
func holds(t *testing.T, path, want string) {
	t.Helper()
	var got []byte
	defer func() {
		if t.Failed() {
			t.Logf("%s holds %q", path, got)
		}
	}()
	eventually(t, fmt.Sprintf("%s holds %q", path, want), func() bool {
		var err error
		got, err = os.ReadFile(path)
		return err == nil && string(got) == want
	})
}

// noLitter fails the test if there is anything in dir but the files named.
func noLitter(t *testing.T, dir string, files ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(files, " ") {
		t.Errorf("%s holds %q, want %q", dir, names, files)
	}
}

func needShell(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("there is no /bin/sh to run a command with")
	}
}

// TestSync: the file follows the key, and the command runs once for each change, with the
// value on standard input.
func TestSync(t *testing.T) {
	needShell(t)
	api, node := keyAgent(t)
	dir := t.TempDir()
	file, log := filepath.Join(dir, "conf"), filepath.Join(t.TempDir(), "log")
	command := fmt.Sprintf(`(printf '%%s %%s:' "$KITH_SYNC_KEY" "$KITH_SYNC_REVISION"; cat; echo) >> %s`, log)
	said, stop := syncing(t, api, "app/conf", "-output", file, "-exec", command)

	// A key that is not there makes no file.
	eventually(t, "that is told", func() bool { return strings.Contains(said.String(), `there is no key "app/conf"`) })
	noLitter(t, dir)
	want := ""
	for i, value := range []string{"one", "two\nlines", ""} {
		put(t, node, "app/conf", value)
		want += fmt.Sprintf("app/conf %d:%s\n", i+1, value)
		holds(t, file, value)
		holds(t, log, want)
	}
	put(t, node, "app/conf", "") // the same again is no change
	put(t, node, "app/other", "x")
	if _, err := node.KV().Delete(t.Context(), "app/conf"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is told", func() bool { return strings.Contains(said.String(), "conf stays as it is") })
	holds(t, file, "")
	put(t, node, "app/conf", "three")
	holds(t, log, want+"app/conf 7:three\n")
	eventually(t, "nothing is pending", func() bool { _, err := os.Lstat(filepath.Join(dir, ".conf.kith-pending")); return err != nil })
	noLitter(t, dir, "conf")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&^0o644 != 0 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if code := stop(); code != exitOK {
		t.Errorf("interrupted, the code is %d: %s", code, said)
	}

	// Started again, it has nothing to do; but it mends the file.
	_, stop = syncing(t, api, "app/conf", "--output", file, "--exec", command)
	put(t, node, "app/conf", "four")
	want += "app/conf 7:three\napp/conf 8:four\n"
	holds(t, log, want)
	stop()
	write(t, file, "an admin's")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, "sync", "app/conf", "--output", file, "--exec", command, "--once", "--api", api).want(t, exitOK)
	holds(t, file, "four")
	holds(t, log, want+"app/conf 8:four\n")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode became %v, %v", info.Mode(), err)
	}
}

func TestSyncOnce(t *testing.T) {
	needShell(t)
	api, node := keyAgent(t)
	t.Chdir(t.TempDir())
	once := func(args ...string) result {
		return cli(t, append([]string{"sync", "k", "--once", "--api", api}, args...)...)
	}
	once("--output", "f").want(t, exitAbsent, `no such key`)
	noLitter(t, ".")
	once("--output", "f", "--allow-absent", "--exec", `test -z "$(cat)" && echo ran`).want(t, exitOK, "ran\n")
	holds(t, "f", "")
	put(t, node, "k", "v")
	if r := once("--output", "-").want(t, exitOK); r.out != "v" {
		t.Errorf("to standard output: %+v", r)
	}
	once("--exec", "cat").want(t, exitOK, "v")
	once("--output", "f", "--mode", "0640").want(t, exitOK)
	holds(t, "f", "v")
	mode := func(want fs.FileMode) {
		t.Helper()
		if info, err := os.Stat("f"); err != nil || info.Mode().Perm() != want {
			t.Errorf("the mode is %v, %v; want %v", info.Mode(), err, want)
		}
	}
	mode(0o640)
	once("--output", "f", "--mode", "600").want(t, exitOK) // nothing but the mode differs
	mode(0o600)
	if err := os.Symlink("f", "link"); err != nil {
		t.Fatal(err)
	}
	put(t, node, "k", "w")
	once("--output", "link").want(t, exitOK)
	if to, err := os.Readlink("link"); err != nil || to != "f" {
		t.Errorf("the link became %q, %v", to, err)
	}
	holds(t, "f", "w")
	mode(0o600)
	noLitter(t, ".", "f", "link")
	if os.Chown("f", 12345, 54321) == nil { // as root: the service's file stays the service's
		put(t, node, "k", "theirs")
		once("--output", "f").want(t, exitOK)
		if out, err := exec.Command("ls", "-n", "f").Output(); err == nil && !strings.Contains(string(out), "12345") {
			t.Errorf("the owner became %s", out)
		}
	}

	// What a command leaves running holds up nothing, a value nobody reads neither.
	put(t, node, "k", strings.Repeat("x", httpapi.MaxValue))
	once("--exec", "exit 0").want(t, exitOK)
	once("--exec", "exit 3").want(t, exitFailed, "exit 3", "exit status 3")

	once("--output", "no/such/dir/f").want(t, exitFailed, "no/such/dir")
	once("--output", ".").want(t, exitFailed, "is a directory")
	once("--output", "/dev/null").want(t, exitFailed, "no regular file")
	cli(t, "sync", "k", "--output", "no/such/f", "--api", api).want(t, exitFailed, "no/such") // without --once, too
	if os.Geteuid() != 0 {
		if err := os.Mkdir("closed", 0o500); err != nil {
			t.Fatal(err)
		}
		once("--output", "closed/f").want(t, exitFailed, "permission denied")
	}
}

// TestSyncPending: a command that failed, or was cut off, is run again by the next sync,
// and by that only.
func TestSyncPending(t *testing.T) {
	needShell(t)
	api, node := keyAgent(t)
	t.Chdir(t.TempDir())
	put(t, node, "k", "v")
	command := `cat >> log; test -e good`
	said, stop := syncing(t, api, "k", "-o", "f", "--exec", command)
	holds(t, "log", "v")
	eventually(t, "the failure is told", func() bool { return strings.Contains(said.String(), "exit status 1; going on") })
	put(t, node, "k", "w")
	holds(t, "log", "vw") // it has gone on
	if code := stop(); code != exitOK {
		t.Errorf("the code is %d", code)
	}
	noLitter(t, ".", ".f.kith-pending", "f", "log")
	write(t, "good", "")
	cli(t, "sync", "k", "-o", "f", "--exec", command, "--once", "--api", api).want(t, exitOK)
	holds(t, "log", "vww")
	noLitter(t, ".", "f", "good", "log")
	cli(t, "sync", "k", "-o", "f", "--exec", command, "--once", "--api", api).want(t, exitOK)
	holds(t, "log", "vww")

	// An interrupted command is told to end, with all that it has started.
	child := `trap "echo bye > bye; exit" TERM; echo > child; while :; do sleep 0.01; done`
	_, stop = syncing(t, api, "k", "-o", "f", "--exec", "("+child+") & wait")
	put(t, node, "k", "x")
	eventually(t, "the command runs", func() bool { _, err := os.Stat("child"); return err == nil })
	if code := stop(); code != exitOK {
		t.Errorf("the code is %d", code)
	}
	holds(t, "bye", "bye\n")
	noLitter(t, ".", ".f.kith-pending", "bye", "child", "f", "good", "log")
}

// agentAt serves node at an address until stop.
func agentAt(t *testing.T, node *kith.Node, addr string) (stop func()) {
	t.Helper()
	var ln net.Listener
	eventually(t, "the port is free again", func() bool {
		var err error
		ln, err = net.Listen("tcp", addr)
		return err == nil
	})
	srv := httptest.NewUnstartedServer(httpapi.New(node, httpapi.Options{}))
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	return func() {
		srv.CloseClientConnections()
		srv.Close()
	}
}

// TestSyncAgentRestarts: while the agent is away nothing is lost, and what has not changed
// by the time it is back is no change.
func TestSyncAgentRestarts(t *testing.T) {
	needShell(t)
	_, node := keyAgent(t)
	t.Chdir(t.TempDir())
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.Addr().String()
	probe.Close()
	put(t, node, "k", "one")
	said, stop := syncing(t, addr, "k", "--output", "f", "--exec", "cat >> log; echo >> log") // before the agent
	eventually(t, "its absence is told", func() bool { return strings.Contains(said.String(), "no agent answers") })
	away := agentAt(t, node, addr)
	holds(t, "log", "one\n")
	for i := range 3 { // away and back, and nothing new
		away()
		eventually(t, "its absence is told", func() bool { return strings.Count(said.String(), "trying again") >= i+2 })
		away = agentAt(t, node, addr)
		eventually(t, "it is back", func() bool { return strings.Count(said.String(), "back at") >= i+2 })
	}
	holds(t, "log", "one\n")
	away()
	put(t, node, "k", "two") // missed
	put(t, node, "k", "three")
	away = agentAt(t, node, addr)
	holds(t, "log", "one\nthree\n")
	holds(t, "f", "three")
	put(t, node, "k", "four")
	holds(t, "log", "one\nthree\nfour\n")
	if code := stop(); code != exitOK {
		t.Errorf("the code is %d: %s", code, said)
	}
	away()
}

// TestSyncRefused: an agent that will never answer is not asked for ever.
func TestSyncRefused(t *testing.T) {
	api := brokenAgent(t, http.StatusUnauthorized, `{"error":"the token is wrong"}`)
	cli(t, "sync", "k", "--output", filepath.Join(t.TempDir(), "f"), "--api", api).want(t, exitFailed, "the token is wrong")
	api = brokenAgent(t, http.StatusNotFound, `{"error":"there is nothing at /watches/k"}`) // an older release
	cli(t, "sync", "k", "--exec", "true", "--api", api).want(t, exitFailed, "404")
	for code, passes := range map[int]bool{429: true, 500: true, 502: true, 503: true, 504: true, 408: true, 400: false, 401: false, 403: false, 404: false, 405: false} {
		if got := passing(&httpapi.ReplyError{Code: code}); got != passes {
			t.Errorf("after %d it is tried again: %v", code, got)
		}
	}
}

// TestSyncDiskTrouble: what cannot be written now is tried again.
func TestSyncDiskTrouble(t *testing.T) {
	api, node := keyAgent(t)
	t.Chdir(t.TempDir())
	put(t, node, "k", "v")
	if err := os.Mkdir("d", 0o755); err != nil {
		t.Fatal(err)
	}
	said, stop := syncing(t, api, "k", "--output", "d/f")
	holds(t, "d/f", "v")
	if err := os.RemoveAll("d"); err != nil {
		t.Fatal(err)
	}
	put(t, node, "k", "w")
	eventually(t, "that is told", func() bool { return strings.Contains(said.String(), "writing d/f") })
	if err := os.Mkdir("d", 0o755); err != nil {
		t.Fatal(err)
	}
	holds(t, "d/f", "w")
	eventually(t, "it is back", func() bool { return strings.Contains(said.String(), "back at") })
	if n := strings.Count(said.String(), "writing d/f"); n != 1 {
		t.Errorf("the trouble is told %d times: %s", n, said)
	}
	stop()
}

// TestSyncKilled: however often a sync is killed, the file is one of the values, whole; and
// what a killed one leaves is removed some time later.
func TestSyncKilled(t *testing.T) {
	needSignals(t)
	api, node := keyAgent(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	values := map[string]bool{}
	done, quit := make(chan struct{}), make(chan struct{})
	for i := range 4 {
		values[strings.Repeat(string(rune('a'+i)), 300_000)] = true
	}
	go func() {
		defer close(done)
		for {
			for v := range values {
				select {
				case <-quit:
					return
				default:
				}
				node.KV().Set(context.Background(), "k", []byte(v))
			}
		}
	}()
	for n := range 8 {
		p := launch(t, dir, "sync", "k", "--api", api, "--output", file)
		before, _ := os.Stat(file)
		eventually(t, "it writes", func() bool {
			now, err := os.Stat(file)
			return err == nil && (before == nil || !os.SameFile(before, now))
		})
		time.Sleep(time.Duration(n) * time.Millisecond) // somewhere in the midst of it
		p.signal(t, os.Kill)
		p.wait()
		text, err := os.ReadFile(file)
		if err != nil || !values[string(text)] {
			t.Fatalf("after the kill the file has %d bytes, %v", len(text), err)
		}
	}
	close(quit)
	<-done
	old := filepath.Join(dir, ".f.0123abcd"+newSuffix)
	write(t, old, "half")
	write(t, filepath.Join(dir, ".f.keep"+newSuffix), "not ours")
	removeLeftovers(file, time.Now())
	if _, err := os.Stat(old); err != nil {
		t.Error("what may be in use was removed")
	}
	removeLeftovers(file, time.Now().Add(2*leftoverAge))
	noLitter(t, dir, ".f.keep"+newSuffix, "f")
}

// TestReplaceFileFails: what fails leaves the old content and nothing else.
func TestReplaceFileFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "old")
	if err := replaceFile(filepath.Join(dir, "f", "g"), []byte("x"), 0); err == nil {
		t.Error("a file was taken for a directory")
	}
	long := filepath.Join(dir, strings.Repeat("n", 250)) // no room for the name beside it
	if err := replaceFile(long, []byte("x"), 0); err == nil {
		t.Error("a name that cannot be")
	}
	noLitter(t, dir, "f")
	if got, _ := os.ReadFile(file); !bytes.Equal(got, []byte("old")) {
		t.Errorf("the file became %q", got)
	}
}
