package lock

import (
	"errors"
	"fmt"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Every error of this package tells what became of the request: it was not done, it
// is done, or that is not known. With errors.Is it can be one of these, or of those
// that package kith names for all agreement calls.
var (
	// ErrHeld: others hold the lock. From TryAcquire only; the error's chain has a
	// *HeldError.
	ErrHeld = errors.New("lock: held")
	// ErrNotHeld: nobody who holds the lock, or waits for it, has that token.
	ErrNotHeld = errors.New("lock: nobody has that token")
	// ErrInvalid: the request makes no sense, such as an empty name, one that is not
	// UTF-8, or a limit below one.
	ErrInvalid = queue.ErrInvalid
	// ErrTooLarge: a name or data are beyond the cluster's limits; the text tells the
	// size and the limit.
	ErrTooLarge = queue.ErrTooLarge
	// ErrQuota: the state would grow beyond the cluster's quota.
	ErrQuota = queue.ErrQuota
	// ErrFull: as many wait for the lock as the cluster allows.
	ErrFull = queue.ErrFull
	// ErrTaken: the name that As gives holds the lock already, or waits for it.
	ErrTaken = queue.ErrTaken
)

// The causes with which Held's context ends, beside kith.ErrSessionEnded,
// kith.ErrClosed and what halted agreement on the node.
var (
	// ErrReleased: Release was called.
	ErrReleased = queue.ErrLeft
	// ErrBroken: somebody asked the holder to go, with Break. The lock is not given
	// away before Release.
	ErrBroken = queue.ErrBroken
	// ErrLost: the cluster does not have this holder any more, though this node neither
	// released nor saw its session end.
	ErrLost = queue.ErrLost
)

// LimitError says that others use the lock with another limit. Nothing was done.
type LimitError = queue.LimitError

// HeldError says who has the lock that TryAcquire could not get.
type HeldError struct {
	// Owner is the one at the head, without the data.
	Owner Contender
	// Limit is how many hold at a time.
	Limit int
}

// Error tells who, where, the token, and for how long.
func (e *HeldError) Error() string {
	return fmt.Sprintf("lock: held by %s, token %d, for %v", e.Owner.who(), e.Owner.Token, e.Owner.Age.Round(time.Millisecond))
}

// Is makes the error one that is ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// notDone is the error of what was not done, and will not be.
func notDone(op, name string, err error) error {
	return &outcome.Error{Op: op, Name: name, Outcome: outcome.NotDone, Err: err}
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// answered is the error of a command by the machine's answer to it, nil if it was
// done.
func answered(op, name string, r *statepb.Result) error {
	switch r.GetCode() {
	case statepb.Result_OK:
		return nil
	case statepb.Result_NO_SLOT:
		return notDone(op, name, ErrNotHeld)
	}
	return queue.Refused(op, name, r, 0)
}
