package kv

import (
	"errors"
	"fmt"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Every error of this package tells what became of the request; see the package's
// overview. With errors.Is it can be one of these, or of those that package kith
// names for all agreement calls.
var (
	// ErrNotFound: the key is not there. From Get only.
	ErrNotFound = errors.New("kv: no such key")
	// ErrNotHeld: the lock or the seat that IfHeld named is not held (any more).
	ErrNotHeld = errors.New("kv: not held")
	// ErrInvalid: the request makes no sense, such as an empty key, a name that is
	// not UTF-8, or options that exclude each other.
	ErrInvalid = errors.New("kv: invalid")
	// ErrTooLarge: a name, a value or a transaction is beyond the cluster's limits;
	// the text tells the size and the limit.
	ErrTooLarge = errors.New("kv: too large")
	// ErrQuota: the state would grow beyond the cluster's quota. What makes it
	// smaller still works.
	ErrQuota = errors.New("kv: quota reached")
)

// ConflictError says that a condition on a key, or on an event, did not hold, so
// that nothing was done.
type ConflictError struct {
	Key string // or the event's name
	// Wanted is the condition.
	Wanted Condition
	// Actual is the revision that it was at, 0 if it was not there.
	Actual Revision
}

// Error tells what was wanted and what was there.
func (e *ConflictError) Error() string {
	if e.Actual == 0 {
		return fmt.Sprintf("kv: conflict: wanted %s, but there is none", e.Wanted)
	}
	return fmt.Sprintf("kv: conflict: wanted %s, but it is at %d", e.Wanted, e.Actual)
}

// DecodeError says that a typed view's codec could not decode a value.
type DecodeError struct {
	Key      string // in the view
	Revision Revision
	Err      error // the codec's
}

// Error tells which value and why.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("kv: the value at revision %d cannot be decoded: %v", e.Revision, e.Err)
}

// Unwrap returns the codec's error.
func (e *DecodeError) Unwrap() error { return e.Err }

// notDone is the error of what was not done, and will not be.
func notDone(op, name string, err error) error {
	return &outcome.Error{Op: op, Name: name, Outcome: outcome.NotDone, Err: err}
}

// refused is the error of a command that the machine has answered with anything but
// OK and CONDITION_FAILED.
func refused(op, name string, r *statepb.Result) error {
	var err error
	hint := ""
	switch r.GetCode() {
	case statepb.Result_INVALID:
		err = ErrInvalid
	case statepb.Result_TOO_LARGE:
		err = ErrTooLarge
	case statepb.Result_QUOTA:
		err, hint = ErrQuota, "delete what is not needed, or raise the cluster's limit"
	case statepb.Result_NO_SESSION:
		err = outcome.ErrSessionEnded
	default: // none of ours: whoever answers so may have done anything
		err = fmt.Errorf("kv: unexpected answer %v", r.GetCode())
		return &outcome.Error{Op: op, Name: name, Outcome: outcome.Unknown, Err: err, Hint: r.GetDetail()}
	}
	if r.GetDetail() != "" {
		err = fmt.Errorf("%w: %s", err, r.GetDetail())
	}
	return &outcome.Error{Op: op, Name: name, Outcome: outcome.NotDone, Err: err, Hint: hint}
}
