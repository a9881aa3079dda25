package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
)

// sessions serves /sessions.
func (h *Handler) sessions(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "timeout")
	timeout := q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	reader := h.node.Client("", 0)
	defer reader.Close()
	all, err := reader.ClientSessions(ctx)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	list := make([]SessionInfo, len(all))
	for i, s := range all {
		of := decodeIdentity(s.Client)
		list[i] = SessionInfo{Session: s.ID, Client: of.name, TTL: Millis(s.TTL), Node: of.node}
	}
	h.reply(w, list)
}

// session serves /sessions/{client}: those that clients renew by themselves.
func (h *Handler) session(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r, "ttl", "timeout")
	ttl, timeout := q.duration("ttl"), q.timeout()
	a, err := askerOf(r)
	switch id := keyOf(r); {
	case q.err != nil:
		err = notDone(q.err)
	case err != nil:
	case a.id != "" && a.id != id:
		err = notDone(fmt.Errorf("%w: the header %s names another client, %q", kv.ErrInvalid, clientHeader, a.id))
	default:
		a.id = id
		if err = checkClientID(id); err != nil {
			err = notDone(err)
		}
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	if r.Method == http.MethodDelete {
		h.endSession(ctx, w, r, a)
		return
	}
	h.renewSession(ctx, w, r, a, ttl)
}

// renewSession renews a session, which it opens if the request names none.
func (h *Handler) renewSession(ctx context.Context, w http.ResponseWriter, r *http.Request, a asker, ttl time.Duration) {
	if ttl == 0 {
		ttl = DefaultSessionTTL
	}
	if a.session != 0 {
		ttl = 0 // it opens none
	}
	client := h.node.Client(a.id, ttl)
	defer client.Close()
	err := h.sameSession(ctx, client, a)
	var info SessionInfo
	if err == nil {
		info.Client = a.id
		var lasts time.Duration
		info.Session, lasts, err = client.Renew(ctx)
		info.TTL = Millis(lasts)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	setRevision(w, kv.Revision(info.Session))
	body, _ := json.Marshal(info) // numbers and a string always encode
	writeJSON(w, http.StatusOK, body)
}

// sameSession refuses what is about a session that the client does not have any more.
func (h *Handler) sameSession(ctx context.Context, client *kith.Client, a asker) error {
	if a.session == 0 {
		return nil
	}
	id, _, err := client.Session(ctx)
	if err == nil && id != a.session {
		err = notDone(fmt.Errorf("%w: the client has opened another", kith.ErrSessionEnded))
	}
	return err
}

func (h *Handler) endSession(ctx context.Context, w http.ResponseWriter, r *http.Request, a asker) {
	client := h.node.Client(a.id, 0)
	defer client.Close()
	err := h.sameSession(ctx, client, a)
	if err == nil {
		err = client.End(ctx)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}
