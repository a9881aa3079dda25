package main

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// fakeNode is a node made of values; views feeds its watchers. What it lacks, for locks and
// messages, is tested with real nodes.
type fakeNode struct {
	httpapi.Node
	status  kith.Status
	list    *peers.Peers
	members []membership.Member
	views   chan membership.View
}

func newFakeNode() *fakeNode {
	addr := netip.MustParseAddrPort
	now := time.Now()
	return &fakeNode{
		status: kith.Status{
			Name: "alpha", PID: 1, Cluster: "test", Version: "0.1.0", Started: now.Add(-time.Hour),
			ControlAddr: addr("127.0.0.1:7001"), PeersPath: "/etc/kith/peers.json", PeersLoaded: now, Alive: 2, Encrypted: true,
		},
		list: &peers.Peers{Peers: []*peers.Peer{
			{PID: 1, Name: "alpha", IPAddr: "127.0.0.1", Port: 6001},
			{PID: 2, Name: "bravo", IPAddr: "127.0.0.1", Port: 6002},
		}},
		members: []membership.Member{
			{Name: "alpha", PID: 1, Addr: addr("127.0.0.1:7001"), Status: membership.StatusAlive, Since: now, Version: "0.1.0", Local: true},
			{Name: "bravo", PID: 2, Addr: addr("127.0.0.1:7002"), Status: membership.StatusAlive, Since: now.Add(-time.Minute), Version: "0.1.0", RTT: time.Millisecond},
		},
		views: make(chan membership.View),
	}
}

func (f *fakeNode) Context() context.Context { return context.Background() }
func (f *fakeNode) KV() *kv.Store            { return nil } // see keyAgent
func (f *fakeNode) Status() kith.Status      { return f.status }

func (f *fakeNode) Peers() *peers.Peers          { return f.list.Clone() }
func (f *fakeNode) Members() []membership.Member { return f.members }

func (f *fakeNode) WatchPeers(context.Context) iter.Seq2[peers.Change, error] {
	return func(func(peers.Change, error) bool) {}
}

func (f *fakeNode) WatchMembers(ctx context.Context) iter.Seq2[membership.View, error] {
	return func(yield func(membership.View, error) bool) {
		view := membership.View{Members: f.members}
		for yield(view, nil) {
			select {
			case view = <-f.views:
			case <-ctx.Done():
				return
			}
		}
	}
}

// serveFake serves f and returns the address for --api.
func serveFake(t *testing.T, f *fakeNode, token string) string {
	t.Helper()
	srv := httptest.NewServer(httpapi.New(f, httpapi.Options{Token: token}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv.Listener.Addr().String()
}

func TestNodes(t *testing.T) {
	f := newFakeNode()
	api := serveFake(t, f, "")
	cli(t, "nodes", "--api", api).want(t, exitOK, "PID", "alpha", "this agent", "bravo", "alive", "1m", "1ms")
	got := decode[httpapi.Nodes](t, cli(t, "-json", "-api", "http://"+api+"/", "nodes").want(t, exitOK).out)
	if len(got.Nodes) != 2 || got.Nodes[1].Name != "bravo" {
		t.Errorf("nodes --json: %+v", got)
	}

	f.members[1].Status = membership.StatusFailed
	f.members[1].PID = 9
	f.members = append(f.members, membership.Member{
		Name: "zulu", Status: membership.StatusAlive, Unreachable: true, Reason: "connection \x1b[31mrefused",
	})
	r := cliWith(t, "", map[string]string{"KITH_API": api}, "nodes").want(t, exitUnhealthy, "failed", "not in the peers file",
		"pid 2 in the peers file", "unreachable from here: connection ?[31mrefused")
	if strings.Contains(r.out, "\x1b") {
		t.Errorf("a control character of a stranger reaches the terminal: %q", r.out)
	}
	cli(t, "nodes", "--api", api, "--json").want(t, exitUnhealthy, `"failed"`)

	// What was taken off the list may be dead; so says kith status.
	if err := f.list.Remove("bravo"); err != nil {
		t.Fatal(err)
	}
	if r := cli(t, "nodes", "--api", api).want(t, exitOK, "failed", "-"); strings.Contains(r.out, "mistakes") {
		t.Errorf("the peers file is called bad:\n%s", r.out)
	}
	f.status.PeersError = "peers: the list has 2 faults:\none\nanother"
	cli(t, "nodes", "--api", api).want(t, exitOK, "\n\nthe peers file has mistakes, the last good list stays: kith status\n")
}

func TestStatus(t *testing.T) {
	f := newFakeNode()
	api := serveFake(t, f, "")
	cli(t, "status", "--api", api).want(t, exitOK, "alpha (pid 1) of cluster test is healthy", "up for 1h", "encrypted", "in memory", "/etc/kith/peers.json", "2 alive")
	f.status.PeersError = "the list has 2 faults:\nline 3 is odd\nline 4 as well"
	f.status.Problems = []string{"charlie is missing: start it", "the newest list of peers is not in force: " + f.status.PeersError}
	f.status.Dir = "/var/lib/kith/alpha"
	f.status.Failed = 1
	f.status.Sync = &peers.SyncState{URL: "https://config.example/", LastError: "503"}
	f.status.Missing = []kith.MissingPeer{{Name: "charlie", PID: 3, Addr: "10.0.0.3:7000", Attempts: 4, LastError: "refused", LastTry: time.Now(), NextTry: time.Now().Add(time.Hour)}}
	cli(t, "status", "--api", api).want(t, exitUnhealthy, "not healthy", "- charlie is missing: start it",
		"its newest content is not in force, see below\n",
		"  - the newest list of peers is not in force: the list has 2 faults:\n    line 3 is odd\n    line 4 as well\n",
		"/var/lib/kith/alpha", "1 failed", "config.example", "never yet", "503", "charlie (pid 3)", "4×", "refused")
	s := decode[httpapi.Status](t, cli(t, "status", "--api", api, "--json").want(t, exitUnhealthy).out)
	if s.Healthy || len(s.Missing) != 1 || len(s.Problems) != 2 {
		t.Errorf("status --json: %+v", s)
	}
}

func TestNoAgent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := ln.Addr().String()
	ln.Close()
	for _, line := range []string{"nodes", "nodes --watch", "status", "status --json"} {
		r := cli(t, append(strings.Fields(line), "--api", api)...).want(t, exitUnreachable, api, "is the agent running?", "kith agent", "$KITH_API")
		if r.out != "" {
			t.Errorf("kith %s prints %q", line, r.out)
		}
	}
}

func TestToken(t *testing.T) {
	t.Chdir(t.TempDir())
	api := serveFake(t, newFakeNode(), "sesame")
	write(t, "token", "sesame\n")
	write(t, "wrong", "simsim\n")
	write(t, "empty", "\n")
	cli(t, "nodes", "--api", api).want(t, exitFailed, "401", "--token-file")
	cli(t, "nodes", "--api", api, "--token-file", "token").want(t, exitOK)
	cliWith(t, "", map[string]string{"KITH_TOKEN_FILE": "token", "KITH_API": api}, "status").want(t, exitOK)
	cli(t, "nodes", "--api", api, "--token-file", "wrong").want(t, exitFailed, "the token is wrong")
	cli(t, "nodes", "--api", api, "--token-file", "empty").want(t, exitFailed, "empty is empty", "kith keygen")
	cli(t, "nodes", "--api", api, "--token-file", "none").want(t, exitFailed, "none")
}

// TestChangeLines: each line has the time of the change, whatever the member's
// state is since.
func TestChangeLines(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 10, minute, 0, 0, time.Local) }
	node := httpapi.NodeInfo{Name: "bravo", Status: "alive", Since: at(1)}
	event := func(fault string, changes ...httpapi.NodeChange) httpapi.NodesEvent {
		return httpapi.NodesEvent{Nodes: httpapi.Nodes{Nodes: []httpapi.NodeInfo{node}, PeersError: fault}, Changes: changes}
	}
	var lines changeLines
	for _, step := range []struct {
		event httpapi.NodesEvent
		want  string
	}{
		{event(""), "10:09:00  bravo alive\n"},
		{event("", httpapi.NodeChange{Kind: "unreachable", Name: "bravo", Time: at(5), Since: at(1), Reason: "refused"}), "10:05:00  bravo unreachable  refused\n"},
		{event("", httpapi.NodeChange{Kind: "updated", Name: "bravo"}), "10:09:00  bravo updated\n"},
		{event("line 3"), "10:09:00  " + fileMistakes + "\n"},
		{event("line 3"), ""},
		{event(""), "10:09:00  the peers file is in force again\n"},
	} {
		if got := lines.next(step.event, at(9)); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

// watching runs kith nodes --watch until stop, which returns its exit code.
func watching(t *testing.T, out *lockedBuffer, args ...string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"nodes", "--watch"}, args...), strings.NewReader(""), out, out, func(string) string { return "" })
	}()
	stop = func() int {
		cancel()
		return <-ended
	}
	return stop
}

func TestNodesWatch(t *testing.T) {
	f := newFakeNode()
	api := serveFake(t, f, "")
	var lines, events lockedBuffer
	stopLines := watching(t, &lines, "--api", api)
	stopEvents := watching(t, &events, "--api", api, "--json")
	eventually(t, "both watches have begun", func() bool {
		return strings.Contains(lines.String(), "bravo alive") && strings.Contains(events.String(), "\n")
	})

	gone := f.members[1]
	gone.Status = membership.StatusFailed
	view := membership.View{
		Members: []membership.Member{f.members[0], gone},
		Changes: []membership.Change{{Kind: membership.Failed, Member: gone, Previous: f.members[1]}},
		Skipped: 2,
	}
	f.views <- view
	f.views <- view
	eventually(t, "both watches show the change", func() bool {
		return strings.Contains(lines.String(), "bravo failed  127.0.0.1:7002\n") && strings.Count(events.String(), "\n") == 2
	})
	for _, line := range strings.Split(lines.String(), "\n")[:2] {
		if at := f.members[1].Since.Local().Format(time.TimeOnly); strings.HasPrefix(line, at) {
			t.Errorf("the first lines tell another time than that of the watch: %s", line)
		}
	}
	for name, code := range map[string]int{"lines": stopLines(), "events": stopEvents()} {
		if code != exitOK {
			t.Errorf("the watch of %s ends with %d\n%s%s", name, code, &lines, &events)
		}
	}
	if !strings.Contains(lines.String(), "(2 changes were missed)") {
		t.Errorf("what was missed is not told:\n%s", &lines)
	}
	dec := json.NewDecoder(bytes.NewBufferString(events.String()))
	var first, second httpapi.NodesEvent
	if err := dec.Decode(&first); err != nil || len(first.Changes) != 0 || len(first.Nodes.Nodes) != 2 {
		t.Errorf("the first event is %+v, %v", first, err)
	}
	if err := dec.Decode(&second); err != nil || len(second.Changes) != 1 || second.Changes[0].Kind != "failed" {
		t.Errorf("the second event is %+v, %v", second, err)
	}
}
