package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"

	"github.com/kith-go/kith/internal/secret"
)

func TestMain(m *testing.M) { leak.Main(m) }

// open starts a link on loopback. Streams that arrive are echoed, packets are
// sent to the channel.
func open(t *testing.T, name string, edit func(*Config)) (*Link, <-chan []byte) {
	t.Helper()
	packets := make(chan []byte, 16)
	cfg := Config{
		Network: System{}, Bind: "127.0.0.1:0", Cluster: "test", Name: name, Incarnation: 7,
		OnStream: func(c net.Conn, _ Hello) { io.Copy(c, c); c.Close() },
		OnPacket: func(b []byte, _ netip.AddrPort, _ time.Time) { packets <- b },
	}
	if edit != nil {
		edit(&cfg)
	}
	l, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, packets
}

func withKey(k secret.Key) func(*Config) { return func(c *Config) { c.Key = k } }

func TestHandshake(t *testing.T) {
	key := secret.NewKey()
	for name, edit := range map[string]func(*Config){"plain": nil, "key": withKey(key)} {
		t.Run(name, func(t *testing.T) {
			a, _ := open(t, "alpha", edit)
			b, packets := open(t, "bravo", edit)
			conn, id, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: Gossip})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if want := (Identity{Cluster: "test", Name: "bravo", Incarnation: 7, Addr: b.Addr()}); id != want {
				t.Errorf("it said %+v, want %+v", id, want)
			}
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
				t.Errorf("echo %q, %v", got, err)
			}
			if _, id, err = a.Dial(t.Context(), Call{Addr: b.Addr().String(), Purpose: Probe}); err != nil || id.Name != "bravo" {
				t.Errorf("probe: %+v, %v", id, err)
			}
			if err := a.WritePacket([]byte("ping"), b.Addr()); err != nil {
				t.Fatal(err)
			}
			if p := <-packets; string(p) != "ping" {
				t.Errorf("packet %q", p)
			}
		})
	}
}

func TestDialRefusals(t *testing.T) {
	ours, theirs := secret.NewKey(), secret.NewKey()
	taken := &Refusal{Code: CodeNameTaken, Text: "taken", Name: "alpha", Incarnation: 1 << 63, Addr: netip.MustParseAddrPort("10.0.0.9:1")}
	for name, tc := range map[string]struct {
		us, them func(*Config)
		to       string
		want     error
		code     Code
	}{
		"wrong key":       {us: withKey(ours), them: withKey(theirs), want: ErrWrongKey},
		"only they":       {them: withKey(theirs), want: ErrOnlyTheyEncrypt},
		"only we":         {us: withKey(ours), want: ErrOnlyWeEncrypt},
		"foreign cluster": {them: func(c *Config) { c.Cluster = "other" }, code: CodeCluster},
		"wrong name":      {to: "zulu", code: CodeWrongName},
		"not admitted":    {them: func(c *Config) { c.Admit = func(context.Context, Hello) *Refusal { return taken } }, code: CodeNameTaken},
		"no address":      {us: func(c *Config) { c.Name = "" }, code: CodeHello},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := open(t, "alpha", tc.us)
			b, _ := open(t, "bravo", tc.them)
			_, _, err := a.Dial(t.Context(), Call{Name: tc.to, Addr: b.Addr().String(), Purpose: Gossip})
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			r, ok := errors.AsType[*Refusal](err)
			if tc.code != "" && (!ok || r.Code != tc.code) {
				t.Errorf("got %v, want a refusal with code %s", err, tc.code)
			}
			if tc.code == CodeNameTaken && *r != *taken {
				t.Errorf("the refusal arrived as %+v", r)
			}
			if p, ok := errors.AsType[*PeerError](err); !ok || p.Addr != b.Addr().String() || !strings.Contains(err.Error(), p.Addr) {
				t.Errorf("the error does not say where: %v", err)
			}
		})
	}
}

func TestUnknownPurposeAndFutureVersion(t *testing.T) {
	b, _ := open(t, "bravo", nil)
	me := Identity{Cluster: "test", Name: "alpha", Addr: b.Addr()}.frame()
	for want, f := range map[Code]frame{
		CodePurpose: {Version: 1, Cluster: me.Cluster, Name: me.Name, Addr: me.Addr, Purpose: "sorcery"},
		CodeVersion: {Version: 9, Oldest: 8, Cluster: me.Cluster, Name: me.Name, Addr: me.Addr, Purpose: Probe},
	} {
		conn := dialRaw(t, b)
		if err := writeFrame(conn, f); err != nil {
			t.Fatal(err)
		}
		answer, err := readFrame(conn)
		if err != nil || answer.Refused == nil || answer.Refused.Code != want {
			t.Errorf("got %+v, %v; want a refusal with code %s", answer.Refused, err, want)
		}
	}
	// A newer release that still understands version 1 is welcome.
	conn := dialRaw(t, b)
	if err := writeFrame(conn, frame{Version: 9, Oldest: 1, Cluster: me.Cluster, Name: me.Name, Addr: me.Addr, Purpose: Probe}); err != nil {
		t.Fatal(err)
	}
	if answer, err := readFrame(conn); err != nil || answer.Refused != nil {
		t.Errorf("a newer release with a common version: %+v, %v", answer.Refused, err)
	}
}

func dialRaw(t *testing.T, l *Link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestGarbage: strangers get hung up on, are reported, and disturb nobody.
func TestGarbage(t *testing.T) {
	for mode, key := range map[string]secret.Key{"plain": {}, "key": secret.NewKey()} {
		t.Run(mode, func(t *testing.T) {
			logged := &lockedBuffer{}
			b, _ := open(t, "bravo", func(c *Config) {
				c.Key = key
				c.Log = slog.New(slog.NewTextHandler(logged, nil))
			})
			for name, bytes := range map[string][]byte{
				"http":         []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
				"noise":        []byte("\x00\x01\x02\xff\xfe\xfd garbage garbage garbage"),
				"huge frame":   []byte("KITH\xff\xff{"),
				"no json":      []byte("KITH\x00\x04null" + "KITH\x00\x04haha"),
				"not utf-8":    []byte("KITH\x00\x04\"\xff\xfe\""),
				"wrong types":  []byte("KITH\x00\x0a{\"v\":\"x\"}  "),
				"wrong number": []byte("KITH\x00\x13{\"incarnation\":\"x\"}"),
			} {
				conn := dialRaw(t, b)
				conn.Write(bytes)
				conn.(interface{ CloseWrite() error }).CloseWrite()
				// A TLS alert or a refusal may come; then the end must.
				if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: %v", name, err)
				}
			}
			a, _ := open(t, "alpha", withKey(key))
			if _, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: Probe}); err != nil {
				t.Errorf("after the garbage: %v", err)
			}
			if !strings.Contains(logged.String(), "refused a connection") {
				t.Error("nothing was reported")
			}
		})
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestDialStrangers: the dialler copes with whatever answers.
func TestDialStrangers(t *testing.T) {
	for name, answer := range map[string]string{
		"silent end": "", "http": "HTTP/1.1 400 Bad Request\r\n\r\n", "half a frame": "KITH\x00\x40{\"v\"", "huge frame": "KITH\xff\xff",
	} {
		for mode, key := range map[string]secret.Key{"plain": {}, "key": secret.NewKey()} {
			stranger, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := stranger.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				io.ReadAtLeast(conn, make([]byte, 4096), 1)
				io.WriteString(conn, answer)
			}()
			a, _ := open(t, "alpha", withKey(key))
			_, _, err = a.Dial(t.Context(), Call{Name: "bravo", Addr: stranger.Addr().String(), Purpose: Gossip})
			if p, ok := errors.AsType[*PeerError](err); !ok || p.Name != "bravo" {
				t.Errorf("%s, %s: %v, want a PeerError", name, mode, err)
			}
			<-done
			stranger.Close()
		}
	}
}

// TestDialEndsWithContext: a listener that accepts and never answers.
func TestDialEndsWithContext(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	a, _ := open(t, "alpha", withKey(secret.NewKey()))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, _, err := a.Dial(ctx, Call{Name: "bravo", Addr: mute.Addr().String(), Purpose: Gossip}); !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
	// And with the link.
	time.AfterFunc(10*time.Millisecond, func() { a.Close() })
	if _, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: mute.Addr().String(), Purpose: Gossip}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestCloseEndsConnections(t *testing.T) {
	a, _ := open(t, "alpha", nil)
	b, _ := open(t, "bravo", nil)
	conn, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: Gossip})
	if err != nil {
		t.Fatal(err)
	}
	half := dialRaw(t, b) // in the midst of its handshake
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	for name, c := range map[string]net.Conn{"established": conn, "half-way": half} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: still open", name)
		}
	}
	if _, _, err := b.Dial(t.Context(), Call{Addr: a.Addr().String(), Purpose: Probe}); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial after Close: %v", err)
	}
	if _, err := net.Dial("tcp", b.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port still answers: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	a, _ := open(t, "alpha", nil)
	cfg := a.cfg
	cfg.Bind = a.Addr().String()
	if l, err := Listen(t.Context(), cfg); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), cfg.Bind) {
		t.Errorf("got %v, %v", l, err)
	}
	cfg.Bind = "no port"
	if _, err := Listen(t.Context(), cfg); err == nil {
		t.Error("a bind address without a port was accepted")
	}
}

func FuzzReadFrame(f *testing.F) {
	var good bytes.Buffer
	writeFrame(&good, Identity{Cluster: "kith", Name: "alpha", Incarnation: 42, Addr: netip.MustParseAddrPort("[::1]:8318")}.frame())
	f.Add(good.Bytes())
	f.Add([]byte("KITH\xff\xff"))
	f.Add([]byte("KITH\x00\x02{}"))
	f.Add([]byte("\x16\x03\x01\x00\x05hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		got, err := readFrame(r)
		if err != nil {
			return
		}
		if id, err := got.identity(); err == nil {
			var again bytes.Buffer
			if err := writeFrame(&again, id.frame()); err != nil {
				return // grew past the limit when escaped
			}
			f2, err := readFrame(&again)
			if err != nil {
				t.Fatalf("our own frame does not decode: %v", err)
			}
			if id2, err := f2.identity(); err != nil || id2 != id {
				t.Fatalf("%+v became %+v, %v", id, id2, err)
			}
		}
	})
}
