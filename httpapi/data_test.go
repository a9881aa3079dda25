package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

// reply is an answer that was read whole.
type reply struct {
	code int
	http.Header
	body string
}

// send makes a request of a real server, with a body if method takes one.
func send(t *testing.T, base, method, target, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// want fails the test unless the reply has the code and the revision, "" for none.
func (r reply) want(t *testing.T, what string, code int, revision string) reply {
	t.Helper()
	if r.code != code || r.Get("X-Revision") != revision {
		t.Errorf("%s: %d with revision %q, want %d with %q: %s", what, r.code, r.Get("X-Revision"), code, revision, r.body)
	}
	if r.Get("Content-Length") == "" {
		t.Errorf("%s: no Content-Length", what)
	}
	return r
}

// refused fails the test unless the reply is an error with these words.
func (r reply) refused(t *testing.T, what string, code int, reason string, o outcome.Outcome) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.code != code || p.Reason != reason || p.Outcome != o.String() || p.Error == "" {
		t.Errorf("%s: %d %s, want %d, %q, %q", what, r.code, r.body, code, reason, o)
	}
	return p
}

// TestSeedCalls walks through what the old client does (seeds: hibera): a reply to
// anything but a listing carries the revision, and all have a length.
func TestSeedCalls(t *testing.T) {
	srv, _ := serve(t, New(newFake(t), Options{}), "")
	for _, step := range []struct {
		method, target, body string
		code                 int
		revision, answer     string
	}{
		{"GET", "/data", "", 200, "0", "[]"},
		{"GET", "/data/", "", 200, "0", "[]"},
		{"GET", "/data/a", "", 200, "0", ""}, // absent: empty at 0
		{"POST", "/data/a", "one", 200, "1", ""},
		{"GET", "/data/a", "", 200, "1", "one"},
		{"POST", "/data/a?rev=0", "two", 200, "2", ""},
		{"POST", "/data/a?rev=3", "three", 200, "3", ""}, // one more than it is at
		{"POST", "/data/a?rev=3", "four", 412, "3", "*"}, // it is at 3
		{"POST", "/data/a?rev=5", "four", 412, "3", "*"},
		{"POST", "/data/b?rev=1", "new", 200, "4", ""}, // absent is at 0
		{"POST", "/data/b?rev=1", "new", 412, "4", "*"},
		{"PUT", "/data/dir/c", "", 200, "5", ""},
		{"GET", "/data/dir/c", "", 200, "5", ""}, // empty, and there
		{"GET", "/data", "", 200, "5", `["a","b","dir/c"]`},
		{"DELETE", "/data/b?rev=4", "", 412, "4", "*"},
		{"DELETE", "/data/b?rev=5", "", 200, "6", ""},
		{"DELETE", "/data/b", "", 200, "6", ""}, // gone already
		{"POST", "/watches/fire?rev=0", "", 200, "7", ""},
		{"POST", "/watches/fire?rev=7", "", 412, "7", "*"},
		{"POST", "/watches/fire?rev=8", "", 200, "8", ""},
		{"GET", "/watches/fire?rev=7&timeout=60000", "", 200, "8", ""}, // not at 7
		{"GET", "/watches/a?rev=1&timeout=0", "", 200, "3", ""},
		{"DELETE", "/data/", "", 200, "9", ""},
		{"GET", "/data", "", 200, "9", "[]"},
		{"DELETE", "/data", "", 200, "9", ""},
	} {
		what := step.method + " " + step.target
		r := send(t, srv.URL, step.method, step.target, step.body).want(t, what, step.code, step.revision)
		if r.body != step.answer && step.answer != "*" {
			t.Errorf("%s: answered %q, want %q", what, r.body, step.answer)
		}
		if step.code == 412 {
			r.refused(t, what, 412, "conflict", outcome.NotDone)
		}
	}
}

// TestRawValues: any bytes come back as they were, without a word about their type.
func TestRawValues(t *testing.T) {
	srv, _ := serve(t, New(newFake(t), Options{}), "")
	for _, value := range []string{"", "x", "\x00\xff\xfe", "<script>", "line\r\n", strings.Repeat("m", MaxValue)} {
		send(t, srv.URL, "POST", "/data/v", value, "Content-Type", "application/x-www-form-urlencoded")
		r := send(t, srv.URL, "GET", "/data/v", "")
		if r.body != value || r.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%d bytes came back as %d of type %q", len(value), len(r.body), r.Get("Content-Type"))
		}
	}
	head := send(t, srv.URL, "HEAD", "/data/v", "")
	if head.code != 200 || head.Get("Content-Length") != fmt.Sprint(MaxValue) || head.Get("X-Revision") != "6" || head.body != "" {
		t.Errorf("HEAD: %+v", head.Header)
	}
}

func TestConditionsAndLifetimes(t *testing.T) {
	f := newFake(t)
	srv, _ := serve(t, New(f, Options{}), "")
	set := func(target string) reply { return send(t, srv.URL, "POST", target, "v") }
	set("/data/k?absent=true").want(t, "absent", 200, "1")
	set("/data/k?absent=true").want(t, "present", 412, "1")
	set("/data/k?if-rev=7").want(t, "elsewhere", 412, "1")
	set("/data/k?if-rev=1").want(t, "there", 200, "2")
	set("/data/k?absent=false&rev=0&if-rev=0").want(t, "no condition", 200, "3")
	send(t, srv.URL, "DELETE", "/data/k?if-rev=1", "").want(t, "delete elsewhere", 412, "3")
	send(t, srv.URL, "DELETE", "/data/nosuch?if-rev=1", "").want(t, "delete absent", 412, "0")

	set("/data/t?ttl=1500").want(t, "milliseconds", 200, "4")
	set("/data/u?ttl=2s").want(t, "a duration", 200, "5")
	if r := send(t, srv.URL, "GET", "/data/t", ""); r.Get("X-TTL") != "1500" || r.Get("X-Created-Revision") != "4" {
		t.Errorf("the key with a TTL tells %v", r.Header)
	}
	f.replica.advance(1600 * time.Millisecond)
	send(t, srv.URL, "GET", "/data/t", "").want(t, "expired", 200, "0")
	send(t, srv.URL, "GET", "/data/u", "").want(t, "not yet", 200, "5")
	if _, err := f.store.Set(t.Context(), "e", nil, kv.Ephemeral()); err != nil {
		t.Fatal(err)
	}
	if r := send(t, srv.URL, "GET", "/data/e", ""); r.Get("X-Ephemeral") != "true" {
		t.Errorf("the ephemeral key tells %v", r.Header)
	}
}

// TestBadRequestsForKeys: what makes no sense is refused whole, and changes nothing.
func TestBadRequestsForKeys(t *testing.T) {
	f := newFake(t)
	srv, _ := serve(t, New(f, Options{}), "")
	send(t, srv.URL, "POST", "/data/k", "v")
	for request, says := range map[string]string{
		"POST /data/k?rev=x":                    "whole number",
		"POST /data/k?rev=":                     "whole number",
		"POST /data/k?rev=-1":                   "whole number",
		"POST /data/k?rev=18446744073709551616": "whole number",
		"POST /data/k?rev=1&rev=2":              "twice",
		"POST /data/k?rev=2&if-rev=1":           "exclude",
		"POST /data/k?rev=2&absent=true":        "exclude",
		"POST /data/k?absent=perhaps":           "true or false",
		"POST /data/k?if_rev=1":                 "no parameter", // misspelt: not to be taken for none
		"POST /data/k?%zz=1":                    "query",
		"POST /data/k?ttl=0":                    "TTL",
		"POST /data/k?ttl=-5s":                  "milliseconds",
		"POST /data/k?ttl=soon":                 "milliseconds",
		"POST /data/k?ttl=99999999999999999":    "counted",
		"POST /data/k?timeout=x":                "milliseconds",
		"POST /data/%ff":                        "UTF-8",
		"GET /data/%ff":                         "UTF-8",
		"DELETE /data/%ff":                      "UTF-8",
		"DELETE /data/k?absent=true":            "no parameter",
		"DELETE /data?rev=1":                    "no parameter",
		"DELETE /data?prefix=%ff":               "UTF-8",
		"GET /data?limit=many":                  "whole number",
		"GET /data?values=2":                    "true or false",
		"GET /data/k?rev=1":                     "no parameter",
		"GET /watches/k?rev=x":                  "whole number",
		"GET /watches/k?timeout=x":              "milliseconds",
		"GET /watches/%ff":                      "UTF-8",
		"POST /watches/k?rev=1":                 "condition for an event",
		"POST /watches/%ff":                     "UTF-8",
		"POST /txn?x=1":                         "no parameter",
	} {
		method, target, _ := strings.Cut(request, " ")
		body := "w"
		if method == "GET" {
			body = ""
		}
		p := send(t, srv.URL, method, target, body).refused(t, request, 400, "invalid", outcome.NotDone)
		if !strings.Contains(p.Error, says) {
			t.Errorf("%s says %q, want %q", request, p.Error, says)
		}
	}
	long := "/data/" + strings.Repeat("k", 1025)
	send(t, srv.URL, "POST", long, "v").refused(t, "a long key", 413, "too large", outcome.NotDone)
	for request, allow := range map[string]string{
		"POST /data": "GET, HEAD, DELETE", "PATCH /data/k": "GET, HEAD, POST, PUT, DELETE", "DELETE /watches/k": "GET, POST",
		"POST /watches": "GET", "GET /txn": "POST",
	} {
		method, target, _ := strings.Cut(request, " ")
		if r := send(t, srv.URL, method, target, ""); r.code != 405 || r.Get("Allow") != allow {
			t.Errorf("%s: %d, Allow %q, want %q", request, r.code, r.Get("Allow"), allow)
		}
	}
	if r := send(t, srv.URL, "GET", "/txn/x", ""); r.code != 404 {
		t.Errorf("below /txn: %d", r.code)
	}
	send(t, srv.URL, "GET", "/data/k", "").want(t, "after all that", 200, "1")
}

// TestErrorReplies: every reason has its status, and says what became of the request.
func TestErrorReplies(t *testing.T) {
	f := newFake(t)
	srv, c := serve(t, New(f, Options{}), "")
	for _, tt := range []struct {
		err    error
		code   int
		reason string
	}{
		{kith.ErrOverloaded, 429, "overloaded"},
		{kith.ErrNoQuorum, 503, "no quorum"},
		{fmt.Errorf("%w: too slow", kith.ErrNoQuorum), 503, "no quorum"},
		{kith.ErrNotMember, 503, "not a member"},
		{kith.ErrStateLost, 503, "state lost"},
		{kith.ErrSessionEnded, 503, "session ended"},
		{kith.ErrClosed, 503, "closed"},
		{kv.ErrQuota, 507, "quota"},
		{errors.New("something else"), 500, ""},
	} {
		f.replica.set(tt.err, nil, tt.err)
		for _, request := range []string{"POST /data/k", "DELETE /data/k", "DELETE /data", "POST /watches/k", "GET /data/k", "GET /data", "GET /watches/k"} {
			method, target, _ := strings.Cut(request, " ")
			r := send(t, srv.URL, method, target, "")
			p := r.refused(t, fmt.Sprintf("%s, %v", request, tt.err), tt.code, tt.reason, outcome.NotDone)
			if again := tt.code == 429 || tt.code == 503; again != (r.Get("Retry-After") != "") {
				t.Errorf("%v: Retry-After %q", tt.err, r.Get("Retry-After"))
			}
			if strings.HasPrefix(p.Error, "kith: ") || strings.Contains(p.Error, "not done") || !strings.Contains(p.Error, "bravo does not answer") {
				t.Errorf("%v is told as %q", tt.err, p.Error)
			}
		}
		known := sentinel(tt.reason) // what a program can match
		_, setErr := c.Set(t.Context(), "k", nil, WriteOptions{})
		_, getErr := c.Get(t.Context(), "k")
		for _, err := range []error{setErr, getErr} {
			if e, ok := errors.AsType[*ReplyError](err); !ok || e.Code != tt.code || e.Err != known || known != nil && !errors.Is(err, known) || kith.OutcomeOf(err) != kith.NotDone {
				t.Errorf("%v reaches the client as %v", tt.err, err)
			}
		}
	}
	f.replica.set(nil, kith.ErrClosed, nil)
	for _, method := range []string{"POST", "DELETE"} {
		send(t, srv.URL, method, "/data/k", "v").refused(t, method+" whose answer is lost", 504, "closed", outcome.Unknown)
	}
	if _, err := c.Set(t.Context(), "k", nil, WriteOptions{}); !errors.Is(err, kith.ErrUnknown) || !errors.Is(err, kith.ErrClosed) || kith.OutcomeOf(err) != kith.Unknown {
		t.Errorf("a lost answer reaches the client as %v", err)
	}
	f.replica.set(nil, nil, nil)
	f.stop(kith.ErrClosed)
	send(t, srv.URL, "GET", "/data/k", "").refused(t, "an ended node", 503, "closed", outcome.NotDone)
}

// TestNoMajority: a call without an answer ends when the client said, or soon; a read of
// this node's own copy works.
func TestNoMajority(t *testing.T) {
	f := newFake(t)
	srv, _ := serve(t, New(f, Options{}), "")
	send(t, srv.URL, "POST", "/data/k", "v")
	defer f.replica.hold()()
	send(t, srv.URL, "GET", "/data/k?timeout=20", "").refused(t, "a read", 503, "no quorum", outcome.NotDone)
	send(t, srv.URL, "GET", "/data?timeout=20", "").refused(t, "a listing", 503, "no quorum", outcome.NotDone)
	send(t, srv.URL, "POST", "/data/k?timeout=20ms", "w").refused(t, "a write", 504, "no quorum", outcome.Unknown)
	send(t, srv.URL, "GET", "/data/k?stale=true", "").want(t, "a stale read", 200, "1")
	send(t, srv.URL, "GET", "/data?stale=true", "").want(t, "a stale listing", 200, "1")
}

// TestBodies: a value comes whole or not at all, and costs no more than is allowed.
func TestBodies(t *testing.T) {
	f := newFake(t)
	h := New(f, Options{})
	h.timeout = 300 * time.Millisecond
	addr, _ := serving(t, h)
	const head = "POST /data/k HTTP/1.1\r\nHost: localhost\r\n"
	for name, tt := range map[string]struct {
		in     string
		hangUp bool // and say no more
		code   string
	}{
		"too large for a lock": {in: "POST /locks/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048577\r\n\r\n", code: "413"},
		"too large":            {in: head + "Content-Length: 1048577\r\n\r\n", code: "413"},
		"a large txn":          {in: "POST /txn HTTP/1.1\r\nHost: localhost\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", MaxTxnBody+1), code: "413"},
		"huge":                 {in: head + "Content-Length: 9223372036854775807\r\n\r\n", code: "413"},
		"too large, chunks":    {in: head + "Transfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", 0x100001) + "\r\n0\r\n\r\n", code: "413"},
		"cut off":              {in: head + "Content-Length: 10\r\n\r\nhello", hangUp: true, code: "400"},
		"cut off in chunks":    {in: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", hangUp: true, code: "400"},
		"bad chunks":           {in: head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", code: "400"},
		"slow":                 {in: head + "Content-Length: 10\r\n\r\nhello", code: "408"},
		"slow chunks":          {in: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", code: "408"},
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			io.Copy(conn, strings.NewReader(tt.in))
			if tt.hangUp {
				conn.(*net.TCPConn).CloseWrite()
			}
		}()
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+tt.code) {
			t.Errorf("%s is answered %q, %v; want %s", name, strings.TrimSpace(line), err, tt.code)
		}
		conn.Close()
	}
	send(t, "http://"+addr, "GET", "/data/k", "").want(t, "after all that", 200, "0")
	send(t, "http://"+addr, "POST", "/data/k", strings.Repeat("x", MaxValue)).want(t, "just fits", 200, "1")
	eventually(t, "no body is kept", func() bool { return h.bodies.Load() == 0 })

	h.bodies.Store(maxBodies - 4)
	send(t, "http://"+addr, "POST", "/data/k", "small").refused(t, "one too many", 429, "overloaded", outcome.NotDone)
	send(t, "http://"+addr, "POST", "/data/k", "fits").want(t, "the last one", 200, "2")
}

func TestListing(t *testing.T) {
	f := newFake(t)
	srv, c := serve(t, New(f, Options{}), "")
	var all []string
	for i := range 2*kv.MaxPage + 7 {
		all = append(all, fmt.Sprintf("k/%05d", i))
		if _, err := f.store.Set(t.Context(), all[i], []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.store.Set(t.Context(), "z", []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	names := func(target string) (list []string) {
		t.Helper()
		r := send(t, srv.URL, "GET", target, "").want(t, target, 200, "2008")
		if err := json.Unmarshal([]byte(r.body), &list); err != nil || strings.Contains(r.body, "\n") {
			t.Errorf("%s: %v", target, err)
		}
		return list
	}
	for target, want := range map[string][]string{
		"/data":                                 append(slices.Clone(all), "z"),
		"/data?prefix=k/&limit=0":               all,
		"/data?prefix=k/&limit=3":               all[:3],
		"/data?limit=1500":                      all[:1500],
		"/data?limit=2&after=k/00001":           all[2:4],
		"/data?prefix=k/&after=k/01998&limit=5": all[1999:2004],
		"/data?after=z":                         {},
		"/data?prefix=nosuch":                   {},
		"/data?limit=18446744073709551615":      append(slices.Clone(all), "z"),
	} {
		if got := names(target); !slices.Equal(got, want) {
			t.Errorf("%s lists %d names, want %d", target, len(got), len(want))
		}
	}
	page, err := c.List(t.Context(), "", "k/02005", 0)
	if err != nil || len(page.Entries) != 2 || page.Next != "" || page.Revision != 2008 {
		t.Errorf("the last page: %+v, %v", page, err)
	}
	if e := page.Entries[1]; e.Key != "z" || !bytes.Equal(e.Value, []byte{0xff}) || e.Revision != 2008 || e.Created != 2008 {
		t.Errorf("the last entry: %+v", e)
	}
	if page, err := c.List(t.Context(), "k/", "", 0); err != nil || len(page.Entries) != kv.MaxPage || page.Next != all[kv.MaxPage-1] {
		t.Errorf("the first page ends at %q, %v", page.Next, err)
	}
	if got, err := c.Names(t.Context(), "k/", "k/02000", 3); err != nil || !slices.Equal(got, all[2001:2004]) {
		t.Errorf("Names: %q, %v", got, err)
	}
	if n, revision, err := c.DeletePrefix(t.Context(), "k/"); n != len(all) || revision != 2009 || err != nil {
		t.Errorf("DeletePrefix: %d, %d, %v", n, revision, err)
	}
	if r := send(t, srv.URL, "GET", "/data?values=true", ""); !strings.Contains(r.body, `"base64": "/w=="`) {
		t.Errorf("with values: %s", r.body)
	}
}

// FuzzKey: whatever a key holds, it names the same key on the other side.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "/", "//", "..", ".", "a/../b", "%2F", "%", "+", " ", "?", "#", "&=", "ü/€", "\x00", "\n", "\xff", "a;b", "{key}"} {
		f.Add(key)
	}
	h := &Handler{routes: routes()}
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" {
			return
		}
		for _, route := range []string{"/data", "/watches"} {
			line := "POST " + keyPath(route+"/", key) + "?rev=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line)))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			rt, ok := h.find(r.URL.Path)
			if !ok || rt.Path != route+"/{key}" || keyOf(r) != key || r.URL.RawQuery != "rev=1" {
				t.Errorf("%q is found at %q as %q", key, rt.Path, keyOf(r))
			}
		}
	})
}

// FuzzFind: no path panics, and one that names a key is not taken for a listing.
func FuzzFind(f *testing.F) {
	f.Add("/data")
	f.Add("/data/")
	f.Add("data/x")
	f.Add("")
	f.Add("//data/x")
	h := &Handler{routes: routes()}
	f.Fuzz(func(t *testing.T, path string) {
		rt, ok := h.find(path)
		_, key := cutPath(path)
		if ok && strings.HasSuffix(rt.Path, "{key}") != (key != "") {
			t.Errorf("%q is found at %q with the key %q", path, rt.Path, key)
		}
	})
}

// FuzzValue: bytes survive JSON.
func FuzzValue(f *testing.F) {
	f.Add([]byte("text"))
	f.Add([]byte{0xff, 0})
	f.Add([]byte("\u2028<&>\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := json.Marshal(Value(data))
		if err != nil {
			t.Fatal(err)
		}
		var back Value
		if err := json.Unmarshal(text, &back); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%q became %s and then %q, %v", data, text, back, err)
		}
		if utf8.Valid(data) != (text[0] == '"') {
			t.Errorf("%q is written %s", data, text)
		}
	})
}

func TestBadValues(t *testing.T) {
	for _, text := range []string{`5`, `[]`, `{}`, `{"base64":"?"}`, `{"base64":null}`, `true`} {
		var v Value
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			t.Errorf("%s is taken for %q", text, v)
		}
	}
}
