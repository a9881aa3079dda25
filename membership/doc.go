// Package membership tells which nodes are alive, by gossip.
//
// Programs meet its types, such as [Member] and [View], through kith.Node. [New],
// [Gossip] and [Transport] are for those who build a node.
//
// It answers one of kith's three questions, "who answers?", and only that: who
// should exist is the peers file's business (package peers), what everybody
// agrees on is the replicated state's. What it says is one node's observation.
// It may be late, and two nodes may see things differently for a while.
//
// # How it works
//
// The engine is hashicorp/serf on hashicorp/memberlist: SWIM with Lifeguard.
// Each node probes another one every half second, asks others to probe for it
// when no answer comes, suspects, waits for the suspected one to object, and
// declares it failed. News travel as gossip on the packets of the probes. In a
// cluster of up to ten nodes a dead one is declared failed some three seconds
// after its death; [Timing] has the formula.
//
// On top of the engine this package adds what its users would otherwise each
// have to write:
//
//   - Contacts. The peers of the file are tried until they are met, and tried
//     again whenever they are lost, with backoff and without end. A partition of
//     days and a restart of everybody at once heal without anybody's help.
//   - Incarnations. Every start draws a new [Incarnation], carried in a tag, so
//     that a node that died and came back faster than gossip could notice is
//     seen as [Restarted].
//   - One name, one node. A failed name may return with a new address at once. A
//     second live node with a name in use is refused; see [NameTakenError].
//   - Reachability. A member that others vouch for and this node cannot dial is
//     told as alive and unreachable, with the reason.
//   - Streams of whole views. Readers see every change with the view it led to,
//     start with the current one, and cannot hold up the engine however slow
//     they are.
//
// # Threads
//
// The engine calls back and sends on channels while holding its own locks.
// Nothing in this package blocks there: callbacks only set a flag or drop a
// value into a buffered channel, one goroutine turns the engine's state into
// views, and readers are woken, never waited for.
package membership
