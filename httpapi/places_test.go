package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith"
)

// oneNode starts a cluster of one, in memory, and serves its API.
func oneNode(t *testing.T) (addr string, node *kith.Node, h *Handler) {
	t.Helper()
	node, err := kith.Start(t.Context(), kith.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	h = New(node, Options{})
	addr, _ = serving(t, h)
	return addr, node, h
}

// wire is a connection on which a test speaks HTTP/1.1 as old clients do: with no more
// headers than they send.
type wire struct {
	t *testing.T
	net.Conn
	r  *bufio.Reader
	id string
}

func dial(t *testing.T, addr, id string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newWire(t, conn, id)
}

func newWire(t *testing.T, conn net.Conn, id string) *wire {
	return &wire{t: t, Conn: conn, r: bufio.NewReader(conn), id: id}
}

// answer is what an old client sees.
type answer struct {
	code             int
	body, revision   string
	header           http.Header
	length           int64
	transferEncoding []string
}

// say sends a request.
func (w *wire) say(method, target, body string) {
	w.t.Helper()
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Go-http-client/1.1\r\n", method, target)
	if w.id != "" {
		text += "X-Client-Id: " + w.id + "\r\n"
	}
	if method != "GET" && method != "DELETE" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(w, text+"\r\n"+body); err != nil {
		w.t.Fatal(err)
	}
}

// hear reads an answer.
func (w *wire) hear() answer {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{
		code: resp.StatusCode, body: string(body), revision: resp.Header.Get("X-Revision"), header: resp.Header,
		length: resp.ContentLength, transferEncoding: resp.TransferEncoding,
	}
}

// do asks, and wants an answer with that status and body; "?" is any.
func (w *wire) do(method, target string, code int, body string) answer {
	w.t.Helper()
	w.say(method, target, "")
	a := w.hear()
	if a.code != code || a.body != body && code == 200 && body != "?" {
		w.t.Fatalf("%s %s: %d %q, want %d %q", method, target, a.code, a.body, code, body)
	}
	if code == 200 && body != "?" && (a.length != int64(len(body)) || len(a.transferEncoding) > 0 || a.revision == "") {
		w.t.Fatalf("%s %s: length %d, encoding %v, revision %q", method, target, a.length, a.transferEncoding, a.revision)
	}
	return a
}

// TestSeedLocks speaks to /locks as the seed's client does.
func TestSeedLocks(t *testing.T) {
	addr, _, _ := oneNode(t)
	a, b := dial(t, addr, ""), dial(t, addr, "")
	a.do("GET", "/locks/a/b", 200, "[]")
	first := a.do("POST", "/locks/a/b?timeout=0&name=", 200, "")
	if again := a.do("POST", "/locks/a/b?timeout=0&name=", 200, ""); again.header.Get("X-Token") != first.header.Get("X-Token") {
		t.Error("asking again for what one holds leads to another place")
	}
	if got := a.do("GET", "/locks/a/b", 200, `["*"]`); got.revision != first.revision {
		t.Errorf("owners are at %s, the lock was taken at %s", got.revision, first.revision)
	}
	b.do("GET", "/locks/a/b?name=", 200, fmt.Sprintf("[%q]", a.LocalAddr()))
	b.do("POST", "/locks/a/b?timeout=30", 408, "")
	b = dial(t, addr, "") // as that client does after an error
	b.do("DELETE", "/locks/a/b", 409, "")
	b = dial(t, addr, "")
	watcher := dial(t, addr, "")
	watcher.say("GET", "/watches/a/b?rev="+first.revision+"&timeout=60000", "")
	b.say("POST", "/locks/a/b?timeout=60000&name=bee", "")
	if got := watcher.hear(); got.code != 200 || got.revision <= first.revision {
		t.Errorf("the watch of a lock: %+v", got)
	}
	a.do("DELETE", "/locks/a/b", 200, "")
	if got := b.hear(); got.code != 200 || got.header.Get("X-Token") <= first.header.Get("X-Token") {
		t.Errorf("the next one: %+v", got)
	}
	a.do("GET", "/locks/a/b", 200, `["bee"]`)
	b.do("GET", "/locks/a/b", 200, `["*"]`)
	b.do("GET", "/locks/a/b?name=other", 200, `["bee"]`)
	b.do("DELETE", "/locks/a/b", 200, "") // without the name
	b.do("GET", "/locks/a/b/", 200, "[]")
}

// TestSeedGroups speaks to /groups as the seed's client does.
func TestSeedGroups(t *testing.T) {
	addr, _, _ := oneNode(t)
	a, b, c := dial(t, addr, ""), dial(t, addr, "cid"), dial(t, addr, "")
	a.do("GET", "/groups/g/", 200, "[]")
	a.do("POST", "/groups/g?name=", 200, "")
	b.do("POST", "/groups/g", 200, "")
	c.do("POST", "/groups/g?name=cee", 200, "")
	c.do("POST", "/groups/g?name=dee", 200, "")
	a.do("GET", "/groups/g?name=&limit=0", 200, `["*","cid","cee","dee"]`)
	a.do("GET", "/groups/g/?name=&limit=2", 200, `["*","cid"]`)
	b.do("GET", "/groups/g", 200, fmt.Sprintf(`[%q,"*","cee","dee"]`, a.LocalAddr()))
	dial(t, addr, "cid").do("GET", "/groups/g?limit=2", 200, fmt.Sprintf(`[%q,"*"]`, a.LocalAddr()))
	c.do("GET", "/groups/g?name=dee", 200, fmt.Sprintf(`[%q,"cid","cee","*"]`, a.LocalAddr()))
	c.do("GET", "/groups/g", 200, fmt.Sprintf(`[%q,"cid","*","*"]`, a.LocalAddr()))
	joined := a.do("GET", "/groups/g", 200, `["*","cid","cee","dee"]`)
	watcher := dial(t, addr, "")
	watcher.say("GET", "/watches/g?timeout=0&rev="+joined.revision, "")
	c.do("DELETE", "/groups/g", 409, "") // it has joined under other names
	c.do("DELETE", "/groups/g?name=cee", 200, "")
	if got := watcher.hear(); got.code != 200 {
		t.Errorf("the watch of a group: %+v", got)
	}
	a.do("DELETE", "/groups/g?name=", 200, "")
	a.do("GET", "/groups/g", 200, `["cid","dee"]`)
}

// TestConnectionIsClient: on this machine the end of a connection releases at once what was
// held by it, and ends what it waits for.
func TestConnectionIsClient(t *testing.T) {
	addr, _, _ := oneNode(t)
	a, b, c := dial(t, addr, ""), dial(t, addr, ""), dial(t, addr, "")
	a.do("POST", "/locks/k", 200, "")
	b.say("POST", "/locks/k", "")
	see := dial(t, addr, "")
	queued := func(n int) func() bool {
		return func() bool {
			see.say("GET", "/locks/k?explain=1", "")
			return strings.Count(see.hear().body, `"token"`) == n
		}
	}
	eventually(t, "b waits", queued(2))
	c.say("POST", "/locks/k", "")
	eventually(t, "c waits", queued(3))
	b.Close()
	eventually(t, "b is gone", queued(2))
	a.Close()
	began := time.Now()
	if got := c.hear(); got.code != 200 {
		t.Fatalf("the next one: %+v", got)
	}
	if took := time.Since(began); took > DefaultSessionTTL {
		t.Errorf("a connection's end was noticed after %v", took)
	}
}
