//go:build linux && race

package link

import "sync/atomic"

// order is what the race detector knows of the network between two ends in one process:
// what was done before a send was done before it is received. For other system calls than
// raw ones package syscall tells it so.
var order atomic.Uint64

func ordered() { order.Add(1) }
