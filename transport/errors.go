package transport

import (
	"errors"

	"github.com/kith-go/kith/internal/outcome"
)

var (
	// ErrNoPeer: the list of peers has no such name. Nothing was sent.
	ErrNoPeer = errors.New("kith: no such peer")
	// ErrUnreachable: there is no connection to the peer, and nothing was sent; or,
	// if the outcome is unknown, it broke before the answer came.
	ErrUnreachable = errors.New("kith: the peer cannot be reached")
	// ErrNoHandler: the peer has no handler for the subject. Nothing ran.
	ErrNoHandler = errors.New("kith: no handler for this subject")
	// ErrPeerRestarted: the peer's process is another one by now. What was asked of
	// the one before may have run: the outcome is unknown.
	ErrPeerRestarted = errors.New("kith: the peer was restarted meanwhile")
	// ErrTimedOut: the context's deadline passed. The error also matches
	// context.DeadlineExceeded. The outcome tells whether the request was sent.
	ErrTimedOut = errors.New("kith: timed out")
	// ErrTooLarge: the message is larger than the limit. If it is the reply that is,
	// the outcome is done: the handler ran.
	ErrTooLarge = outcome.ErrTooLarge
	// ErrOverloaded: too much is under way already, here or at the peer. Nothing ran.
	ErrOverloaded = outcome.ErrOverloaded
	// ErrClosed: this messenger was closed. What was under way may have run.
	ErrClosed = outcome.ErrClosed
)

// RemoteError is what a handler answered instead of a reply.
type RemoteError struct {
	// Code is what programs compare: what the handler's error had, or "error".
	// "panic" if the handler panicked.
	Code string
	// Text is the handler's error in words.
	Text string
}

// Error returns the text, after the code unless that is "error".
func (e *RemoteError) Error() string {
	if e.Code == codeError || e.Code == "" {
		return e.Text
	}
	return e.Code + ": " + e.Text
}

// Coded gives an error that a handler returns a code, which the caller finds in
// RemoteError. Err itself does not travel, only its text.
func Coded(code string, err error) error { return &codedError{code, err} }

type codedError struct {
	code string
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

const (
	codeError = "error"
	codePanic = "panic"
)
