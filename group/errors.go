package group

import (
	"errors"
	"fmt"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Every error of this package tells what became of the request: it was not done, it
// is done, or that is not known. With errors.Is it can be one of these, or of those
// that package kith names for all agreement calls.
var (
	// ErrInvalid: the request makes no sense, such as an empty name, one that is not
	// UTF-8, or a number of leaders below one.
	ErrInvalid = queue.ErrInvalid
	// ErrTooLarge: a name or a seat's data are beyond the cluster's limits; the text
	// tells the size and the limit.
	ErrTooLarge = queue.ErrTooLarge
	// ErrQuota: the state would grow beyond the cluster's quota.
	ErrQuota = queue.ErrQuota
	// ErrFull: as many are in the group as the cluster allows in one.
	ErrFull = queue.ErrFull
	// ErrTaken: this node has a seat of that name in the group already.
	ErrTaken = queue.ErrTaken
	// ErrOrder: the members agreed on another order than the caller's: by arrival, or
	// by PID with some number of leaders. Who joins an empty group settles it, until
	// the group is empty again.
	ErrOrder = errors.New("group: another order is agreed on")
	// ErrNoSeat: no seat in the group has that token (any more).
	ErrNoSeat = errors.New("group: no such seat")
)

// The causes with which a seat's context ends, beside kith.ErrSessionEnded,
// kith.ErrClosed and what halted agreement on the node.
var (
	// ErrLeft: Leave was called.
	ErrLeft = queue.ErrLeft
	// ErrBroken: somebody asked the member to go, with Break. Its place is kept until
	// it leaves.
	ErrBroken = queue.ErrBroken
	// ErrLost: the cluster does not have the seat any more, though this node neither
	// left nor saw its session end.
	ErrLost = queue.ErrLost
)

// invalid is an ErrInvalid that says why.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// notDone is the error of what was not done, and will not be.
func notDone(op, name string, err error) error {
	return &outcome.Error{Op: op, Name: name, Outcome: outcome.NotDone, Err: err}
}

// answered is the error of a command by the machine's answer to it, nil if it was
// done.
func answered(op, name string, r *statepb.Result) error {
	switch r.GetCode() {
	case statepb.Result_OK:
		return nil
	case statepb.Result_NO_SLOT:
		return notDone(op, name, ErrNoSeat)
	}
	return queue.Refused(op, name, r, 0)
}

// ordered turns the refusal of a limit into what that means for a group.
func ordered(err error) error {
	limit, ok := errors.AsType[*queue.LimitError](err)
	if !ok {
		return err
	}
	e, ok := errors.AsType[*outcome.Error](err)
	if !ok {
		return err
	}
	return &outcome.Error{
		Op: e.Op, Name: e.Name, Outcome: e.Outcome,
		Err:  fmt.Errorf("%w: %s, not %s", ErrOrder, order(limit.Actual), order(limit.Wanted)),
		Hint: "all members must use the same group.ByPID, or none",
	}
}

// order tells in words what a queue's limit means for a group.
func order(limit uint64) string {
	switch limit {
	case 0:
		return "by arrival"
	case 1:
		return "by PID after 1 leader"
	}
	return fmt.Sprintf("by PID after %d leaders", limit)
}
