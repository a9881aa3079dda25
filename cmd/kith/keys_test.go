package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
)

// keyAgent serves a real node of one and returns the address for --api.
func keyAgent(t *testing.T) (api string, node *kith.Node) {
	t.Helper()
	node = kithtest.Start(t, 1, kithtest.Options{}).Nodes()[0]
	srv := httptest.NewServer(httpapi.New(node, httpapi.Options{}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv.Listener.Addr().String(), node
}

// brokenAgent answers everything with a status and a body.
func brokenAgent(t *testing.T, code int, body string) (api string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func TestKeys(t *testing.T) {
	api, _ := keyAgent(t)
	env := map[string]string{"KITH_API": api}
	kithWith := func(stdin string, args ...string) result { return cliWith(t, stdin, env, args...) }
	says := func(out string, args ...string) {
		t.Helper()
		if r := kithWith("", args...).want(t, exitOK); r.out != out || r.err != "" {
			t.Errorf("kith %q prints %q and %q, want %q", args, r.out, r.err, out)
		}
	}
	if r := kithWith("", "get", "a").want(t, exitAbsent, `no such key`); r.out != "" {
		t.Errorf("an absent key prints %q", r.out)
	}
	says("1\n", "set", "a", "one")
	says("one", "get", "a") // no line end added
	says("one", "get", "a", "-stale")
	if r := kithWith("\x00\xffraw\n", "set", "dir/b"); r.out != "2\n" {
		t.Errorf("set from standard input: %+v", r)
	}
	says("\x00\xffraw\n", "get", "dir/b")
	if r := kithWith("", "set", "empty").want(t, exitOK, "3"); r.err != "" {
		t.Error(r.err)
	}
	says("", "get", "empty")
	says("4\n", "set", "minus", "--", "-5")
	says("-5", "get", "minus")

	// Conditions: --rev is the new revision, as in the seed.
	kithWith("", "set", "a", "x", "--rev", "1").want(t, exitConflict, "it is at 1")
	says("5\n", "set", "a", "two", "-rev", "2")
	kithWith("", "set", "a", "x", "-if-rev", "4").want(t, exitConflict, `set "a": conflict`, "not done")
	says("6\n", "-if-rev", "5", "set", "a", "three")
	kithWith("", "set", "a", "x", "--if-absent").want(t, exitConflict)
	kithWith("", "set", "a", "x", "--rev=1").want(t, exitConflict, "absent")
	says("7\n", "set", "new", "x", "--rev=1")
	says("8\n", "set", "new2", "x", "--if-absent", "--ttl", "1h")
	kithWith("", "rm", "a", "--if-rev", "5").want(t, exitConflict)
	says("9\n", "rm", "a", "--if-rev", "6")
	says("9\n", "rm", "a") // gone already

	if e := decode[httpapi.Entry](t, kithWith("", "get", "dir/b", "--json").out); e.Key != "dir/b" || string(e.Value) != "\x00\xffraw\n" || e.Revision != 2 {
		t.Errorf("get --json: %+v", e)
	}
	if c := decode[changed](t, kithWith("", "set", "new", "y", "--json").out); c.Key != "new" || c.Revision != 10 {
		t.Errorf("set --json: %+v", c)
	}
	says("dir/b\nempty\nminus\nnew\nnew2\n", "ls")
	says("new\nnew2\n", "ls", "ne")
	says("dir/b\nempty\n", "ls", "--limit", "2")
	says(`["dir/b","empty","minus","new","new2"]`+"\n", "ls", "--json")
	says("[]\n", "ls", "--json", "nosuch")
	kithWith("", "ls", "-l").want(t, exitOK, "KEY", "REVISION", "dir/b", "6 B", "expires in")
	if all := decode[[]httpapi.Entry](t, kithWith("", "ls", "--long", "--json", "ne").out); len(all) != 2 || all[1].TTL <= 0 {
		t.Errorf("ls --long --json: %+v", all)
	}
	says("deleted 2 keys\n", "clear", "--prefix", "ne", "--yes")
	says("deleted 3 keys\n", "clear", "--yes")
	kithWith("", "clear", "--yes", "--json").want(t, exitOK, `"deleted": 0`)
	says("", "ls")

	// Bad input.
	kithWith(strings.Repeat("x", httpapi.MaxValue+1), "set", "big").want(t, exitFailed, "more than 1048576 bytes")
	kithWith("", "set", strings.Repeat("k", 2000), "v").want(t, exitFailed, "too large", "limit")
	kithWith("", "get", "\xff").want(t, exitFailed, "UTF-8")
	kithWith("", "get", "").want(t, exitFailed, "empty")
	kithWith("", "rm", "").want(t, exitFailed, "empty")
}

// TestManyKeys: a listing in several steps is whole.
func TestManyKeys(t *testing.T) {
	api, node := keyAgent(t)
	total := nameChunk + 5
	for from := 0; from < total; from += 100 {
		txn := kv.Txn()
		for i := from; i < min(from+100, total); i++ {
			txn.Then(kv.Put(fmt.Sprintf("k%06d", i), []byte("v")))
		}
		if _, err := node.KV().Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"ls", "ls --json", "ls --long"} {
		r := cli(t, append(strings.Fields(line), "--api", api)...).want(t, exitOK, "k000000", fmt.Sprintf("k%06d", total-1))
		if n := strings.Count(r.out, "k0"); n != total {
			t.Errorf("kith %s lists %d keys, want %d", line, n, total)
		}
	}
	for _, line := range []string{"ls --limit 10003", "ls --long --limit 10003"} {
		if n := strings.Count(cli(t, append(strings.Fields(line), "--api", api)...).out, "k0"); n != 10003 {
			t.Errorf("kith %s lists %d keys", line, n)
		}
	}
}

// TestNamesOnATerminal: a name does not steer a terminal; elsewhere it stays as it is.
func TestNamesOnATerminal(t *testing.T) {
	for terminal, want := range map[bool]string{true: "e?[31m\n", false: "e\x1b[31m\n"} {
		var out bytes.Buffer
		(&app{stdout: &out, terminal: terminal}).sayNames([]string{"e\x1b[31m"})
		if out.String() != want {
			t.Errorf("on a terminal (%v) %q is printed", terminal, out.String())
		}
	}
}

func TestTxnCommand(t *testing.T) {
	api, _ := keyAgent(t)
	txn := func(stdin string) result { return cliWith(t, stdin, map[string]string{"KITH_API": api}, "txn") }
	if r := decode[httpapi.TxnResult](t, txn(`{"then":[{"put":"a","value":"1"}]}`).want(t, exitOK).out); !r.Succeeded || r.Revision != 1 {
		t.Errorf("txn: %+v", r)
	}
	r := txn(`{"if":[{"key":"a","value":"2"}],"else":[{"get":"a"}]}`).want(t, exitConflict, `"value": "1"`)
	if r.err != "" {
		t.Errorf("the else branch complains: %s", r.err)
	}
	txn(`{"then":[{"putt":"a"}]}`).want(t, exitFailed, "unknown field", "standard input")
	txn(`{"then":[{"put":"a"}]}`).want(t, exitFailed, "without a value", "not done")
	txn(``).want(t, exitFailed, "EOF")

	// The example in the help works.
	example := (&app{}).txnCommand().Example
	_, body, _ := strings.Cut(example, "\n")
	body, _, _ = strings.Cut(body, "END")
	txn(body).want(t, exitConflict, `"results"`)
}

// TestKeyExitCodes: what became of a change decides, then why.
func TestKeyExitCodes(t *testing.T) {
	problem := func(reason, outcome string) string {
		text, _ := json.Marshal(map[string]string{"error": "bravo does not answer", "reason": reason, "outcome": outcome})
		return string(text)
	}
	for _, tt := range []struct {
		code     int
		body     string
		get, set int
	}{
		{503, problem("no quorum", "not done"), exitNoMajority, exitNoMajority},
		{504, problem("no quorum", "unknown"), exitUnknown, exitUnknown},
		{504, problem("", "unknown"), exitUnknown, exitUnknown},
		{429, problem("overloaded", "not done"), exitFailed, exitFailed},
		{503, problem("not a member", "not done"), exitFailed, exitFailed},
		{412, problem("conflict", "not done"), exitFailed, exitConflict},
		{408, problem("timeout", "not done"), exitTimeout, exitTimeout},
		{502, "bad gateway", exitFailed, exitUnknown},
		{404, "nothing here", exitFailed, exitFailed},
		{200, "hello", exitUnknown, exitUnknown}, // not of this API: nobody knows what it did
	} {
		api := brokenAgent(t, tt.code, tt.body)
		cli(t, "get", "k", "--api", api).want(t, tt.get)
		cli(t, "set", "k", "v", "--api", api).want(t, tt.set)
	}
	ln := httptest.NewServer(nil)
	away := ln.Listener.Addr().String()
	ln.Close()
	for _, line := range []string{"get k", "set k v", "rm k", "ls", "clear --yes", "watch k", "watch --prefix k", "fire k", "sync k --output f --once"} {
		cli(t, append(strings.Fields(line), "--api", away)...).want(t, exitUnreachable, "is the agent running?")
	}
}

// TestInterruptedWrite: what a signal cuts off may have been done, and that is said.
func TestInterruptedWrite(t *testing.T) {
	reached := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then the end of the connection is noticed
		reached <- struct{}{}
		<-r.Context().Done()
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"set", "k", "v", "--api", srv.URL}, strings.NewReader(""), &out, &errs, func(string) string { return "" })
	result{code, out.String(), errs.String()}.want(t, exitInterrupted, "interrupted", "unknown")
}

func TestWatchOne(t *testing.T) {
	api, node := keyAgent(t)
	if _, err := node.KV().Set(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if r := cli(t, "watch", "k", "--rev", "7", "--timeout", "1", "--api", api); r.code != exitTimeout { // not reached yet
		t.Errorf("a revision to come: %+v", r)
	}
	cli(t, "watch", "k", "-rev", "1", "-timeout", "20ms", "--api", api).want(t, exitTimeout, "not done")
	if _, err := node.KV().Fire(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := node.KV().Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if r := cli(t, "watch", "k", "--rev", "1", "--api", api).want(t, exitOK); r.out != "3\n" {
		t.Errorf("what has changed: %+v", r)
	}

	// rev=0 waits for the next change, whenever that is.
	var out lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(t.Context(), []string{"watch", "k", "--json", "--api", api}, strings.NewReader(""), &out, &out, func(string) string { return "" })
	}()
	var first kv.Revision
	eventually(t, "the watch ends", func() bool {
		revision, err := node.KV().Fire(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = revision
		}
		return len(ended) > 0
	})
	if code := <-ended; code != exitOK {
		t.Errorf("watch ends with %d: %s", code, &out)
	}
	if c := decode[changed](t, out.String()); c.Key != "k" || c.Revision < first {
		t.Errorf("watch --json: %+v", c)
	}
	r := cli(t, "fire", "k", "--api", api).want(t, exitOK)
	at, _ := strconv.Atoi(strings.TrimSpace(r.out))
	cli(t, "fire", "k", "--if-rev", fmt.Sprint(at-1), "--api", api).want(t, exitConflict)
	cli(t, "fire", "k", "--rev", fmt.Sprint(at+1), "--api", api).want(t, exitOK, fmt.Sprint(at+1))
}

func TestWatchPrefix(t *testing.T) {
	api, node := keyAgent(t)
	set := func(key, value string) {
		t.Helper()
		if _, err := node.KV().Set(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	set("a/x", "old\x1b[31m")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lines, objects lockedBuffer
	codes := make(chan int, 2)
	watch := func(out *lockedBuffer, args ...string) {
		codes <- run(ctx, append([]string{"watch", "--prefix", "a/", "--api", api}, args...), strings.NewReader(""), out, out, func(string) string { return "" })
	}
	go watch(&lines)
	go watch(&objects, "-json")
	eventually(t, "both have the state", func() bool {
		return strings.Contains(lines.String(), "that is all") && strings.Count(objects.String(), "\n") == 2
	})
	set("b", "other")
	set("a/y", strings.Repeat("y", 200))
	if _, err := node.KV().Delete(t.Context(), "a/x"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both have the changes", func() bool {
		return strings.Contains(lines.String(), "deleted") && strings.Count(objects.String(), "\n") == 4
	})
	cancel()
	for range 2 {
		if code := <-codes; code != exitOK {
			t.Errorf("the code is %d", code)
		}
	}
	want := `1  a/x is  "old\x1b[31m"
1  (that is all; changes follow)
3  a/y written  "` + strings.Repeat("y", 60) + `"… (200 B)
4  a/x deleted
`
	if lines.String() != want {
		t.Errorf("got\n%swant\n%s", &lines, want)
	}
	var changes []httpapi.KeyChange
	for dec := json.NewDecoder(strings.NewReader(objects.String())); dec.More(); {
		var c httpapi.KeyChange
		if err := dec.Decode(&c); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, c)
	}
	if len(changes) != 4 || changes[1].Kind != "synced" || changes[3].Previous != 1 || !changes[3].Last {
		t.Errorf("--json: %+v", changes)
	}
	var after lockedBuffer
	ctx2, cancel2 := context.WithTimeout(t.Context(), time.Minute)
	defer cancel2()
	go func() {
		codes <- run(ctx2, []string{"watch", "--prefix", "", "--after", "3", "--api", api}, strings.NewReader(""), &after, &after, func(string) string { return "" })
	}()
	eventually(t, "it goes on", func() bool { return after.String() == "4  a/x deleted\n" })
	cancel2()
	<-codes
}

func TestStatusAgreement(t *testing.T) {
	f := newFakeNode()
	api := serveFake(t, f, "")
	f.status.Agreement = &kith.AgreementStatus{
		ClusterID: "c0ffee", State: "leader", Term: 7, Leader: "alpha", RaftID: 1, Applied: 90, Committed: 91, Revision: 55, Keys: 3,
		StateBytes: 2048, LogBytes: 16 << 20, SnapshotBytes: 1536, SnapshotIndex: 40, SyncP50: 200 * time.Microsecond, SyncP99: 2 * time.Millisecond,
		Members: []kith.AgreementMember{
			{Name: "alpha", RaftID: 1, PID: 1, Voter: true, Connected: true, Match: 91, Active: true},
			{Name: "bravo", RaftID: 2, PID: 2, Voter: true, Match: 80, Lag: 11},
			{Name: "charlie", RaftID: 3, PID: 3, Connected: true, Lag: 50, SnapshotSent: 512, SnapshotTotal: 1536},
		},
	}
	cli(t, "status", "--api", api).want(t, exitOK, "cluster ID  c0ffee", "leader, term 7", "3, revision 55, 2.0 KiB", "16.0 MiB, applied 90 of 91",
		"1.5 KiB, up to 40", "200µs to make a write durable", "MEMBER", "voter", "learner", "11", "not connected", "gets a snapshot, 512 B of 1.5 KiB", "does not answer")
	f.status.Agreement.State, f.status.Agreement.Leader = "follower", "bravo"
	cli(t, "status", "--api", api).want(t, exitOK, "follower of bravo, term 7")
	f.status.Agreement.Leader = ""
	f.status.Problems = []string{"there is no leader"}
	cli(t, "status", "--api", api).want(t, exitUnhealthy, "there is no leader, term 7")
	f.status.Agreement = &kith.AgreementStatus{State: "founding", Waiting: []string{"bravo: refused"}}
	r := cli(t, "status", "--api", api).want(t, exitUnhealthy, "founding", "waits for bravo: refused")
	if strings.Contains(r.out, "MEMBER") || strings.Contains(r.out, "revision") {
		t.Errorf("before the birth it tells\n%s", r.out)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 40: "5.0 TiB", 1 << 55: "32768.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
