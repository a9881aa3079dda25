// Package zmq is the engine that carries messages between peers with ZeroMQ
// (libzmq, through github.com/pebbe/zmq4, which only this package imports).
//
// # Sockets
//
// A node has one context of libzmq and in it one ROUTER, bound at the node's
// endpoint, and one DEALER for each peer. What a node asks goes out by its DEALER
// and arrives at the peer's ROUTER; answers take the same way back. A DEALER lives
// as long as its one connection: libzmq does not reconnect behind our back, so a
// socket, a TCP connection and one process at the other end are the same thing. A
// monitor tells within about a millisecond that the connection broke; heartbeats of
// our own tell of a peer that is silent. Then a new socket is made, after a pause that
// grows from 50 ms to a second.
//
// # Sharing a socket
//
// A libzmq socket belongs to one thread at a time, and readiness is told by an
// edge-triggered file descriptor (ZMQ_FD), whose edges are used up by every call
// into the socket, also one that sends. Here goroutines share a socket under a
// mutex, one receiver parks in Go's poller on a duplicate of ZMQ_FD, and whoever
// called into the socket looks at ZMQ_EVENTS before giving the mutex back, and wakes
// the receiver if something has come. Without that look messages lie there for
// ever; a test shows it.
//
// A caller that is the only one to wait for an answer receives it itself: it stands in
// for the receiver, whose place in Go's poller is shut meanwhile (gate). Whoever hands
// over, looks.
//
// One call into C takes all messages that are there, or sends one: pebbe's take a part
// each. Small parts come in a buffer that the next turn uses again; bodies are copied out
// of it.
//
// # What waits where
//
// Packets wait in the sending conn, counted in bytes, and not in libzmq: small ones
// as one bundle, which grows as long as the one before is on its way. A window bounds
// what the peer has not taken yet; it tells now and then how much it has.
//
// # Who is there
//
// The first frame along a connection is a hello: who I am, which run of me, and whom
// I mean. The answer is a welcome with the same of the other side, or a refusal.
// Only then is a connection open. With a cluster key all of it is encrypted (CURVE)
// and the name in a hello must be the one to which the connection's key belongs. A
// handler of our own (ZAP, ZeroMQ RFC 27), which each context needs for itself,
// admits the keys of the peers and of the clients that Config names, and no others.
//
// A program that is no peer needs no hello: it sends plain messages of two frames,
// as docs/wire.md explains.
//
// # Without libzmq
//
// The package builds without cgo, with the build tag kith_nozmq, and on Windows;
// there Start answers ErrUnavailable.
package zmq
