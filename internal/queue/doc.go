// Package queue is what locks and groups have in common: places in the queues of the
// replicated state, from entering to leaving, as one node sees them. The order itself
// is the machine's (internal/state): first come, first served, by the order of the log.
//
// # A place is seen by applying
//
// Entering is one entry of the log, and so is leaving. Everything between is watched
// locally: a place holds as soon as this node has applied what brought it there, and
// while its session's context lasts. So handing over takes one entry, that of him
// who leaves; the next one is woken by his own node's applying it.
//
// All places of one holder in one queue share a line, which is called by who applies a
// change of the queue. It looks at the queue and wakes those whose turn it is. Of a lock it
// looks at the head only, as long as the numbers say that nobody has left further behind.
// So a handover costs the same whether ten wait or ten thousand.
//
// # No ghosts
//
// A place that nobody wants any more must not stay in the queue, or everybody behind
// it waits for nothing. So what was begun is brought to its end here, whoever has
// stopped waiting for it. The command to enter is not taken back while its session
// lasts: when its caller goes, a goroutine waits for the answer in his stead, then
// leaves. (Taken back after it was sent, it could come into force after a Leave.) A Leave
// that failed is repeated until it is answered. Both end with the session, which takes
// its places along. All of these goroutines belong to Places, and end with the replica.
//
// # Losing a place
//
// A place's context ends before anybody else can have what it stood for (S11): it is a
// child of the session's. It ends also when the place is revoked; then the place
// stays until its holder leaves (S13).
package queue
