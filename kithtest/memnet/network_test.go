package memnet

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNetworkClose(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: time.Hour})
		l := r.listen(r.bravo, ":7000")
		packets := r.listenPacket(r.bravo, ":7000")
		r.bravo.Pause()
		errs := make(chan error, 3)
		go func() { errs <- second(l.Accept()) }()
		go func() { _, _, err := packets.ReadFrom(nil); errs <- err }()
		go func() { errs <- second(r.alpha.Dial(r.Context(), "10.0.0.2:7000")) }()
		synctest.Wait()
		r.Close()
		for range 3 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				r.Error(err)
			}
		}
		for _, h := range []*Host{r.alpha, r.Host(delta)} {
			if _, err := h.Listen(r.Context(), ":0"); !errors.Is(err, net.ErrClosed) {
				r.Errorf("Listen: %v", err)
			}
			if _, err := h.Dial(r.Context(), "10.0.0.2:7000"); !errors.Is(err, net.ErrClosed) {
				r.Errorf("Dial: %v", err)
			}
		}
		r.alpha.Resume()
		r.alpha.PowerOn()
		r.Heal()
		if err := r.Network.Close(); err != nil {
			r.Error(err)
		}
	})
}

func TestHostPanics(t *testing.T) {
	for _, addr := range []string{"0.0.0.0", "::", "224.0.0.1"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Host(%s) did not panic", addr)
				}
			}()
			New(1).Host(netip.MustParseAddr(addr))
		}()
	}
}

// The same package in real time: nothing depends on the bubble.
func TestRealTime(t *testing.T) {
	n := New(1)
	defer n.Close()
	n.SetDefault(Conditions{Delay: time.Millisecond, Loss: 0.01})
	l, err := n.Host(bravoAddr).Listen(t.Context(), ":7000")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := n.Host(alphaAddr).Dial(t.Context(), "10.0.0.2:7000")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("hello", 100)
	io.WriteString(c, want)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v", got, err)
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := c.Read(got); !isTimeout(err) {
		t.Errorf("Read: %v", err)
	}
}

func TestTLSOverABadPath(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Loss: 0.05, Delay: 5 * time.Millisecond, Jitter: 10 * time.Millisecond})
		near, far := r.connect()
		cert, pool := certificate(t)
		server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
		client := tls.Client(near, &tls.Config{RootCAs: pool, ServerName: "bravo", MinVersion: tls.VersionTLS13})
		go func() {
			io.Copy(server, server)
			server.Close()
		}()
		if err := client.Handshake(); err != nil {
			r.Fatal(err)
		}
		want := strings.Repeat("all the bytes in their order ", 50_000)
		go func() {
			io.WriteString(client, want)
			client.CloseWrite()
		}()
		got, err := io.ReadAll(client)
		if err != nil || string(got) != want {
			r.Errorf("%d of %d bytes came back, %v", len(got), len(want), err)
		}
		if r.Stats().Retransmissions == 0 {
			r.Error("nothing was lost")
		}
		client.Close()
	})
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"bravo"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, pool
}
