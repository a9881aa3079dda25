package peers

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve starts a server that ends with the test.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestSync(t *testing.T) {
	file := read(t, "testdata/replicas.json")
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for header, want := range map[string]string{
			"X-Api-Key": "secret", "Content-Type": "application/json", "Accept": "application/json",
		} {
			if got := r.Header.Get(header); got != want {
				t.Errorf("%s is %q, want %q", header, got, want)
			}
		}
		if r.Method != http.MethodGet || r.URL.Path != "/peers" {
			t.Errorf("request is %s %s", r.Method, r.URL)
		}
		fmt.Fprint(w, file)
	})
	t.Setenv("PEERS_SYNC_URL", server.URL+"/peers")
	t.Setenv("PEERS_SYNC_APIKEY", "secret")
	if url, key, err := SyncEnv(); err != nil || url != server.URL+"/peers" || key != "secret" {
		t.Errorf("the environment says %q, %q, %v", url, key, err)
	}
	list, err := Sync()
	if err != nil || string(encoded(t, list)) != file {
		t.Errorf("synchronized %+v, %v", list, err)
	}
	if err := list.Dump(""); err == nil || list.Source() != "" {
		t.Errorf("a list from a server has the file %q", list.Source())
	}
}

// gzipped returns n blanks, packed.
func gzipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.CopyN(z, blanks{}, int64(n))
	z.Close()
	return b.Bytes()
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestSyncBadServers(t *testing.T) {
	good := string(encoded(t, some(3)))
	bomb := gzipped(MaxFileSize + 1)
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    string // text of the error, exact if it begins with "could"
	}{
		{"403", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403); fmt.Fprint(w, good) },
			"could not synchronize peers: 403 Forbidden"},
		{"500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
			"could not synchronize peers: 500 Internal Server Error"},
		{"201", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); fmt.Fprint(w, good) },
			"could not synchronize peers: 201 Created"},
		{"304 unasked", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) },
			"could not synchronize peers: 304 Not Modified"},
		{"hangs", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"no complete answer within 200ms"},
		{"hangs half-way", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, good[:20])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "no complete answer within 200ms"},
		{"half a body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)))
			fmt.Fprint(w, good[:len(good)/2])
		}, "the answer broke off: unexpected EOF"},
		{"half a list", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, good[:len(good)/2]) },
			"the text ends in the middle"},
		{"nothing", func(w http.ResponseWriter, r *http.Request) {}, "there is nothing in it"},
		{"a page", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>log in</html>") },
			"the answer (text/html; charset=utf-8) is no list of peers"},
		{"10 GB announced", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(10<<30))
			fmt.Fprint(w, " ")
		}, "larger than 16 MiB"},
		{"10 GB", func(w http.ResponseWriter, r *http.Request) { io.CopyN(w, blanks{}, 10<<30) },
			"larger than 16 MiB"},
		{"10 GB in gzip", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb)
		}, "larger than 16 MiB"},
		{"hangs up", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		{"redirects for ever", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
			"10 redirects are too many"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, test.handler)
			f := newFetcher(server.URL, "secret", nil)
			if strings.HasPrefix(test.name, "hangs") {
				f.timeout = 200 * time.Millisecond
			} else {
				f.timeout = patience // a slow machine is no hanging server
			}
			got, err := f.fetch(t.Context(), validators{})
			if got.list != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, error %v, want %q", got.list, err, test.want)
			}
			if strings.HasPrefix(test.want, "could") && err.Error() != test.want {
				t.Errorf("error is %q, want exactly %q", err, test.want)
			}
			if strings.HasPrefix(test.want, "larger") && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error is %v, want ErrTooLarge", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

func TestSyncTimeout(t *testing.T) {
	if got := newFetcher("http://a/", "", nil).timeout; got != 5*time.Second {
		t.Errorf("the time-out is %v, documented are 5 s", got)
	}
}

// TestSyncNamesURL: faults that only Validate finds name the place too.
func TestSyncNamesURL(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{\n\"replicas\": []}") })
	list, err := SyncFrom(server.URL+"/?token=secret", "key")
	must(t, err)
	want := "peers: " + server.URL + "/?xxxxx:2:1: replicas: the list is empty: give at least one peer"
	if err := list.Validate(); err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestSyncEnv(t *testing.T) {
	for _, test := range []struct{ url, key, wantURL, wantKey, problem string }{
		{"", "", "", "", "could not find $PEERS_SYNC_URL"},
		{"", "k", "", "", "could not find $PEERS_SYNC_URL"},
		{"http://a", "", "http://a", "", "could not find $PEERS_SYNC_APIKEY"},
		{"http://a", "k", "http://a", "k", ""},
	} {
		t.Setenv("PEERS_SYNC_URL", test.url)
		t.Setenv("PEERS_SYNC_APIKEY", test.key)
		if url, key, err := SyncEnv(); url != test.wantURL || key != test.wantKey || errorText(err) != test.problem {
			t.Errorf("%+v: got %q, %q, %v", test, url, key, err)
		}
	}
}

func TestSyncGzip(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Errorf("accepted encodings are %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(encoded(t, some(3)))
		z.Close()
	})
	if list, err := SyncFrom(server.URL, ""); err != nil || len(list.Peers) != 3 {
		t.Errorf("synchronized %v, %v", list, err)
	}
}

func TestSyncBadURL(t *testing.T) {
	for _, test := range []struct{ url, want string }{
		{"", "must begin with http"},
		{"::", "bad URL"},
		{"http://[::1", "bad URL"},
		{"http://user:secret@host\x7f/", "bad URL"},
		{"ftp://example.com/peers", "must begin with http"},
		{"example.com/peers", "must begin with http"},
		{"http:///peers", "names no host"},
		{"http://user:secret@127.0.0.1:1/?token=secret", "peers from http://xxxxx@127.0.0.1:1/?xxxxx: dial"},
	} {
		list, err := SyncFrom(test.url, "key")
		if list != nil || err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "peers: ") {
			t.Errorf("%s: %v, error %v, want %q", test.url, list, err, test.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
	if _, err := SyncFrom("http://127.0.0.1:1/", "line\nbreak"); err == nil || strings.Contains(err.Error(), "break") {
		t.Errorf("bad key: %v", err)
	}
}

func TestSyncContext(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(enough) })
	if _, err := SyncContext(ctx, server.URL, ""); !errors.Is(err, enough) {
		t.Errorf("error is %v, want the cause", err)
	}
}

func TestSyncRedirects(t *testing.T) {
	good := encoded(t, some(3))
	var leaked atomic.Bool
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(true)
		w.Write(good)
	})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/list", http.StatusMovedPermanently)
		case "/other":
			http.Redirect(w, r, elsewhere.URL+"/?token=t", http.StatusTemporaryRedirect)
		case "/list":
			if r.Header.Get("X-Api-Key") != "secret" {
				w.WriteHeader(http.StatusForbidden)
			}
			w.Write(good)
		}
	})
	if list, err := SyncFrom(server.URL+"/same", "secret"); err != nil || len(list.Peers) != 3 {
		t.Errorf("on the same host: %v, %v", list, err)
	}
	want := "another host would send the key there: if that is right, use " + elsewhere.URL + "/?xxxxx"
	if _, err := SyncFrom(server.URL+"/other", "secret"); err == nil || !strings.Contains(err.Error(), want) || leaked.Load() {
		t.Errorf("to another host: %v, asked: %v", err, leaked.Load())
	}
}

func TestRedirectPolicy(t *testing.T) {
	for _, test := range []struct {
		from, to string
		want     string // empty if allowed
	}{
		{"http://a/x", "http://a/y", ""},
		{"http://a/x", "http://A:80/y", ""},
		{"http://a/x", "https://a/x", ""},
		{"https://a/x", "https://a:443/y", ""},
		{"https://a/x", "http://a/x", "in the clear"},
		{"https://a:8443/x", "https://a/x", "another host"},
		{"http://a:8080/x", "https://a/x", "another host"},
		{"http://a/x", "http://b/x", "another host"},
		{"http://a/x", "http://a.b/x", "another host"},
		{"http://a/x", "http://a:81/x", "another host"},
	} {
		from, _ := http.NewRequest(http.MethodGet, test.from, nil)
		to, _ := http.NewRequest(http.MethodGet, test.to, nil)
		err := sameHostOnly(nil)(to, []*http.Request{from})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s to %s: %v, want %q", test.from, test.to, err, test.want)
		}
	}
	// Up to https at once is fine, and back down is not, through two redirects.
	var via []*http.Request
	for _, step := range []string{"http://a/x", "https://a/x"} {
		req, _ := http.NewRequest(http.MethodGet, step, nil)
		if len(via) > 0 {
			must(t, sameHostOnly(nil)(req, via))
		}
		via = append(via, req)
	}
	down, _ := http.NewRequest(http.MethodGet, "http://a/x", nil)
	if err := sameHostOnly(nil)(down, via); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("up to https and down again: %v", err)
	}
	own := errors.New("not here")
	u := &url.URL{Scheme: "http", Host: "a"}
	policy := sameHostOnly(func(*http.Request, []*http.Request) error { return own })
	if err := policy(&http.Request{URL: u}, []*http.Request{{URL: u}}); !errors.Is(err, own) {
		t.Errorf("the client's own policy is lost: %v", err)
	}
}
