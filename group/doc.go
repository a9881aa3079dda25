// Package group is ordered groups: what kith's Node.Group returns.
//
//	err := node.Group("db").Lead(ctx, 1, serve)   // serve(ctx) runs on one node of the cluster
//	err := node.Group("api").Lead(ctx, 3, serve)  // on three
//
// The members of a group stand in a strict order, the same on every node: that
// of their arrival. The first is the leader; a service that needs n leaders
// takes the first n. When one leaves, those behind it move up, and nobody else
// is touched. So a position only ever gets better until the seat is lost, and
// who is among the first n stays there.
//
// [Group.Lead] is for who only wants to run something. [Group.Join] returns a
// [Seat], for all else: its position, data for the others to see, waiting to be
// among the first n. [Group.Members], [Group.Watch] and [Group.Explain] tell who
// is in it, also to those who are not. A group comes into being with its first
// member and goes with its last.
//
// # Order by PID
//
// With [ByPID] those who do not lead yet stand in the order of their nodes'
// PIDs, so that it can be told beforehand who is next. It displaces nobody: a
// leader stays in place when a node with a lower PID comes. Since that is so
// only for the first n, the number of leaders is a part of it, and all members
// agree on it.
//
// # Names
//
// A member's name is the node's, unless [Name] gives another; with several names
// a node has several seats. Within one node, or one remote client, a name stands
// for one seat: taking it again is [ErrTaken]. Two nodes may use the same name,
// and are told apart by [Member].Node; the [Member].Token is never the same for
// two seats, nor for a seat and any other thing in the cluster. A name is UTF-8
// text, and at most 1 KiB unless the cluster's limits say otherwise.
//
// # Who stops first
//
// A seat belongs to its node's session with the cluster. The node that cannot
// renew it gives up before the cluster does: [Seat.Context], and the context of
// a function that Lead runs, end while the place still stands, and nobody moves
// up before the cluster has ended the session. A process that crashes is noticed
// within milliseconds where that is safe, and when its session's time is up
// otherwise.
//
// A process can be paused at any moment, and wake up to do one more thing before
// it looks at its context. Against that only the token helps: kv.IfHeld with a
// seat, or with [Seat.First], makes a write of this cluster's keys conditional
// on the place being held when the write is taken; for other stores, pass
// [Seat.Token] along and have them refuse any that is lower than the highest
// they have seen.
//
// [Group.Break] asks a member to go. That ends its context too, but its place is
// kept until it has left: nobody takes it while it is still at work.
//
// # Leaving
//
// Leaving is an agreed change like joining: it is in force when the call
// returns, and when that could not be found out in time, it is seen to in the
// background until it is, or until the session, which the seat goes with, is
// over. So no attempt to join or leave, at whatever moment it was given up,
// leaves a ghost in the line that others wait for.
package group
