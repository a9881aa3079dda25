// Package kith turns the replicas named in a peers.json into one cluster. A
// program imports it; there is no server to run.
//
//	node, err := kith.Start(ctx, kith.Config{})
//	if err != nil {
//		return err
//	}
//	defer node.Leave(context.Background())
//
//	for view, err := range node.WatchMembers(ctx) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(view) // alpha alive, bravo alive, charlie failed
//	}
//
// [Start] with the zero [Config] finds the peers file (see package peers for
// where it looks), finds itself in it, and finds the others. Without a peers
// file the node is a cluster of one, on loopback, in memory, which is what a
// program wants on a laptop.
//
// # Three questions, three answers
//
// Who should exist is written in the peers file: [Node.Peers] and
// [Node.WatchPeers]. The file is followed while the node runs, whether it is
// edited, replaced, or swapped as Kubernetes does it; a bad one is reported and
// never takes a peer away. With $PEERS_SYNC_URL set, a server has the list and
// the file is its last good copy.
//
// Who answers is what gossip tells: [Node.Members] and [Node.WatchMembers]. It
// is one node's observation and may be a few seconds late. Package membership
// says what exactly it promises.
//
// What everyone accepts is decided by a majority through a replicated log: keys,
// [Node.KV], events, [Node.Event], locks, [Node.Lock], and ordered groups with leaders,
// [Node.Group]. What was acknowledged is on the disks of a majority, the same for all
// nodes, and survives their crashes. Packages kv, lock and group say what exactly they
// promise. A lock or a place among the leaders comes with a context that ends before
// anybody else can have it, and a token that refuses those who are late all the same.
//
// # Agreement
//
// A cluster is founded once, by all its voters: the largest odd number, five at most,
// of the listed peers, lowest PID first. The others are learners, with a full copy and
// no vote. Until the last voter is there, calls wait, for as long as their contexts
// allow, and their errors name those who are missing; [Node.Ready] waits for all
// that, and [Node.Status] shows how it stands. Write the whole list before the first
// start: who is listed later gossips, and its calls fail with [ErrNotMember].
//
// What a node has promised is in its state directory, Config.Dir. A node that finds
// it damaged, or is known to the others with another one, gossips on and stays out of
// agreement: [ErrStateLost]. Neither can be mended in this release.
//
// Errors of agreement calls tell what became of the request: [OutcomeOf] returns
// [NotDone], [Done] or [Unknown]. Without a majority calls end with their
// contexts ([ErrNoQuorum]), so give them one that ends.
//
// # Messages
//
// Nodes ask each other, tell all, and stream: [Node.Request] to a subject that another
// handles with [Node.Handle], [Node.Publish] and [Node.Subscribe], [Node.OpenStream]. The
// message port is open as soon as the node is up, at the peer's port; handlers may come and go.
// A request runs at most once; its error says whether it ran ([OutcomeOf]). [Node.Peer] is a
// handle that outlives the peer's restarts and moves. Package transport says what exactly
// all that promises. Messages carry no agreement: what must not be lost belongs in keys.
//
// They need libzmq when the program is built. Without it a node does everything else, and
// message calls fail with [ErrNoMessages].
//
// # The key
//
// Nodes that listen beyond loopback need a cluster key, the same on all: run
// `kith keygen --output key` beside the peers file and copy it to every replica.
// All that nodes say to one another is then encrypted, and whoever lacks the key
// cannot take part.
//
// # Streams
//
// Methods that return an iter.Seq2 are streams. They start when ranged over,
// those of a state with the current one; they end when their context does or the caller breaks
// out, and leave nothing behind. A slow reader holds up nobody: what it missed
// is merged or counted, never silently lost. Each range is a stream of its own.
//
// # Many nodes in one process
//
// Nodes share nothing: no package state, no signal handlers, no exits, no
// environment but what Config names. Package kithtest starts whole clusters in a
// test.
package kith
