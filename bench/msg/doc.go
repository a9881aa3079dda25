// Command msg measures kith's messages between peers beside C's libzmq, NATS, gRPC and
// TCP, in one run on one machine. It needs Linux, libzmq and a C compiler. Run it in the
// bench directory:
//
//	go run ./msg           (twenty minutes)
//	go run ./msg -quick    (a minute; shows that it works, its figures mean little)
//	go run ./msg -only '^requests c=64 vs nats$' -rounds 1
//
// # What is compared with what
//
// Each system has a process that asks and one that answers; every answer is what was
// asked, byte by byte. All have their defaults.
//
// kith is package transport over transport/zmq, with its defaults: a goroutine for
// each call of a handler, two connections between the nodes, one in each direction, of
// which requests use one.
//
// libzmq is a C program's: a thread with a DEALER, which keeps as many requests under
// way as there are callers, and a thread with a ROUTER, which sends back what comes.
// Both are compiled into this program (libzmq_echo.c), and while they run nothing of
// Go is between them and the socket. There are no callers that wake up, no handlers,
// deadlines or names: it is what is left when all that kith adds is taken away.
//
// NATS is core request and reply through a server, which is a third process: that is
// how it is used. Its responder is in the second, in a queue group. gRPC is unary, with
// protobuf. Both share -conns connections between all callers.
//
// tcp is a Go program that sends a length and as many bytes, and reads the same; each
// caller has a connection of its own.
//
// Publications go from one publisher to eight subscribers in another process, each
// with a connection of its own; kith's are eight nodes. The publisher goes on as fast
// as the slowest subscriber takes it: each tells, on a TCP connection that has nothing
// to do with the system measured, when it has another 128 messages, and 2,048 may be
// under way. An operation is a message that has reached all eight; its latency is that
// of the last message of a batch, from when it was published to the word of all
// subscribers that they have it. gRPC and TCP have no publications, and libzmq's drop
// messages without telling.
//
// "Encrypted" is CURVE for kith and libzmq, and TLS 1.3 for the others. For NATS both
// hops are encrypted.
//
// # How
//
// Callers run in closed loops. For each row the systems take turns, round by round,
// and medians over the rounds are reported. A system whose turn it is not is stopped
// with SIGSTOP. CPU times are those of all processes that did the work.
//
// "Peer killed" and "peer stopped": 64 requests wait for their answers, the process
// that would answer gets SIGKILL or SIGSTOP, and the time until the last of them has
// failed is measured, and until one fails that was begun after the signal and does not
// wait for a connection. Callers of NATS are told nothing of the end of who would have
// answered, nor are libzmq's; to stop is what kith alone notices, by its heartbeats.
//
// A node with 100 peers: the peers are in another process, nodes too, connected to that
// one and not to one another, with encryption. Memory is anonymous resident pages after
// a garbage collection, with the peers less without.
//
// # Reading the figures
//
// The table has everything. Of the lines below it, one for each figure and rival, a
// ratio above 1 is in kith's favour. With -profile there are CPU profiles of both
// sides.
package main
