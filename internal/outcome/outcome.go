// Package outcome tells what became of a request that failed: it was not done, it
// was done, or that cannot be known. Every error of an agreement call says which.
package outcome

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Outcome is what became of a request.
type Outcome uint8

const (
	// NotDone: nothing was changed, and nothing will be. It is safe to try again.
	NotDone Outcome = iota
	// Unknown: it was, it will be, or it will never be done.
	Unknown
	// Done: it is in force, although an error came back.
	Done
)

// String returns "not done", "unknown" or "done".
func (o Outcome) String() string {
	switch o {
	case NotDone:
		return "not done"
	case Unknown:
		return "unknown"
	case Done:
		return "done"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

var (
	// ErrUnknown matches, with errors.Is, every error whose outcome is Unknown.
	ErrUnknown = errors.New("kith: it is not known whether it was done")
	// ErrClosed: the node was closed, or left.
	ErrClosed = errors.New("kith: node closed")
	// ErrOverloaded: too much is under way on this node already.
	ErrOverloaded = errors.New("kith: overloaded")
	// ErrTooLarge: the request is larger than any can be.
	ErrTooLarge = errors.New("kith: too large")
	// ErrNotMember: the cluster does not count this node in (yet).
	ErrNotMember = errors.New("kith: not a member of the cluster")
	// ErrStateLost: this node's state directory is damaged, or not the one the
	// cluster knows it by. It stays out of agreement.
	ErrStateLost = errors.New("kith: this node has lost its state")
	// ErrNoQuorum: no leader, or no majority, answered in time. The error's text
	// names who is missing.
	ErrNoQuorum = errors.New("kith: no majority of the voters answers")
	// ErrSessionEnded: the session that the request belongs to has ended.
	ErrSessionEnded = errors.New("kith: session ended")
)

// Error is how an agreement call fails.
type Error struct {
	// Op and Name are what was asked, as in `set "a/b"`; Name may be empty.
	Op, Name string
	Outcome  Outcome
	// Err is the cause: a sentinel of this package, a context's cause, or one of
	// the calling package's errors.
	Err error
	// Hint tells what stood in the way and what to do about it; may be empty.
	Hint string
}

// Error tells what failed, why, the outcome, and the hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Name != "" {
		fmt.Fprintf(&b, " %q", e.Name)
	}
	fmt.Fprintf(&b, ": %v (%s)", e.Err, e.Outcome)
	if e.Hint != "" {
		b.WriteString(": ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause and, if the outcome is unknown, ErrUnknown.
func (e *Error) Unwrap() []error {
	if e.Outcome == Unknown {
		return []error{e.Err, ErrUnknown}
	}
	return []error{e.Err}
}

// Of returns the outcome that err tells: that of the *Error in its chain; Done
// for nil; Unknown, to be safe, for an error that says nothing.
func Of(err error) Outcome {
	if err == nil {
		return Done
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Outcome
	}
	return Unknown
}

// With returns err as an *Error about op and name; one that is an *Error already
// keeps its outcome and hint.
func With(op, name string, err error, otherwise Outcome) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Op: op, Name: name, Outcome: e.Outcome, Err: e.Err, Hint: e.Hint}
	}
	return &Error{Op: op, Name: name, Outcome: otherwise, Err: err}
}

// Ended reports whether err comes from a context's end.
func Ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
