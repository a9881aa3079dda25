package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Message is what handlers are given and answer with, and what subscribers read.
type Message struct {
	// Peer is who sent it; empty for a caller that is no peer. A handler's reply
	// need not say.
	Peer string
	// Subject is the subject of a request, the topic of a publication, and that of
	// the request in a reply. A handler's reply need not say.
	Subject string
	// Header may be nil. Read only, where others share the message.
	Header Header
	// Body is, of what was received, the receiver's own, except that subscriptions
	// of one node share theirs. Of what is sent it is the messenger's from then on:
	// it only reads it, and whoever gave it does not change it any more.
	Body []byte
}

// Handler answers requests. Any number of calls may run at once, up to the limit
// given to Handle. The context ends when the caller no longer waits: its deadline
// passed, it was cancelled, its connection broke, or this messenger closes; and when
// the handler has returned. A panic is caught, logged with its stack, and reported to
// the caller as a RemoteError. Error values that come from Coded travel with
// their code.
type Handler func(ctx context.Context, request Message) (reply Message, err error)

// Middleware makes a handler of a handler, to log, trace, measure or authorize.
type Middleware func(next Handler) Handler

// Caller asks one peer. Its errors are those of Messenger.Request.
type Caller func(ctx context.Context, peer string, request Message) (reply Message, err error)

// CallerMiddleware makes a caller of a caller. Next may be called once, or not at
// all, or again after an error whose outcome is not done.
type CallerMiddleware func(next Caller) Caller

// CallOption changes one call.
type CallOption func(*callOptions)

type callOptions struct {
	header   Header
	failFast bool
	first    int
	to       []string
}

// FailFast lets a call fail with ErrUnreachable at once when there is no connection
// to the peer, instead of waiting for one.
func FailFast() CallOption { return func(o *callOptions) { o.failFast = true } }

// WithHeader sends headers along. They are read until the call returns.
func WithHeader(h Header) CallOption { return func(o *callOptions) { o.header = h } }

// First ends RequestAll when n peers have replied without an error. The requests
// to the rest are cancelled.
func First(n int) CallOption { return func(o *callOptions) { o.first = n } }

// To lets RequestAll ask these peers instead of all.
func To(peers ...string) CallOption { return func(o *callOptions) { o.to = peers } }

// collect applies options. Apart, so that a call without any allocates nothing.
func collect(opts []CallOption) (o callOptions) {
	if len(opts) > 0 {
		all := new(callOptions)
		for _, opt := range opts {
			opt(all)
		}
		o = *all
	}
	return o
}

// ErrSubject: a subject, topic or name of a handler is not fit to be one.
var ErrSubject = errors.New("kith: not a subject")

// checkSubject says whether s can be a subject: text of 1 to MaxSubject bytes without
// control characters. Prefixes of topics may be empty.
func checkSubject(s string, mayBeEmpty bool) error {
	switch {
	case s == "" && !mayBeEmpty:
		return fmt.Errorf("%w: it is empty", ErrSubject)
	case len(s) > MaxSubject:
		return fmt.Errorf("%w: %d bytes, of at most %d", ErrSubject, len(s), MaxSubject)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: it is not UTF-8", ErrSubject)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%w: it contains control characters", ErrSubject)
	}
	return nil
}
