//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

// messenger starts one on loopback, that admits a client by the name of dashboard.
func messenger(t *testing.T, key secret.Key) (*transport.Messenger, *Engine) {
	t.Helper()
	e := New(Config{Endpoint: "tcp://127.0.0.1:*", Key: key, Clients: []string{"dashboard"}})
	m, err := transport.New(transport.Config{Name: "alpha", Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	err = m.Handle("shout", func(_ context.Context, r transport.Message) (transport.Message, error) {
		if r.Peer != "" {
			t.Errorf("a client called itself %q", r.Peer)
		}
		if len(r.Body) == 0 {
			return transport.Message{}, transport.Coded("empty", errors.New("nothing to shout"))
		}
		return transport.Message{Body: []byte(strings.ToUpper(string(r.Body)))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, e
}

// plain makes a head as docs/wire.md has it.
func plain(kind byte, id uint64, value uint32, subject string) []byte {
	head := binary.BigEndian.AppendUint64([]byte{kind, 0}, id)
	head = binary.BigEndian.AppendUint32(head, value)
	return append(binary.BigEndian.AppendUint16(head, uint16(len(subject))), subject...)
}

// eachWay runs a test without and with a key, of the cluster and of the client.
func eachWay(t *testing.T, test func(t *testing.T, key secret.Key, client secret.CurvePair)) {
	t.Run("open", func(t *testing.T) { test(t, secret.Key{}, secret.CurvePair{}) })
	t.Run("curve", func(t *testing.T) {
		key := secret.NewKey()
		test(t, key, key.CurveClient("dashboard"))
	})
}

// TestPlainForm is docs/wire.md, as a client sees it.
func TestPlainForm(t *testing.T) {
	eachWay(t, func(t *testing.T, key secret.Key, client secret.CurvePair) {
		m, e := messenger(t, key)
		s := connect(t, &node{Engine: e}, key.CurveServer().Public, client)
		s.must(s.Connect(e.Endpoint()))
		expect := func(kind byte, id uint64, value uint32, subject, body string) {
			t.Helper()
			frames, err := s.RecvMessageBytes(0)
			if err != nil || len(frames) != 2 || string(frames[0]) != string(plain(kind, id, value, subject)) || string(frames[1]) != body {
				t.Fatalf("got %q, %v; want kind %d, id %d, value %d, %q and %q", frames, err, kind, id, value, subject, body)
			}
		}
		s.send(plain(1, 7, 20_000, "shout"), "hey")
		expect(2, 7, 0, "", "HEY")
		s.send(plain(1, 8, 0, "shout")) // no body frame at all
		expect(3, 8, 1, "empty", "nothing to shout")
		s.send(plain(1, 9, 0, "nobody"), "x")
		frames, err := s.RecvMessageBytes(0)
		if err != nil || len(frames) != 2 || frames[0][0] != 3 || binary.BigEndian.Uint32(frames[0][10:]) != 3 {
			t.Fatalf("a request without a handler: %q, %v", frames, err)
		}
		s.send(plain(7, 10, 0, "news."))
		expect(9, 10, 0, "", "")
		if n, err := m.Publish(t.Context(), "news.today", []byte("good")); n != 1 || err != nil {
			t.Errorf("published to %d, %v", n, err)
		}
		expect(6, 0, 0, "news.today", "good")
		m.Publish(t.Context(), "gossip", nil)
		s.send(plain(1, 11, 0, "shout"), strings.Repeat("x", 1<<20)) // and nothing before the answer
		expect(2, 11, 0, "", strings.Repeat("X", 1<<20))

		s.send([]byte{frameBundle, 1, 2, 3}) // the peers' form is not for clients
		s.refused(refusedMalformed)
		s.send(plain(1, 12, 0, "shout"), "again")
		expect(2, 12, 0, "", "AGAIN")
	})
}

// TestClientsThatHangUp are forgotten, and their subscriptions with them.
func TestClientsThatHangUp(t *testing.T) {
	m, e := messenger(t, secret.Key{})
	s := connect(t, &node{Engine: e}, "", secret.CurvePair{})
	s.must(s.Connect(e.Endpoint()))
	s.send(plain(7, 1, 0, ""))
	if _, err := s.RecvMessageBytes(0); err != nil {
		t.Fatal(err)
	}
	if n, _ := m.Publish(t.Context(), "x", nil); n != 1 {
		t.Fatalf("published to %d", n)
	}
	s.must(s.SetLinger(0))
	s.must(s.Close())
	patience := time.Now().Add(20 * time.Second)
	for routes := 1; routes > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(patience) {
			t.Fatal("who hung up is still known")
		}
		m.Publish(t.Context(), "x", nil)
		count := make(chan int)
		e.accept.socket.post(func() { count <- len(e.accept.routes) })
		routes = <-count
	}
	if n, _ := m.Publish(t.Context(), "x", nil); n != 0 {
		t.Errorf("published to %d, after the only one hung up", n)
	}
}

// TestPythonClient runs examples/python-client where pyzmq is installed.
func TestPythonClient(t *testing.T) {
	python := findPython(t)
	script, err := filepath.Abs("../../examples/python-client/client.py")
	if err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, key secret.Key, client secret.CurvePair) {
		m, e := messenger(t, key)
		run := func(args ...string) *exec.Cmd {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			t.Cleanup(cancel)
			cmd := exec.CommandContext(ctx, python, append([]string{script, e.Endpoint()}, args...)...)
			if !key.IsZero() {
				cmd.Env = append(os.Environ(), "KITH_SERVER_KEY="+key.CurveServer().Public,
					"KITH_CLIENT_KEY="+client.Public, "KITH_CLIENT_SECRET="+client.Secret)
			}
			return cmd
		}
		if out, err := run("call", "shout", "hey").CombinedOutput(); err != nil || string(out) != "HEY\n" {
			t.Errorf("call: %v, %q", err, out)
		}
		if out, err := run("call", "shout").CombinedOutput(); err == nil || string(out) != "status 1 empty: nothing to shout\n" {
			t.Errorf("a call that fails: %v, %q", err, out)
		}
		subscriber := run("subscribe", "news.", "2")
		out, err := subscriber.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := subscriber.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, want := range []string{"subscribed", "news.a 1", "news.b 2"} {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("subscribe: got %q, want %q", lines.Text(), want)
			}
			if want == "subscribed" {
				m.Publish(t.Context(), "news.a", []byte("1"))
				m.Publish(t.Context(), "gossip", []byte("-"))
				m.Publish(t.Context(), "news.b", []byte("2"))
			}
		}
		if err := subscriber.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// findPython returns a Python with pyzmq: Debian's is there even if another comes first.
func findPython(t *testing.T) string {
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import zmq").Run() == nil {
			return python
		}
	}
	t.Skip("NOT TESTED: no Python with pyzmq here; apt-get install python3-zmq")
	return ""
}
