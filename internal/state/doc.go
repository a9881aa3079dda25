// Package state is the replicated state machine: keys, queues (locks and groups),
// sessions, events, the proposers' windows and the cluster's own facts. Every
// replica feeds the same committed entries to a [Machine] of its own, and all
// arrive at the same state, byte for byte.
//
// The machine is pure. It sees no clock, starts no goroutine, does no I/O but to
// read and write snapshots, and reads nothing but the log: also limits and quotas
// are in the log (S9). What it does is defined by statepb/state.proto.
//
// # Revisions
//
// One counter grows by one for each applied change; a transaction is one change,
// and so is the end of a session with all that it takes along. What changes nothing
// leaves the counter alone. Revisions name versions of keys, sessions (the revision
// that opened it) and places in queues (the fencing token), and order the history
// that watches read (S16).
//
// # One entry
//
// [Machine.Apply] decodes an entry whole before it does any of it: content that it does
// not know is a reason to halt, never to skip (S9). Then, in this order:
//
//  1. the agreed time moves, if the leader that proposed it committed it in the
//     same term (S7, S17);
//  2. keys whose time is up are deleted, at most 1000 in one entry;
//  3. the sessions that this leader found expired end, with their keys and places;
//  4. the batches are done in order, each command at most once (S8).
//
// # Exactly once
//
// A node registers as a proposer; the registration's log index is its ID. Its
// commands are numbered, and their results kept in a window until the proposer says
// that it has them. A repeated command is answered from the window. A number
// below the window is refused as spent, for its result is forgotten.
//
// # Queues
//
// A queue's slots stand in strict order of arrival, and the first `limit` of them
// hold: a lock is a queue whose limit is 1, a semaphore one with a larger limit. Those who
// wait may stand by a precedence instead; who holds is never displaced. With limit
// 0, for groups only, every slot holds, precedence means nothing, and the reader decides how
// many at the head matter to it.
//
// # Snapshots
//
// Keys, queues, sessions and events are in copy-on-write trees, and everything else
// that a snapshot shares with the machine is replaced, never changed in place:
// [Machine.Snapshot] copies a few pointers, and its WriteTo may run in another
// goroutine while the machine goes on. Indexes (of expiry, of what a
// session owns, of sizes) are in no snapshot; [Restore] derives them again and checks everything
// that it reads.
package state
