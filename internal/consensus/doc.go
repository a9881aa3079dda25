// Package consensus drives etcd's Raft core: it gives it a log on disk, links to
// other members, and the state machine, and gives the rest of kith a few calls:
// [Replica.Propose], [Replica.Barrier], [Replica.View], [Replica.Session],
// [Replica.ClientSession].
//
// # One at a time
//
// Only who has the floor touches raft, the log and, for writing, the machine: the loop,
// or the goroutine that has just read a frame from another member and takes a turn itself,
// because to wake the loop would take longer. Everybody else leaves work in the inbox and
// rings a bell. Each turn takes all that has come in: so proposals that arrive while the
// disk works become one entry of the log, one write with one fdatasync, one frame to each
// follower. Only a few that have come together before are waited for, for a moment
// (company.go).
//
// Where comments say "the loop", who has the floor is meant.
//
// A turn handles what raft asks for in this order: a leader's appends and
// heartbeats go out; log and hard state are written, and synced where votes or
// entries are at stake (S4); everything else goes out; committed entries are
// applied and their callers answered; reads whose index is reached are let go. When
// all that is new is that entries are committed, this node and a majority have them on disk
// already, and how far that goes is written with the next ones, or at the next tick.
//
// # Proposals
//
// A command is numbered by the node that proposes it and stays in its book until
// this node has applied it: the answer is what the local machine says. Whenever the
// leader changes, a connection to it is made anew, or a second passes, it is sent
// again; the machine's window makes sure that it counts once (S8). Raft's own
// forwarding is off (S7): nodes send batches to the leader, which puts the batches
// of all nodes into entries and adds what only a leader may tell: its term, agreed
// time, sessions whose time is up.
//
// # Reads
//
// A linearizable read waits for an index which the leader had committed after the
// read came, confirmed by a round to a majority (ReadIndex, Ongaro's thesis, 6.4),
// and until this machine has applied it. All reads that come while a round is
// under way share the next one (S10).
//
// # Sessions
//
// Leases are not in the log. The leader keeps deadlines by its own clock, and
// acknowledges a renewal only after a majority has confirmed that it still leads;
// the holder counts from when it sent the renewal (S11). All renewals of a turn, of
// however many sessions, share one frame and one round. Deadlines are in a heap in
// which a renewal moves nothing, so sessions that nobody looks at cost nothing.
//
// A node has one session at a time, opened when it is first needed, and its holder's
// deadline is kept here. A remote client ([Replica.ClientSession]) is known by its ID, has
// one session, which any node finds and renews for it, and counts its own deadline: no
// node knows what the client has heard by way of another.
//
// The clocks are those that run through suspend, and may be wrong by one per cent. The
// wall clock marks incarnations, which are compared for being the same; that later ones
// are higher makes things quick, and never right.
//
// # Crashes
//
// When a process dies its kernel closes its connections and refuses new ones. Silence is
// something else: it waits for raft's election timeout, or for the session's time.
//
// Followers that see both of the leader forget it and campaign in the order of their rank,
// within milliseconds (S15).
//
// Of a node with a session, every voter whose connection to it broke dials the same
// address once more, and tells the leader if that was refused. When the leader has seen
// the same, and a majority of the voters with it, it ends the node's sessions at once (S12;
// evidence.go). The voters do so again for a new leader. That rests on three things: a
// node gives up its session before it closes its port, be it to end or to move
// ([Replica.Relocate]); the voters' words are about one incarnation, and a member's sessions
// are all of the incarnation in which it is registered, because the machine ends those of
// a former one; and refusals are not forged, else there is Config.IgnoreRefusals.
//
// # Trouble
//
// A failed write or sync, a damaged file, an entry that cannot be understood, or a
// panic in raft halts the replica, not the process: calls fail with
// outcome.ErrStateLost, and the node's status says why. A full disk only makes it
// wait.
package consensus
