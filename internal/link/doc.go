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
// becomes one of memberlist's streams, and other purposes can be added beside
// them without touching what is above. Hello and welcome are one frame each:
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
