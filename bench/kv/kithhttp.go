package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/kith-go/kith/bench/stage"
)

// httpClient uses kith's HTTP API with the standard library's client, as a program
// in any language would with its own: a connection for each caller that is at it.
type httpClient struct {
	members []stage.Member
	http    *http.Client
}

func kithLoad(_ context.Context, s stage.Spec) (client, func(), error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	return &httpClient{members: s.Members, http: &http.Client{Transport: transport}}, transport.CloseIdleConnections, nil
}

func (c *httpClient) conns(_ context.Context, node, n int) ([]conn, error) {
	to := httpConn{c.http, "http://" + c.members[node].ThirdAddr() + "/data/"}
	return slices.Repeat([]conn{to}, n), nil
}

// Serves is a stage.Observer's, as are the others: kith's own nodes are asked.
func (c *httpClient) Serves(context.Context, int) error { return stage.ErrNotAsked }

// Leader returns stage.ErrNotAsked.
func (c *httpClient) Leader(context.Context, int) (int, error) { return 0, stage.ErrNotAsked }

// Applied returns stage.ErrNotAsked.
func (c *httpClient) Applied(context.Context, int) (uint64, error) { return 0, stage.ErrNotAsked }

type httpConn struct {
	client *http.Client
	url    string // of the keys
}

func (c httpConn) put(ctx context.Context, key string, value []byte) error {
	return c.do(ctx, http.MethodPut, key, bytes.NewReader(value))
}

func (c httpConn) read(ctx context.Context, key string) error {
	return c.do(ctx, http.MethodGet, key, nil)
}

func (c httpConn) readLocal(ctx context.Context, key string) error {
	return c.do(ctx, http.MethodGet, key+"?stale=true", nil)
}

// do sends a request and takes the whole reply, or the connection could not be
// used again.
func (c httpConn) do(ctx context.Context, method, key string, body io.Reader) error {
	q, err := http.NewRequestWithContext(ctx, method, c.url+key, body)
	if err != nil {
		return err
	}
	a, err := c.client.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", a.Status, text)
	}
	return err
}
