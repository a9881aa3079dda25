package main

import (
	"fmt"
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
	cli(t, "peers", "add", "echo", "--ip", "127.0.0.1", "--port", "65000").want(t, exitInvalid, "control_port")
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
	cli(t, "peers", "remove", "charlie").want(t, exitInvalid, "the list is empty", "--force")
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
