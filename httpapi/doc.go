// Package httpapi shows a node of kith over HTTP, and holds the client for it.
//
// A server is a handler on a listener:
//
//	ln, err := httpapi.Listen(ctx, httpapi.DefaultAddr, "")
//	if err != nil { … }
//	err = httpapi.Serve(ctx, ln, httpapi.New(node, httpapi.Options{}))
//
// and a client asks it:
//
//	client, err := httpapi.NewClient(httpapi.DefaultAddr, "")
//	nodes, err := client.Nodes(ctx)
//
// # Routes
//
//	GET /         an index of the routes
//	GET /nodes    who is in the cluster, and who is missing: [Nodes]; with
//	              "Accept: text/event-stream" the same and every change: [NodesEvent]
//	GET /peers    the list of peers in force and where it came from: [Peers]
//	GET /status   how this node fares, and what is wrong in words: [Status]
//
//	GET    /data           the names of the keys, a JSON array; parameters: prefix, limit,
//	                       after (a name: those behind it); values=true: [Listing]
//	DELETE /data           deletes all keys, or those with a prefix
//	GET    /data/{key}     the value, as it is
//	POST   /data/{key}     writes it, as PUT does; parameters: rev, if-rev, absent, ttl
//	DELETE /data/{key}     deletes it; parameters: rev, if-rev
//	GET    /watches/{key}  waits for a change; parameters: rev, timeout
//	POST   /watches/{key}  fires the event of that name; parameters: rev, if-rev
//	GET    /watches        with "Accept: text/event-stream" every change of the keys,
//	                       of one key at /watches/{key}: [KeyChange]; parameters: prefix, after
//	POST   /txn            a transaction, [Txn], and its result, [TxnResult]
//
//	GET    /locks/{key}       who holds the lock, a JSON array of names; parameters: name;
//	                          explain=true: [Queue], with those who wait; with
//	                          "Accept: text/event-stream" the same after every change
//	POST   /locks/{key}       waits until the caller holds it; the body is what others see of
//	                          the holder; parameters: timeout (0: for ever), limit, name, try
//	DELETE /locks/{key}       gives the caller's place up; parameters: name, token;
//	                          break=true&token=T asks whoever has that place to go
//	PUT    /locks/{key}       replaces the data of the caller's place; parameters: name, token
//	GET    /groups/{group}    the members in strict order, the leader first, as for locks;
//	                          parameters: limit, name, explain
//	POST   /groups/{group}    joins; parameters: name. DELETE and PUT are as for locks
//	POST   /sessions/{client} opens a session, or renews it; parameters: ttl: [SessionInfo]
//	DELETE /sessions/{client} ends it
//	GET    /sessions          all sessions of clients
//
//	POST /call/{peer}/{subject}  asks the peer's handler; the bodies of request and reply are
//	                             raw; parameters: timeout, fail-fast, one-way
//	POST /publish/{topic}        publishes the body
//	GET  /subscribe/{prefix}     with "Accept: text/event-stream" what is published under
//	                             topics that begin so: [Publication]; /subscribe is all
//
// HEAD is answered as GET without the body, but for watches. Every other method is
// 405, every other path 404. Replies are JSON but for values, and carry a
// Content-Length; an error is {"error": "…"} with a status of 400 or more. Times are
// RFC 3339, durations numbers whose name ends in _ms or _s. Names may be added to an
// object later; none will change its meaning.
//
// # Keys
//
// A key is everything behind the second slash of the path, decoded; so it may hold
// slashes, encoded or not. Values are raw bytes, at most 1 MiB; where JSON holds one it is
// a string, or {"base64": "…"} of what is not UTF-8 ([Value]).
//
// Replies carry the header X-Revision: of the key that was read, 0 if it is not there,
// which is a 200 without a body; of the change that was made; or of the state that was
// listed. A key that is there also tells X-Created-Revision, X-TTL (milliseconds
// left) and X-Ephemeral; DELETE /data tells X-Deleted. Reads are linearizable;
// stale=true reads the node's own copy without asking the others.
//
// A change can depend on the key's revision: if-rev names the current one, absent=true
// wants it not to be there. rev is as old clients have it: one more than the current
// one, and 0 for any. If the condition does not hold, the status is 412 and X-Revision
// what the key is at. An unknown or misspelt parameter is refused. Durations are
// milliseconds, or have a unit, as in ttl=30s.
//
// Errors about keys are {"error": "…", "reason": "…", "outcome": "…"}. The outcome is "not
// done", or "unknown" for a change that may still be made; its status is 504, and
// whoever repeats the request may have it done twice. Otherwise:
//
//	400 invalid      412 conflict      413 too large      429 overloaded      507 quota
//	408 timeout      the time that the client set is up, or its body did not come
//	503 no quorum, not a member, state lost, session ended, closed; or too many streams
//
// A call waits eight seconds for the cluster, or as long as the parameter timeout says,
// 25 seconds at most; so it is the agent that says who is missing. GET /watches/{key} waits
// for as long as timeout says, 0 being for ever: while the name is at revision rev; with
// rev=0 for the next change.
//
// # Locks and groups
//
// What a client holds belongs to its session, which ends everything with it. Who is the
// client is told by the header X-Client-Id; without it the connection is the client, and
// no proxy must stand between, which would make one of many. There are two
// kinds of sessions:
//
//   - The agent opens one when a client first holds something, and keeps it for as long as
//     one of the client's connections is open, by which a request with its ID came, and
//     the TTL after, five seconds. It is the agent's own: through another agent the
//     client has another. Of a connection that is the client itself, and comes from this
//     machine, it ends at once with the connection.
//   - A client that can count opens one with POST /sessions/{client}, and from then on that
//     one is used, through whichever agent. Only further POSTs, each of which is answered
//     when a majority has agreed, keep it: a client that is stopped loses what it has. It
//     stops, for its part, when TTL, less one per cent, less the time that it takes to
//     stop, have passed since it sent the last POST that was answered (SAFETY.md, S11). With
//     the header X-Session, whose value is in that answer, a request is about this session
//     or none.
//
// The answer to a POST carries the fencing token in X-Token and, in X-Position, where in
// the order the place is. Asking again for what one holds leads to the same place. A client
// that hangs up before the answer, or whose timeout is over (408), leaves nothing in the
// queue. One whose answer was lost cannot know whether it holds: with attempt=N, a
// number of its own that is new each time, it can say instead=N when it asks again, and DELETE
// attempt=N if it does not; [Session] does all that.
//
// In lists the caller's own entries are "*": with the parameter name only those of that
// name. A place has the name that was given with POST, else the client's ID, else the
// connection's address. DELETE /locks without a name gives up all that the caller has in
// the lock. X-Revision is that of the last change of the name, which GET /watches waits to
// see changed. Errors are told as for keys, and there are:
//
//	409 taken, limit, revoked, not held    423 held (with try; "holder" tells by whom)
//
// # Messages
//
// The agent's node asks, publishes and subscribes for the client; handlers are in programs
// with a node of their own, or behind the message port (docs/wire.md). Content-Type,
// traceparent and tracestate go along in both directions; a header "X-Message-NAME" is the
// message's NAME. A body has at most 16 MiB. X-Round-Trip in a reply is how many
// milliseconds the agent waited for it. A call waits eight seconds for the peer and its reply, or as
// long as the parameter timeout says, an hour at most; with fail-fast=true it does not wait
// for a peer that is not connected; with one-way=true it asks for no reply.
//
// A request runs at most once. Errors tell the outcome, "done" if the handler ran and failed;
// after "unknown", whose status is always 504, it may have run:
//
//	500 handler ("code" and "error" are its own)     404 no such peer, no handler
//	502 unreachable, peer restarted                  408 timed out
//	413 message too large                            501 no messages (in this build)
//
// The stream of /subscribe has events named as [Publication].Kind: first "ready", when all
// peers that are there know of it, then "message", and "lag" where some are missing.
//
// # Server-sent events
//
// The stream of /nodes begins with an event named "view", the state of things,
// and goes on with an event named "change" for every change, which carries the
// changes and the whole state after them; newer content of the peers file that is
// refused, or accepted at last, is a change of "peers_error". The last event, if the node or its
// server ends first, is "end" with {"reason": "…"}. A comment is sent every 15
// seconds, so that both sides notice a dead connection. A client that reads too
// slowly misses changes, which "skipped" counts, never the state; one that does
// not read at all is cut off.
//
// The streams of keys have events named as [KeyChange].Kind. They begin with the keys as
// they are and "synced", or, with after=REVISION, behind that revision. The last event
// of a revision has that as its ID, so that a browser that connects again (Last-Event-ID)
// goes on where it was and never in the middle of a transaction. A client that
// comes too late for what the cluster remembers gets "resync", and then the keys as they
// are.
//
// # Who may ask
//
// Without a token the API serves this machine only: [Listen] and [Serve] refuse
// other than loopback addresses, and the handler refuses requests whose Host
// header does not name the loopback, so that a web page cannot reach it through
// a name of its own (DNS rebinding), and those that a browser makes for a page of
// another origin (Origin, Sec-Fetch-Site: cross-site). With a token, every request must carry
// "Authorization: Bearer TOKEN". The API does not encrypt; put a TLS proxy in
// front of it before the token crosses a network that others can read.
package httpapi
