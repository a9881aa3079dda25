package queue

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// What packages lock and group pass on under names of their own.
var (
	// ErrInvalid: the request makes no sense, such as an empty name.
	ErrInvalid = errors.New("kith: invalid")
	// ErrTooLarge: a name or data are beyond the cluster's limits; the text tells the
	// size and the limit.
	ErrTooLarge = errors.New("kith: too large")
	// ErrQuota: the state would grow beyond the cluster's quota.
	ErrQuota = errors.New("kith: quota reached")
	// ErrFull: as many are in the queue as may be.
	ErrFull = errors.New("kith: the queue is full")
	// ErrTaken: this session has a place under that member name already.
	ErrTaken = errors.New("kith: the name has a place in the queue already")

	// ErrLeft is the cause with which a place's context ends when it is given up.
	ErrLeft = errors.New("kith: given up by its holder")
	// ErrBroken: the place was revoked by somebody (S13).
	ErrBroken = errors.New("kith: revoked")
	// ErrLost: the place is not in the queue any more, and this holder did not leave.
	ErrLost = errors.New("kith: lost")
)

// LimitError says that others use the queue with another limit.
type LimitError struct {
	Wanted, Actual uint64 // 0: all hold
}

// Error tells both limits.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the limit is %d while others are in the queue, not %d", e.Actual, e.Wanted)
}

// HeldError says that a place could not be had at once.
type HeldError struct {
	// Holder is the slot at the head, without its data.
	Holder state.Slot
}

// Error tells who is in the way.
func (e *HeldError) Error() string {
	return fmt.Sprintf("held by %s with the token %d", Name(e.Holder.Member), e.Holder.Token)
}

// NotDone is the error of what was not done, and will not be.
func NotDone(op, name string, err error, hint string) error {
	return &outcome.Error{Op: op, Name: name, Outcome: outcome.NotDone, Err: err, Hint: hint}
}

// Refused turns an answer that is not OK into an error about op and name. wanted is
// the limit that was asked for.
func Refused(op, name string, r *statepb.Result, wanted uint64) error {
	var err error
	hint := ""
	switch r.GetCode() {
	case statepb.Result_INVALID:
		err = ErrInvalid
	case statepb.Result_TOO_LARGE:
		err = ErrTooLarge
	case statepb.Result_QUOTA:
		err, hint = ErrQuota, "delete what is not needed, or raise the cluster's limit"
	case statepb.Result_QUEUE_FULL:
		err = ErrFull
	case statepb.Result_NO_SESSION:
		err = outcome.ErrSessionEnded
	case statepb.Result_NO_SLOT:
		err = ErrLost
	case statepb.Result_LIMIT_MISMATCH:
		return NotDone(op, name, &LimitError{Wanted: wanted, Actual: r.GetLimit()}, "all who use it must name the same limit")
	case statepb.Result_NOT_HELD:
		o := r.GetOwner()
		return NotDone(op, name, &HeldError{Holder: state.Slot{
			Token: o.GetToken(), Session: o.GetSession(), Member: o.GetMember(), Revision: o.GetRevision(),
			Since: o.GetSince(), Precedence: o.GetPrecedence(), Revoked: o.GetRevoked(),
		}}, "")
	default: // none of ours: whoever answers so may have done anything
		err = fmt.Errorf("kith: unexpected answer %v", r.GetCode())
		return &outcome.Error{Op: op, Name: name, Outcome: outcome.Unknown, Err: err, Hint: r.GetDetail()}
	}
	if r.GetDetail() != "" {
		err = fmt.Errorf("%w: %s", err, r.GetDetail())
	}
	return NotDone(op, name, err, hint)
}

// No cluster's limits are lower than these: what fits them need not be compared
// with the limits in force.
const (
	leastNameBytes = 64
	leastDataBytes = 1 << 10
)

// Check refuses names and data that the machine would refuse, before they are sent.
// What is only too large for limits that this node cannot see passes.
func (p *Places) Check(what, name string, data []byte) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name of the %s is empty", ErrInvalid, what)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name of the %s is not valid UTF-8", ErrInvalid, what)
	case len(name) <= leastNameBytes && len(data) <= leastDataBytes:
		return nil
	}
	var l *statepb.Limits
	if err := p.replica.View(func(m *state.Machine) { l = m.Limits() }); err != nil {
		return nil // only the machine can judge
	}
	if uint64(len(name)) > l.GetKeyBytes() {
		return fmt.Errorf("%w: the name of the %s has %d bytes, the limit is %d", ErrTooLarge, what, len(name), l.GetKeyBytes())
	}
	if uint64(len(data)) > l.GetValueBytes() {
		return fmt.Errorf("%w: the data have %d bytes, the limit is %d", ErrTooLarge, len(data), l.GetValueBytes())
	}
	return nil
}
