// Package link is the control port of a node: one TCP listener and one UDP
// socket on the same number, which carry all that nodes say to one another
// below the level of messages.
//
// # Connections
//
// Every TCP connection opens in the same way:
//
//	dialler                               listener
//	   | TLS 1.3, both prove the key         |   (skipped without a key)
//	   | hello: version, cluster, name,      |
//	   |   incarnation, address, "to", "for" |
//	   |------------------------------------>|
//	   |      welcome: the same of itself    |   or a refusal: code and text
//	   |<------------------------------------|
//
// and then belongs to the purpose named in "for": [Probe] ends here, [Gossip]
// becomes one of memberlist's streams, [Found] carries a question and its answer,
// [Raft] and [Snapshot] carry frames; see below. Hello and welcome are one message
// each:
//
//	"KITH" | length, 2 bytes, big endian | JSON, at most 4 KiB
//
// JSON, because it is read once per connection, says what it means in a
// capture, and lets later releases add fields. The magic bytes let each side
// tell a node without a key, a node with one, and a stranger apart, so that the
// three have different errors.
//
// The listener believes nothing before the hello is whole: handshakes have a
// deadline, their number is bounded, also per address, and a frame is refused by its length
// before memory is set aside for it.
//
// # Members
//
// A node that belongs to a cluster says which one in hello and welcome, and which
// member it is ([Link.Bind]). Connections of the agreement are for members of one
// cluster that mean one another: the listener refuses the others, telling why
// ([CodeUnborn], [CodeForeign], [CodeStaleID]), and the dialler checks the welcome.
// Before birth there are only Probe, Gossip and Found (SAFETY.md, S1).
//
// # Frames
//
// What follows on a connection of the agreement is a sequence of frames:
//
//	length, 4 bytes, big endian | kind, 1 byte | cluster tag, 8 bytes | from | to | body
//
// The length counts all that comes after it; from and to are Raft IDs as varints; the tag
// is the beginning of the cluster's ID. Each frame names the cluster and both members
// although the handshake has settled them: a frame that ends up elsewhere, by whatever
// mistake, is noticed before Raft sees it, which would take it for its own (SAFETY.md,
// S2). Such a frame ends the connection. [FrameReader] reads them, [Pipe] keeps a
// connection up and writes them; what they hold is not the link's business.
//
// A pipe goes one way: each of two members dials the other for what it has to say. So
// nobody has to agree on which of two simultaneous connections stays, and each side
// learns at once when the other dies: the dialler also reads, and gets the end of the
// connection or its reset. What is small is written to an idle socket by who sends it, all
// else by the pipe's goroutine: so senders never wait for the network.
//
// # Packets
//
// UDP datagrams are handed on as they are. Gossip encrypts and authenticates
// them itself, with a key from internal/secret.
//
// # Ownership
//
// A Link owns its listener, its socket, its goroutines and every connection that
// was accepted or dialled through it; Close ends them all and waits for the
// goroutines. Handlers run on the link's goroutines, without any lock held.
package link
