package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/transport"
)

// speakers starts two nodes and returns bravo, and the API of alpha.
func speakers(t *testing.T) (api string, bravo *kith.Node) {
	t.Helper()
	c := kithtest.Start(t, 2, kithtest.Options{})
	alpha := c.Node("alpha")
	if _, err := alpha.Request(t.Context(), "alpha", transport.SubjectPing, nil); errors.Is(err, kith.ErrNoMessages) {
		t.Skipf("NOT TESTED: %v", err)
	}
	// So that subscriptions are told to whoever is there, and all are.
	if err := errors.Join(alpha.Peer("bravo").Await(t.Context()), c.Node("bravo").Peer("alpha").Await(t.Context())); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(httpapi.New(alpha, httpapi.Options{}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv.Listener.Addr().String(), c.Node("bravo")
}

func TestCallCommand(t *testing.T) {
	api, bravo := speakers(t)
	env := map[string]string{"KITH_API": api}
	kithWith := func(stdin string, args ...string) result { return cliWith(t, stdin, env, args...) }
	for subject, fn := range map[string]transport.Handler{
		"shout": func(_ context.Context, m transport.Message) (transport.Message, error) {
			return transport.Message{Body: []byte(strings.ToUpper(string(m.Body)) + m.Header["mark"]), Header: transport.Header{"k": "v"}}, nil
		},
		"fail": func(context.Context, transport.Message) (transport.Message, error) {
			return transport.Message{}, transport.Coded("empty", errors.New("nothing\x1b[31m there"))
		},
		"hang": func(ctx context.Context, _ transport.Message) (transport.Message, error) {
			<-ctx.Done()
			return transport.Message{}, ctx.Err()
		},
	} {
		if err := bravo.Handle(subject, fn); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		stdin string
		args  []string
		out   string
	}{
		{"", []string{"call", "bravo", "shout", "hey"}, "HEY"},
		{"from\nstdin", []string{"call", "bravo", "shout"}, "FROM\nSTDIN"},
		{"a dash", []string{"call", "bravo", "shout", "-"}, "A DASH"},
		{"", []string{"call", "bravo", "shout", "x", "-header", "mark=!", "--fail-fast", "--timeout", "20s"}, "X!"},
		{"", []string{"call", "bravo", "shout", "x", "--one-way"}, ""},
		{"", []string{"call", "alpha", "kith.ping", "self"}, "self"},
	} {
		if r := kithWith(tt.stdin, tt.args...).want(t, exitOK); r.out != tt.out || r.err != "" {
			t.Errorf("kith %q prints %q and %q, want %q", tt.args, r.out, r.err, tt.out)
		}
	}
	if a := decode[answer](t, kithWith("", "call", "bravo", "shout", "x", "--json").out); a.Peer != "bravo" || string(a.Body) != "X" || a.Header["k"] != "v" || a.RoundTripMS <= 0 {
		t.Errorf("call --json: %+v", a)
	}
	if r := kithWith("", "call", "bravo", "fail").want(t, exitFailed, "empty: nothing", "(done)"); strings.Contains(r.err, "\x1b") {
		t.Errorf("the peer's text reaches the terminal as it is: %q", r.err)
	}
	kithWith("", "call", "bravo", "nothing").want(t, exitAbsent, "no handler")
	kithWith("", "call", "zulu", "shout").want(t, exitAbsent, "no such peer")
	kithWith("", "call", "bravo", "hang", "--timeout", "200ms").want(t, exitUnknown, "timed out", "unknown")
	kithWith("", "call", "bravo").want(t, exitUsage, "SUBJECT is missing")
	kithWith("", "call", "bravo", "shout", "x", "y").want(t, exitUsage, "too many")
	kithWith("", "call", "bravo", "shout", "--header", "x").want(t, exitUsage, "name=value")
	kithWith(strings.Repeat("x", httpapi.MaxMessage+1), "call", "bravo", "shout").want(t, exitFailed, "more than")

	kithWith("", "info", "bravo").want(t, exitOK, "bravo", kith.Version, "shout", "kith.ping", "HANDLED")
	info := decode[transport.Info](t, kithWith("", "info", "bravo", "--json").out)
	if info.Name != "bravo" || len(info.Subjects) != 5 {
		t.Errorf("info --json: %+v", info)
	}

	kithWith("", "ping", "bravo", "-count", "2", "--interval", "10ms").want(t, exitOK, "bravo: round=2 time=", "ANSWERED")
	kithWith("", "ping", "--count", "1").want(t, exitOK, "alpha: round=1", "bravo: round=1")
	if one := decode[trip](t, kithWith("", "ping", "bravo", "--count", "1", "--json").out); one.Peer != "bravo" || !one.OK || one.Took <= 0 {
		t.Errorf("ping --json: %+v", one)
	}
	kithWith("", "ping", "zulu").want(t, exitAbsent, "no such peer")
	kithWith("", "ping", "--interval", "0").want(t, exitUsage, "--interval")

	bravo.Close()
	eventually(t, "alpha knows that bravo is gone", func() bool {
		return kithWith("", "call", "bravo", "shout", "x", "--fail-fast").code == exitPeerDown
	})
	kithWith("", "call", "bravo", "shout", "x", "--timeout", "100ms").want(t, exitPeerDown, "not done")
	kithWith("", "ping", "--count", "2", "--interval", "10ms", "--timeout", "100ms").want(t, exitUnhealthy, "bravo: round=2 no answer", "alpha: round=2 time=")
	cli(t, "ping", "--api", "127.0.0.1:1").want(t, exitUnreachable)
	cli(t, "call", "bravo", "shout", "x", "--api", "127.0.0.1:1").want(t, exitUnreachable)
}

// TestPingUntilInterrupted: an interrupt is how it ends, with a summary.
func TestPingUntilInterrupted(t *testing.T) {
	api, _ := speakers(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, errs lockedBuffer
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"ping", "bravo", "--interval", "10ms", "--api", api}, strings.NewReader(""), &out, &errs, func(string) string { return "" })
	}()
	eventually(t, "three rounds", func() bool { return strings.Contains(out.String(), "round=3") })
	interrupt()
	if c := <-code; c != exitOK || !strings.Contains(out.String(), "ANSWERED") {
		t.Errorf("the code is %d\n%s%s", c, &out, &errs)
	}
}

func TestPublishAndSubscribeCommands(t *testing.T) {
	api, bravo := speakers(t)
	var out, errs lockedBuffer
	code := make(chan int)
	subscribe := func(args ...string) {
		out, errs = lockedBuffer{}, lockedBuffer{}
		args = append([]string{"subscribe", "--api", api}, args...)
		go func() {
			code <- run(t.Context(), args, strings.NewReader(""), &out, &errs, func(string) string { return "" })
		}()
		eventually(t, "it listens", func() bool {
			return strings.Contains(errs.String()+out.String(), "listening") || strings.Contains(out.String(), "ready")
		})
	}
	subscribe("news/", "--count", "2")
	if r := cli(t, "publish", "news/1", "rain", "--header", "k=v", "--api", api).want(t, exitOK); r.out != "1\n" {
		t.Errorf("publish prints %q", r.out)
	}
	if _, err := bravo.Publish(t.Context(), "news/2", []byte("su\x1bn")); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != exitOK || out.String() != "alpha  news/1  \"rain\"  (k=v)\nbravo  news/2  \"su\\x1bn\"\n" {
		t.Errorf("the code is %d\n%s%s", c, &out, &errs)
	}
	subscribe("", "--count", "1", "--raw")
	cliWith(t, "\xffraw", map[string]string{"KITH_API": api}, "publish", "x").want(t, exitOK)
	if c := <-code; c != exitOK || out.String() != "\xffraw" {
		t.Errorf("the code is %d\n%q%s", c, &out, &errs)
	}
	subscribe("", "--count", "1", "--json")
	if r := cli(t, "publish", "x", "y", "--json", "--api", api).want(t, exitOK); !strings.Contains(r.out, `"reached": 1`) {
		t.Errorf("publish --json prints %q", r.out)
	}
	if c := <-code; c != exitOK || !strings.Contains(out.String(), `"topic":"x"`) {
		t.Errorf("the code is %d\n%s%s", c, &out, &errs)
	}
	cli(t, "publish", "", "y", "--api", api).want(t, exitFailed, "not a subject")
	cli(t, "subscribe").want(t, exitUsage, "PREFIX is missing")
}

// TestMessageCommandsWithoutMessages: an agent that carries no messages says why.
func TestMessageCommandsWithoutMessages(t *testing.T) {
	node := kithtest.Start(t, 1, kithtest.Options{Configure: func(_ string, cfg *kith.Config) { cfg.Messages.Off = true }}).Nodes()[0]
	srv := httptest.NewServer(httpapi.New(node, httpapi.Options{}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	api := srv.Listener.Addr().String()
	for _, line := range []string{"call alpha s x", "publish s x", "subscribe s", "info alpha", "ping alpha", "ping"} {
		cli(t, append(strings.Fields(line), "--api", api)...).want(t, exitFailed, "Messages.Off")
	}
}

// TestCurveKeys: what is printed is what nodes expect of that name.
func TestCurveKeys(t *testing.T) {
	dir := t.TempDir()
	key := secret.NewKey()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte(key.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := decode[curveKeys](t, cli(t, "keygen", "curve", "reporter", "--key-file", file, "--json").want(t, exitOK).out)
	if pair := key.CurveClient("reporter"); keys.Server != key.CurveServer().Public || keys.Public != pair.Public || keys.Secret != pair.Secret {
		t.Errorf("the keys are %+v", keys)
	}
	env := map[string]string{"KITH_KEY_FILE": file}
	out := filepath.Join(dir, "reporter.env")
	cliWith(t, "", env, "keygen", "curve", "reporter", "-o", out).want(t, exitOK, "reporter.env")
	text, err := os.ReadFile(out)
	info, _ := os.Stat(out)
	want := fmt.Sprintf("KITH_SERVER_KEY='%s'\nKITH_CLIENT_KEY='%s'\nKITH_CLIENT_SECRET='%s'\n", keys.Server, keys.Public, keys.Secret)
	if err != nil || string(text) != want || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: %s", err, info.Mode(), text)
	}
	cliWith(t, "", env, "keygen", "curve", "reporter", "-o", out).want(t, exitFailed, "exists")
	cliWith(t, "", env, "keygen", "curve", "").want(t, exitUsage)
	cli(t, "keygen", "curve").want(t, exitUsage, "NAME is missing")
	cli(t, "keygen", "curve", "x", "--key-file", filepath.Join(dir, "none")).want(t, exitFailed, "--key-file")
}

// TestAgentsTalk: real processes. One is killed, and comes back; a call that waits for it
// is answered.
func TestAgentsTalk(t *testing.T) {
	needSignals(t)
	dir := t.TempDir()
	pair(t, dir)
	agent := func(name string) *program {
		return launch(t, dir, "agent", "--name", name, "--dir", name, "--http", "127.0.0.1:0", "--json", "--message-client", "reporter")
	}
	alpha, bravo := agent("alpha"), agent("bravo")
	api := alpha.ready(t).HTTP
	bravo.ready(t)
	if r := cli(t, "call", "bravo", "kith.ping", "hey", "--api", api); strings.Contains(r.err, "without ZeroMQ") {
		t.Skipf("NOT TESTED: %s", r.err)
	} else if r.want(t, exitOK); r.out != "hey" {
		t.Errorf("bravo echoes %q", r.out)
	}
	bravo.cmd.Process.Kill()
	bravo.wait()
	eventually(t, "alpha knows that bravo is gone", func() bool {
		return cli(t, "call", "bravo", "kith.ping", "hey", "--fail-fast", "--api", api).code == exitPeerDown
	})
	waiting := make(chan result)
	go func() { waiting <- cli(t, "call", "bravo", "kith.ping", "still here", "--timeout", "1m", "--api", api) }()
	agent("bravo").ready(t)
	if r := (<-waiting).want(t, exitOK); r.out != "still here" {
		t.Errorf("the call that waited prints %q", r.out)
	}
	cli(t, "ping", "--count", "1", "--api", api, "--timeout", "20s").want(t, exitOK)
}
