package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// revisionHeader carries the revision that a reply is about: of the key that was
// read, of the change that was made, or, with a conflict, of what was there.
const revisionHeader = "X-Revision"

// Words for why something was not done that have no error of their own.
const (
	reasonConflict = "conflict"
	reasonTimeout  = "timeout"
	reasonHeld     = "held"
	reasonLimit    = "limit"
)

// refusals are the errors that both sides of the API know, each with the word it
// is sent as and the status for it. A status of 429 or 503 says that trying again
// later may help.
var refusals = []struct {
	err    error
	reason string
	code   int
}{
	{kv.ErrInvalid, "invalid", http.StatusBadRequest},
	{kv.ErrTooLarge, "too large", http.StatusRequestEntityTooLarge},
	{lock.ErrInvalid, "invalid", http.StatusBadRequest},
	{lock.ErrTooLarge, "too large", http.StatusRequestEntityTooLarge},
	{lock.ErrQuota, "quota", http.StatusInsufficientStorage},
	{lock.ErrFull, "full", http.StatusTooManyRequests},
	{lock.ErrTaken, "taken", http.StatusConflict},
	{lock.ErrBroken, "revoked", http.StatusConflict},
	{lock.ErrLost, "not held", http.StatusConflict},
	{errUnattended, "unattended", http.StatusNotImplemented},
	{kv.ErrQuota, "quota", http.StatusInsufficientStorage},
	{kith.ErrOverloaded, "overloaded", http.StatusTooManyRequests},
	{kith.ErrNoQuorum, "no quorum", http.StatusServiceUnavailable},
	{kith.ErrNotMember, "not a member", http.StatusServiceUnavailable},
	{kith.ErrStateLost, "state lost", http.StatusServiceUnavailable},
	{kith.ErrSessionEnded, "session ended", http.StatusServiceUnavailable},
	{kith.ErrClosed, "closed", http.StatusServiceUnavailable},
	{errTimeout, reasonTimeout, http.StatusRequestTimeout},
}

// errTimeout is the end of the time that the client itself has set.
var errTimeout = errors.New("the time is up")

// retryAfter is how many seconds a client is told to wait.
const retryAfter = "1"

// fail answers r with an error of an agreement call.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	code, p := refusalOf(err)
	if conflict, ok := errors.AsType[*kv.ConflictError](err); ok {
		setRevision(w, conflict.Actual)
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	h.log.Debug("http request failed", "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "code", code, "error", err)
	writeProblem(w, code, p)
}

// refusalOf returns the status and the body for an error of an agreement call.
func refusalOf(err error) (code int, p problem) {
	p = problem{Error: words(err), Outcome: outcome.Of(err).String()}
	code = http.StatusInternalServerError
	if _, ok := errors.AsType[*kv.ConflictError](err); ok {
		code, p.Reason = http.StatusPreconditionFailed, reasonConflict
	}
	if _, ok := errors.AsType[*lock.LimitError](err); ok {
		code, p.Reason = http.StatusConflict, reasonLimit
	}
	if held, ok := errors.AsType[*lock.HeldError](err); ok {
		code, p.Reason = http.StatusLocked, reasonHeld
		p.Holder = &Place{
			Name: held.Owner.Name, Node: held.Owner.Node, Client: decodeIdentity(held.Owner.Client).name, Token: held.Owner.Token,
			Session: held.Owner.Session, Age: Millis(held.Owner.Age), Holds: true, Revoked: held.Owner.Revoked,
		}
	}
	status, aboutMessage := messageRefusal(err, &p)
	if aboutMessage {
		code = status
	}
	for _, known := range refusals {
		if !aboutMessage && errors.Is(err, known.err) {
			code, p.Reason = known.code, known.reason
			break
		}
	}
	if p.Reason == "" && errors.Is(err, context.DeadlineExceeded) {
		code, p.Reason = http.StatusServiceUnavailable, "no quorum"
	}
	if outcome.Of(err) == outcome.Unknown {
		code = http.StatusGatewayTimeout // whatever the reason: it is not safe to try again
	}
	return code, p
}

// words returns the text of err without what stands beside it in a reply: what was
// asked, and the outcome.
func words(err error) string {
	text, hint := err.Error(), ""
	if e, ok := errors.AsType[*outcome.Error](err); ok {
		text, hint = e.Err.Error(), e.Hint
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "kv: "), "kith: ")
	if hint != "" {
		text += ": " + hint
	}
	return text
}

// sentinel returns the error that a reason stands for to a client, nil if it is not
// known.
func sentinel(reason string) error {
	if reason == reasonTimeout {
		return context.DeadlineExceeded // the client's own
	}
	if reason == reasonLimit {
		return ErrLimit
	}
	for _, known := range refusals {
		if known.reason == reason {
			return known.err
		}
	}
	return nil
}

// notDone is the error of a request that did not get as far as the node.
func notDone(err error) error {
	return &outcome.Error{Outcome: outcome.NotDone, Err: err}
}

func setRevision(w http.ResponseWriter, r kv.Revision) {
	w.Header().Set(revisionHeader, strconv.FormatUint(uint64(r), 10))
}
