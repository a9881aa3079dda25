package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/boottime"
)

const (
	dialTimeout  = 5 * time.Second
	replyTimeout = 10 * time.Second
	// maxIdle is how many connections stay open for calls to come.
	maxIdle = 64
	// maxReply bounds what the client reads of one reply or event.
	maxReply = 64 << 20
)

// Client asks the HTTP API of a node. It is safe for concurrent use.
//
// The methods for keys mean what those of [kv.Store] do, asked of another process.
// Their errors tell the outcome, as kith.OutcomeOf has it, and match those of packages
// kith and kv that the agent had: kith.ErrNoQuorum, kv.ErrTooLarge, a
// *kv.ConflictError and so on. Beside them there are *[ReplyError] for any other
// refusal, and *[UnreachableError] when nobody answered; a change is then unknown once
// it may have been sent. A caller that repeats an unknown one may have it done twice.
// Without a deadline in the context the agent gives up after eight seconds.
//
// A client with several addresses asks the one that answered last, and the next one
// when that cannot be reached. What may have been sent, and must not be done twice, is
// not sent to another.
type Client struct {
	bases []string      // scheme://host:port[/path], no slash at the end
	at    *atomic.Int32 // the one of bases that is asked first
	token string
	// id is the name by which the agents know this client, "" for none; session the
	// one session that its places shall belong to, 0 for whichever it has.
	id      string
	session uint64
	clock   func() time.Duration // measures the deadlines of sessions
	// http gives up on answers that do not come, patient does not.
	http, patient *http.Client
	// stale asks for reads of the agent's own copy of the keys.
	stale bool
	// silence is how long a stream may say nothing before it counts as dead.
	silence time.Duration
}

// UnreachableError says that nobody answered at an address.
type UnreachableError struct {
	// URL is the address of the API that was tried.
	URL string
	// Err tells how the attempt failed.
	Err error

	sent bool // somebody may have got the request
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
	// Err is the error that the node had, as far as it is one that a program can
	// tell from others: of those of packages kith and kv. Nil otherwise.
	Err error

	problem problem
	header  http.Header
}

// Error names the address, the status and the server's words.
func (e *ReplyError) Error() string {
	return fmt.Sprintf("httpapi: %s answered %d %s: %s", e.URL, e.Code, http.StatusText(e.Code), e.Message)
}

// Unwrap returns e.Err.
func (e *ReplyError) Unwrap() error { return e.Err }

// ErrStreamEnded is matched by the last error of a stream that the server ended
// with a word of why.
var ErrStreamEnded = errors.New("ended the stream")

// errStranger marks an answer that is not of this API.
var errStranger = errors.New("did not answer as a kith agent does")

// NewClient returns a client for the API at base: "host:port", "host" (with the
// port of [DefaultAddr]), or a URL, whose path is put before every route; or several of
// these with commas between. The token is sent with every request; "" sends none.
// Nothing is dialled yet.
func NewClient(base, token string) (*Client, error) {
	var bases []string
	for one := range strings.SplitSeq(base, ",") {
		u, err := parseBase(strings.TrimSpace(one))
		if err != nil {
			return nil, fmt.Errorf("httpapi: %q is not the address of an API (want host:port or a URL, such as %s): %w", redact(one), DefaultAddr, err)
		}
		bases = append(bases, u)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("httpapi: the token holds white space or other characters that cannot be sent")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if usual, ok := http.DefaultTransport.(*http.Transport); ok { // a program may have put its own there
		transport = usual.Clone()
	}
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	transport.MaxIdleConnsPerHost = maxIdle
	patient := transport.Clone()
	transport.ResponseHeaderTimeout = replyTimeout
	return &Client{
		bases: bases, at: new(atomic.Int32), token: token, clock: boottime.Clock(),
		http: newHTTPClient(transport), patient: newHTTPClient(patient),
		silence: 3 * heartbeatEvery,
	}, nil
}

func newHTTPClient(transport *http.Transport) *http.Client {
	return &http.Client{
		Transport: transport,
		// The API redirects nowhere, so a redirect is somebody else's, and the token is
		// none of their business.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
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

// URL returns the address of the API, such as "http://127.0.0.1:2033"; of several, the
// one that is asked first now.
func (c *Client) URL() string { return c.bases[c.at.Load()] }

// As returns a client that the agents know by id: what it holds is its own, whichever
// connection it comes by, and lists mark it. It shares c's connections. id is text
// without control characters; "" is nobody.
func (c *Client) As(id string) *Client {
	as := *c
	as.id, as.session = id, 0
	return &as
}

// Close closes the client's idle connections. The client stays usable.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.patient.CloseIdleConnections()
}

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
	resp, err := c.ask(ctx, call{path: path, accept: "application/json"})
	if err != nil {
		return err
	}
	return c.decode(ctx, resp, path, v)
}

// decode reads an answer into v and closes it.
func (c *Client) decode(ctx context.Context, resp *http.Response, path string, v any) error {
	body, err := c.read(ctx, resp, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("httpapi: %s%s %w: %w", c.URL(), path, errStranger, err)
	}
	return nil
}

// read reads an answer whole and closes it.
func (c *Client) read(ctx context.Context, resp *http.Response, path string) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("httpapi: reading the answer of %s%s: %w", c.URL(), path, causeOr(ctx, err))
	}
	return body, nil
}

// call is what is asked of the API. The zero method is GET.
type call struct {
	method, path string
	query        url.Values
	body         []byte
	header       http.Header // beside those of every request; may be nil
	accept       string
	patient      bool // the answer may take as long as the context allows
	repeatable   bool // no harm comes of its being done twice
}

// ask sends a request and returns an answer with status 200. It tries each address
// once, beginning with the one that answered last.
func (c *Client) ask(ctx context.Context, r call) (*http.Response, error) {
	first := c.at.Load()
	var sent bool
	for i := 0; ; i++ {
		at := (int(first) + i) % len(c.bases)
		resp, err := c.askAt(ctx, c.bases[at], r)
		e, unreachable := errors.AsType[*UnreachableError](err)
		if !unreachable {
			c.at.CompareAndSwap(first, int32(at))
			return resp, err
		}
		sent = sent || e.sent
		e.sent = sent
		if i == len(c.bases)-1 || ctx.Err() != nil || e.sent && !r.repeatable && r.method != "" {
			if !errors.Is(ctx.Err(), context.Canceled) { // or it may be the caller, not the agent
				c.at.CompareAndSwap(first, int32((at+1)%len(c.bases)))
			}
			return nil, err
		}
	}
}

// askAt is ask at one address.
func (c *Client) askAt(ctx context.Context, base string, r call) (*http.Response, error) {
	address := base + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(traced, r.method, address, body)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	maps.Copy(req.Header, r.header)
	c.sign(req)
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	doer := c.http
	if r.patient {
		doer = c.patient
	}
	resp, err := doer.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // the address is in our own text already
		}
		return nil, &UnreachableError{URL: base, Err: causeOr(ctx, err), sent: sent.Load()}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(base+r.path, resp)
}

// sign says who asks.
func (c *Client) sign(req *http.Request) {
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.id != "" {
		req.Header.Set(clientHeader, c.id)
	}
	if c.session != 0 {
		req.Header.Set(sessionHeader, strconv.FormatUint(c.session, 10))
	}
}

// refused returns the error that an answer other than 200 tells.
func (c *Client) refused(address string, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	e := &ReplyError{URL: address, Code: resp.StatusCode, header: resp.Header}
	if json.Unmarshal(text, &e.problem) == nil && e.problem.Error != "" {
		e.Message, e.Err = e.problem.Error, cmp.Or(messageError(e.problem), sentinel(e.problem.Reason))
	} else {
		e.Message, _, _ = strings.Cut(strings.TrimSpace(string(text)), "\n")
	}
	return e
}

// causeOr returns why ctx ended if it did, else err.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
