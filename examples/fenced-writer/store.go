package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kith-go/kith/lock"
)

// tokenHeader is where a request has its fencing token.
const tokenHeader = "Fencing-Token"

// store is a value that is read and written over HTTP, by whoever has a token that is not
// lower than the highest seen.
type store struct {
	path string

	// mu makes one step of checking a token and doing what it was sent for. Without it a
	// later holder's write could come between the two, and be undone.
	mu    sync.Mutex
	fence *lock.Fence
	kept  record
}

// record is what the file has: the highest token beside what it guards, so that a store
// which is restarted refuses whom it refused before.
type record struct {
	Token uint64 `json:"token"`
	Value string `json:"value"`
}

func openStore(path string) (*store, error) {
	s := &store{path: path}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &s.kept)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.fence = lock.NewFence(s.kept.Token)
	return s, nil
}

// ServeHTTP answers GET and PUT.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strconv.ParseUint(r.Header.Get(tokenHeader), 10, 64) // without one 0, which Check refuses
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fence.Check(token); err != nil {
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
		return
	}
	next := record{token, s.kept.Value}
	if r.Method == http.MethodPut {
		next.Value = string(body)
	}
	if err := s.keep(next); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, s.kept.Value)
}

// keep writes the file, if anything has changed. The old one is there until the new one
// is on the disk.
func (s *store) keep(next record) error {
	if next == s.kept {
		return nil
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	f, err := os.Create(s.path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err == nil {
		s.kept = next
	}
	return err
}

// serveStore is the store until ctx ends.
func serveStore(ctx context.Context, addr, path string) error {
	s, err := openStore(path)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("the store is at http://%s\n", ln.Addr())
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// client is how writers reach the store.
type client struct{ url string }

// errStale is the store's refusal of a token.
var errStale = errors.New("stale token")

// send sends a request with a token and returns the store's value.
func (c client) send(ctx context.Context, method string, token uint64, value string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url, strings.NewReader(value))
	if err != nil {
		return "", err
	}
	r.Header.Set(tokenHeader, strconv.FormatUint(token, 10))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode == http.StatusPreconditionFailed:
		return "", fmt.Errorf("%w: %s", errStale, strings.TrimSpace(string(body)))
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s %s: %s: %s", method, c.url, resp.Status, body)
	}
	return string(body), nil
}
