package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
	"github.com/kith-go/kith/transport"
)

// Node is what the API needs of a node; *kith.Node satisfies it. Its watches must
// be bounded: what a slow reader misses is left out and counted, not kept.
type Node interface {
	Context() context.Context
	Status() kith.Status
	KV() *kv.Store
	Peers() *peers.Peers
	Members() []membership.Member
	WatchMembers(ctx context.Context) iter.Seq2[membership.View, error]
	WatchPeers(ctx context.Context) iter.Seq2[peers.Change, error]
	Client(id string, ttl time.Duration) *kith.Client
	Request(ctx context.Context, peer, subject string, body []byte, opts ...transport.CallOption) (transport.Message, error)
	Send(ctx context.Context, peer, subject string, body []byte, opts ...transport.CallOption) error
	Publish(ctx context.Context, topic string, body []byte, opts ...transport.CallOption) (reached int, err error)
	Subscribe(prefix string, opts ...transport.SubscribeOption) (*transport.Subscription, error)
}

// Options are the choices of a [Handler]. The zero value serves this machine
// only, without a token, and logs nothing.
type Options struct {
	// Token, when not empty, must come with every request, as
	// "Authorization: Bearer TOKEN". It must not hold white space.
	Token string
	// Logger receives refused requests and broken streams at debug level.
	Logger *slog.Logger
}

// Handler answers requests about one node. It is safe for concurrent use, and
// starts no goroutine that outlives the request.
type Handler struct {
	node   Node
	guard  guard
	log    *slog.Logger
	routes []route
	// streams, polls and waits hold a token for each event stream, each long poll and each
	// wait for a lock or a reply under way; bodies counts the bytes of requests that are kept.
	streams, polls, waits chan struct{}
	bodies                atomic.Int64
	// heartbeat is the pause between comments on a stream, patience how long
	// one write may take before the reader is given up.
	heartbeat, patience time.Duration
	// timeout bounds the reading of a request, and the writing of its answer; idle is how
	// long a connection stays that nobody asks anything by.
	timeout, idle time.Duration
	// clientTTL is that of sessions which clients did not open by themselves.
	clientTTL time.Duration
}

// route is one first segment of a path: alone, or with everything that follows it.
type route struct {
	Path    string   `json:"path"` // "/data", or "/data/{key}" for all that is below
	Methods []string `json:"methods"`
	About   string   `json:"about"`
	serve   func(*Handler, http.ResponseWriter, *http.Request)
}

const (
	heartbeatEvery = 15 * time.Second
	writePatience  = 10 * time.Second
	// maxStreams, maxPolls and maxWaits bound what idle clients may hold: a stream costs
	// some goroutines and the buffers of a connection, the others a little less.
	maxStreams = 1024
	maxPolls   = 1024
	maxWaits   = 4096
)

// New returns a handler that answers for node.
func New(node Node, opts Options) *Handler {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Handler{
		node:      node,
		guard:     newGuard(opts.Token),
		log:       log,
		routes:    routes(),
		streams:   make(chan struct{}, maxStreams),
		polls:     make(chan struct{}, maxPolls),
		waits:     make(chan struct{}, maxWaits),
		heartbeat: heartbeatEvery,
		patience:  writePatience,
		timeout:   requestTimeout,
		idle:      idleTimeout,
		clientTTL: DefaultSessionTTL,
	}
}

// routes is the table of the API.
func routes() []route {
	const get, head, post, put, patch, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	read := []string{get, head}
	return []route{
		{"/", read, "this index", (*Handler).index},
		{"/nodes", read, "who is in the cluster and who is missing; with Accept: text/event-stream, every change as it happens", (*Handler).nodes},
		{"/peers", read, "the list of peers in force and where it came from", (*Handler).peers},
		{"/status", read, "how this node fares, problems in words", (*Handler).status},
		{"/data", []string{get, head, del}, "the names of the keys; DELETE deletes them all", (*Handler).keys},
		{"/data/{key}", []string{get, head, post, put, del}, "the value of a key, as it is", (*Handler).key},
		{"/watches", []string{get}, "with Accept: text/event-stream, every change of the keys", (*Handler).changes},
		{"/watches/{key}", []string{get, post}, "GET waits for the next change of a key, lock, group or event; POST fires an event", (*Handler).watch},
		{"/locks/{key}", []string{get, head, post, put, patch, del}, "who holds a lock; POST waits until the caller does, DELETE releases it", (*Handler).lock},
		{"/groups/{group}", []string{get, head, post, put, patch, del}, "the members of a group, the leader first; POST joins, DELETE leaves it", (*Handler).group},
		{"/sessions", read, "the sessions of clients", (*Handler).sessions},
		{"/sessions/{client}", []string{post, del}, "POST opens a client's session, or renews it; DELETE ends it", (*Handler).session},
		{"/txn", []string{post}, "a transaction: conditions, and what to do", (*Handler).txn},
		{"/call/{peer}/{subject}", []string{post}, "asks the peer's handler of the subject, and answers what that does", (*Handler).call},
		{"/publish/{topic}", []string{post}, "publishes the body to all who subscribe to the topic", (*Handler).publish},
		{"/subscribe", []string{get}, "with Accept: text/event-stream, everything that is published", (*Handler).subscribe},
		{"/subscribe/{prefix}", []string{get}, "the same of topics that begin with the prefix", (*Handler).subscribe},
	}
}

// find returns the route for the path of a request.
func (h *Handler) find(path string) (route, bool) {
	segment, key := cutPath(path)
	for _, rt := range h.routes {
		first, below, tree := strings.Cut(rt.Path[1:], "/")
		if tree == (key != "") && first == segment && (below == "" || below[0] == '{') {
			return rt, true
		}
	}
	return route{}, false
}

// cutPath divides a decoded path into its first segment and what follows: a key,
// which may hold anything, slashes too.
func cutPath(path string) (segment, key string) {
	segment, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment, key
}

// keyOf returns the key, or the name, that a request is about.
func keyOf(r *http.Request) string {
	_, key := cutPath(r.URL.Path)
	return key
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if refusal := h.guard.check(r); refusal != nil {
		h.log.Debug("http request refused", "remote", r.RemoteAddr, "path", r.URL.Path, "reason", refusal.message)
		refusal.write(w)
		return
	}
	rt, ok := h.find(r.URL.Path)
	if !ok {
		h.noRoute(w, r)
		return
	}
	if !slices.Contains(rt.Methods, r.Method) {
		header.Set("Allow", strings.Join(rt.Methods, ", "))
		writeError(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s does not answer %s; use %s", rt.Path, r.Method, strings.Join(rt.Methods, " or ")))
		return
	}
	if ctx := h.node.Context(); ctx.Err() != nil {
		h.fail(w, r, &outcome.Error{Err: fmt.Errorf("%w: %w", kith.ErrClosed, context.Cause(ctx))})
		return
	}
	if id := r.Header.Get(clientHeader); id != "" {
		if conn, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			defer conn.desk.notice(asker{id: id, conn: conn})()
		}
	}
	rt.serve(h, w, r)
}

func (h *Handler) noRoute(w http.ResponseWriter, r *http.Request) {
	known := make([]string, len(h.routes))
	for i, rt := range h.routes {
		known[i] = rt.Methods[0] + " " + rt.Path
	}
	writeError(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %s; the routes are: %s", r.URL.Path, strings.Join(known, ", ")))
}

func (h *Handler) index(w http.ResponseWriter, _ *http.Request) {
	s := h.node.Status()
	h.reply(w, index{Name: s.Name, Version: s.Version, Cluster: s.Cluster, Routes: h.routes})
}

func (h *Handler) nodes(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && wantsEvents(r) {
		h.streamNodes(w, r)
		return
	}
	h.reply(w, mergeNodes(h.node.Status(), h.node.Peers(), h.node.Members()))
}

func (h *Handler) peers(w http.ResponseWriter, _ *http.Request) {
	h.reply(w, newPeers(h.node.Status(), h.node.Peers()))
}

func (h *Handler) status(w http.ResponseWriter, _ *http.Request) {
	h.reply(w, newStatus(h.node.Status(), time.Now()))
}

// reply writes v as JSON.
func (h *Handler) reply(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		h.log.Error("http reply cannot be encoded", "error", err)
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// writeError answers what failed before anything was asked of the node.
func writeError(w http.ResponseWriter, code int, message string) {
	writeProblem(w, code, problem{Error: message})
}

func writeProblem(w http.ResponseWriter, code int, p problem) {
	body, _ := json.Marshal(p) // strings always encode: invalid UTF-8 is replaced
	writeJSON(w, code, body)
}

func writeJSON(w http.ResponseWriter, code int, body []byte) {
	writeBody(w, code, append(body, '\n'))
}

// writeBody writes what is JSON already.
func writeBody(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body) // the client's end is all that can fail here, and it knows
}

// wantsEvents reports whether the client asks for server-sent events.
func wantsEvents(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(accept, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
				return true
			}
		}
	}
	return false
}
