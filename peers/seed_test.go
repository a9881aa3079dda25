package peers_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kith-go/kith/peers"
)

// The API of the package that this one stands in for: a program written for
// that compiles.
var (
	_ func() string                                           = peers.Path
	_ func() *peers.Peers                                     = peers.Load
	_ func(string) (*peers.Peers, error)                      = peers.LoadFrom
	_ func() (*peers.Peers, error)                            = peers.Sync
	_ func(url, apikey string) (*peers.Peers, error)          = peers.SyncFrom
	_ func(*peers.Peer, bool) string                          = (*peers.Peer).Endpoint
	_ func(*peers.Peer) bool                                  = (*peers.Peer).IsLocal
	_ func(*peers.Peer, bool) string                          = (*peers.Peer).ZMQEndpoint
	_ func(*peers.Peers, string) error                        = (*peers.Peers).Dump
	_ func(*peers.Peers, string) (*peers.Peer, error)         = (*peers.Peers).Get
	_ func(*peers.Peers, string) error                        = (*peers.Peers).Load
	_ func(*peers.Peers, string) []*peers.Peer                = (*peers.Peers).Local
	_ func(*peers.Peers, string, uint32) (*peers.Peer, error) = (*peers.Peers).Localhost

	_ = peers.Peers{
		Info:  map[string]interface{}{"num_replicas": 1},
		Peers: []*peers.Peer{},
	}
	_ = peers.Peer{
		PID: uint32(1), Name: "", Description: "", Hostname: "", IPAddr: "", Domain: "",
		Port: uint16(1), AWSInstance: map[string]string{},
	}
)

func TestSeedErrors(t *testing.T) {
	var list peers.Peers
	t.Setenv("PEERS_SYNC_URL", "")
	t.Setenv("PEERS_SYNC_APIKEY", "")

	_, get := list.Get("zulu")
	_, localhost := list.Localhost("nowhere", 7)
	_, url := peers.Sync()
	t.Setenv("PEERS_SYNC_URL", "http://127.0.0.1:0/")
	_, key := peers.Sync()
	for _, test := range []struct {
		got  error
		want string
	}{
		{get, "could not find a peer named 'zulu'"},
		{localhost, "could not find a matching localhost"},
		{list.Dump(""), "no path specified to dump peers.json to"},
		{url, "could not find $PEERS_SYNC_URL"},
		{key, "could not find $PEERS_SYNC_APIKEY"},
	} {
		if test.got == nil || test.got.Error() != test.want {
			t.Errorf("error is %v, want %q", test.got, test.want)
		}
	}
}

func TestSeedJSON(t *testing.T) {
	list := peers.Peers{Peers: []*peers.Peer{{PID: 1, Name: "alpha", Port: 3264}}}
	got, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"info":null,"replicas":[{"pid":1,"name":"alpha","ip_address":"","port":3264}]}`
	if string(got) != want {
		t.Errorf("encoded as %s, want %s", got, want)
	}
}

func TestSeedFile(t *testing.T) {
	list, err := peers.LoadFrom("testdata/replicas.json")
	if err != nil {
		t.Fatal(err)
	}
	bravo, err := list.Get("bravo")
	if err != nil {
		t.Fatal(err)
	}
	if got := bravo.Endpoint(true); got != "bravo.example.com:3264" {
		t.Error("by domain:", got)
	}
	if got := bravo.Endpoint(false); got != "192.0.2.11:3264" {
		t.Error("by address:", got)
	}
	if got := bravo.AWSInstance["region"]; got != "us-east-1" {
		t.Error("region:", got)
	}
	if got := list.Info["num_replicas"]; got != float64(3) {
		t.Error("num_replicas:", got)
	}
	if got := list.Local("athena"); len(got) != 1 || got[0] != bravo {
		t.Error("local to athena:", got)
	}
	if got := list.Local("nowhere"); got == nil || len(got) != 0 {
		t.Errorf("local to nowhere: %#v, want an empty list", got)
	}
	for pid, want := range map[uint32]string{0: "alpha", 1: "alpha", 3: "charlie"} {
		if got, err := list.Localhost("apollo", pid); err != nil || got.Name != want {
			t.Errorf("apollo's pid %d is %v, %v, want %s", pid, got, err, want)
		}
	}
	if _, err := list.Localhost("apollo", 2); err == nil {
		t.Error("found a pid of another host")
	}
	if err := list.Validate(); err != nil {
		t.Error("an old file is invalid:", err)
	}
}

func TestSeedDump(t *testing.T) {
	const file = "testdata/replicas.json"
	list, err := peers.LoadFrom(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "new", "dir", "peers.json")
	if err := list.Dump(path); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(file)
	if got, _ := os.ReadFile(path); string(got) != string(want) {
		t.Errorf("dumped as\n%s\nwant\n%s", got, want)
	}
	// An empty path means where it was loaded from.
	again, err := peers.LoadFrom(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Peers[0].Description = "changed"
	if err := again.Dump(""); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !strings.Contains(string(got), `"description": "changed"`) {
		t.Errorf("dumped as\n%s", got)
	}
}

func TestSeedLocalhost(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Skip("the system has no host name:", err)
	}
	short, _, _ := strings.Cut(hostname, ".")
	here := &peers.Peer{PID: 9, Name: "here", Hostname: short, IPAddr: "192.0.2.1", Port: 4000}
	there := &peers.Peer{PID: 8, Name: "there", Hostname: "not-" + short, IPAddr: "192.0.2.2", Port: 4000}
	list := peers.Peers{Peers: []*peers.Peer{there, here}}

	if !here.IsLocal() || there.IsLocal() {
		t.Errorf("on %s: here %v, there %v", hostname, here.IsLocal(), there.IsLocal())
	}
	if got, err := list.Localhost("", 0); err != nil || got != here {
		t.Errorf("localhost is %v, %v", got, err)
	}
	for _, test := range []struct{ got, want string }{
		{here.ZMQEndpoint(false), "tcp://localhost:4000"},
		{here.ZMQEndpoint(true), "tcp://*:4000"},
		{there.ZMQEndpoint(false), "tcp://192.0.2.2:4000"},
	} {
		if test.got != test.want {
			t.Errorf("endpoint is %s, want %s", test.got, test.want)
		}
	}
}
