//go:build unix

package proof

import (
	"errors"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// specVariable is the environment variable that makes the test's binary a replica.
// It holds a spec.
const specVariable = "KITH_PROOF_REPLICA"

// spec says which replica a process is.
type spec struct {
	Name, PeersPath, Dir string
	UID                  int // to become before anything else; 0: as started
}

// request is a line to a replica. One field of those below Millis says what is asked.
type request struct {
	ID     uint64
	Millis int64      `json:",omitempty"` // how long it may take, from when the replica reads it; 0: for ever
	Op     *check.Op  `json:",omitempty"`
	Watch  *watchFrom `json:",omitempty"`
	Ready  bool       `json:",omitempty"`
	Status bool       `json:",omitempty"`
	// Acquire takes a place in a line and answers when it is held; Await answers when what
	// was acquired under that label cannot be relied on any more; Release gives it up. Op
	// depends on the one that Guard names.
	Acquire *wish  `json:",omitempty"`
	Await   string `json:",omitempty"`
	Release string `json:",omitempty"`
	Guard   string `json:",omitempty"`
	Look    *wish  `json:",omitempty"`
}

// wish names a lock, or a group, and what is wanted there.
type wish struct {
	Line  string
	Group bool
	Limit int
	Label string
	Try   bool
}

// watchFrom asks for the changes of keys after a revision, until that of the key Until,
// which is the last event of its stream.
type watchFrom struct {
	Prefix string
	After  uint64
	Until  string
}

// answer is a line from a replica. The first one, with ID 0, tells that it has
// started, or why not. One with an Event is followed by more.
type answer struct {
	ID     uint64
	Result *check.Result `json:",omitempty"` // without Err
	Event  *check.Event  `json:",omitempty"`
	Status *status       `json:",omitempty"`
	Seen   *seen         `json:",omitempty"`
	Token  uint64        `json:",omitempty"` // of what was acquired, or of whoever is in the way
	Error  string        `json:",omitempty"`
	Is     []string      `json:",omitempty"` // the sentinels that the error matches
}

// seen is who stands in a line.
type seen struct {
	Revision uint64
	Places   []check.Standing
}

type status struct {
	Agreement kith.AgreementStatus
	Problems  []string
}

// sentinels are the errors that keep their identity on the way.
func sentinels() map[string]error {
	return map[string]error{
		"ErrClosed": kith.ErrClosed, "ErrNoQuorum": kith.ErrNoQuorum, "ErrNotMember": kith.ErrNotMember,
		"ErrOverloaded": kith.ErrOverloaded, "ErrStateLost": kith.ErrStateLost, "ErrUnknown": kith.ErrUnknown,
		"ErrSessionEnded": kith.ErrSessionEnded, "lock.ErrHeld": lock.ErrHeld, "kv.ErrNotHeld": kv.ErrNotHeld,
	}
}

// fail makes a the answer that err is.
func (a *answer) fail(err error) {
	a.Error = err.Error()
	for name, sentinel := range sentinels() {
		if errors.Is(err, sentinel) {
			a.Is = append(a.Is, name)
		}
	}
}

// err returns what the replica failed with, nil if it did not.
func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	told := &toldError{text: a.Error}
	for _, name := range a.Is {
		told.is = append(told.is, sentinels()[name])
	}
	return told
}

// toldError is an error that was told by another process.
type toldError struct {
	text string
	is   []error
}

// Error returns what the other process said.
func (e *toldError) Error() string { return e.text }

// Unwrap returns the sentinels that the error matched there.
func (e *toldError) Unwrap() []error { return e.is }
