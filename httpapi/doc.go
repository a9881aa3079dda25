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
// HEAD is answered as GET without the body. Every other method is 405, every
// other path 404. Replies are JSON and carry a Content-Length; an error is
// {"error": "…"} with a status of 400 or more. Times are RFC 3339, durations
// numbers whose name ends in _ms or _s. Names may be added to an object later;
// none will change its meaning.
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
