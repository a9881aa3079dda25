package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

// CallOptions are how a call is made. The zero value waits for the peer and for its
// reply.
type CallOptions struct {
	// Header are the headers of the message.
	Header transport.Header
	// FailFast has the call fail when there is no connection to the peer.
	FailFast bool
	// OneWay expects no reply: success is that a live connection took the message.
	OneWay bool
	// Timeout is how long the agent waits for the peer and its reply. 0: a little less
	// than ctx allows, so that it is the agent that says what is wrong; whoever wants to
	// be sure of that gives ctx some seconds more than Timeout.
	Timeout time.Duration
}

// Reply is what a peer's handler answered.
type Reply struct {
	Header transport.Header
	Body   []byte
	// RoundTrip is how long the agent waited for it.
	RoundTrip time.Duration
}

// Call asks the agent to ask the peer, as kith.Node.Request does, and returns the reply.
// Without a deadline in ctx the agent gives up after eight seconds. Errors tell the
// outcome and match those of Request: transport.ErrUnreachable, a *transport.RemoteError and so
// on. A call is never sent twice.
func (c *Client) Call(ctx context.Context, peer, subject string, body []byte, o CallOptions) (Reply, error) {
	op := "request to " + peer
	if o.OneWay {
		op = "send to " + peer
	}
	if err := checkSubject(peer, subject); err != nil {
		return Reply{}, outcome.With(op, subject, err, outcome.NotDone)
	}
	query := url.Values{}
	if o.FailFast {
		query.Set("fail-fast", "true")
	}
	if o.OneWay {
		query.Set("one-way", "true")
	}
	if o.Timeout > 0 {
		query.Set("timeout", strconv.FormatInt(max(1, o.Timeout.Milliseconds()), 10))
	}
	path := "/call/" + url.PathEscape(peer) + "/" + url.PathEscape(subject)
	resp, err := c.send(ctx, op, subject, path, query, body, o.Header)
	if err != nil {
		return Reply{}, err
	}
	reply := Reply{Header: messageHeaders(resp.Header)}
	if ms, err := strconv.ParseFloat(resp.Header.Get(roundTripHeader), 64); err == nil {
		reply.RoundTrip = time.Duration(ms * float64(time.Millisecond))
	}
	if reply.Body, err = c.read(ctx, resp, path); err != nil { // it ran
		return Reply{}, &outcome.Error{Op: op, Name: subject, Outcome: outcome.Done, Err: err}
	}
	return reply, nil
}

// Publish has the agent publish a message, as kith.Node.Publish does, and returns to how
// many connections it was handed.
func (c *Client) Publish(ctx context.Context, topic string, body []byte, header transport.Header) (reached int, err error) {
	const op = "publish"
	if topic == "" {
		return 0, outcome.With(op, topic, fmt.Errorf("%w: it is empty", transport.ErrSubject), outcome.NotDone)
	}
	path := "/publish/" + url.PathEscape(topic)
	resp, err := c.send(ctx, op, topic, path, url.Values{}, body, header)
	if err != nil {
		return 0, err
	}
	var p published
	err = c.decode(ctx, resp, path, &p)
	return p.Reached, outcome.With(op, topic, err, outcome.Unknown)
}

// Subscribe streams what any node publishes under topics that begin with prefix: first a
// PublicationReady, from which on everything comes. What is missing is told in the place where
// it is missing. Errors are those of [Client.WatchNodes].
func (c *Client) Subscribe(ctx context.Context, prefix string) iter.Seq2[Publication, error] {
	path := "/subscribe"
	if prefix != "" {
		path += "/" + url.PathEscape(prefix)
	}
	return follow(ctx, c, path, nil, func(_, data string) (event Publication, known bool, err error) {
		err = json.Unmarshal([]byte(data), &event)
		return event, event.Kind == PublicationMessage || event.Kind == PublicationLag || event.Kind == PublicationReady, err
	})
}

// send asks for something that must not be done twice. Its errors are *outcome.Error.
func (c *Client) send(ctx context.Context, op, name, path string, query url.Values, body []byte, header transport.Header) (*http.Response, error) {
	if len(body) > MaxMessage { // the agent would hang up in the midst of it
		return nil, &outcome.Error{Op: op, Name: name, Err: fmt.Errorf("%w: %d bytes, the limit is %d", transport.ErrTooLarge, len(body), MaxMessage)}
	}
	r := call{method: http.MethodPost, path: path, query: query, body: body, header: http.Header{}}
	for key, value := range header {
		if !isOwnHeader(key) {
			key = messageHeader + key
		}
		r.header.Set(key, value)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		left = max(time.Millisecond, left-min(left/10, 100*time.Millisecond)) // so that it is the agent that says what is wrong
		if strings.HasPrefix(path, "/call/") && !query.Has("timeout") {
			query.Set("timeout", strconv.FormatInt(left.Milliseconds(), 10))
		}
		r.patient = left > agreementTimeout
	}
	resp, err := c.ask(ctx, r)
	if err == nil {
		return resp, nil
	}
	o := outcome.Unknown
	if e, ok := errors.AsType[*ReplyError](err); ok {
		o = e.outcome(o)
		if remote, ok := errors.AsType[*transport.RemoteError](e.Err); ok {
			err = remote // the agent only passes it on
		}
	}
	if e, ok := errors.AsType[*UnreachableError](err); ok && !e.sent {
		o = outcome.NotDone
	}
	return nil, &outcome.Error{Op: op, Name: name, Outcome: o, Err: err}
}
