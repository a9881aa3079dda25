package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

func request(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+target, nil)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("Content-Length is %q for %d bytes", resp.Header.Get("Content-Length"), len(body))
	}
	return string(body)
}

func errorOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(bodyOf(t, resp)), &p); err != nil || p.Error == "" {
		t.Errorf("the error is not JSON: %v", err)
	}
	return p.Error
}

func TestRoutes(t *testing.T) {
	h := New(newFake(t), Options{})
	for _, tt := range []struct {
		method, target string
		code           int
		says           string
	}{
		{"GET", "/", 200, ""},
		{"GET", "/nodes", 200, ""},
		{"GET", "/nodes/", 200, ""},
		{"GET", "/nodes?x=1", 200, ""},
		{"GET", "/peers", 200, ""},
		{"GET", "/status", 200, ""},
		{"POST", "/nodes", 405, "GET or HEAD"},
		{"PUT", "/", 405, "GET or HEAD"},
		{"DELETE", "/peers", 405, "GET or HEAD"},
		{"OPTIONS", "/status", 405, "GET or HEAD"},
		{"BREW", "/status", 405, "GET or HEAD"},
		{"GET", "/node", 404, "GET /nodes"},
		{"GET", "/nodes/alpha", 404, "GET /status"},
		{"GET", "//nodes", 404, "GET /peers"},
		{"GET", "/nodes/../status", 404, "GET /"},
		{"GET", "/%00", 404, "routes"},
		{"GET", "/<script>", 404, "routes"},
		{"POST", "/nowhere", 404, "routes"},
	} {
		resp := request(t, h, tt.method, tt.target)
		if resp.StatusCode != tt.code {
			t.Errorf("%s %s is %d, want %d", tt.method, tt.target, resp.StatusCode, tt.code)
		}
		if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s %s has the type %q", tt.method, tt.target, resp.Header.Get("Content-Type"))
		}
		if tt.code == 200 {
			if body := bodyOf(t, resp); !json.Valid([]byte(body)) {
				t.Errorf("%s %s is no JSON: %s", tt.method, tt.target, body)
			}
			continue
		}
		if said := errorOf(t, resp); !strings.Contains(said, tt.says) {
			t.Errorf("%s %s says %q, want %q in it", tt.method, tt.target, said, tt.says)
		}
		if allow := resp.Header.Get("Allow"); tt.code == 405 && allow != "GET, HEAD" {
			t.Errorf("%s %s allows %q", tt.method, tt.target, allow)
		}
	}
}

func TestHead(t *testing.T) {
	srv, c := serve(t, New(newFake(t), Options{}), "")
	for _, path := range []string{"/", "/nodes", "/peers"} {
		get, err := c.http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(get.Body)
		get.Body.Close()
		head, err := c.http.Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		nothing, _ := io.ReadAll(head.Body)
		head.Body.Close()
		if head.StatusCode != 200 || len(nothing) != 0 || head.ContentLength != int64(len(body)) {
			t.Errorf("HEAD %s: %d with %d bytes, Content-Length %d, want %d", path, head.StatusCode, len(nothing), head.ContentLength, len(body))
		}
	}
}

func TestNodesJSON(t *testing.T) {
	f := newFake(t)
	got := compact(t, bodyOf(t, request(t, New(f, Options{}), "GET", "/nodes")))
	want := compact(t, `{"cluster":"test","self":"alpha","nodes":[
		{"pid":1,"name":"alpha","address":"127.0.0.1:7001","status":"alive","self":true,"in_peers_file":true,
		 "incarnation":"0000000000001234","version":"0.1.0","unreachable":false,"since":"2026-11-21T10:00:00Z"},
		{"pid":2,"name":"bravo","address":"127.0.0.1:9002","status":"alive","self":false,"in_peers_file":true,
		 "incarnation":"0000000000005678","version":"0.1.0","rtt_ms":1.5,"unreachable":false,"since":"2026-11-21T10:00:01Z","tags":{"zone":"a"}},
		{"pid":3,"name":"charlie","address":"127.0.0.1:7003","status":"absent","self":false,"in_peers_file":true,"unreachable":false}]}`)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

func TestMergeNodes(t *testing.T) {
	f := newFake(t)
	member := func(name string, pid uint32, edit func(*membership.Member)) membership.Member {
		m := f.members[1]
		m.Name, m.PID = name, pid
		if edit != nil {
			edit(&m)
		}
		return m
	}
	list := &peers.Peers{Peers: []*peers.Peer{
		nil,
		{PID: 4, Name: "delta", Hostname: "delta.example", Port: 6000},
		{PID: 9, Name: "delta", IPAddr: "10.0.0.9", Port: 6000}, // the first wins
		{PID: 2, Name: "bravo", IPAddr: "10.0.0.2", Port: 6000},
		{PID: 7, Name: "golf", IPAddr: "::1", Port: 6000},
	}}
	got := mergeNodes(f.status, list, []membership.Member{
		member("zulu", 0, nil),
		member("bravo", 3, nil),
		member("delta", 0, nil),
		member("alpha", 0, func(m *membership.Member) { m.Status = membership.StatusFailed }),
	})
	want := []NodeInfo{
		{PID: 3, Name: "bravo", Address: "127.0.0.1:9002", InPeersFile: true, FilePID: 2, FileAddress: "10.0.0.2:7000"},
		{PID: 4, Name: "delta", Address: "127.0.0.1:9002", InPeersFile: true},
		{PID: 7, Name: "golf", Address: "[::1]:7000", InPeersFile: true, Status: StatusAbsent},
		{Name: "alpha", Address: "127.0.0.1:9002", Status: "failed"},
		{Name: "zulu", Address: "127.0.0.1:9002"},
	}
	if len(got.Nodes) != len(want) {
		t.Fatalf("got %d nodes, want %d: %+v", len(got.Nodes), len(want), got.Nodes)
	}
	for i, g := range got.Nodes {
		w := want[i]
		if w.Status == "" {
			w.Status = "alive"
		}
		if g.PID != w.PID || g.Name != w.Name || g.Address != w.Address || g.Status != w.Status ||
			g.InPeersFile != w.InPeersFile || g.FilePID != w.FilePID || g.FileAddress != w.FileAddress {
			t.Errorf("node %d is\n%+v, want\n%+v", i, g, w)
		}
	}
	for name, missing := range map[string]bool{"bravo": false, "golf": true, "alpha": false, "zulu": false} {
		for _, n := range got.Nodes {
			if n.Name == name && n.Missing() != missing {
				t.Errorf("Missing of %s is %v", name, n.Missing())
			}
		}
	}
}

func TestPeersJSON(t *testing.T) {
	f := newFake(t)
	f.list = new(peers.Peers)
	const file = `{"info":{"num_replicas":1,"big":9007199254740993,"path":"inner"},"colour":"blue","path":"a key of the file","replicas":[
		{"pid":1,"name":"alpha","ip_address":"127.0.0.1","port":6001,"rack":"<7>"}]}`
	if err := json.Unmarshal([]byte(file), f.list); err != nil {
		t.Fatal(err)
	}
	f.status.PeersError = "line 3 is odd"
	f.status.Sync = &peers.SyncState{URL: "https://xxxxx@config.example/p?xxxxx", LastError: "503", Age: 90 * time.Second}
	body := bodyOf(t, request(t, New(f, Options{}), "GET", "/peers"))
	if !strings.Contains(body, `"url": "https://xxxxx@config.example/p?xxxxx"`) { // the syncer has redacted it
		t.Errorf("the server is not told as the syncer names it: %s", body)
	}
	for _, part := range []string{
		`"big": 9007199254740993`, `"colour": "blue"`, `"path": "/etc/kith/peers.json"`, `"rack": `,
		`"error": "line 3 is odd"`, `"age_s": 90`, `"path": "inner"`, `"loaded": "2026-11-21T10:00:00Z"`,
	} {
		if !strings.Contains(body, part) {
			t.Errorf("%s is missing in %s", part, body)
		}
	}
	var back Peers
	if err := json.Unmarshal([]byte(body), &back); err != nil {
		t.Fatal(err)
	}
	if back.Path != f.status.PeersPath || back.Error != "line 3 is odd" || !back.Loaded.Equal(t0) || back.Sync == nil || len(back.List.Peers) != 1 {
		t.Errorf("decoded %+v", back)
	}
	replicas, err := json.Marshal(back.List.Peers)
	if err != nil || compact(t, string(replicas)) != compact(t, file[strings.Index(file, "[\n"):len(file)-1]) {
		t.Errorf("the replicas became %s, %v", replicas, err)
	}
}

func TestPeersOfNoFile(t *testing.T) {
	f := newFake(t)
	f.list, f.status.PeersPath, f.status.PeersLoaded = new(peers.Peers), "", time.Time{}
	got := compact(t, bodyOf(t, request(t, New(f, Options{}), "GET", "/peers")))
	if want := `{"info":{},"path":"","replicas":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStatusJSON(t *testing.T) {
	f := newFake(t)
	f.status.Problems = []string{"charlie is missing: start it"}
	got := compact(t, bodyOf(t, request(t, New(f, Options{}), "GET", "/status")))
	for _, part := range []string{
		`"healthy":false`, `"problems":["charlie is missing: start it"]`, `"control_address":"127.0.0.1:7001"`,
		`"incarnation":"0000000000001234"`, `"missing":[]`, `"started":"2026-11-21T10:00:00Z"`, `"uptime_s":`,
		`"peers_path":"/etc/kith/peers.json"`, `"encrypted":false`, `"alive":2`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is missing in %s", part, got)
		}
	}
	f.status.Problems = nil
	if got := compact(t, bodyOf(t, request(t, New(f, Options{}), "GET", "/status"))); !strings.Contains(got, `"healthy":true,`) || !strings.Contains(got, `"problems":[]`) {
		t.Errorf("healthy is told as %s", got)
	}
}

func TestNodeEnded(t *testing.T) {
	f := newFake(t)
	f.stop(errors.New("the name is taken"))
	resp := request(t, New(f, Options{}), "GET", "/nodes")
	if said := errorOf(t, resp); resp.StatusCode != 503 || !strings.Contains(said, "the name is taken") {
		t.Errorf("%d %s", resp.StatusCode, said)
	}
}

func TestGuardWithoutToken(t *testing.T) {
	h := New(newFake(t), Options{})
	for host, code := range map[string]int{
		"127.0.0.1":              200,
		"127.0.0.1:2033":         200,
		"127.9.9.9:1":            200,
		"localhost":              200,
		"LocalHost:2033":         200,
		"localhost.":             200,
		"[::1]:2033":             200,
		"[::1]":                  200,
		"::1":                    200,
		"[::ffff:127.0.0.1]":     200,
		"":                       403,
		"evil.example":           403,
		"localhost.evil.example": 403,
		"127.0.0.1.evil.example": 403,
		"evil.example:2033":      403,
		"10.0.0.1":               403,
		"0.0.0.0":                403,
		"[::]:2033":              403,
		"2130706433":             403,
		"127.1":                  403,
	} {
		resp := request(t, h, "GET", "/nodes", "Host", host)
		if resp.StatusCode != code {
			t.Errorf("Host %q is answered %d, want %d", host, resp.StatusCode, code)
		}
		if code == 403 {
			if said := errorOf(t, resp); !strings.Contains(said, "http-token-file") {
				t.Errorf("the refusal does not say what to do: %s", said)
			}
		}
	}
}

// TestGuardForeignPages: without a token no web page of another origin is served,
// not even a stream that it could only hold open.
func TestGuardForeignPages(t *testing.T) {
	const host = "localhost:2033"
	open, token := New(newFake(t), Options{}), New(newFake(t), Options{Token: "sesame"})
	for _, test := range []struct {
		name, value string
		code        int
	}{
		{"Origin", "http://localhost:2033", 200},
		{"Origin", "http://LOCALHOST:2033", 200},
		{"Origin", "http://localhost:3000", 403},
		{"Origin", "https://evil.example", 403},
		{"Origin", "null", 403},
		{"Origin", "http://%", 403},
		{"Sec-Fetch-Site", "none", 200},
		{"Sec-Fetch-Site", "same-origin", 200},
		{"Sec-Fetch-Site", "cross-site", 403},
	} {
		resp := request(t, open, "GET", "/nodes", "Host", host, test.name, test.value)
		if resp.StatusCode != test.code {
			t.Errorf("%s: %s is answered %d, want %d", test.name, test.value, resp.StatusCode, test.code)
		}
		if test.code != 403 {
			continue
		}
		if said := errorOf(t, resp); !strings.Contains(said, test.name) || !strings.Contains(said, "http-token-file") {
			t.Errorf("the refusal of %s: %s does not say what to do: %s", test.name, test.value, said)
		}
		resp = request(t, open, "GET", "/nodes", "Host", host, test.name, test.value, "Accept", "text/event-stream")
		if resp.StatusCode != 403 {
			t.Errorf("a stream for %s: %s is answered %d", test.name, test.value, resp.StatusCode)
		}
		resp = request(t, token, "GET", "/nodes", "Host", host, test.name, test.value, "Authorization", "Bearer sesame")
		if resp.StatusCode != 200 {
			t.Errorf("with a token %s: %s is answered %d", test.name, test.value, resp.StatusCode)
		}
	}
}

func TestSeconds(t *testing.T) {
	for ms := range time.Duration(20_000) {
		got, err := json.Marshal(seconds(ms*time.Millisecond + 400*time.Microsecond))
		if err != nil || len(got) > len("12.345") {
			t.Fatalf("%d ms are written %s, %v", ms, got, err)
		}
	}
}

func TestGuardWithToken(t *testing.T) {
	h := New(newFake(t), Options{Token: "open-sesame"})
	for header, code := range map[string]int{
		"Bearer open-sesame":   200,
		"bearer open-sesame":   200,
		"Bearer  open-sesame":  200,
		"Bearer open-sesam":    401,
		"Bearer open-sesamee":  401,
		"Bearer OPEN-SESAME":   401,
		"Bearer ":              401,
		"Bearer":               401,
		"Basic open-sesame":    401,
		"open-sesame":          401,
		"":                     401,
		"Bearer open-sesame x": 401,
	} {
		resp := request(t, h, "GET", "/nodes", "Authorization", header, "Host", "evil.example")
		if resp.StatusCode != code {
			t.Errorf("Authorization %q is answered %d, want %d", header, resp.StatusCode, code)
		}
		if code == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("no WWW-Authenticate for %q", header)
		}
		if code == 401 && strings.Contains(errorOf(t, resp), "sesame") {
			t.Error("the refusal tells the token")
		}
	}
	if resp := request(t, h, "GET", "/nowhere"); resp.StatusCode != 401 {
		t.Errorf("an unknown path is answered %d to a stranger", resp.StatusCode)
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://config.example/peers.json":            "https://config.example/peers.json",
		"https://user:pass@config.example/peers.json":  "https://config.example/peers.json",
		"https://config.example/?key=abc&api=def#frag": "https://config.example/?api=redacted&key=redacted#frag",
		"https://[::1": "(an address that cannot be read)",
		"":             "",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMillis(t *testing.T) {
	for ms, text := range map[Millis]string{
		0:                               "0",
		Millis(1500 * time.Microsecond): "1.5",
		Millis(90 * time.Second):        "90000",
		Millis(123 * time.Nanosecond):   "0",
	} {
		got, err := json.Marshal(ms)
		if err != nil || string(got) != text {
			t.Errorf("%v is %s, %v; want %s", time.Duration(ms), got, err, text)
		}
		var back Millis
		if err := json.Unmarshal(got, &back); err != nil || back != Millis(time.Duration(ms).Truncate(time.Microsecond)) {
			t.Errorf("%s came back as %v, %v", got, time.Duration(back), err)
		}
	}
}
