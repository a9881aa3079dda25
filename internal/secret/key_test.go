package secret

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTextRoundTrip(t *testing.T) {
	k := NewKey()
	for _, text := range []string{k.Text(), k.Text() + "\n", "  " + k.Text() + "\r\n"} {
		got, err := Parse(text)
		if err != nil || got != k {
			t.Errorf("Parse(%q) = %v, %v", text, got, err)
		}
	}
	if n := len(k.Text()); n != 54 {
		t.Errorf("Text has %d characters, want 54", n)
	}
}

func TestParseRefuses(t *testing.T) {
	good := NewKey().Text()
	flipped := []byte(good)
	flipped[10] = map[bool]byte{true: 'B', false: 'A'}[flipped[10] == 'A']
	for name, text := range map[string]string{
		"empty":     "",
		"blank":     " \n",
		"truncated": good[:len(good)-1],
		"longer":    good + "A",
		"two keys":  good + "\n" + good,
		"mistyped":  string(flipped),
		"prefix":    strings.TrimPrefix(good, "kith1-"),
		"future":    "kith2-" + good[6:],
		"binary":    "\x00\xff\xfe",
		"all zero":  Key{}.Text(),
	} {
		k, err := Parse(text)
		if !errors.Is(err, ErrMalformed) || !k.IsZero() {
			t.Errorf("%s: got %v, %v; want ErrMalformed", name, k, err)
		}
		if err != nil && text != "" && len(text) > 8 && strings.Contains(err.Error(), text[8:]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add("kith1-")
	f.Add(Key{b: [Size]byte{1}}.Text())
	f.Fuzz(func(t *testing.T, text string) {
		k, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(k.Text()); err != nil || again != k {
			t.Fatalf("%q parses, its own text does not: %v", text, err)
		}
	})
}

func TestKeyNeverPrints(t *testing.T) {
	k := NewKey()
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "%v %+v %#v %s %x %d %q ", k, k, k, k, k, k, k)
	fmt.Fprintf(&buf, "%v %+v", struct{ K Key }{k}, &struct{ K Key }{k})
	slog.New(slog.NewTextHandler(&buf, nil)).Info("starting", "key", k)
	json.NewEncoder(&buf).Encode(struct{ K Key }{k})
	body := strings.TrimPrefix(k.Text(), "kith1-")
	for _, leak := range []string{body[:12], fmt.Sprintf("%x", k.b[:4]), fmt.Sprint(k.b[:4])} {
		if strings.Contains(buf.String(), strings.Trim(leak, "[]")) {
			t.Errorf("the key shows in %q", buf.String())
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	k := NewKey()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, mode) // whatever the umask
		return path
	}
	if got, err := Load(write("key", k.Text()+"\n", 0o600)); err != nil || got != k {
		t.Errorf("Load = %v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		path string
		want error
	}{
		"missing":   {filepath.Join(dir, "none"), os.ErrNotExist},
		"group":     {write("group", k.Text(), 0o640), ErrExposed},
		"world":     {write("world", k.Text(), 0o604), ErrExposed},
		"empty":     {write("empty", "", 0o600), ErrMalformed},
		"huge":      {write("huge", strings.Repeat("k", 1<<20), 0o600), ErrMalformed},
		"directory": {dir, nil},
	} {
		_, err := Load(tc.path)
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if err != nil && !strings.Contains(err.Error(), tc.path) {
			t.Errorf("%s: the error does not name %s: %v", name, tc.path, err)
		}
	}
}

func TestDerivedKeysDiffer(t *testing.T) {
	a, b := NewKey(), NewKey()
	if bytes.Equal(a.Gossip(), b.Gossip()) || !bytes.Equal(a.Gossip(), a.Gossip()) {
		t.Error("the gossip key must depend on the cluster key and nothing else")
	}
	if bytes.Equal(a.Gossip(), a.b[:]) || bytes.Equal(a.Gossip(), a.derive("tls-authority/v1", 32)) {
		t.Error("two purposes share a key")
	}
}

// TestDerivationIsFrozen keeps nodes of different releases able to talk.
func TestDerivationIsFrozen(t *testing.T) {
	k := Key{b: [Size]byte{1, 2, 3}}
	if got, want := fmt.Sprintf("%x", k.Gossip()), "80b2dbe48440969c702e44bb9baaa3c3b2c2ef3d9f69ee5f2d55f58c116cbe14"; got != want {
		t.Errorf("gossip key %s, want %s", got, want)
	}
	ca, _, err := k.authority()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%x", ca.PublicKey), "19cc5af56e309dffb0dc03f92c53c72ce6d477c9cad5c2c043ef480332a814e7"; got != want {
		t.Errorf("authority %s, want %s", got, want)
	}
}

func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		if err = conn.Handshake(); err == nil {
			_, err = conn.Write([]byte("x"))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		// In TLS 1.3 the server's verdict on the client arrives with the first read.
		_, clientErr = conn.Read(make([]byte, 1))
	}
	return <-done, clientErr
}

func TestTLS(t *testing.T) {
	ours, theirs := NewKey(), NewKey()
	server, _, err := ours.TLS("alpha")
	if err != nil {
		t.Fatal(err)
	}
	_, friend, err := ours.TLS("bravo") // its own call: same authority, other leaf
	if err != nil {
		t.Fatal(err)
	}
	_, foe, err := theirs.TLS("bravo")
	if err != nil {
		t.Fatal(err)
	}
	if s, c := handshake(t, server, friend); s != nil || c != nil {
		t.Errorf("same key: server %v, client %v", s, c)
	}
	if s, c := handshake(t, server, foe); s == nil || c == nil {
		t.Errorf("another key: server %v, client %v; want two errors", s, c)
	}
	// One that trusts everybody, and shows no or a foreign certificate.
	for name, certs := range map[string][]tls.Certificate{"no certificate": nil, "foreign certificate": foe.Certificates} {
		blind := &tls.Config{InsecureSkipVerify: true, Certificates: certs}
		if s, _ := handshake(t, server, blind); s == nil {
			t.Errorf("%s: the server let it in", name)
		}
	}
	old := friend.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if s, c := handshake(t, server, old); s == nil || c == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

// TestNoResumption: a resumed session would outlive a change of the key. Neither
// side agrees to one, even when the other wants to.
func TestNoResumption(t *testing.T) {
	key := NewKey()
	for name, willing := range map[string]func(server, client *tls.Config){
		"client": func(_, client *tls.Config) { client.SessionTicketsDisabled = false },
		"server": func(server, _ *tls.Config) { server.SessionTicketsDisabled = false },
	} {
		server, client, err := key.TLS("alpha")
		if err != nil {
			t.Fatal(err)
		}
		willing(server, client)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		client.VerifyConnection = func(state tls.ConnectionState) error {
			if state.DidResume {
				t.Errorf("a willing %s: the session was resumed", name)
			}
			return nil
		}
		for range 2 {
			if s, c := handshake(t, server, client); s != nil || c != nil {
				t.Fatalf("server %v, client %v", s, c)
			}
		}
	}
}
