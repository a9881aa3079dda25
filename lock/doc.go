// Package lock is locks and semaphores for the whole cluster: what kith's Node.Lock
// returns.
//
//	held, err := node.Lock("migrate").Acquire(ctx)
//	if err != nil {
//		return err
//	}
//	defer held.Release(context.WithoutCancel(ctx))
//	err = migrate(held.Context())
//
// # What a lock promises
//
// At most one holds it ([Limit]: at most n), in the order in which they came by the
// cluster's log, on whichever node they are. The queue is part of the agreed state: it
// survives the death of leaders and of all nodes but the majority's disks. Acquire
// is one entry of the log, Release is one, and handing over to the next in line costs
// no other: he is woken by his own node's applying the Release.
//
// A hold lasts as long as the session of its node, or of the remote client, and
// [Held.Context] tells when it is over. That context ends before anybody else can hold
// the lock: the holder gives up earlier than the cluster, by clocks that may
// run at different rates, and a leader promises a session nothing without a majority.
// So of two programs that do all they do with that context, never both work.
//
// # What only the token does
//
// A process can be paused, for collecting garbage, by a debugger, by its hypervisor, for longer
// than its session lasts, between looking at the context and writing. When it wakes,
// another holds the lock, and the write that it had begun goes out all the same. No
// lock can prevent that; whoever is written to can. [Held.Token] grows with every
// holder, so that the store can refuse the late one. kv.IfHeld does that for kith's own
// keys, exactly: such a write is done only if the lock is held when it takes its place in the
// log. For stores of another kind there is [Fence].
//
// # How a loss is told
//
// The cause of [Held.Context] says what has happened: kith.ErrSessionEnded if the node
// could not renew its session in time, because it was cut off, paused, or slept;
// [ErrBroken] if somebody asked the holder to go; kith.ErrClosed if the node was closed;
// [ErrReleased] after Release. Of these only a break leaves the lock with the holder:
// the next in line waits until Release (or the session's end), however long that takes.
// After the others nothing is held any more, and Release says so.
//
// # No ghosts
//
// Who stops waiting, at whatever moment, leaves nothing behind: a place in the
// queue that came of a cancelled Acquire is given up in the background, and a
// Release of which it is not known whether it was done is repeated until it is, or
// until the session ends. In between others may see the place in line; no longer than
// the cluster needs to be reached.
//
// # Semaphores
//
// With [Limit] the first n in line hold. Everything else is the same; each holder has a
// token of its own, and as there are several at a time, a Fence, which lets only the
// highest pass, is of no use: kv.IfHeld is.
package lock
