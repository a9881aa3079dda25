package main

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/kith-go/kith/bench/stage"
)

// What one process encrypts another one can read, and who has no secrets cannot.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := makeSecrets(dir); err != nil {
		t.Fatal(err)
	}
	if none, err := secretsOf(stage.Spec{Members: []stage.Member{{}}}); err != nil || none.tls != nil || !none.key.IsZero() {
		t.Errorf("a system that does not encrypt has %+v, %v", none, err)
	}
	s := stage.Spec{Members: []stage.Member{{Dir: dir}}}
	one, err := secretsOf(s)
	if err != nil {
		t.Fatal(err)
	}
	other, err := secretsOf(s)
	if err != nil {
		t.Fatal(err)
	}
	if one.key.IsZero() || one.key != other.key {
		t.Error("two processes have not the same key")
	}
	for _, test := range []struct {
		client *tls.Config
		ok     bool
	}{{other.tls, true}, {&tls.Config{ServerName: "127.0.0.1"}, false}} {
		a, b := net.Pipe()
		server := tls.Server(a, one.tls)
		go server.Handshake()
		client := tls.Client(b, test.client)
		err := client.Handshake()
		a.Close()
		b.Close()
		if (err == nil) != test.ok {
			t.Errorf("handshake: %v", err)
		}
		if v := client.ConnectionState().Version; test.ok && v != tls.VersionTLS13 {
			t.Errorf("TLS version %x", v)
		}
	}
}
