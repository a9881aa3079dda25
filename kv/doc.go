// Package kv is the cluster's replicated keys: what kith's Node.KV returns.
//
//	store := node.KV()
//	rev, err := store.Set(ctx, "config/limit", []byte("100"))
//	entry, err := store.Get(ctx, "config/limit")
//	rev, err = store.Set(ctx, "config/limit", []byte("200"), kv.IfRevision(entry.Revision))
//
// Keys are UTF-8 text in bytewise order; slashes mean nothing, but prefixes are
// what [Store.List], [Store.Watch] and [Store.DeletePrefix] go by. Values are
// bytes; [Typed] gives them a type. Every voter and learner has all of it in
// memory.
//
// # Revisions
//
// One counter numbers the changes of the whole cluster: of keys, and of locks,
// groups, sessions and events. A transaction is one change, whatever it does. Each
// key has the revision of its last change, and no revision ever comes again. So a
// key that is still at the revision that was read has not been touched meanwhile:
// [IfRevision] is all that a read-modify-write needs. Revisions of different keys,
// or of a key and a lock's token, can be compared.
//
// # Reading
//
// A read is linearizable, on every node: it sees all that was acknowledged before
// it began, whoever wrote it. That costs a round to a majority, which all reads
// that come at the same time share. [Store.Stale] gives the same reads from this
// node's memory: as fast as a map, true a moment ago, and without bound behind on a
// node that is cut off. Neither goes back in time while the node runs.
//
// # Outcomes
//
// A write that returns a revision is on the disks of a majority, and in force on
// this node. Every error tells which of three things became of the write: it was
// not done and will not be, it is in force, or it is not known which: it may still
// be done later. kith.OutcomeOf tells which; errors.Is(err, kith.ErrUnknown) asks
// for the third. A leader's crash is no error: the write is sent again and done
// once. So it is the caller's own deadline, mostly, that leads to an unknown
// outcome.
//
// Nothing here repeats a write that was refused. A [ConflictError] says where the
// key is; whether to try again is the caller's to decide.
//
// # Watching
//
// [Store.Watch] is a stream of changes that begins with the current state, or after
// a revision that the reader knows. It is complete, in order, and never silent
// about a loss: the cluster remembers a bounded number of changes, and to a reader
// who has fallen behind that comes a [Resync], then the whole current state, then
// [Synced]. Each change names the key's previous revision, which lets a reader
// check that none is missing, and Last marks the end of what belongs together. A
// reader who keeps a copy does this:
//
//	for c, err := range store.Watch(ctx, "config/", 0) {
//		switch {
//		case err != nil:
//			return err
//		case c.Kind == kv.Resync:
//			clear(fresh)                    // the state follows, from the start
//		case c.Kind == kv.Written:
//			fresh[c.Key] = c.Value
//		case c.Kind == kv.Deleted, c.Kind == kv.Expired:
//			delete(fresh, c.Key)
//		}
//		if c.Last {
//			publish(maps.Clone(fresh))      // whole transactions only
//		}
//	}
//
// [Store.WaitChange] and [Event] are for those who only want to be woken.
//
// # Keys that go by themselves
//
// An [Ephemeral] key belongs to the session of the node that wrote it. It goes when
// the node leaves, and after the session's time when its process dies or the node
// falls silent. A [TTL] runs by time that the cluster agrees on: the
// leader advances it by its monotonic clock and it pauses without a leader, so
// nobody's wall clock matters. Overwriting a key makes it what the new write says:
// without options, permanent.
//
// # Fencing
//
// Whoever holds a lock or leads a group can lose it while paused, and wake up
// believing to have it still. [IfHeld] lets a write happen only if the hold lasts
// at the moment when the write takes its place in the log: of a late holder's
// writes none is done.
package kv
