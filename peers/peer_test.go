package peers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		peer                              Peer
		host, endpoint, dns, zmq, control string
		controlPort                       uint16
		loopback                          bool
	}{
		{Peer{IPAddr: "10.0.0.1", Domain: "d.example", Hostname: "h", Port: 4000},
			"10.0.0.1", "10.0.0.1:4000", "d.example:4000", "tcp://10.0.0.1:4000", "10.0.0.1:5000", 5000, false},
		{Peer{IPAddr: "2001:db8::1", Port: 4000, ControlPort: 9},
			"2001:db8::1", "[2001:db8::1]:4000", "[2001:db8::1]:4000", "tcp://[2001:db8::1]:4000", "[2001:db8::1]:9", 9, false},
		{Peer{IPAddr: "[::1]", Port: 4000},
			"::1", "[::1]:4000", "[::1]:4000", "tcp://[::1]:4000", "[::1]:5000", 5000, true},
		{Peer{IPAddr: "fe80::1%eth0", Port: 4000},
			"fe80::1%eth0", "[fe80::1%eth0]:4000", "[fe80::1%eth0]:4000", "tcp://[fe80::1%eth0]:4000", "[fe80::1%eth0]:5000", 5000, false},
		{Peer{Domain: "d.example", Hostname: "no-such-host", Port: 4000},
			"d.example", "d.example:4000", "d.example:4000", "tcp://d.example:4000", "d.example:5000", 5000, false},
		{Peer{Hostname: "LocalHost.", Port: 64535},
			"LocalHost.", "LocalHost.:64535", "LocalHost.:64535", "tcp://LocalHost.:64535", "LocalHost.:65535", 65535, true},
		{Peer{IPAddr: "127.8.8.8", Port: 64536},
			"127.8.8.8", "127.8.8.8:64536", "127.8.8.8:64536", "tcp://127.8.8.8:64536", "", 0, true},
		{Peer{IPAddr: "::ffff:127.0.0.1", Port: 65535, ControlPort: 1},
			"::ffff:127.0.0.1", "[::ffff:127.0.0.1]:65535", "[::ffff:127.0.0.1]:65535", "tcp://[::ffff:127.0.0.1]:65535", "[::ffff:127.0.0.1]:1", 1, true},
		{Peer{}, "", ":0", ":0", "tcp://:0", "", 0, false},
	} {
		p := &test.peer
		for _, got := range []struct{ what, got, want string }{
			{"host", p.Host(), test.host},
			{"endpoint", p.Endpoint(false), test.endpoint},
			{"endpoint by name", p.Endpoint(true), test.dns},
			{"zmq endpoint", p.ZMQEndpoint(false), test.zmq},
			{"control endpoint", p.ControlEndpoint(), test.control},
		} {
			if got.got != got.want {
				t.Errorf("%+v: %s is %q, want %q", test.peer, got.what, got.got, got.want)
			}
		}
		if got := p.Control(); got != test.controlPort {
			t.Errorf("%+v: control port is %d, want %d", test.peer, got, test.controlPort)
		}
		if got := p.IsLoopback(); got != test.loopback {
			t.Errorf("%+v: loopback is %v", test.peer, got)
		}
	}
}

func TestNil(t *testing.T) {
	var p *Peer
	if p.Endpoint(true)+p.ZMQEndpoint(true)+p.Host()+p.ControlEndpoint() != "" || p.Control() != 0 ||
		p.IsLocal() || p.IsLoopback() || p.Clone() != nil {
		t.Error("a nil peer has something")
	}
	var list *Peers
	if _, err := list.Get("a"); err == nil || list.Source() != "" || list.Clone() != nil || len(list.Sorted()) != 0 ||
		len(list.Local("")) != 0 || list.Validate() == nil || !list.Diff(nil).Empty() {
		t.Error("a nil list has something")
	}
	// Entries of a list built by hand may be nil.
	list = &Peers{Peers: []*Peer{nil, {Name: "a", Hostname: "h"}}}
	if p, err := list.Get("a"); err != nil || p.Name != "a" || len(list.Local("h")) != 1 || len(list.Sorted()) != 1 {
		t.Error("a list with a nil entry lost the other")
	}
	if list.Validate() == nil || list.Diff(&Peers{}).Removed[0].Name != "a" {
		t.Error("a nil entry is valid")
	}
}

func TestIsOn(t *testing.T) {
	for _, test := range []struct {
		peer, host string
		want       bool
	}{
		{"apollo", "apollo", true},
		{"apollo.example.com", "apollo", true},
		{"apollo", "apollo.example.com", true},
		{"apollo.example.com", "apollo.example.com", true},
		{"apollo.example.com", "apollo.example.org", true}, // as the seed has it
		{"apollo", "athena", false},
		{"", "", false},
		{"", "apollo", false},
		{"apollo", "", false},
		{".example.com", ".example.org", false},
	} {
		if got := (&Peer{Hostname: test.peer}).isOn(test.host); got != test.want {
			t.Errorf("%q on %q is %v", test.peer, test.host, got)
		}
	}
}

func TestSorted(t *testing.T) {
	list := &Peers{Peers: []*Peer{{PID: 3, Name: "c"}, {PID: 1, Name: "z"}, {PID: 1, Name: "a"}}}
	sorted := list.Sorted()
	var names []string
	for _, p := range sorted {
		names = append(names, p.Name)
		p.Name = "changed"
	}
	if !slices.Equal(names, []string{"a", "z", "c"}) || list.Peers[0].Name != "c" {
		t.Error("sorted as", names)
	}
}

func TestClone(t *testing.T) {
	list, err := LoadFrom("testdata/annotated.json")
	if err != nil {
		t.Fatal(err)
	}
	list.Peers[0].AWSInstance = map[string]string{"id": "i"}
	before := string(encoded(t, list))
	clone := list.Clone()
	if got := string(encoded(t, clone)); got != before {
		t.Errorf("clone is\n%s\nof\n%s", got, before)
	}
	clone.Info["nested"].(map[string]any)["big"].([]any)[1] = "x"
	clone.Peers[0].AWSInstance["id"] = "j"
	clone.Peers[1].Name = "x"
	clone.Peers = append(clone.Peers, nil)
	if got := string(encoded(t, list)); got != before {
		t.Errorf("changing the clone changed the list to\n%s", got)
	}
}

func TestSearchPaths(t *testing.T) {
	wd, homeDir := home(t)
	want := []string{
		filepath.Join(wd, "peers.json"),
		filepath.Join(homeDir, ".kith", "peers.json"),
		filepath.Join(homeDir, ".fluidfs", "peers.json"),
		"/etc/kith/peers.json",
		"/etc/fluidfs/peers.json",
	}
	if got := SearchPaths(); !slices.Equal(got, want) {
		t.Errorf("paths are %q, want %q", got, want)
	}
	if got, want := Path(), filepath.Join(homeDir, ".fluidfs", "peers.json"); got != want {
		t.Errorf("Path is %s, want %s", got, want)
	}
	t.Setenv("HOME", "")
	if got := Path(); got != "/etc/fluidfs/peers.json" {
		t.Errorf("without a home Path is %s", got)
	}
	if got := SearchPaths(); len(got) != 3 {
		t.Errorf("without a home the paths are %q", got)
	}
	t.Setenv("PEERS_PATH", "some/where.json")
	if got := SearchPaths(); !slices.Equal(got, []string{"some/where.json"}) || Path() != got[0] {
		t.Errorf("with $PEERS_PATH the paths are %q, Path %s", got, Path())
	}
}

func TestFindAndLoad(t *testing.T) {
	wd, homeDir := home(t)
	if _, err := os.Stat("/etc/kith/peers.json"); err == nil {
		t.Skip("this machine has a peers file")
	}
	_, err := Find()
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), wd) ||
		!strings.Contains(err.Error(), "/etc/fluidfs/peers.json") {
		t.Fatalf("nothing to find, and the error is %v", err)
	}
	if strings.Contains(err.Error(), "file does not exist") {
		t.Errorf("the error says it twice: %v", err)
	}
	if list := Load(); list == nil || len(list.Peers) != 0 || list.Source() != "" {
		t.Fatalf("nothing to load, and the list is %+v", list)
	}

	// Each place that is filled is more important than those filled before.
	places := SearchPaths()[:3]
	for i, place := range slices.Backward(places) {
		list := some(i + 1)
		if err := list.Dump(place); err != nil {
			t.Fatal(err)
		}
		if got, err := Find(); err != nil || got != place {
			t.Errorf("found %s, %v, want %s", got, err, place)
		}
		if got := Load(); len(got.Peers) != i+1 || got.Source() != place {
			t.Errorf("loaded %d peers from %s, want %d from %s", len(got.Peers), got.Source(), i+1, place)
		}
	}

	// A bad file is passed over by Load, as ever, and leaves nothing behind.
	write(t, places[0], []byte(`{"info": {"leak": 1}, "replicas": [{"pid": 1}, {"pid": "x"}]}`))
	if got := Load(); got.Source() != places[1] || got.Info["leak"] != nil {
		t.Errorf("loaded %+v from %s, want %s", got, got.Source(), places[1])
	}
	if got, err := Find(); err != nil || got != places[0] {
		t.Errorf("found %s, %v: a bad file is still the file", got, err)
	}

	missing := filepath.Join(homeDir, "missing.json")
	t.Setenv("PEERS_PATH", missing)
	if _, err := Find(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) ||
		strings.Contains(err.Error(), "file does not exist") {
		t.Errorf("$PEERS_PATH without a file: %v", err)
	}
	if got := Load(); got.Source() != places[1] {
		t.Errorf("$PEERS_PATH without a file: loaded %s", got.Source())
	}
	write(t, missing, encoded(t, some(5)))
	if got := Load(); len(got.Peers) != 5 {
		t.Errorf("$PEERS_PATH with a file: loaded %s", got.Source())
	}
}

// TestFindClosedHome: a home that the process may not search is none of its
// business; any other place that it may not is.
func TestFindClosedHome(t *testing.T) {
	_, homeDir := home(t)
	places := SearchPaths()
	closed := map[string]bool{}
	stat := func(path string) (fs.FileInfo, error) {
		if closed[path] {
			return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrPermission}
		}
		return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	for _, path := range places {
		closed[path] = strings.HasPrefix(path, homeDir)
	}
	_, err := firstExisting(places, stat)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error is %v", err)
	}
	create, not, _ := strings.Cut(err.Error(), "; not looked at: ")
	for _, path := range places {
		if strings.Contains(create, path) == closed[path] || strings.Contains(not, path+": permission denied") != closed[path] {
			t.Errorf("closed is %v for %s in %v", closed[path], path, err)
		}
	}
	found := func(path string) (fs.FileInfo, error) {
		if path == places[len(places)-1] {
			return nil, nil
		}
		return stat(path)
	}
	if path, err := firstExisting(places, found); err != nil || path != places[len(places)-1] {
		t.Errorf("found %q, %v behind the home", path, err)
	}
	for _, path := range []string{places[0], places[len(places)-1]} {
		closed[path] = true
		if _, err := firstExisting(places, stat); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s is closed: error is %v", path, err)
		}
		delete(closed, path)
	}
	// One place alone was asked for by name, as with $PEERS_PATH.
	if _, err := firstExisting(places[1:2], stat); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error is %v", err)
	}
}
