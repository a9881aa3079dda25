package kith_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

func TestMain(m *testing.M) { leak.Main(m) }

// lonely gives the test a working directory, a home and an environment in which
// no peers file, key or state is to be found, and returns the directory.
func lonely(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/etc/kith/peers.json"); err == nil {
		t.Skip("SKIPPED: this machine has /etc/kith/peers.json, which every node here would follow")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	for _, name := range []string{"PEERS_PATH", "PEERS_SYNC_URL", "PEERS_SYNC_APIKEY", "KITH_KEY_FILE", "STATE_DIRECTORY", "XDG_STATE_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("STATE_DIRECTORY", filepath.Join(dir, "state"))
	return dir
}

// onLoopback makes a valid list of peers on free ports of 127.0.0.1.
func onLoopback(t *testing.T, names ...string) *peers.Peers {
	t.Helper()
	list := &peers.Peers{}
	ports := freePorts(t, 2*len(names))
	for i, name := range names {
		list.Peers = append(list.Peers, &peers.Peer{
			PID: uint32(i + 1), Name: name, IPAddr: "127.0.0.1", Port: ports[2*i], ControlPort: ports[2*i+1],
		})
	}
	if err := list.Validate(); err != nil {
		t.Fatal(err)
	}
	return list
}

// freePorts draws n different ports that nobody uses now, for TCP or UDP.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for len(ports) < n {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close() // when all are drawn, so that none is drawn twice
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err != nil {
			continue
		}
		defer udp.Close()
		ports = append(ports, netip.MustParseAddrPort(tcp.Addr().String()).Port())
	}
	return ports
}

func dump(t *testing.T, list *peers.Peers, path string) {
	t.Helper()
	if err := list.Clone().Dump(path); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, cfg kith.Config) *kith.Node {
	t.Helper()
	node, err := kith.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	return node
}

// await waits until the node's view satisfies ok.
func await(t *testing.T, node *kith.Node, what string, ok func(membership.View) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for view, err := range node.WatchMembers(ctx) {
		if err != nil {
			t.Fatalf("%s, waiting for %s: %v", node.Name(), what, err)
		}
		if ok(view) {
			return
		}
	}
	t.Fatalf("%s waited in vain for: %s\nmembers: %+v\nproblems: %q", node.Name(), what, node.Members(), node.Status().Problems)
}

func alive(names ...string) func(membership.View) bool {
	return func(v membership.View) bool {
		for _, name := range names {
			if m, _ := v.Find(name); m.Status != membership.StatusAlive {
				return false
			}
		}
		return true
	}
}

func TestNothingAtAll(t *testing.T) {
	lonely(t)
	node := start(t, kith.Config{})
	members := node.Members()
	if len(members) != 1 || !members[0].Local || members[0].Status != membership.StatusAlive {
		t.Errorf("members: %+v; want this node, alive", members)
	}
	if addr := members[0].Addr; !addr.Addr().IsLoopback() || addr.Port() == 0 {
		t.Errorf("it listens on %v; want a free port on loopback", addr)
	}
	self := node.Self()
	if self.Name == "" || self.ControlPort != members[0].Addr.Port() || len(node.Peers().Peers) != 1 {
		t.Errorf("self: %+v, peers: %+v", self, node.Peers().Peers)
	}
	if s := node.Status(); s.Dir != "" || s.PeersPath != "" || !s.Healthy() {
		t.Errorf("status: %+v; want in memory, no file, healthy", s)
	}
	if _, err := os.Stat("state"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a node in memory made a state directory")
	}
	other := start(t, kith.Config{Name: "other"}) // two in one process are ordinary
	if other.Name() != "other" || len(other.Members()) != 1 {
		t.Errorf("the second node is %q and sees %v", other.Name(), other.Members())
	}
}

func TestOnePeer(t *testing.T) {
	dir := lonely(t)
	list := onLoopback(t, "solo")
	dump(t, list, filepath.Join(dir, "peers.json"))
	node := start(t, kith.Config{})
	if s := node.Status(); s.Name != "solo" || s.Dir != "" || s.ControlAddr.Port() != list.Peers[0].ControlPort || s.PeersPath != filepath.Join(dir, "peers.json") {
		t.Errorf("status: %+v", s)
	}
}

func TestThreeOnLoopback(t *testing.T) {
	dir := lonely(t)
	dump(t, onLoopback(t, "alpha", "bravo", "charlie"), filepath.Join(dir, "peers.json"))
	alpha := start(t, kith.Config{Name: "alpha"})
	var missing []string
	for _, m := range alpha.Status().Missing {
		missing = append(missing, m.Name)
	}
	if strings.Join(missing, " ") != "bravo charlie" {
		t.Errorf("alpha misses %q; want both others by name", missing)
	}
	if want := filepath.Join(dir, "state", "alpha"); alpha.Status().Dir != want {
		t.Errorf("state directory %q, want %q", alpha.Status().Dir, want)
	}
	if info, err := os.Stat(alpha.Status().Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state directory: %v, %v; want mode 0700", info, err)
	}
	bravo := start(t, kith.Config{PID: 2})
	charlie := start(t, kith.Config{Name: "charlie", PID: 3})
	for _, node := range []*kith.Node{alpha, bravo, charlie} {
		await(t, node, "all three", alive("alpha", "bravo", "charlie"))
		if err := node.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if s := node.Status(); !s.Healthy() || s.Alive != 3 {
			t.Errorf("%s is not content: %q", node.Name(), s.Problems)
		}
	}
}

// TestAcrossMachines: on a network of several hosts a key is needed.
func TestAcrossMachines(t *testing.T) {
	dir := lonely(t)
	network := memnet.New(1)
	defer network.Close()
	list := &peers.Peers{}
	for i, name := range []string{"alpha", "bravo"} {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		list.Peers = append(list.Peers, &peers.Peer{PID: uint32(i + 1), Name: name, IPAddr: addr.String(), Port: 7000})
	}
	path := filepath.Join(dir, "peers.json")
	dump(t, list, path)
	config := func(name string) kith.Config {
		p, _ := list.Get(name)
		return kith.Config{Name: name, Network: network.Host(netip.MustParseAddr(p.IPAddr))}
	}
	_, err := kith.Start(t.Context(), config("alpha"))
	if !errors.Is(err, kith.ErrNoKey) || !strings.Contains(err.Error(), "kith keygen --output "+filepath.Join(dir, "key")) {
		t.Errorf("without a key: %v; want ErrNoKey and the command that mends it", err)
	}
	insecure := config("alpha")
	insecure.Insecure = true
	node := start(t, insecure)
	if node.Status().Encrypted {
		t.Error("encrypted without a key")
	}
	node.Close()

	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(kith.NewKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	alpha, bravo := start(t, config("alpha")), start(t, config("bravo"))
	if !alpha.Status().Encrypted {
		t.Error("the key beside the peers file was not used")
	}
	await(t, alpha, "bravo", alive("bravo"))
	await(t, bravo, "alpha", alive("alpha"))
}

func TestKeyLookup(t *testing.T) {
	dir := lonely(t)
	path := filepath.Join(dir, "peers.json")
	dump(t, onLoopback(t, "solo"), path)
	file := func(name, text string, mode fs.FileMode) string {
		p := filepath.Join(dir, name)
		os.WriteFile(p, []byte(text), mode)
		os.Chmod(p, mode)
		return p
	}
	for _, tc := range []struct {
		name, config, env, beside string
		mode                      fs.FileMode
		want                      error
		encrypted                 bool
	}{
		{name: "none"},
		{name: "config", config: kith.NewKey(), encrypted: true},
		{name: "config wins", config: kith.NewKey(), env: "broken", encrypted: true},
		{name: "environment", env: kith.NewKey(), encrypted: true},
		{name: "environment wins", env: kith.NewKey(), beside: "broken", encrypted: true},
		{name: "beside", beside: kith.NewKey(), encrypted: true},
		{name: "bad config", config: "secret", want: kith.ErrKeyMalformed},
		{name: "bad environment", env: "broken", want: kith.ErrKeyMalformed},
		{name: "bad beside", beside: "broken", want: kith.ErrKeyMalformed},
		{name: "readable by all", beside: kith.NewKey(), mode: 0o644, want: kith.ErrKeyExposed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			os.Remove(filepath.Join(dir, "key"))
			if tc.mode == 0 {
				tc.mode = 0o600
			}
			if tc.env != "" {
				t.Setenv("KITH_KEY_FILE", file("other-key", tc.env, 0o600))
			}
			if tc.beside != "" {
				file("key", tc.beside, tc.mode)
			}
			node, err := kith.Start(t.Context(), kith.Config{Key: tc.config})
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err == nil {
				defer node.Close()
				if node.Status().Encrypted != tc.encrypted {
					t.Errorf("encrypted: %v, want %v", !tc.encrypted, tc.encrypted)
				}
			}
		})
	}
	t.Setenv("KITH_KEY_FILE", filepath.Join(dir, "nowhere"))
	if _, err := kith.Start(t.Context(), kith.Config{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "KITH_KEY_FILE") {
		t.Errorf("a key file that is named and missing: %v", err)
	}
}

func TestWhichPeerAmI(t *testing.T) {
	dir := lonely(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "peers.json")
	list := onLoopback(t, "alpha", "bravo", "charlie")
	for i, p := range list.Peers {
		p.IPAddr = netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}).String() // nobody's
	}
	list.Peers[1].Hostname = host
	list.Peers[1].IPAddr = "127.0.0.1"
	dump(t, list, path)
	if node := start(t, kith.Config{}); node.Name() != "bravo" {
		t.Errorf("by host name: %s, want bravo", node.Name())
	}
	list.Peers[1].Hostname = ""
	dump(t, list, path)
	if node, err := kith.Start(t.Context(), kith.Config{Dir: t.TempDir()}); err == nil {
		node.Close()
		t.Error("two nodes of one name and port")
	}
	for name, tc := range map[string]struct {
		cfg  kith.Config
		want string
	}{
		"wrong name":     {kith.Config{Name: "zulu"}, `no peer named "zulu"; the list has: alpha (pid 1, 198.51.100.1), bravo`},
		"wrong pid":      {kith.Config{PID: 9}, "no peer with PID 9"},
		"they disagree":  {kith.Config{Name: "alpha", PID: 2}, `no peer named "alpha" and with PID 2`},
		"prefix of name": {kith.Config{Name: "alph"}, "alpha (pid 1"},
	} {
		_, err := kith.Start(t.Context(), tc.cfg)
		if !errors.Is(err, kith.ErrWhoAmI) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v\nwant ErrWhoAmI with %q", name, err, tc.want)
		}
	}
	dump(t, onLoopback(t, "alpha", "bravo"), path)
	_, err = kith.Start(t.Context(), kith.Config{})
	if !errors.Is(err, kith.ErrWhoAmI) || !strings.Contains(err.Error(), "2 peers") || !strings.Contains(err.Error(), "bravo (pid 2") {
		t.Errorf("two candidates: %v; want ErrWhoAmI that lists them", err)
	}
	for i, p := range list.Peers {
		p.IPAddr = netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}).String()
	}
	dump(t, list, path)
	if _, err := kith.Start(t.Context(), kith.Config{}); !errors.Is(err, kith.ErrWhoAmI) {
		t.Errorf("no candidate: %v; want ErrWhoAmI", err)
	}
}

// TestFileAppears: nodes of one, in memory, become a cluster when they are
// given a list.
func TestFileAppears(t *testing.T) {
	dir := lonely(t)
	alpha, bravo := start(t, kith.Config{Name: "alpha"}), start(t, kith.Config{Name: "bravo"})
	before := alpha.Status()
	if before.PeersPath != "" {
		t.Fatalf("alpha follows %s", before.PeersPath)
	}
	list := onLoopback(t, "alpha", "bravo")
	dump(t, list, filepath.Join(dir, "peers.json"))
	await(t, alpha, "bravo", alive("alpha", "bravo"))
	await(t, bravo, "alpha", alive("alpha", "bravo"))
	s := alpha.Status()
	if s.PeersPath != filepath.Join(dir, "peers.json") || s.ControlAddr.Port() != list.Peers[0].ControlPort || s.Dir == "" {
		t.Errorf("alpha did not follow the file: %+v", s)
	}
}

// TestFileThatNamesOthers: a file without this node does not break it.
func TestFileThatNamesOthers(t *testing.T) {
	dir := lonely(t)
	node := start(t, kith.Config{Name: "solo"})
	dump(t, onLoopback(t, "alpha", "bravo"), filepath.Join(dir, "peers.json"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, err := range node.WatchPeers(ctx) {
		if errors.Is(err, kith.ErrWhoAmI) {
			break
		}
	}
	if s := node.Status(); s.Healthy() || !strings.Contains(s.PeersError, "solo") || s.Alive != 1 {
		t.Errorf("status: %+v; want it to say that solo is not in the file", s)
	}
}

func TestMissingAndBadFiles(t *testing.T) {
	dir := lonely(t)
	path := filepath.Join(dir, "list.json")
	var invalid *peers.InvalidError
	for name, tc := range map[string]struct {
		content string
		want    func(error) bool
	}{
		"missing": {"", func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		"broken":  {`{"replicas": [`, func(err error) bool { return errors.As(err, &invalid) }},
		"all faults": {`{"replicas": [{"pid":1,"name":"a","ip_address":"127.0.0.1","port":0},{"pid":1,"name":"a","ip_address":"?","port":1}]}`,
			func(err error) bool { return errors.As(err, &invalid) && len(invalid.Faults) >= 4 }},
	} {
		if tc.content != "" {
			os.WriteFile(path, []byte(tc.content), 0o644)
		}
		for how, cfg := range map[string]kith.Config{"config": {PeersPath: path}, "environment": {}} {
			if how == "environment" {
				os.Setenv("PEERS_PATH", path) // restored by lonely
			}
			_, err := kith.Start(t.Context(), cfg)
			if err == nil || !tc.want(err) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			os.Setenv("PEERS_PATH", "")
		}
		os.Remove(path)
	}
}

func TestOddNames(t *testing.T) {
	lonely(t)
	for _, name := range []string{"a b", "ä", "x/y", strings.Repeat("n", 200), "\x00"} {
		if node, err := kith.Start(t.Context(), kith.Config{Name: name}); err == nil {
			node.Close()
			t.Errorf("the name %q was accepted", name)
		}
	}
}

func TestConfigFaultsAllAtOnce(t *testing.T) {
	_, err := kith.Start(t.Context(), kith.Config{
		Peers: &peers.Peers{}, PeersPath: "x", Cluster: strings.Repeat("c", 256), Key: "k",
		Timing: kith.Timing{ProbeInterval: time.Second, ProbeTimeout: time.Minute},
	})
	for _, want := range []string{"PeersPath", "Cluster", "Key", "ProbeTimeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}

func TestStateDirectoryThatCannotBeMade(t *testing.T) {
	dir := lonely(t)
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	_, err := kith.Start(t.Context(), kith.Config{Name: "alpha", Peers: onLoopback(t, "alpha", "bravo"), Dir: filepath.Join(file, "below")})
	if err == nil || !strings.Contains(err.Error(), "Config.Dir") {
		t.Errorf("got %v; want an error that says what to set", err)
	}
}

func TestPortInUse(t *testing.T) {
	c := kithtest.Start(t, 1, kithtest.Options{})
	list := c.Peers()
	list.Peers[0].Name = "impostor"
	_, err := kith.Start(t.Context(), kith.Config{Name: "impostor", Peers: list})
	if err == nil || !strings.Contains(err.Error(), c.Node("alpha").Status().ControlAddr.String()) {
		t.Errorf("got %v; want an error that names the address", err)
	}
}
