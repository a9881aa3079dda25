package wal

import (
	"errors"
	"fmt"
)

// What can become of a call.
var (
	// ErrFailed: a write or a sync failed, now or earlier. What the log holds on disk
	// is unknown from then on, so it takes nothing more (SAFETY.md, S4). The error
	// also wraps the first cause.
	ErrFailed = errors.New("the log failed")
	// ErrNoSpace: the disk is full. Nothing of the batch was written, and the log
	// goes on as soon as there is room.
	ErrNoSpace = errors.New("no space for the log")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("the log is closed")
	// ErrTooLarge: a batch of more than 1 GiB. Nothing of it was written.
	ErrTooLarge = errors.New("the batch is too large")
	// ErrVersion: a newer release wrote the log.
	ErrVersion = errors.New("the log has a newer format")
)

// DamageError says that the log is not what was written: neither whole nor torn
// by a crash in the way that crashes tear it. Nothing of it is to be trusted
// (SAFETY.md, S3).
type DamageError struct {
	File   string
	Offset int64 // in bytes
	What   string
}

// Error says what is wrong, where, and how to mend it.
func (e *DamageError) Error() string {
	return fmt.Sprintf("wal: %s is damaged at offset %d: %s; this node's state cannot be trusted: check the disk, remove the node's "+
		"whole directory (not only the log), and it comes back as a new member", e.File, e.Offset, e.What)
}
