package link

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/secret"
)

// answering starts a listener that answers every hello with f.
func answering(t *testing.T, f frame) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			readFrame(conn)
			writeFrame(conn, f)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestDiallerChecksWelcome: the dialler drops what is not from whom it called
// (SAFETY.md, S2), whatever the listener let pass.
func TestDiallerChecksWelcome(t *testing.T) {
	a, _ := open(t, "alpha", nil)
	good := Identity{Cluster: "test", Name: "bravo", Incarnation: 7, Addr: netip.MustParseAddrPort("10.0.0.2:1")}
	if _, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: answering(t, good.frame()), Purpose: Probe}); err != nil {
		t.Fatalf("an honest welcome: %v", err)
	}
	for name, edit := range map[string]func(*frame){
		"somebody else":   func(f *frame) { f.Name = "charlie" },
		"another cluster": func(f *frame) { f.Cluster = "other" },
		"no address":      func(f *frame) { f.Addr = netip.AddrPort{} },
		"only newer":      func(f *frame) { f.Version, f.Oldest = 9, 8 },
		"escape codes":    func(f *frame) { f.Addr = netip.MustParseAddrPort("[fe80::1%\x1b[2J]:1") },
	} {
		f := good.frame()
		edit(&f)
		if _, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: answering(t, f), Purpose: Probe}); !errors.Is(err, ErrNotKith) {
			t.Errorf("%s: %v, want ErrNotKith", name, err)
		}
	}
	nobody := good
	nobody.Name = ""
	if _, _, err := a.Dial(t.Context(), Call{Addr: answering(t, nobody.frame()), Purpose: Probe}); !errors.Is(err, ErrNotKith) {
		t.Errorf("no name: %v, want ErrNotKith", err)
	}
}

// TestStrangersTextIsPrintable: what others wrote reaches errors short, on one
// line and without escape codes.
func TestStrangersTextIsPrintable(t *testing.T) {
	const nasty = "a\n\x1b[2J\u202e\u0085b"
	a, _ := open(t, "alpha", nil)
	refused := frame{Version: 1, Refused: &Refusal{Code: nasty, Text: nasty, Name: nasty}}
	_, _, dialErr := a.Dial(t.Context(), Call{Name: "bravo", Addr: answering(t, refused), Purpose: Probe})
	r, ok := errors.AsType[*Refusal](dialErr)
	if !ok {
		t.Fatalf("got %v, want a refusal", dialErr)
	}
	_, jsonErr := decodeFrame([]byte(`{"addr":"` + strings.Repeat("x", 3<<10) + `"}`))
	_, nameErr := frame{Name: nasty}.identity()
	for what, text := range map[string]string{
		"dial": dialErr.Error(), "code": string(r.Code), "name": r.Name, "text": r.Text,
		"refusal": (&Refusal{Text: nasty + strings.Repeat("é", 4096)}).Error(),
		"peer":    (&PeerError{nasty, "10.0.0.1:1", io.EOF}).Error(),
		"json":    jsonErr.Error(),
		"hello":   nameErr.Error(),
	} {
		if len(text) > 300 || clipAt(text, 300) != text {
			t.Errorf("%s: %d bytes: %q", what, len(text), text)
		}
	}
	if got := clip("an honest \"text\" – with ünïcode"); got != "an honest \"text\" – with ünïcode" {
		t.Errorf("clip spoils %q", got)
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "elsewhere"}, DNSNames: []string{"kith"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestForeignTLS: other programs that speak TLS are not taken for nodes with
// another key.
func TestForeignTLS(t *testing.T) {
	for name, edit := range map[string]func(*tls.Config){
		"https":   func(*tls.Config) {},
		"old TLS": func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		// A certificate that is for our name, by an authority that is nobody's.
		"our name": func(c *tls.Config) { c.Certificates = []tls.Certificate{selfSigned(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			web := httptest.NewUnstartedServer(http.NotFoundHandler())
			web.Config.ErrorLog = log.New(io.Discard, "", 0)
			web.TLS = &tls.Config{}
			edit(web.TLS)
			web.StartTLS()
			defer web.Close()
			a, _ := open(t, "alpha", withKey(secret.NewKey()))
			_, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: web.Listener.Addr().String(), Purpose: Probe})
			if !errors.Is(err, ErrForeignTLS) || errors.Is(err, ErrWrongKey) {
				t.Errorf("got %v, want ErrForeignTLS", err)
			}
		})
	}
}

// TestProbesLeaveNothing: no connection stays tracked, nor a host counted.
func TestProbesLeaveNothing(t *testing.T) {
	key := secret.NewKey()
	a, _ := open(t, "alpha", withKey(key))
	b, _ := open(t, "bravo", withKey(key))
	for range 100 {
		if _, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: Probe}); err != nil {
			t.Fatal(err)
		}
	}
	for name, l := range map[string]*Link{"alpha": a, "bravo": b} {
		deadline := time.Now().Add(5 * time.Second) // the listener hangs up a moment later
		for {
			l.mu.Lock()
			conns, hosts := len(l.conns), len(l.hosts)
			l.mu.Unlock()
			if conns == 0 && hosts == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s still tracks %d connections of %d hosts", name, conns, hosts)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
