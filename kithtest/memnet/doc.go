// Package memnet is a network in memory, for tests: hosts with addresses, TCP-like streams and
// UDP-like packets between them, and every fault a test may want, by seed.
//
//	network := memnet.New(1)
//	defer network.Close()
//	network.SetDefault(memnet.Conditions{Delay: 2 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.01})
//
//	alpha := network.Host(netip.MustParseAddr("10.0.0.1"))
//	bravo := network.Host(netip.MustParseAddr("10.0.0.2"))
//
//	listener, err := bravo.Listen(ctx, ":7000")
//	conn, err := alpha.Dial(ctx, "10.0.0.2:7000")
//
// A [Host] is what a program is given in place of the operating system's network: it listens,
// dials, opens packet sockets and resolves names. The [Network] holds the wires between hosts. A
// test sets their [Conditions], cuts them ([Network.Cut], [Network.Partition],
// [Network.Isolate], [Network.Heal]), and breaks hosts ([Host.Kill], [Host.PowerOff],
// [Host.Pause]).
//
// # Time
//
// The package reads the ordinary clock, so it runs in real time and, inside a testing/synctest
// bubble, in virtual time. A Network and all that comes from it belong to the bubble in which
// [New] was called. Calls that wait do so in a way synctest counts as durably blocked, and an idle
// network has no goroutine and no timer of its own: hours of virtual silence cost nothing.
//
// In a bubble, a program must not hold a mutex while it waits for the network: another goroutine that
// wants the mutex is not durably blocked, so virtual time stands still and the wait never ends. This
// is so with crypto/tls: finish the handshake (HandshakeContext) before two goroutines use a
// connection, and let only one goroutine write.
//
// # Streams and packets
//
// A stream keeps its bytes and their order whatever the path does. A lost segment is sent again: it
// and all behind it arrive late, by twice the longest delay of the path and at least 10 ms, doubled
// for each further loss up to 10 s. At most 256 KiB are under way or unread in one direction; then
// the writer blocks. A cut, or a Loss of 1, holds the bytes until it is healed; a cut of the way
// back alone lets bytes through but no acknowledgements, so the writer blocks after 256 KiB. There
// are no keep-alives: a stream whose other end fell silent stays open until the program closes it.
// Segments, and so the unit of loss, are at most 16 KiB.
//
// A stream that is closed with unread bytes, or that receives bytes after it was closed, is reset,
// as Linux does: the other end reads what had arrived, then gets ECONNRESET.
//
// A packet is delivered whole, late, twice or never. A socket queues up to 1024 packets and drops
// the rest.
//
// A host reaches itself, by its own address or a loopback one, over a perfect path that has no
// conditions and cannot be cut.
//
// # What the seed fixes
//
// Each directed path has its own source of random numbers for packets, and each direction of each
// stream one of its own, all derived from the seed, the two addresses and, for a stream, how many
// were dialled on that path before. So the n-th packet sent from one host to another meets the same
// fate in every run with the same seed and conditions, whatever happens elsewhere and whatever is
// cut meanwhile; and two streams do not disturb each other.
//
// The seed does not fix the scheduling of goroutines: which of two concurrent writers sends the
// n-th packet, how many bytes a Read finds, where a Write that met back-pressure was divided.
package memnet
