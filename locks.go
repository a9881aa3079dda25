package kith

import (
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/lock"
)

// Lock returns the lock of that name, or with [lock.Limit] a semaphore. It exists for
// the whole cluster as soon as somebody uses it; calls with the same name lead to the
// same lock, and every Acquire is a contender of its own, also within this node. It
// does not block; calls of the lock's wait until the cluster is founded, for as long as
// their contexts allow.
func (n *Node) Lock(name string, options ...lock.Option) *lock.Lock {
	return lock.New(n.places, name, options...)
}

// Group returns the ordered group of that name. It exists for the whole cluster as soon
// as somebody joins it. It does not block; calls of the group's wait until the cluster
// is founded, for as long as their contexts allow.
func (n *Node) Group(name string, options ...group.Option) *group.Group {
	return group.New(n.places, n.Self().PID, name, options...)
}
