package kith

import (
	"errors"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/membership"
)

var (
	// ErrClosed: the node was closed, or left.
	ErrClosed = errors.New("kith: node closed")
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
)
