package membership

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrClosed: the Gossip was closed, or not started.
	ErrClosed = errors.New("membership: closed")
	// ErrNameTaken: see NameTakenError, which it matches with errors.Is.
	ErrNameTaken = errors.New("membership: name taken")
	// ErrNamePending: the node's former self, at another address, does not
	// answer but is not yet declared failed. The caller is let in as soon as it
	// is; trying again soon helps.
	ErrNamePending = errors.New("membership: the name's former holder is not yet declared failed")
	// ErrLeaving: the node is saying goodbye and meets nobody any more.
	ErrLeaving = errors.New("membership: the node is leaving")
	// ErrTooLarge: a broadcast, a query, an answer or the tags exceed a limit.
	ErrTooLarge = errors.New("membership: too large")
	// ErrReserved: names that begin with "_" are the engine's own: its queries
	// manage keys.
	ErrReserved = errors.New("membership: names that begin with _ are reserved")
	// ErrLagged: the reader of a stream of broadcasts was too slow, and some are
	// lost to it. Start the stream again to go on.
	ErrLagged = errors.New("membership: reader too slow")
)

// NameTakenError says that two live nodes have one name. The node that was
// there first stays; the other one ends with this error.
type NameTakenError struct {
	Name string
	// Addr is this node's control address, Holder the other's.
	Addr, Holder netip.AddrPort
	// HolderIncarnation tells when the other one started.
	HolderIncarnation Incarnation
}

// Error names both addresses.
func (e *NameTakenError) Error() string {
	return fmt.Sprintf("membership: two live nodes are called %q: this one at %s and one at %s (up since %s); give one of them another name",
		e.Name, e.Addr, e.Holder, e.HolderIncarnation.Started().Format("2006-01-02 15:04:05"))
}

// Is reports whether target is ErrNameTaken.
func (e *NameTakenError) Is(target error) bool { return target == ErrNameTaken }
