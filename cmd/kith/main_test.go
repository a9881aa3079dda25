package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// beKith makes the test binary run as kith, so that tests have a real program to
// start. Its name does not begin with KITH_, which the demo keeps from agents.
const beKith = "TEST_BINARY_IS_KITH"

func TestMain(m *testing.M) {
	if os.Getenv(beKith) != "" {
		main()
	}
	leak.Main(m)
}

// result is how a command line ended.
type result struct {
	code     int
	out, err string
}

// cli runs a command line in this process, with no environment of its own.
func cli(t *testing.T, args ...string) result {
	t.Helper()
	return cliWith(t, "", nil, args...)
}

func cliWith(t *testing.T, stdin string, env map[string]string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &out, &errs, func(name string) string { return env[name] })
	return result{code, out.String(), errs.String()}
}

// want fails the test unless the command ended with the code and said all of
// the words, wherever.
func (r result) want(t *testing.T, code int, words ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("the code is %d, want %d\nout: %s\nerr: %s", r.code, code, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			t.Errorf("%q is missing\nout: %s\nerr: %s", w, r.out, r.err)
		}
	}
	return r
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, text)
	}
	return v
}

// eventually waits until ok, which must become true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lockedBuffer is a buffer that a command writes while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestUsageErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"nosuch", "peers nosuch", "nodes extra", "nodes --nosuch", "nodes -nosuch", "nodes --api",
		"nodes --api ftp://x", "nodes --api http://user:pw@x", "peers add", "peers add a b", "peers add a",
		"peers add a --ip 1.2.3.4", "peers add a --port 70000 --ip 1.2.3.4", "peers add a --port x", "peers remove",
		"peers diff a", "peers diff - -", "peers add a --port 1 --ip 1.1.1.1 --file -", "peers sync",
		"agent --log-level loud", "agent --log-format xml", "agent --tag novalue", "agent --tag =x", "agent --tag zone=a --tag zone=b", "agent --pid x",
		"peers add a --ip 300.0.0.1 --port 1", "peers add a --ip 10.0.0.1:6000 --port 1", "peers add a --ip 1.2 --port 1 --hostname h",
		"nodes --json=perhaps", "agent --http nowhere",
		"get", "get a b", "get a --stale=x", "set", "set a b c", "set a b --rev x", "set a b --rev 1 --if-rev 1", "set a b --if-rev 1 --if-absent",
		"set a b --ttl 0", "set a b --ttl soon", "rm", "rm a --rev -1", "ls a b", "ls --limit x", "clear", "clear --prefix x", "clear a --yes",
		"watch", "watch a b", "watch a --prefix b", "watch --prefix a --rev 1", "watch --prefix a --timeout 5", "watch a --after 1", "watch a --timeout x",
		"fire", "fire a --rev 1", "txn extra", "sync", "sync a", "sync a b --output f", "sync a --exec x --mode 0600", "sync a --output f --mode 9", "sync a --output f --mode 01777",
		"lock", "lock --limit 0 a", "lock --limit x a", "lock a --try --timeout 5", "lock a --ttl 0", "lock a --nosuch", "lock --try",
		"run", "run g", "run g --count 0 true", "run g --exec x true", "run g --ttl x true", "join", "join a b", "join a --ttl 0",
		"owners", "owners a b", "members", "members a --limit x", "explain", "explain a", "explain lock", "explain key a", "explain lock a b",
		"break", "break lock", "break a b", "break group a --token x",
		"agent extra", "help nosuch", "help peers nosuch", "keygen extra", "version extra", "demo extra", "status extra", "peers show a b",
	} {
		r := cli(t, strings.Fields(line)...).want(t, exitUsage, "kith: ", "--help' for usage")
		if r.out != "" {
			t.Errorf("kith %s prints %q", line, r.out)
		}
	}
	cli(t, "pers").want(t, exitUsage, "did you mean peers?")
	cli(t, "peers", "vaildate").want(t, exitUsage, `"peers vaildate"`, "did you mean validate?")
	for line, words := range map[string]string{
		"peers add a --ip 300.0.0.1 --port 1":     `kith: --ip: "300.0.0.1" is no IP address`,
		"peers add a --port 70000":                `kith: --port "70000": give a whole number from 1 to 65535`,
		"peers add a --port x":                    `kith: --port "x": give a whole number from 1 to 65535`,
		"peers add a --pid x":                     `kith: --pid "x": give a whole number from 1 to 4294967295`,
		"nodes --json=perhaps":                    `kith: --json "perhaps": give true or false`,
		"agent --tag =x":                          `kith: --tag "=x": give key=value`,
		"agent --tag zone=a --tag zone=b":         `kith: --tag "zone=b": zone is given twice, zone=a before`,
		"set a b --rev x":                         `kith: --rev "x": give a whole number, 0 or more`,
		"set a b --ttl x":                         `kith: --ttl "x": want a number of milliseconds, or one with a unit, such as 1.5s`,
		"sync a -o f --mode 8":                    `kith: --mode "8": give permissions in octal, such as 0600`,
		"clear":                                   "say --yes",
		"agent --http localhost":                  "write localhost:2033",
		"agent --http 2033":                       "write 127.0.0.1:2033",
		"agent --http ::1":                        "write [::1]:2033",
		"agent --http http://localhost:2033/path": "too many colons",
	} {
		r := cli(t, strings.Fields(line)...).want(t, exitUsage, words)
		if strings.Contains(r.err, "strconv") || strings.Contains(r.err, "missing port") {
			t.Errorf("kith %s speaks Go: %s", line, r.err)
		}
	}
	cli(t, "nodes", "-wat").want(t, exitUsage, "--wat")
}

// TestHelp: every command can be understood without the source.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"-h"}, {"-help"}} {
		cli(t, args...).want(t, exitOK, "Usage:\n  kith COMMAND", "kith demo", "exit-codes")
	}
	cli(t, "peers").want(t, exitOK, "validate", "kith peers COMMAND")
	for _, line := range []string{"help exit-codes", "exit-codes"} {
		cli(t, strings.Fields(line)...).want(t, exitOK, "130", "not healthy")
	}
	cli(t, "help", "flags").want(t, exitOK, "-json")
	cli(t, "help", "environment").want(t, exitOK, "PEERS_PATH", "KITH_API", "KITH_KEY_FILE", "STATE_DIRECTORY", "XDG_STATE_HOME", "KITH_CLIENT_ID", "KITH_LEADER")
	cli(t, "--help").want(t, exitOK, "\n  kith environment  environment variables", "\n  kith flags        how flags")
	cli(t, "agent", "--help").want(t, exitOK, `(default: "cluster" in the file's info, else "kith")`, "$STATE_DIRECTORY", "--tag key=value")

	a := &app{}
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Parent() != nil && cmd.Parent().Name() == "completion" || cmd.Name() == "completion" {
			return // cobra's
		}
		topic := !cmd.Runnable()
		if cmd.Short == "" || cmd.Long == "" || !topic && cmd.Example == "" {
			t.Errorf("%s lacks a short or a long help, or an example", cmd.CommandPath())
		}
		if !topic && cmd.HasParent() && cmd.Annotations[exitNote] == "" {
			t.Errorf("%s does not name its exit codes", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 90 {
				t.Errorf("%s: a line of the help is too long: %s", cmd.CommandPath(), line)
			}
		}
	})
}

func TestCompletion(t *testing.T) {
	cli(t, "completion", "bash").want(t, exitOK, "bash completion", "__start_kith")
	cli(t, "__complete", "peers", "va").want(t, exitOK, "validate")
	cli(t, "__complete", "nodes", "--wa").want(t, exitOK, "--watch")
}

func TestVersion(t *testing.T) {
	r := cli(t, "version").want(t, exitOK, "kith 0.", "go1.")
	for _, flag := range []string{"--version", "-version"} {
		if again := cli(t, flag).want(t, exitOK); again.out != r.out {
			t.Errorf("kith %s prints %q, want %q", flag, again.out, r.out)
		}
	}
	if b := decode[build](t, cli(t, "version", "-json").out); b.Version == "" || b.Go == "" {
		t.Errorf("version --json: %+v", b)
	}
}

func TestKeygen(t *testing.T) {
	t.Chdir(t.TempDir())
	first, second := cli(t, "keygen"), cli(t, "keygen")
	if first.out == second.out || !strings.HasPrefix(first.out, "kith1-") {
		t.Errorf("the keys are %q and %q", first.out, second.out)
	}
	cli(t, "keygen", "-o", "key").want(t, exitOK, "wrote a new cluster key to key")
	info, err := os.Stat("key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has %v, %v", info.Mode(), err)
	}
	before, _ := os.ReadFile("key")
	cli(t, "keygen", "--output", "key").want(t, exitFailed, "--force")
	if now, _ := os.ReadFile("key"); !bytes.Equal(before, now) {
		t.Error("the key was overwritten")
	}
	if err := os.Chmod("key", 0o644); err != nil {
		t.Fatal(err)
	}
	cli(t, "keygen", "--output", "key", "--force", "--json").want(t, exitOK, `"path": "key"`)
	now, _ := os.ReadFile("key")
	if info, _ := os.Stat("key"); bytes.Equal(before, now) || info.Mode().Perm() != 0o600 {
		t.Errorf("after --force the file has mode %v and the old content: %v", info.Mode(), bytes.Equal(before, now))
	}
	// What cannot be replaced stays, and nothing is left beside it.
	if err := os.MkdirAll("full/key", 0o755); err != nil {
		t.Fatal(err)
	}
	cli(t, "keygen", "--output", "full/key", "--force").want(t, exitFailed, "full/key")
	if names, err := os.ReadDir("full"); err != nil || len(names) != 1 {
		t.Errorf("left beside the key: %v, %v", names, err)
	}
	cli(t, "keygen", "--output", "no/such/dir/key").want(t, exitFailed, "no/such/dir")
}

func TestTable(t *testing.T) {
	table := newTable("A", "LONGER", "C")
	table.add("x", cell{"dé", good}, "")
	table.add("", "\x1b[31mevil\n", "last")
	plainly := func(s string, _ style) string { return s }
	if got, want := table.render(plainly), "A  LONGER     C\nx  dé\n   ?[31mevil  last\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	painted := table.render(func(s string, st style) string {
		if st == plain {
			return s
		}
		return "<" + s + ">"
	})
	if want := "<A>  <LONGER>     <C>\nx  <dé>\n   ?[31mevil  last\n"; painted != want {
		t.Errorf("got\n%s\nwant\n%s", painted, want)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", -time.Second: "0s", 12345 * time.Nanosecond: "10µs", 3456 * time.Microsecond: "3.5ms",
		456789 * time.Microsecond: "457ms", 2345 * time.Millisecond: "2.3s", 34567 * time.Millisecond: "35s",
		3 * time.Minute: "3m", 3*time.Minute + 20*time.Second: "3m20s", 30 * time.Minute: "30m",
		5 * time.Hour: "5h0m", 5*time.Hour + 10*time.Minute + 10*time.Second: "5h10m", 72 * time.Hour: "3d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

// TestInterrupt: what the user ends is neither a failure nor a success.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, line := range []string{
		"nodes --api 127.0.0.1:9", "status --api 127.0.0.1:9", "demo", "get k --api 127.0.0.1:9", "set k v --api 127.0.0.1:9",
		"ls --api 127.0.0.1:9", "watch k --api 127.0.0.1:9", "sync k --output f --once --api 127.0.0.1:9",
		"lock l --api 127.0.0.1:9 true", "lock l --api 127.0.0.1:9", "owners l --api 127.0.0.1:9", "members g --api 127.0.0.1:9",
		"explain group g --api 127.0.0.1:9", "break lock l --api 127.0.0.1:9",
	} {
		var out, errs bytes.Buffer
		code := run(ctx, strings.Fields(line), strings.NewReader(""), &out, &errs, func(string) string { return "" })
		result{code, out.String(), errs.String()}.want(t, exitInterrupted, "interrupted")
	}
}

// brokenWriter fails every write.
type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// TestOutputFails: what could not be said is a failure, whatever the command.
func TestOutputFails(t *testing.T) {
	workdir(t, threePeers)
	f := newFakeNode()
	api := serveFake(t, f, "")
	f2 := newFakeNode()
	f2.members[1].Status = membership.StatusFailed
	sick := serveFake(t, f2, "")
	write(t, "new.json", strings.Replace(threePeers, "alpha", "aleph", 1))
	full := errors.New("no space left")
	keys, _ := keyAgent(t)
	cli(t, "set", "k", "v", "--api", keys).want(t, exitOK)
	for _, line := range []string{
		"keygen", "keygen --json", "version", "version --json", "--version", "--help", "help exit-codes", "completion bash",
		"peers path", "peers path --verbose", "peers path --json", "peers show", "peers show --json", "peers validate --json", "peers validate",
		"peers diff peers.json new.json", "peers diff peers.json new.json --json", "peers add x --ip 10.0.0.7 --port 7", "peers remove x --json",
		"nodes --api " + api, "nodes --json --api " + api, "nodes --watch --api " + api, "nodes --watch --json --api " + api,
		"status --api " + api, "status --json --api " + api, "nodes --api " + sick, "demo",
		"get k --api " + keys, "get k --json --api " + keys, "set k v --api " + keys, "rm x --json --api " + keys, "ls --api " + keys,
		"ls --json --api " + keys, "ls --long --api " + keys, "watch k --rev 1 --api " + keys, "watch --prefix k --api " + keys, "watch --prefix k --json --api " + keys,
		"fire e --api " + keys, "clear --prefix x --yes --api " + keys, "sync k --output - --api " + keys, "sync k --output - --once --api " + keys,
		"owners l --json --api " + keys, "members g --json --api " + keys, "explain lock l --api " + keys, "explain group g --json --api " + keys,
	} {
		t.Run(line, func(t *testing.T) {
			for _, err := range []error{full, syscall.EPIPE} {
				var errs bytes.Buffer
				code := run(t.Context(), strings.Fields(line), strings.NewReader(""), brokenWriter{err}, &errs, func(string) string { return "" })
				if loud := strings.Contains(errs.String(), "kith: standard output: no space left"); code != exitFailed || loud != (err == full) {
					t.Errorf("with %v the code is %d, want %d: %s", err, code, exitFailed, &errs)
				}
			}
		})
	}
}

// TestColour: colours are for terminals, and for those who want them.
func TestColour(t *testing.T) {
	for _, tt := range []struct {
		terminal bool
		env      map[string]string
		want     string
	}{
		{true, nil, "\x1b[32mx\x1b[0m"},
		{false, nil, "x"},
		{true, map[string]string{"NO_COLOR": "1"}, "x"},
		{true, map[string]string{"TERM": "dumb"}, "x"},
	} {
		a := &app{terminal: tt.terminal, getenv: func(name string) string { return tt.env[name] }}
		if got := a.paint("x", good); got != tt.want {
			t.Errorf("terminal %v, %v: %q, want %q", tt.terminal, tt.env, got, tt.want)
		}
	}
}

// TestErrorWords: the names of packages are for programmers.
func TestErrorWords(t *testing.T) {
	for in, want := range map[string]string{
		"kith: it is late":                 "it is late",
		"--key-file: secret: open x: none": "--key-file: open x: none",
		"--api: httpapi: no":               "--api: no",
		"my secret: mine":                  "my secret: mine",
	} {
		if got := errorWords(errors.New(in)); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	cli(t, "completion", "tcsh").want(t, exitUsage, `"completion tcsh"`)
	cli(t, "completion").want(t, exitOK, "bash")
}

// TestClean: no name reaches a terminal with its control characters.
func TestClean(t *testing.T) {
	const evil = "e\x1b[31mvil"
	now := time.Now()
	var lines changeLines
	for name, tell := range map[string]func(*app){
		"sayDiff": func(a *app) {
			a.sayDiff(peers.Diff{Added: []*peers.Peer{{Name: evil, PID: 1}}})
		},
		"tellStatus": func(a *app) {
			a.tellStatus(httpapi.Status{
				Name: evil, Cluster: evil, Version: evil, Dir: evil, PeersPath: evil, Problems: []string{evil},
				Sync: &httpapi.Sync{URL: evil, LastError: evil}, Missing: []httpapi.Missing{{Name: evil, Address: evil, LastError: evil}},
			}, now)
		},
		"changes": func(a *app) {
			io.WriteString(a.stdout, clean(lines.next(httpapi.NodesEvent{Changes: []httpapi.NodeChange{{Name: evil, Kind: evil, Reason: evil}}}, now)))
		},
		"recent": func(a *app) {
			io.WriteString(a.stdout, recent(httpapi.NodesEvent{Changes: []httpapi.NodeChange{{Name: evil, Kind: evil, Reason: evil}}}))
		},
		"nodes": func(a *app) {
			io.WriteString(a.stdout, a.nodesTable(httpapi.Nodes{Nodes: []httpapi.NodeInfo{{Name: evil, Status: evil, Address: evil, Version: evil, Reason: evil, Unreachable: true}}}, clock))
		},
	} {
		var out bytes.Buffer
		tell(&app{stdout: &out, stderr: &out, getenv: func(string) string { return "" }})
		if text := out.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, "e?[31mvil") {
			t.Errorf("%s prints %q", name, text)
		}
	}
}
