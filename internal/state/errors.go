package state

import (
	"errors"
	"fmt"
)

// ErrFuture is what Changes returns for a revision that this machine has not
// reached yet: wait and ask again (S16).
var ErrFuture = errors.New("state: revision not reached yet")

// CompactedError is what Changes returns when some of the changes asked for are
// forgotten (S16): read the current state and go on from its revision.
type CompactedError struct {
	Floor   uint64 // changes up to and including this revision are forgotten
	Current uint64 // the machine's revision
}

// Error tells what is still known.
func (e *CompactedError) Error() string {
	return fmt.Sprintf("state: changes up to revision %d are forgotten; the current one is %d", e.Floor, e.Current)
}

// UnintelligibleError says that this release cannot do what the log or a snapshot
// says: a newer one wrote it, or a leader let through what it should have refused.
// The node must halt, since skipping what the others do would part it from them (S9).
type UnintelligibleError struct {
	Index uint64 // of the entry or the snapshot
	Err   error
}

// Error tells where and what.
func (e *UnintelligibleError) Error() string {
	return fmt.Sprintf("state: entry %d cannot be applied: %v", e.Index, e.Err)
}

// Unwrap returns the cause.
func (e *UnintelligibleError) Unwrap() error { return e.Err }

// CorruptError says that a stream is no whole snapshot.
type CorruptError struct {
	Offset int64 // in bytes, of the part in question
	Err    error
}

// Error tells where and what.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("state: snapshot damaged at offset %d: %v", e.Offset, e.Err)
}

// Unwrap returns the cause; the reader's own error if that failed.
func (e *CorruptError) Unwrap() error { return e.Err }
