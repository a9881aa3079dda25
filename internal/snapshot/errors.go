package snapshot

import (
	"errors"
	"fmt"
)

// ErrVersion: a newer release wrote the snapshot.
var ErrVersion = errors.New("the snapshot has a newer format")

// DamageError says that a file is not what was written.
type DamageError struct {
	File     string
	Offset   int64 // in bytes; of the header, block or trailer that is wrong
	What     string
	received bool // it came from another node
}

// Error says what is wrong, where, and how to mend it.
func (e *DamageError) Error() string {
	if e.received {
		return fmt.Sprintf("snapshot: what was received as %s is damaged at offset %d: %s; it must be sent again", e.File, e.Offset, e.What)
	}
	return fmt.Sprintf("snapshot: %s is damaged at offset %d: %s; if the log does not reach back further, this node's state is lost: check the disk, "+
		"remove the node's whole directory, and it comes back as a new member", e.File, e.Offset, e.What)
}
