// Package transport carries messages between peers: requests and replies, one-way
// messages, publications, and streams of bytes.
//
//	node.Handle("sum", func(ctx context.Context, r transport.Message) (transport.Message, error) {
//		return transport.Message{Body: sum(r.Body)}, nil
//	})
//	reply, err := node.Request(ctx, "bravo", "sum", []byte("1 2 3"))
//
// A [Messenger] is all of that for one node. It says what a request is and what becomes
// of it; an [Engine] below it moves packets: transport/zmq over ZeroMQ, transport/inproc
// in memory, for tests. Both pass the suite in transport/transporttest.
//
// # Outcomes
//
// A request runs at most once. It is never sent twice, whatever happens; so each error
// tells, as kith.OutcomeOf finds out, what has become of it:
//
//   - not done: no handler ran, and none will. ErrNoPeer, ErrNoHandler, ErrOverloaded,
//     and ErrUnreachable, ErrTooLarge, ErrTimedOut or ErrClosed before it was sent.
//   - done: the handler ran, and answered with an error: *RemoteError; or with a reply
//     that is too large.
//   - unknown: it was sent, and no answer came: ErrTimedOut, ErrUnreachable when the
//     connection broke, ErrPeerRestarted, ErrClosed. It may have run. So too when the
//     handler panicked.
//
// Nothing is queued for a peer that is away, and nothing waits without an end: requests
// under way fail as soon as their connection does.
//
// # Time
//
// The context of a call bounds all of it: waiting for a connection, the way there, the
// handler, the way back. The time left travels with the request, and becomes the
// deadline of the handler's context; clocks of different nodes are not compared. When the
// caller's context is cancelled, or its process dies, the handler's is cancelled too.
//
// # Peers
//
// [Messenger.Peer] returns a handle that stays valid for ever. The peer may not be there
// yet, die, come back as another process, move to another address, leave the list and
// return: the handle finds it again by itself, and calls wait for that as long as their
// context allows, or with [FailFast] do not wait at all. [Peer.Status] tells how things
// stand.
//
// # Publications
//
// [Messenger.Subscribe] tells every peer a prefix; [Messenger.Publish] sends to those
// who have asked, and keeps nothing. Queues are bounded, at the publisher for each
// connection and at the subscriber for each subscription. Who is too slow loses some, and
// is told how many, at the place where they are missing: [LagError]. After a broken
// connection the number is not known; that it broke is told all the same.
//
// # Streams
//
// [Messenger.OpenStream] is a connection in miniature: bytes in both directions, in order,
// with half-close and deadlines. Who is faster than the other side waits for it, and
// holds up nobody else on the same connection.
//
// # Limits
//
// What is under way is bounded: [Limits], and Concurrency and Queue for each handler.
// Beyond a bound a call fails at once, with ErrOverloaded or ErrTooLarge, here or at the
// peer; nothing ran then.
package transport
