package httpapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

// KeyChange is one event of the stream of /watches, whose name is its Kind. The
// meaning of its fields is that of [kv.Change].
type KeyChange struct {
	// Kind is a word of [kv.Kind]: written, deleted, expired, resync or synced.
	Kind      string      `json:"kind"`
	Key       string      `json:"key,omitempty"`
	Value     *Value      `json:"value,omitempty"` // of written
	Revision  kv.Revision `json:"revision"`
	Created   kv.Revision `json:"created,omitzero"`
	Previous  kv.Revision `json:"previous,omitzero"`
	TTL       Millis      `json:"ttl_ms,omitzero"`
	Ephemeral bool        `json:"ephemeral,omitempty"`
	Existing  bool        `json:"existing,omitempty"`
	Last      bool        `json:"last,omitempty"`
}

// NewKeyChange returns c as the API has it.
func NewKeyChange(c kv.Change) KeyChange {
	k := KeyChange{
		Kind: c.Kind.String(), Key: c.Key, Revision: c.Revision, Created: c.Created, Previous: c.Previous,
		TTL: Millis(c.TTL), Ephemeral: c.Ephemeral, Existing: c.Existing, Last: c.Last,
	}
	if c.Kind == kv.Written {
		k.Value = (*Value)(&c.Value)
	}
	return k
}

// change returns k as package kv has it, false for a kind that this release does not
// know.
func (k KeyChange) change() (kv.Change, bool) {
	c := kv.Change{Previous: k.Previous, Existing: k.Existing, Last: k.Last}
	c.Key, c.Revision, c.Created, c.TTL, c.Ephemeral = k.Key, k.Revision, k.Created, time.Duration(k.TTL), k.Ephemeral
	if k.Value != nil {
		c.Value = *k.Value
	}
	for c.Kind = kv.Written; c.Kind <= kv.Synced; c.Kind++ {
		if c.Kind.String() == k.Kind {
			return c, true
		}
	}
	return kv.Change{}, false
}

// changes serves /watches: every change of the keys with a prefix.
func (h *Handler) changes(w http.ResponseWriter, r *http.Request) {
	if !wantsEvents(r) {
		writeError(w, http.StatusNotAcceptable, "this is a stream: ask with Accept: text/event-stream, or wait for one change at /watches/{key}")
		return
	}
	q := readQuery(r, "prefix", "after", "stale")
	h.streamChanges(w, r, q, func(ctx context.Context, after kv.Revision) iter.Seq2[kv.Change, error] {
		return h.store(q).Watch(ctx, q.text("prefix"), after)
	})
}

// watch serves /watches/{key}.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		h.fire(w, r)
	case wantsEvents(r):
		q := readQuery(r, "after", "stale")
		h.streamChanges(w, r, q, func(ctx context.Context, after kv.Revision) iter.Seq2[kv.Change, error] {
			return h.store(q).WatchKey(ctx, keyOf(r), after)
		})
	default:
		h.poll(w, r)
	}
}

// poll waits until the name is not at a revision any more, and answers with the one
// it is at.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "rev", "timeout")
	rev, timeout := kv.Revision(q.number("rev")), q.duration("timeout")
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	release, ok := h.admit(w, r, h.polls, "long polls")
	if !ok {
		return
	}
	defer release()
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
	}
	defer cancel()
	now, err := h.node.KV().WaitChange(ctx, keyOf(r), rev)
	// The server's time-outs are for ordinary requests. Where there are none to lift, in
	// a test, there is nothing to do.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.patience))
	switch cause := context.Cause(ctx); {
	case err == nil:
	case errors.Is(cause, errShutdown):
		err = notDone(fmt.Errorf("%w: %w", kith.ErrClosed, cause))
	case cause != nil && outcome.Ended(err):
		err = notDone(errTimeout)
	}
	h.done(w, r, now, err)
}

// fire fires an event.
func (h *Handler) fire(w http.ResponseWriter, r *http.Request) {
	h.change(w, r, h.node.KV().Fire)
}

// keyNews is what the watcher of a stream of changes has to tell.
type keyNews struct {
	change kv.Change
	err    error
}

// ahead is how many changes a stream takes before they are written, so that small
// ones share a write. Each may be as large as a value.
const ahead = 4

// streamChanges answers r with the changes of a watch. The ID of an event is the
// revision after which a client goes on, with Last-Event-ID; only the last event of a
// revision has one, so that no client goes on in the middle of a transaction.
func (h *Handler) streamChanges(w http.ResponseWriter, r *http.Request, q *query, watch func(context.Context, kv.Revision) iter.Seq2[kv.Change, error]) {
	after := q.number("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		n, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			q.fail("the header Last-Event-ID is %q: want a revision", last)
		}
		after = n
	}
	q.flag("stale")
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	tell := func(s *eventStream, n keyNews) error {
		if n.err != nil {
			return n.err
		}
		id := ""
		if n.change.Last {
			id = strconv.FormatUint(uint64(n.change.Revision), 10)
		}
		return s.sendAs(id, n.change.Kind.String(), NewKeyChange(n.change))
	}
	serveStream(h, w, r, make(chan keyNews, ahead), tell, func(ctx context.Context, feed chan<- keyNews) {
		for change, err := range watch(ctx, kv.Revision(after)) {
			select {
			case feed <- keyNews{change, err}:
			case <-ctx.Done():
				return
			}
		}
	})
}
