package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kith-go/kith/peers"
)

const threePeers = `{
  "info": {"num_replicas": 3, "updated": "2017-07-12T10:21:33.123456789-04:00"},
  "colour": "blue",
  "replicas": [
    {"pid": 2, "name": "bravo", "ip_address": "10.0.0.2", "port": 6000},
    {"pid": 1, "name": "alpha", "ip_address": "10.0.0.1", "port": 6000, "rack": 7},
    {"pid": 3, "name": "charlie", "domain": "charlie.example.org", "port": 6000, "description": "the third"}
  ]
}
`

// workdir makes a fresh directory the working one, with a peers.json if text is
// not empty, and keeps the machine's own files out of the look-up.
func workdir(t *testing.T, text string) (path string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PWD", dir)
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("PEERS_PATH", "")
	path = filepath.Join(dir, "peers.json")
	if text != "" {
		write(t, path, text)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPeersPath(t *testing.T) {
	path := workdir(t, "")
	if r := cli(t, "peers", "path").want(t, exitFailed, "there is no peers file", "kith peers add"); strings.Contains(r.err, "does not exist") {
		t.Errorf("it is said twice: %s", r.err)
	}
	if r := cli(t, "peers", "path", "--json").want(t, exitFailed, `"path": ""`); strings.Contains(r.out, "recommended") {
		t.Errorf("path --json recommends what add does not do: %s", r.out)
	}
	write(t, path, threePeers)
	if r := cli(t, "peers", "path").want(t, exitOK); r.out != path+"\n" {
		t.Errorf("the path is %q, want %q", r.out, path)
	}
	cli(t, "peers", "path", "-v").want(t, exitOK, "in use", path, filepath.Join("home", ".kith", "peers.json"), "/etc/fluidfs/peers.json")
	got := decode[struct {
		Path   string
		Search []pathEntry
	}](t, cli(t, "peers", "path", "--json").out)
	if got.Path != path || len(got.Search) < 2 || !got.Search[0].InUse {
		t.Errorf("path --json: %+v", got)
	}
	t.Setenv("PEERS_PATH", filepath.Join(filepath.Dir(path), "elsewhere.json"))
	cli(t, "peers", "path").want(t, exitFailed, "elsewhere.json", "$PEERS_PATH")
}

func TestPeersShow(t *testing.T) {
	path := workdir(t, threePeers)
	r := cli(t, "peers", "show").want(t, exitOK, "charlie.example.org", "the third", "7000")
	if a, b := strings.Index(r.out, "alpha"), strings.Index(r.out, "bravo"); a < 0 || b < a {
		t.Errorf("not sorted by PID:\n%s", r.out)
	}
	cli(t, "peers", "show", path).want(t, exitOK, "alpha")
	if again := cli(t, "peers", "list").want(t, exitOK); again.out != r.out {
		t.Errorf("list is not show:\n%s", again.out)
	}
	cliWith(t, threePeers, nil, "peers", "show", "-", "-json").want(t, exitOK, `"rack": 7`, `"colour": "blue"`)
	cliWith(t, "{", nil, "peers", "show", "-").want(t, exitInvalid, "standard input:1:")
	cliWith(t, strings.Repeat(" ", peers.MaxFileSize+1), nil, "peers", "show", "-").want(t, exitFailed, "16 MiB")
	cli(t, "peers", "show", "nowhere.json").want(t, exitFailed, "nowhere.json")
	cli(t, "peers", "show", filepath.Dir(path)).want(t, exitFailed, "is a directory")
	cliWith(t, `{"replicas":[]}`, nil, "peers", "show", "-").want(t, exitOK, "the list is empty")
}

func TestPeersValidate(t *testing.T) {
	path := workdir(t, threePeers)
	cli(t, "peers", "validate").want(t, exitOK, path+" is valid", "3 peers", "warning", "colour", "rack")
	bad := strings.NewReplacer(`"pid": 2`, `"pid": 1`, `"port": 6000, "rack": 7`, `"prot": 6000`, "charlie.", "char lie.").Replace(threePeers)
	write(t, path, bad)
	r := cli(t, "peers", "validate", path).want(t, exitInvalid, `did you mean "port"`, path+":6:6", "char lie")
	if n := strings.Count(r.out, path+":"); n < 4 {
		t.Errorf("%d faults are named, want every one:\n%s", n, r.out)
	}
	v := decode[verdict](t, cli(t, "peers", "validate", "--json").want(t, exitInvalid).out)
	if v.Valid || v.Path != path || len(v.Faults) < 3 || v.Peers != 3 {
		t.Errorf("validate --json: %+v", v)
	}
	cliWith(t, bad, nil, "peers", "validate", "-").want(t, exitInvalid, "standard input:6:")
	cliWith(t, "", nil, "peers", "validate", "-").want(t, exitInvalid, "standard input:1:1", "there is nothing in it")
	cliWith(t, "[]", nil, "peers", "validate", "-", "-json").want(t, exitInvalid, `"valid": false`, `"line": 1`)
	cli(t, "peers", "validate", "nowhere.json").want(t, exitFailed, "nowhere.json")
}

func TestPeersDiff(t *testing.T) {
	path := workdir(t, threePeers)
	write(t, "new.json", strings.NewReplacer(`"alpha"`, `"aleph"`, `10.0.0.2`, `10.0.0.9`).Replace(threePeers))
	if r := cli(t, "peers", "diff", path, path).want(t, exitOK); r.out != "" {
		t.Errorf("no difference prints %q", r.out)
	}
	cli(t, "peers", "diff", path, "new.json").want(t, exitDiffers, "+ aleph", "- alpha", "~ bravo", "10.0.0.2 → 10.0.0.9")
	d := decode[diffJSON](t, cliWith(t, threePeers, nil, "peers", "diff", "-json", "-", "new.json").want(t, exitDiffers).out)
	if len(d.Added) != 1 || len(d.Removed) != 1 || len(d.Changed) != 1 || d.Changed[0].Fields[0] != "ip_address" {
		t.Errorf("diff --json: %+v", d)
	}
	cli(t, "peers", "diff", path, path, "--json").want(t, exitOK, `"added": []`)
	cli(t, "peers", "diff", path, "nowhere.json").want(t, exitFailed, "nowhere.json")
}

func TestPeersAdd(t *testing.T) {
	path := workdir(t, "")
	cli(t, "peers", "add", "alpha", "-ip", "127.0.0.1", "-port", "6001").want(t, exitOK, "+ alpha (pid 1)", "created "+path)
	cli(t, "peers", "add", "bravo", "--ip=127.0.0.1", "--port=6002", "--pid", "7").want(t, exitOK, "+ bravo (pid 7)", "wrote "+path)
	cli(t, "-port", "6003", "peers", "-ip", "::1", "add", "charlie").want(t, exitOK, "+ charlie (pid 8) [::1]:6003")
	cli(t, "peers", "add", "delta", "--ip", "delta.example.org", "--port", "6004").want(t, exitOK, "delta.example.org:6004")
	cli(t, "peers", "validate").want(t, exitOK, "4 peers")

	before := read(t, path)
	cli(t, "peers", "add", "alpha", "--ip", "127.0.0.1", "--port", "6009").want(t, exitFailed, "exists already; remove it first, or edit the file")
	cli(t, "peers", "add", "echo", "--ip", "127.0.0.1", "--port", "6001").want(t, exitInvalid, path, `also the message port of "alpha"`)
	cli(t, "peers", "add", "bad name", "--ip", "127.0.0.1", "--port", "6009").want(t, exitInvalid, "cannot be in a name")
	cli(t, "peers", "add", "echo", "--ip", "127.0.0.1", "--port", "65000").want(t, exitUsage, "--control-port", "nothing was written")
	if read(t, path) != before {
		t.Error("a refused peer was written")
	}
	cli(t, "peers", "add", "echo", "--ip", "127.0.0.1", "--port", "6001", "--force").want(t, exitOK, "+ echo")
	cli(t, "peers", "add", "golf", "--ip", "127.0.0.1", "--port", "6020").want(t, exitInvalid, "--force", "echo")
	cli(t, "peers", "remove", "echo").want(t, exitOK, "- echo")

	done := decode[edited](t, cli(t, "peers", "add", "one", "--ip", "10.0.0.1", "--port", "1000", "--file", "sub/dir/p.json", "-json").want(t, exitOK).out)
	if !done.Created || len(done.Added) != 1 || done.Path != "sub/dir/p.json" {
		t.Errorf("add --json: %+v", done)
	}
}

// TestPeersAddKeeps: what the file says that kith does not know stays, and what
// it counts is kept true.
func TestPeersAddKeeps(t *testing.T) {
	path := workdir(t, threePeers)
	cli(t, "peers", "add", "delta", "--ip", "10.0.0.4", "--port", "6000").want(t, exitOK)
	text := read(t, path)
	for _, part := range []string{`"colour": "blue"`, `"rack": 7`, `"num_replicas": 4`, `"the third"`} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is gone:\n%s", part, text)
		}
	}
	if strings.Contains(text, "2017-07-12") {
		t.Error("updated was not")
	}
	write(t, path, threePeers[:100])
	cli(t, "peers", "add", "delta", "--ip", "10.0.0.4", "--port", "6000").want(t, exitInvalid, path+":")
	if read(t, path) != threePeers[:100] {
		t.Error("a file that cannot be read was overwritten")
	}
}

func TestPeersRemove(t *testing.T) {
	path := workdir(t, threePeers)
	cli(t, "peers", "remove", "zulu").want(t, exitFailed, `"zulu"`, "alpha, bravo, charlie")
	cli(t, "peers", "remove", "alpha").want(t, exitOK, "- alpha (pid 1)", "wrote "+path)
	done := decode[edited](t, cli(t, "peers", "rm", "bravo", "--file", path, "--json").want(t, exitOK).out)
	if len(done.Removed) != 1 || done.Removed[0].Name != "bravo" {
		t.Errorf("remove --json: %+v", done)
	}
	cli(t, "peers", "remove", "charlie").want(t, exitInvalid, "charlie is the last peer; an empty list is never written", "--force")
	cli(t, "peers", "remove", "charlie", "--force").want(t, exitOK)
	cli(t, "peers", "remove", "x", "--file", "nowhere.json").want(t, exitFailed, "nowhere.json")
}

// TestPeersAddTogether: commands that edit the same file at the same time lose
// nothing of each other.
func TestPeersAddTogether(t *testing.T) {
	path := workdir(t, threePeers)
	var wg sync.WaitGroup
	const n = 12
	for i := range n {
		wg.Go(func() {
			cli(t, "peers", "add", fmt.Sprint("more", i), "--ip", fmt.Sprint("10.0.1.", i), "--port", "6000").want(t, exitOK)
		})
	}
	wg.Wait()
	list, err := peers.LoadFrom(path)
	if err != nil || len(list.Peers) != 3+n || list.Validate() != nil {
		t.Errorf("the list has %d peers, want %d; %v, %v", len(list.Peers), 3+n, err, list.Validate())
	}
}

// TestPeersAddTogetherAnew: not even when the first of them makes the directory,
// and some come through a symbolic link.
func TestPeersAddTogetherAnew(t *testing.T) {
	dir := filepath.Dir(workdir(t, ""))
	path := filepath.Join(dir, "new", "dir", "peers.json")
	if err := os.Symlink(path, "link.json"); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	var wg sync.WaitGroup
	const n = 24
	for i := range n {
		wg.Go(func() {
			file := []string{path, "link.json"}[i%2]
			cli(t, "peers", "add", fmt.Sprint("more", i), "--file", file, "--ip", fmt.Sprint("10.0.1.", i), "--port", "6000").want(t, exitOK)
		})
	}
	wg.Wait()
	if list, err := peers.LoadFrom(path); err != nil || len(list.Peers) != n {
		t.Errorf("the list has not %d peers: %v, %v", n, list, err)
	}
}

// TestPeersAddWaits: who waits for another kith is told so, and can be interrupted.
func TestPeersAddWaits(t *testing.T) {
	path := workdir(t, threePeers)
	unlock, err := lockFor(t.Context(), io.Discard, path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if f, err := os.Open(filepath.Dir(path)); err != nil || tryLock(f) {
		t.Skipf("no locks here: %v", err)
	} else {
		f.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"peers", "add", "x", "--ip", "10.0.0.9", "--port", "6000"}, strings.NewReader(""), &out, &errs, func(string) string { return "" })
	}()
	eventually(t, "the wait is told", func() bool {
		return strings.Contains(errs.String(), "waiting for another kith that edits "+filepath.Dir(path))
	})
	cancel()
	if code := <-ended; code != exitInterrupted {
		t.Errorf("the code is %d: %s", code, &errs)
	}
	if read(t, path) != threePeers {
		t.Error("the file was written all the same")
	}
}

// TestPeersFlags: numbers are decimal, and a forgotten address is named.
func TestPeersFlags(t *testing.T) {
	path := workdir(t, "")
	cli(t, "peers", "add", "a", "--ip", "10.0.0.1", "--port", "06000", "--pid", "010", "--control-port", "07001").want(t, exitOK)
	list, err := peers.LoadFrom(path)
	if err != nil || list.Peers[0].Port != 6000 || list.Peers[0].PID != 10 || list.Peers[0].ControlPort != 7001 {
		t.Errorf("the peer is %+v, %v", list.Peers[0], err)
	}
	for _, text := range []string{"0x10", "1_000", "-1", "+1", "65536", ""} {
		cli(t, "peers", "add", "b", "--ip", "10.0.0.2", "--port="+text).want(t, exitUsage, "--port", "whole number")
	}
	cli(t, "agent", "--pid", "0x1").want(t, exitUsage, "--pid", "whole number")
	cli(t, "peers", "add", "b", "-ip", "-port", "6000").want(t, exitUsage, `--ip has the value "-port": is an address missing?`)
	cli(t, "--", "peers", "show").want(t, exitUsage, `"--" ends the flags, so "peers" is no command here`)
	cli(t, "peers", "--", "show").want(t, exitUsage, `"show" is no command here`)

	for _, verb := range []string{"show", "validate"} {
		cli(t, "peers", verb, "--file", path).want(t, exitOK)
		cli(t, "peers", verb, path, "-f", path).want(t, exitOK)
		cli(t, "peers", verb, "-f", "other.json", path).want(t, exitUsage, "two files")
		cli(t, "peers", verb, "-f", "other.json").want(t, exitFailed, "other.json")
	}

	env := map[string]string{"PEERS_SYNC_URL": "http://127.0.0.1:1/"}
	const note = "nodes that sync from $PEERS_SYNC_URL do not follow the file"
	cliWith(t, "", env, "peers", "add", "b", "--ip", "10.0.0.2", "--port", "6000").want(t, exitOK, note)
	cliWith(t, "", env, "peers", "remove", "b").want(t, exitOK, note)
	if r := cli(t, "peers", "add", "b", "--ip", "10.0.0.2", "--port", "6000"); strings.Contains(r.err, note) {
		t.Errorf("a note without a reason: %s", r.err)
	}
}

// TestPeersSyncKey: the key of one server is not sent to another, and without a
// file the list goes where peers add would put it.
func TestPeersSyncKey(t *testing.T) {
	path := workdir(t, "")
	key, answer := "", strings.Replace(threePeers, "blue", "red", 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("X-Api-Key")
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	write(t, "apikey", "other\n")
	for _, tt := range []struct {
		env, want, note string
		args            []string
	}{
		{srv.URL + "/elsewhere", "secret", "wrote " + path, nil},
		{"https://config.example/", "", "is not sent", nil},
		{"https" + strings.TrimPrefix(srv.URL, "http"), "", "not sent", nil},
		{"", "", "not sent", nil},
		{"https://config.example/", "other", "", []string{"--api-key-file", "apikey"}},
	} {
		key = "none came"
		env := map[string]string{"PEERS_SYNC_URL": tt.env, "PEERS_SYNC_APIKEY": "secret"}
		cliWith(t, "", env, append([]string{"peers", "sync", "--url", srv.URL}, tt.args...)...).want(t, exitOK, strings.Replace(tt.note, "is not", "not", 1))
		if key != tt.want {
			t.Errorf("with $PEERS_SYNC_URL %s the key %q was sent, want %q", tt.env, key, tt.want)
		}
	}

	// What differs in the metadata only is written, too.
	answer = threePeers
	cli(t, "peers", "sync", "--url", srv.URL).want(t, exitOK, "wrote "+path)
	if !strings.Contains(read(t, path), "blue") {
		t.Error("the metadata was not written")
	}

	// Errors name the server, without its secrets.
	answer = strings.Replace(threePeers, `"pid": 2`, `"pid": 1`, 1)
	address := strings.Replace(srv.URL, "://", "://user:hunter2@", 1) + "/list"
	r := cli(t, "peers", "sync", "--url", address+"?key=hunter2").want(t, exitInvalid, strings.TrimPrefix(srv.URL, "http://")+"/list")
	srv.Config.Handler = http.NotFoundHandler()
	r2 := cli(t, "peers", "sync", "--url", address+"?key=hunter2").want(t, exitFailed, srv.URL+"/list: could not synchronize peers: 404")
	if strings.Contains(r.err+r2.err, "hunter2") {
		t.Errorf("a secret is told: %s%s", r.err, r2.err)
	}
}

func TestPeersSync(t *testing.T) {
	path := workdir(t, "")
	answer, code := threePeers, http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "secret" {
			code = http.StatusForbidden
		}
		w.WriteHeader(code)
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	env := map[string]string{"PEERS_SYNC_URL": srv.URL, "PEERS_SYNC_APIKEY": "secret"}
	sync := func(args ...string) result {
		t.Helper()
		return cliWith(t, "", env, append([]string{"peers", "sync"}, args...)...)
	}

	sync("-output", path).want(t, exitOK, "+ alpha", "wrote "+path, "3 peers")
	sync().want(t, exitOK, "nothing new for "+path)
	sync("--output", "-").want(t, exitOK, `"colour": "blue"`)

	before := read(t, path)
	answer = `{"replicas":[{"pid":1,"name":"alpha","ip_address":"10.0.0.1","port":6000}]}`
	sync().want(t, exitFailed, "1 peer", "--force")
	answer = strings.Replace(threePeers, `"pid": 2`, `"pid": 1`, 1)
	sync().want(t, exitInvalid, "refused", "pid")
	answer = `{"replicas":[]}`
	sync().want(t, exitInvalid, "the list is empty")
	answer = "<html>"
	sync().want(t, exitInvalid, "not JSON")
	answer, code = "", http.StatusInternalServerError
	sync().want(t, exitFailed, "500")
	if read(t, path) != before {
		t.Error("a refused list was written")
	}

	code = http.StatusOK
	answer = `{"replicas":[{"pid":1,"name":"alpha","ip_address":"10.0.0.1","port":6000}]}`
	done := decode[edited](t, sync("--force", "--json").want(t, exitOK).out)
	if len(done.Removed) != 2 || done.Path != path {
		t.Errorf("sync --json: %+v", done)
	}

	env["PEERS_SYNC_APIKEY"] = "wrong"
	sync().want(t, exitFailed, "403")
	code = http.StatusOK
	write(t, "apikey", "secret\n")
	sync("--api-key-file", "apikey").want(t, exitOK)
	env["PEERS_SYNC_URL"] = "::"
	sync().want(t, exitFailed)
	env["PEERS_SYNC_URL"] = "http://user:hunter2@127.0.0.1:1/"
	if r := sync().want(t, exitFailed); strings.Contains(r.err, "hunter2") {
		t.Errorf("the password is told: %s", r.err)
	}
}
