package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/kith-go/kith/kv"
)

// What else a reply tells: about a key that is there, and about a deletion.
const (
	createdHeader   = "X-Created-Revision"
	ttlHeader       = "X-TTL" // milliseconds that are left
	ephemeralHeader = "X-Ephemeral"
	deletedHeader   = "X-Deleted" // how many keys
)

// maxNames bounds the names that one reply lists, in bytes.
const maxNames = 32 << 20

// Entry is one key in a [Listing]. The meaning of its fields is that of [kv.Entry].
type Entry struct {
	Key       string      `json:"key"`
	Value     Value       `json:"value"`
	Revision  kv.Revision `json:"revision"`
	Created   kv.Revision `json:"created"`
	TTL       Millis      `json:"ttl_ms,omitzero"`
	Ephemeral bool        `json:"ephemeral,omitempty"`
}

// Listing is the answer to GET /data?values=true: a [kv.Page].
type Listing struct {
	Revision kv.Revision `json:"revision"`
	Entries  []Entry     `json:"entries"`
	// Next is what the parameter "after" takes to go on; "" if there is no more.
	Next string `json:"next,omitempty"`
}

// keys serves /data.
func (h *Handler) keys(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		h.deleteKeys(w, r)
		return
	}
	q := readQuery(r, "prefix", "limit", "after", "values", "stale", "timeout")
	store, limit, values := h.store(q), q.number("limit"), q.flag("values")
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	options := []kv.ListOption{kv.After(q.text("after"))}
	if limit > 0 {
		options = append(options, kv.Limit(int(min(limit, math.MaxInt))))
	}
	if !values {
		options = append(options, kv.KeysOnly())
	}
	page, err := store.List(ctx, q.text("prefix"), options...)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	setRevision(w, page.Revision)
	if values {
		h.reply(w, newListing(page))
		return
	}
	names, err := h.names(ctx, q.text("prefix"), limit, page)
	if err != nil {
		w.Header().Del(revisionHeader)
		h.fail(w, r, err)
		return
	}
	writeBody(w, http.StatusOK, names)
}

func newListing(page kv.Page) Listing {
	l := Listing{Revision: page.Revision, Entries: make([]Entry, len(page.Entries)), Next: page.Next}
	for i, e := range page.Entries {
		l.Entries[i] = Entry{
			Key: e.Key, Value: e.Value, Revision: e.Revision, Created: e.Created, TTL: Millis(e.TTL), Ephemeral: e.Ephemeral,
		}
	}
	return l
}

// names returns the names of keys as a JSON array: those of page, and of the pages that
// follow it, which come from this node's own copy, until there are limit; 0 is no
// limit.
func (h *Handler) names(ctx context.Context, prefix string, limit uint64, page kv.Page) ([]byte, error) {
	list := []byte{'['}
	for n := uint64(0); ; {
		for _, e := range page.Entries {
			if n++; n > 1 {
				list = append(list, ',')
			}
			name, _ := json.Marshal(e.Key) // strings always encode
			list = append(list, name...)
		}
		if page.Next == "" || limit > 0 && n >= limit {
			return append(list, ']'), nil
		}
		if len(list) > maxNames {
			return nil, notDone(fmt.Errorf("%w: the names of the keys have more than %d bytes: list them in parts, with limit and after, or prefix", kv.ErrTooLarge, maxNames))
		}
		options := []kv.ListOption{kv.After(page.Next), kv.KeysOnly()}
		if limit > 0 {
			options = append(options, kv.Limit(int(min(limit-n, math.MaxInt))))
		}
		var err error
		if page, err = h.node.KV().Stale().List(ctx, prefix, options...); err != nil {
			return nil, err
		}
	}
}

// deleteKeys deletes all keys, or those with a prefix.
func (h *Handler) deleteKeys(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "prefix", "timeout")
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	deleted, revision, err := h.node.KV().DeletePrefix(ctx, q.text("prefix"))
	if err == nil {
		w.Header().Set(deletedHeader, strconv.Itoa(deleted))
	}
	h.done(w, r, revision, err)
}

// key serves /data/{key}.
func (h *Handler) key(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodDelete:
		h.deleteKey(w, r)
	case http.MethodPost, http.MethodPut:
		h.setKey(w, r)
	default:
		h.getKey(w, r)
	}
}

func (h *Handler) getKey(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "stale", "timeout")
	store := h.store(q)
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	entry, err := store.Get(ctx, keyOf(r))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		h.fail(w, r, err)
		return
	}
	header := w.Header()
	setRevision(w, entry.Revision) // 0 of a key that is not there
	if entry.Revision != 0 {
		header.Set(createdHeader, strconv.FormatUint(uint64(entry.Created), 10))
	}
	if entry.TTL != 0 {
		header.Set(ttlHeader, strconv.FormatInt(entry.TTL.Milliseconds(), 10))
	}
	if entry.Ephemeral {
		header.Set(ephemeralHeader, "true")
	}
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Length", strconv.Itoa(len(entry.Value)))
	w.Write(entry.Value) // the client's end is all that can fail here, and it knows
}

// store returns what a read reads from.
func (h *Handler) store(q *query) *kv.Store {
	if q.flag("stale") {
		return h.node.KV().Stale()
	}
	return h.node.KV()
}

func (h *Handler) setKey(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "rev", "if-rev", "absent", "ttl", "timeout")
	var options []kv.SetOption
	if condition, given := q.condition(); given {
		options = append(options, condition)
	}
	if q.values.Has("ttl") {
		options = append(options, kv.TTL(q.duration("ttl")))
	}
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	value, release, err := h.body(w, r, MaxValue)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	revision, err := h.node.KV().Set(ctx, keyOf(r), value, options...)
	h.done(w, r, revision, err)
}

func (h *Handler) deleteKey(w http.ResponseWriter, r *http.Request) {
	h.change(w, r, h.node.KV().Delete)
}

// change does what needs no body and may depend on a revision.
func (h *Handler) change(w http.ResponseWriter, r *http.Request, do func(context.Context, string, ...kv.Condition) (kv.Revision, error)) {
	q := readQuery(r, "rev", "if-rev", "timeout")
	var conditions []kv.Condition
	if condition, given := q.condition(); given {
		conditions = append(conditions, condition)
	}
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	revision, err := do(ctx, keyOf(r), conditions...)
	h.done(w, r, revision, err)
}

// done answers a change: with its revision, or with why there is none.
func (h *Handler) done(w http.ResponseWriter, r *http.Request, revision kv.Revision, err error) {
	if err != nil {
		h.fail(w, r, err)
		return
	}
	setRevision(w, revision)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}
