package kith

import (
	"errors"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/membership"
)

var (
	// ErrClosed: the node was closed, or left.
	ErrClosed = outcome.ErrClosed
	// ErrNameTaken: another live node of the cluster has this node's name, and
	// was there first. The error in the chain is a *membership.NameTakenError
	// and names both addresses.
	ErrNameTaken = membership.ErrNameTaken
	// ErrNoKey: the node would listen beyond loopback and has no cluster key.
	ErrNoKey = errors.New("kith: no cluster key")
	// ErrWhoAmI: it cannot be told which peer of the list this node is.
	ErrWhoAmI = errors.New("kith: which peer is this node?")
	// ErrKeyMalformed: the text of the cluster key is no key.
	ErrKeyMalformed = secret.ErrMalformed
	// ErrKeyExposed: the key file may be read by others than its owner.
	ErrKeyExposed = secret.ErrExposed
	// ErrPeersFromFile: SetPeers was called on a node that follows a file or URL.
	ErrPeersFromFile = errors.New("kith: the peers come from a file")

	// ErrUnknown matches every error after which it is not known whether what was
	// asked for was done; see OutcomeOf.
	ErrUnknown = outcome.ErrUnknown
	// ErrNoQuorum: no leader, or no majority of the voters, answered in time. The
	// text names who is missing.
	ErrNoQuorum = outcome.ErrNoQuorum
	// ErrNotMember: the cluster was founded without this node and does not count it
	// in yet. It gossips all the same.
	ErrNotMember = outcome.ErrNotMember
	// ErrStateLost: this node's state directory is damaged, its disk failed, or the
	// cluster knows it with another directory. It stays out of agreement.
	ErrStateLost = outcome.ErrStateLost
	// ErrOverloaded: too much is under way on this node already. Nothing was done.
	ErrOverloaded = outcome.ErrOverloaded
	// ErrSessionEnded: what the request belongs to ended with this node's session.
	ErrSessionEnded = outcome.ErrSessionEnded
)

// Outcome is what became of a request that failed.
type Outcome = outcome.Outcome

// What OutcomeOf returns.
const (
	// NotDone: nothing was changed, and nothing will be.
	NotDone = outcome.NotDone
	// Unknown: it was, will be, or never will be done.
	Unknown = outcome.Unknown
	// Done: it is in force, although an error came back.
	Done = outcome.Done
)

// OutcomeOf tells what became of a request by the error that an agreement call
// returned: Done for nil, Unknown for an error that does not say.
func OutcomeOf(err error) Outcome { return outcome.Of(err) }
