// Package founding is how a cluster is born, and how a node finds out whether it has
// been.
//
// # The danger
//
// A Raft cluster is safe as long as its members stay who they are. Two things go
// wrong before that: some nodes found a cluster while another one exists, beside
// them or in their own past; and a node comes back under its old Raft ID without what
// it had promised under it. So nodes found a cluster only when every voter that the
// list of peers yields ([Voters]) is there, is bound to nothing, and has the same
// list (SAFETY.md, S1); and every state directory has an ID of its own, by which its
// loss is noticed (S3).
//
// # The protocol
//
// The coordinator is the founder with the lowest PID. When all founders have told it,
// in one round of questions, that they are fresh and that their lists are its own, it
// mints a [Record]: the cluster's ID, the members with their Raft IDs, and the
// founders' directories. Two phases make it theirs:
//
//	promise   The coordinator, then every other founder, saves that it is bound to
//	          this record: it will not help to found any other cluster.
//	commit    When all are bound, the coordinator saves the record as its own, then
//	          tells the others, who do the same. That is birth.
//
// Everything is saved durably before anybody hears of it. A promise is never broken or
// replaced. As any two clusters that one list asks for would need the promise of the
// same founder, there is at most one.
//
// All nodes, not only the coordinator, go on asking the others how they stand: a bound
// node learns the outcome from anybody who knows it, a fresh one that there is a
// cluster already, and all can tell for whom they wait. A bound coordinator that
// restarts completes the record that it is bound to. Who is bound is not moved by
// changes of the list: only that record can be its own. A fresh founder gives its
// promise to a record even if its list has changed since, as long as some voter of its
// list is bound to that: then no other record can be completed that the list asks for.
//
// Questions but the first ([verb] hello) are addressed to a directory as well as to a
// name. One that was asked before the addressee lost its disk does not bind what came
// after.
//
// # Lost disks
//
// A founder that lost its disk after the birth is told so by whoever was born, and
// stays out ([ErrStateLost]). But what if nobody that answers was born? If the
// coordinator comes back fresh and finds others bound to a record, it may have
// committed that, and forgotten. It takes up that very record (and a founder that
// comes back promises it again) under one condition: that the record has not lived,
// in which case its members' old directories hold nothing that matters. Suppose that
// a set W of voters has lost the directories that the record names, that W is less
// than a majority, and that each voter not in W says that it was not born, when asked
// after the new directories were seen. Before it is born, a node refuses all Raft
// connections. So until the disks were lost, Raft can have spoken within W only, where
// no majority is: no vote was counted, no entry committed, no write acknowledged,
// and none of the voters that the record has without a directory was let in.
// Whatever was in those directories made no difference, and the members may begin
// anew under their Raft IDs. When W is a majority, or somebody does not answer, nobody
// can know. Then the nodes wait and say for whom, or what to remove: a directory that
// holds only a promise holds no data.
//
// # Coming later
//
// Learners, and voters that an override did without, are in the record without a
// directory. They ask any member to be let in. That one has the replicated state
// note the directory ([Config.Admit]) before it says yes, so that a member that comes
// a second time with another one is noticed. A node that is listed, but not in the
// record, is told so ([ErrNotMember]) and asks again from time to time; it disturbs
// nobody.
//
// # Override
//
// An operator who knows that a voter will not come can name the founders that must
// be there ([Config.Override]): a majority of the voters. The record still has all of
// them, the missing ones without directory. What this risks: nobody has asked those
// that are missing. If they belong to a cluster with state, there are two now. If one of
// them was born in an attempt before, and one of the named founders lost its disk
// since, the attempt may be left behind by a second record. Raft's promises hold
// within each of the clusters all the same; which one is meant, the operator has to
// say by removing the directories of the other.
//
// # Structure
//
// What to do is decided by pure functions: round.decide from what was heard, objection
// when asked for a promise. [Founder] asks, saves and tells. The network is one
// function ([Config.Ask]), the disk an interface ([Store]).
package founding
