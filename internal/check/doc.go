// Package check decides whether kith keeps its promises: clients record what they
// asked and what they were told, and checkers look for a contradiction. It knows
// nothing of kith but the three outcomes of a call; tests translate.
//
// # Record
//
// A [History] is fed by many goroutines. Each operation is an interval: it took
// effect, if at all, at one moment between its call and its return. What failed
// without being done is dropped. What may have been done ([outcome.Unknown], and
// whatever has not returned) has an interval without end: it takes effect at some
// moment, at most once, or never. Order is that of a counter, not of a clock, for
// in virtual time many things happen in the same nanosecond.
//
// What clients have in a lock, a semaphore or a group is a [Tenure] each, from asking to
// being gone; those who look at such a line leave a [Sight]. Wherever it is not known when
// a place went, or whether an attempt came in line at all, that may have been at any
// moment from which its client did not rely on it.
//
// [Workload] is a seeded crowd of clients that writes such a history through a
// [Client], which tests implement for what they test: nodes in virtual time, or
// real processes by HTTP.
//
//	h := check.NewHistory()
//	w := check.Workload{Seed: seed, Clients: 5, Ops: 400, Keys: 8, Mix: check.SingleKey(), Timeout: time.Second}
//	w.Run(ctx, h, func(client int) check.Client { return dial(client) }) // while nodes are killed
//	check.Verify(t, check.Origin{Seed: seed}, h, check.Replica{Name: "alpha", Entries: held})
//
// # Judge
//
//   - [Linearizable] asks whether some order of the operations, each within its
//     interval, explains every answer: keys, values, revisions, conditions,
//     transactions, lists. It searches with porcupine, and apart for each set of keys
//     that no operation ties together.
//   - [Revisions] needs no search. Revisions are the store's own claim about the
//     order, so they must agree with real time across all keys: what was called after
//     another returned has the greater revision, a revision is given once, and no read
//     returns a version that was replaced at a revision already seen when it began.
//   - [Watches] compares the streams of watchers with the acknowledged writes and with
//     one another: complete, in order, never backwards, each previous revision that of
//     the version before, a gap only where the stream says so.
//   - [Durable] compares what a replica holds in the end with what was acknowledged.
//   - [Holds] looks at locks, semaphores and groups, without a search: nobody holds
//     beside others more than the limit allows, tokens grow in the order of grants, no
//     write guarded by a place commits after the next holder's, and what was seen of
//     a line at its revisions fits together.
//   - [Lines] asks whether some order of entering, leaving and giving up explains all that
//     was told of a line: to holders, to those who were refused, to those who looked. It
//     searches with porcupine, each line apart.
//
// [Verify] runs them all and, on failure, writes the history and porcupine's picture
// of the shortest failing part beside the test.
//
// # What the model takes for granted
//
// Revisions grow with every change but may leave gaps, since sessions, locks and
// other tests' keys consume them too. Keys that vanish by themselves (a TTL, the end
// of a session) are deletions by an unknown hand: record a Delete that never returns
// (with a condition on the revision) at the moment from which it may happen. Values
// need not be unique, but the checks of what was invented or applied twice are
// sharper if they are; Workload makes them so.
//
// The search is bounded by a number of steps and not by time, so that its verdict
// depends neither on the machine nor on whose clock runs (in a bubble of
// testing/synctest a timeout would never come). Running out is a failure that says so.
package check
