package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	dialTimeout  = 5 * time.Second
	replyTimeout = 10 * time.Second
	// maxReply bounds what the client reads of one reply or event.
	maxReply = 64 << 20
)

// Client asks the HTTP API of a node. It is safe for concurrent use.
type Client struct {
	base  string // scheme://host:port[/path], no slash at the end
	token string
	http  *http.Client
	// silence is how long a stream may say nothing before it counts as dead.
	silence time.Duration
}

// UnreachableError says that nobody answered at an address.
type UnreachableError struct {
	// URL is the address of the API that was tried.
	URL string
	// Err tells how the attempt failed.
	Err error
}

// Error names the address and what to do.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("httpapi: no agent answers at %s: %v\n"+
		"is the agent running? start it with: kith agent, or name it with --api or $KITH_API", e.URL, e.Err)
}

// Unwrap returns e.Err.
func (e *UnreachableError) Unwrap() error { return e.Err }

// ReplyError is an answer with a status other than 200.
type ReplyError struct {
	// URL is the address that was asked, Code the HTTP status of the answer,
	// Message what it said.
	URL     string
	Code    int
	Message string
}

// Error names the address, the status and the server's words.
func (e *ReplyError) Error() string {
	return fmt.Sprintf("httpapi: %s answered %d %s: %s", e.URL, e.Code, http.StatusText(e.Code), e.Message)
}

// ErrStreamEnded is matched by the last error of a stream that the server ended
// with a word of why.
var ErrStreamEnded = errors.New("ended the stream")

// errStranger marks an answer that is not of this API.
var errStranger = errors.New("did not answer as a kith agent does")

// NewClient returns a client for the API at base: "host:port", "host" (with the
// port of [DefaultAddr]), or a URL, whose path is put before every route. The
// token is sent with every request; "" sends none. Nothing is dialled yet.
func NewClient(base, token string) (*Client, error) {
	u, err := parseBase(base)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %q is not the address of an API (want host:port or a URL, such as %s): %w", redact(base), DefaultAddr, err)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("httpapi: the token holds white space or other characters that cannot be sent")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if usual, ok := http.DefaultTransport.(*http.Transport); ok { // a program may have put its own there
		transport = usual.Clone()
	}
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	transport.ResponseHeaderTimeout = replyTimeout
	return &Client{
		base:  u,
		token: token,
		http: &http.Client{
			Transport: transport,
			// The API redirects nowhere, so a redirect is somebody else's, and
			// the token is none of their business.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		silence: 3 * heartbeatEvery,
	}, nil
}

func parseBase(base string) (string, error) {
	if base == "" {
		return "", errors.New("it is empty")
	}
	_, defaultPort, _ := net.SplitHostPort(DefaultAddr)
	if !strings.Contains(base, "://") {
		if host, port, err := net.SplitHostPort(base); err != nil {
			base = net.JoinHostPort(strings.Trim(base, "[]"), defaultPort)
		} else if host == "" {
			base = net.JoinHostPort("127.0.0.1", port)
		}
		base = "http://" + base
	}
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return "", errors.Unwrap(err) // without the text, which may hold a password
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("the scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return "", errors.New("it names no host")
	case u.User != nil:
		return "", errors.New("it holds a user; give a token instead")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("it holds a query or a fragment")
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// URL returns the address of the API, such as "http://127.0.0.1:2033".
func (c *Client) URL() string { return c.base }

// Close closes the client's idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Nodes asks who is in the cluster. It fails with an [*UnreachableError] when
// nobody answers and with a [*ReplyError] when the answer is a refusal.
func (c *Client) Nodes(ctx context.Context) (Nodes, error) {
	var nodes Nodes
	return nodes, c.get(ctx, "/nodes", &nodes)
}

// Peers asks for the list of peers; errors as for [Client.Nodes].
func (c *Client) Peers(ctx context.Context) (Peers, error) {
	var list Peers
	return list, c.get(ctx, "/peers", &list)
}

// Status asks how the node fares; errors as for [Client.Nodes].
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	return status, c.get(ctx, "/status", &status)
}

// get asks for path and decodes the answer into v.
func (c *Client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("no whole answer within %s", requestTimeout))
	defer cancel()
	resp, err := c.ask(ctx, path, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("httpapi: reading the answer of %s%s: %w", c.base, path, causeOr(ctx, err))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("httpapi: %s%s %w: %w", c.base, path, errStranger, err)
	}
	return nil
}

// ask sends a request and returns an answer with status 200.
func (c *Client) ask(ctx context.Context, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	req.Header.Set("Accept", accept)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // the address is in our own text already
		}
		return nil, &UnreachableError{URL: c.base, Err: causeOr(ctx, err)}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, &ReplyError{URL: c.base + path, Code: resp.StatusCode, Message: errorText(resp.Body)}
}

// errorText returns what the body of an error reply says.
func errorText(body io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(body, 4<<10))
	var p problem
	if json.Unmarshal(text, &p) == nil && p.Error != "" {
		return p.Error
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}

// causeOr returns why ctx ended if it did, else err.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
