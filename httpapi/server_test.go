package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/membership"
)

func TestListenRefuses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "10.1.2.3:0", "192.0.2.1:2033"} {
		ln, err := Listen(t.Context(), addr, "")
		if !errors.Is(err, ErrExposed) {
			t.Errorf("Listen(%q) without a token: %v", addr, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--http-token-file") {
			t.Errorf("the refusal does not say what to do: %v", err)
		}
		if ln != nil {
			ln.Close()
		}
	}
	for _, addr := range []string{"", "2033", "127.0.0.1", "[::1]", "a:b:c"} {
		if ln, err := Listen(t.Context(), addr, ""); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("Listen(%q): %v", addr, err)
			if ln != nil {
				ln.Close()
			}
		}
	}
}

func TestListen(t *testing.T) {
	for addr, token := range map[string]string{
		"127.0.0.1:0": "",
		"localhost:0": "",
		"127.0.0.9:0": "",
		"0.0.0.0:0":   "sesame",
	} {
		ln, err := Listen(t.Context(), addr, token)
		if err != nil {
			t.Errorf("Listen(%q, %q): %v", addr, token, err)
			continue
		}
		if ip := ln.Addr().(*net.TCPAddr).IP; token == "" && !ip.IsLoopback() {
			t.Errorf("Listen(%q) listens on %v", addr, ip)
		}
		if host, _, _ := net.SplitHostPort(ln.Addr().String()); addr == "0.0.0.0:0" && host != "0.0.0.0" {
			t.Errorf("Listen(%q) listens on %s", addr, host)
		}
		ln.Close()
	}
}

// TestListenName: every address of a name must be on the loopback, and a name
// without an address is not called exposed.
func TestListenName(t *testing.T) {
	ips := map[string][]netip.Addr{
		"both":  {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")},
		"there": {netip.MustParseAddr("10.0.0.1")},
		"here":  {netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")},
		"empty": {},
	}
	find := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if found, ok := ips[host]; ok {
			return found, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	for host, says := range map[string]string{
		"both": "10.0.0.1 is not a loopback address", "there": "10.0.0.1 is not a loopback address",
		"empty": "has no address", "nosuch": "no such host",
	} {
		ln, err := listen(t.Context(), host+":0", "", find)
		if ln != nil {
			ln.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, ErrExposed) != strings.Contains(says, "loopback") {
			t.Errorf("%s: %v, want %q", host, err, says)
		}
	}
	ln, err := listen(t.Context(), "here:0", "", find)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ip := ln.Addr().(*net.TCPAddr).IP; !ip.Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("a name of both families is bound at %s", ip)
	}
}

// TestServeStreamOutlivesTimeouts: the server's time-outs are for ordinary
// requests, not for event streams.
func TestServeStreamOutlivesTimeouts(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.timeout = 50 * time.Millisecond
	addr, _ := serving(t, h)
	c, err := NewClient(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next := pull(t, c.WatchNodes(t.Context()))
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * h.timeout) // the time-out itself is what is waited for
	f.happen(f.Members(), membership.Change{Kind: membership.Updated, Member: f.Members()[0]})
	if event, err := next(); err != nil || len(event.Changes) != 1 {
		t.Errorf("after the time-out: %+v, %v", event, err)
	}
}

func TestListenTaken(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = Listen(t.Context(), ln.Addr().String(), "")
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("a port in use: %v", err)
	}
}

func TestServeRefusesExposedListener(t *testing.T) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), ln, New(newFake(t), Options{})); !errors.Is(err, ErrExposed) {
		t.Errorf("Serve on %v without a token: %v", ln.Addr(), err)
	}
}

// serving runs Serve on a free port until stop, which returns its error.
func serving(t *testing.T, h *Handler) (addr string, stop func() error) {
	t.Helper()
	ln, err := Listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, h) }()
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		return <-served
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return ln.Addr().String(), stop
}

// TestServeEnds: the end of the server is told on the streams, and nothing is
// left of it (goleak).
func TestServeEnds(t *testing.T) {
	f := newFake(t)
	addr, stop := serving(t, New(f, Options{}))
	c, err := NewClient(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next := pull(t, c.WatchNodes(t.Context()))
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Nodes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if f.running() != 0 {
		t.Error("a stream outlived Serve")
	}
	if _, err := next(); !errors.Is(err, ErrStreamEnded) || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("the stream ended with %v", err)
	}
	if _, err := c.Nodes(t.Context()); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("after the end: %v", err)
	}
}

func TestServeBrokenListener(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := Serve(t.Context(), ln, New(newFake(t), Options{})); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}

// TestServeBadRequests sends what no client should, on plain connections.
func TestServeBadRequests(t *testing.T) {
	addr, _ := serving(t, New(newFake(t), Options{}))
	for name, tt := range map[string]struct{ in, status string }{
		"huge header":    {"GET /nodes HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		"many headers":   {"GET /nodes HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-Y: z\r\n", 1<<16) + "\r\n", "431"},
		"huge path":      {"GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "431"},
		"no host":        {"GET /nodes HTTP/1.1\r\n\r\n", "400"},
		"two hosts":      {"GET /nodes HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400"},
		"old, no host":   {"GET /nodes HTTP/1.0\r\n\r\n", "403"},
		"foreign host":   {"GET /nodes HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"},
		"absolute":       {"GET http://evil.example/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n", "403"},
		"no HTTP":        {"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", "400"},
		"a body":         {"GET /nodes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", "200"},
		"a bad length":   {"GET /nodes HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", "400"},
		"smuggled":       {"GET /nodes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200"},
		"connect":        {"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "40"},
		"asterisk":       {"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
		"a broken path":  {"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		"wrong method":   {"POST /nodes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", "405"},
		"unknown method": {"BREW /nodes HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"},
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(conn, strings.NewReader(tt.in)) // ends when the connection does
		line, err := bufio.NewReader(conn).ReadString('\n')
		// Go's server may reset the connection when much of a request is unread.
		if tt.status == "431" && errors.Is(err, syscall.ECONNRESET) {
			line, err = "HTTP/1.1 431 ", nil
		}
		if err != nil || !strings.HasPrefix(line, "HTTP/1.") || !strings.HasPrefix(line[9:], tt.status) {
			t.Errorf("%s is answered %q, %v; want %s", name, strings.TrimSpace(line), err, tt.status)
		}
		conn.Close()
	}
	resp, err := http.Get("http://" + addr + "/nodes")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("after all that a good request gets %v, %v", resp, err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}
