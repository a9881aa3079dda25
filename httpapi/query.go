package httpapi

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
)

// MaxValue and MaxTxnBody are the most that the API takes as a value and as a
// transaction in JSON, in bytes. The cluster's own limits, which may be lower, are
// checked behind that.
const (
	MaxValue   = 1 << 20
	MaxTxnBody = 12 << 20
)

const (
	// maxBodies bounds the bytes of all requests that are being read or answered.
	maxBodies = 64 << 20
	// agreementTimeout is how long an answer of the cluster is waited for unless the
	// client says otherwise: less than clients wait for an answer, so that they
	// are told what stands in the way. maxTimeout is the most that they may say.
	agreementTimeout = 8 * time.Second
	maxTimeout       = 25 * time.Second
)

// query reads the parameters of a request. The first fault stays, and what was
// asked for is then not to be done: a condition that is misspelt must not become none.
type query struct {
	values url.Values
	err    error
}

// readQuery returns the parameters of r, of which only those known may be there.
func readQuery(r *http.Request, known ...string) *query {
	q := new(query)
	if r.URL.RawQuery == "" {
		return q
	}
	if q.values, q.err = url.ParseQuery(r.URL.RawQuery); q.err != nil {
		q.err = fmt.Errorf("%w: the query cannot be read: %w", kv.ErrInvalid, q.err)
		return q
	}
	for name, values := range q.values {
		switch {
		case !slices.Contains(known, name):
			q.fail("there is no parameter %q here; there are: %q", name, known)
		case len(values) > 1:
			q.fail("%s is given twice", name)
		}
	}
	return q
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = fmt.Errorf("%w: %s", kv.ErrInvalid, fmt.Sprintf(format, args...))
	}
}

func (q *query) text(name string) string { return q.values.Get(name) }

// number returns a decimal number, 0 if it is not given.
func (q *query) number(name string) uint64 {
	if !q.values.Has(name) {
		return 0
	}
	n, err := strconv.ParseUint(q.text(name), 10, 64)
	if err != nil {
		q.fail("%s is %q: want a whole number", name, q.text(name))
	}
	return n
}

// flag returns whether a parameter is given as true.
func (q *query) flag(name string) bool {
	if !q.values.Has(name) {
		return false
	}
	yes, err := strconv.ParseBool(q.text(name))
	if err != nil {
		q.fail("%s is %q: want true or false", name, q.text(name))
	}
	return yes
}

// duration returns a number of milliseconds, or a duration with a unit as Go writes
// it; 0 if it is not given.
func (q *query) duration(name string) time.Duration {
	if !q.values.Has(name) {
		return 0
	}
	d, err := ParseDuration(q.text(name))
	if err != nil {
		q.fail("%s is %q: %v", name, q.text(name), err)
	}
	return d
}

// ParseDuration reads a duration as the API does: a number of milliseconds, or one
// with a unit, such as "1.5s".
func ParseDuration(text string) (time.Duration, error) {
	if ms, err := strconv.ParseUint(text, 10, 64); err == nil {
		if ms > math.MaxInt64/uint64(time.Millisecond) {
			return 0, errors.New("longer than can be counted")
		}
		return time.Duration(ms) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errors.New("want a number of milliseconds, or one with a unit, such as 1.5s")
	}
	return d, nil
}

// condition returns the condition that the parameters of a write make: rev is the
// revision that it shall lead to if revisions counted the changes of this key alone,
// so one more than the current; if-rev is the current one.
func (q *query) condition() (c kv.Condition, given bool) {
	set := 0
	if n := q.number("rev"); n > 0 {
		c, set = kv.IfRevision(kv.Revision(n-1)), set+1
	}
	if n := q.number("if-rev"); n > 0 {
		c, set = kv.IfRevision(kv.Revision(n)), set+1
	}
	if q.flag("absent") {
		c, set = kv.IfAbsent(), set+1
	}
	if set > 1 {
		q.fail("rev, if-rev and absent exclude each other")
	}
	return c, set == 1
}

// timeout returns how long an answer of the cluster is waited for.
func (q *query) timeout() time.Duration {
	if asked := q.duration("timeout"); asked > 0 {
		return min(asked, maxTimeout)
	}
	return agreementTimeout
}

// body reads the whole body of r, at most limit bytes, which count as kept until
// release is called. A body that ends early is an error, never a shorter value. The
// errors say that nothing was done.
func (h *Handler) body(w http.ResponseWriter, r *http.Request, limit int64) (data []byte, release func(), err error) {
	size := r.ContentLength
	if size > limit {
		return nil, nil, notDone(fmt.Errorf("%w: the body has %d bytes, the limit is %d", kv.ErrTooLarge, size, limit))
	}
	if size < 0 {
		size = limit // it may become that much
	}
	if h.bodies.Add(size) > maxBodies {
		h.bodies.Add(-size)
		return nil, nil, notDone(fmt.Errorf("%w: requests of %d bytes are under way", kith.ErrOverloaded, maxBodies))
	}
	began := time.Now()
	if r.ContentLength >= 0 {
		data = make([]byte, size)
		_, err = io.ReadFull(r.Body, data)
	} else {
		data, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	}
	if took := time.Since(began); err != nil || took > time.Second {
		// It has used up the time for the answer, too.
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxTimeout + h.patience))
	}
	if err != nil {
		h.bodies.Add(-size)
		return nil, nil, notDone(bodyFault(err, limit))
	}
	return data, func() { h.bodies.Add(-size) }, nil
}

// bodyFault says why a body could not be read.
func bodyFault(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: the body has more than %d bytes", kv.ErrTooLarge, limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: the body did not come whole", errTimeout)
	}
	return fmt.Errorf("%w: the body did not come whole: %w", kv.ErrInvalid, err)
}
