package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

const (
	// MaxMessage is the most bytes that the API takes as the body of a message.
	MaxMessage = 16 << 20
	// maxCall is the longest that a client may let a call wait.
	maxCall = time.Hour
	// messageHeader begins the names of HTTP headers that are headers of a message. Those
	// that HTTP knows itself keep their names.
	messageHeader = "X-Message-"
	// roundTripHeader tells how many milliseconds a call took between the nodes.
	roundTripHeader = "X-Round-Trip"
	reasonHandler   = "handler"
)

// ownHeaders are those that mean the same in HTTP and in a message.
var ownHeaders = []string{transport.ContentType, transport.Traceparent, transport.Tracestate}

// call serves /call/{peer}/{subject}.
func (h *Handler) call(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "timeout", "fail-fast", "one-way")
	timeout, failFast, oneWay := q.duration("timeout"), q.flag("fail-fast"), q.flag("one-way")
	peer, subject, _ := strings.Cut(keyOf(r), "/")
	if subject == "" {
		q.fail("want /call/PEER/SUBJECT, not %s", r.URL.Path)
	}
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	body, release, err := h.body(w, r, MaxMessage)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	leave, ok := h.take(w, h.waits, "calls")
	if !ok {
		return
	}
	defer leave()
	if timeout == 0 {
		timeout = agreementTimeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(timeout, maxCall))
	defer cancel()
	options := []transport.CallOption{transport.WithHeader(messageHeaders(r.Header))}
	if failFast {
		options = append(options, transport.FailFast())
	}
	if oneWay {
		err := h.node.Send(ctx, peer, subject, body, options...)
		h.answered(w, r, transport.Message{}, err)
		return
	}
	began := time.Now()
	reply, err := h.node.Request(ctx, peer, subject, body, options...)
	if err == nil {
		took := time.Since(began)
		w.Header().Set(roundTripHeader, strconv.FormatFloat(float64(took.Microseconds())/1000, 'f', 3, 64))
	}
	h.answered(w, r, reply, err)
}

// answered writes a reply as it is.
func (h *Handler) answered(w http.ResponseWriter, r *http.Request, reply transport.Message, err error) {
	// The server's time-outs are for ordinary requests. Where there are none to lift, in
	// a test, there is nothing to do.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(max(h.patience, h.timeout)))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	for name, value := range reply.Header {
		if !isHeaderText(value) || !isHeaderName(name) {
			continue // it has no form in HTTP
		}
		if !isOwnHeader(name) {
			name = messageHeader + name
		}
		header.Set(name, value)
	}
	header.Set("Content-Length", strconv.Itoa(len(reply.Body)))
	w.Write(reply.Body) // the client's end is all that can fail here, and it knows
}

func isOwnHeader(name string) bool {
	for _, own := range ownHeaders {
		if strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

func isHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

func isHeaderText(value string) bool {
	return !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// messageHeaders returns what of the headers of a request belongs to the message; nil
// if nothing does.
func messageHeaders(from http.Header) transport.Header {
	var header transport.Header
	add := func(name, value string) {
		if header == nil {
			header = transport.Header{}
		}
		header[name] = value
	}
	for _, name := range ownHeaders {
		if value := from.Get(name); value != "" {
			add(name, value)
		}
	}
	prefix := textproto.CanonicalMIMEHeaderKey(messageHeader)
	for name, values := range from {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && len(values) > 0 {
			add(strings.ToLower(rest), values[0])
		}
	}
	return header
}

// published is the answer to POST /publish/{topic}.
type published struct {
	Reached int `json:"reached"`
}

// publish serves /publish/{topic}.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request) {
	if q := readQuery(r); q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	body, release, err := h.body(w, r, MaxMessage)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	reached, err := h.node.Publish(r.Context(), keyOf(r), body, transport.WithHeader(messageHeaders(r.Header)))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.reply(w, published{reached})
}

// Kinds of [Publication].
const (
	// PublicationMessage is something that was published.
	PublicationMessage = "message"
	// PublicationLag says that something is missing here.
	PublicationLag = "lag"
	// PublicationReady says that all peers that can be reached know of the subscription:
	// what is published from now on comes.
	PublicationReady = "ready"
)

// Publication is one event of the stream of /subscribe, whose name is its Kind.
type Publication struct {
	Kind string `json:"kind"`
	// Peer is who published it, or whose publications are missing; "" if it was this
	// stream that was not read fast enough.
	Peer  string `json:"peer,omitempty"`
	Topic string `json:"topic,omitempty"`
	// Header are the headers of the message.
	Header transport.Header `json:"header,omitempty"`
	Body   *Value           `json:"body,omitempty"` // of message
	// Lost is how many are missing; 0 of lag if it cannot be told.
	Lost uint64 `json:"lost,omitempty"`
}

// announcePatience bounds how long a subscriber waits to hear that it is ready: a peer
// that is silent keeps nobody from listening to the others.
const announcePatience = 3 * time.Second

// subscribe serves /subscribe and /subscribe/{prefix}.
func (h *Handler) subscribe(w http.ResponseWriter, r *http.Request) {
	if !wantsEvents(r) {
		writeError(w, http.StatusNotAcceptable, "this is a stream: ask with Accept: text/event-stream")
		return
	}
	if q := readQuery(r); q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	sub, err := h.node.Subscribe(keyOf(r))
	if err != nil {
		h.fail(w, r, outcome.With("subscribe", keyOf(r), err, outcome.NotDone))
		return
	}
	defer sub.Close()
	type item struct {
		event Publication
		err   error
	}
	tell := func(s *eventStream, i item) error {
		if i.err != nil {
			return i.err
		}
		return s.send(i.event.Kind, i.event)
	}
	serveStream(h, w, r, make(chan item, ahead), tell, func(ctx context.Context, feed chan<- item) {
		put := func(i item) bool {
			select {
			case feed <- i:
				return true
			case <-ctx.Done():
				return false
			}
		}
		patience, cancel := context.WithTimeout(ctx, announcePatience)
		err := sub.Ready(patience)
		cancel()
		if errors.Is(err, kith.ErrClosed) || !put(item{event: Publication{Kind: PublicationReady}}) {
			put(item{err: err})
			return
		}
		for m, err := range sub.All(ctx) {
			var i item
			if lag, ok := errors.AsType[*transport.LagError](err); ok {
				i.event = Publication{Kind: PublicationLag, Peer: lag.Peer, Lost: lag.Lost}
			} else if err != nil {
				i.err = err
			} else {
				i.event = Publication{Kind: PublicationMessage, Peer: m.Peer, Topic: m.Subject, Header: m.Header, Body: (*Value)(&m.Body)}
			}
			if !put(i) {
				return
			}
		}
	})
}

// messageRefusals are the errors of messages, each with the word and the status for it. They
// come before others that the same error may match.
var messageRefusals = []struct {
	err    error
	reason string
	code   int
}{
	{transport.ErrNoPeer, "no such peer", http.StatusNotFound},
	{transport.ErrNoHandler, "no handler", http.StatusNotFound},
	{transport.ErrPeerRestarted, "peer restarted", http.StatusBadGateway},
	{transport.ErrUnreachable, "unreachable", http.StatusBadGateway},
	{transport.ErrTimedOut, "timed out", http.StatusRequestTimeout},
	{transport.ErrTooLarge, "message too large", http.StatusRequestEntityTooLarge},
	{transport.ErrSubject, "invalid subject", http.StatusBadRequest},
	{kith.ErrNoMessages, "no messages", http.StatusNotImplemented},
}

// messageRefusal completes p if err is one of messages.
func messageRefusal(err error, p *problem) (code int, ok bool) {
	if remote, ok := errors.AsType[*transport.RemoteError](err); ok {
		p.Reason, p.Error, p.Code = reasonHandler, remote.Text, remote.Code
		return http.StatusInternalServerError, true
	}
	for _, known := range messageRefusals {
		if errors.Is(err, known.err) {
			p.Reason = known.reason
			return known.code, true
		}
	}
	return 0, false
}

// messageError returns the error that a problem with a message is to a client, nil if it
// is none.
func messageError(p problem) error {
	if p.Reason == reasonHandler {
		return &transport.RemoteError{Code: p.Code, Text: p.Error}
	}
	for _, known := range messageRefusals {
		if known.reason == p.Reason {
			return known.err
		}
	}
	return nil
}

// checkSubject refuses what no path can hold.
func checkSubject(peer, subject string) error {
	switch {
	case peer == "" || strings.Contains(peer, "/"):
		return notDone(fmt.Errorf("%w: %q", transport.ErrNoPeer, peer))
	case subject == "":
		return notDone(fmt.Errorf("%w: it is empty", transport.ErrSubject))
	}
	return nil
}
