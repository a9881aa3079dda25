package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// lock serves /locks/{key}, group /groups/{group}.
func (h *Handler) lock(w http.ResponseWriter, r *http.Request)  { h.queue(w, r, kith.LockQueue) }
func (h *Handler) group(w http.ResponseWriter, r *http.Request) { h.queue(w, r, kith.GroupQueue) }

func (h *Handler) queue(w http.ResponseWriter, r *http.Request, kind kith.QueueKind) {
	name := kith.QueueName{Kind: kind, Name: keyOf(r)}
	if strings.HasSuffix(r.URL.EscapedPath(), "/") { // an encoded slash is part of the name
		name.Name = strings.TrimSuffix(name.Name, "/")
	}
	a, err := askerOf(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	switch r.Method {
	case http.MethodPost:
		h.enter(w, r, name, a)
	case http.MethodPut, http.MethodPatch:
		h.update(w, r, name, a)
	case http.MethodDelete:
		h.leave(w, r, name, a)
	default:
		h.show(w, r, name, a)
	}
}

// look returns the queue as the cluster has it.
func (h *Handler) look(ctx context.Context, name kith.QueueName) (kith.Queue, error) {
	reader := h.node.Client("", 0)
	defer reader.Close()
	return reader.Look(ctx, name)
}

// show answers with the names of those who hold, or with all there is to tell.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, name kith.QueueName, a asker) {
	if r.Method == http.MethodGet && wantsEvents(r) {
		h.streamQueue(w, r, name, a)
		return
	}
	q := readQuery(r, "name", "limit", "explain", "timeout")
	explain, limit, timeout := q.flag("explain"), q.number("limit"), q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	seen, err := h.look(ctx, name)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	setRevision(w, seen.Revision)
	if explain {
		h.reply(w, newQueue(seen, a, choice{name: q.text("name"), first: limit}))
		return
	}
	writeBody(w, http.StatusOK, names(seen, a, choice{name: q.text("name"), first: limit}))
}

// choice is what of a queue is asked for.
type choice struct {
	name  string // the own places are those of that name; "": of all names
	first uint64 // places from the head; 0: all
	token uint64 // only the place with it; 0: all
}

// mine reports whether p is the asker's own under the chosen name.
func (c choice) mine(a asker, p kith.QueuePlace) bool {
	return a.owns(p) && (c.name == "" || p.Name == c.name)
}

// ownName is what a caller's own entry is called in a list.
const ownName = "*"

// names returns the names of those who hold as a JSON array, as old clients want it.
func names(q kith.Queue, a asker, c choice) []byte {
	list := []string{}
	for i, p := range q.Places {
		if c.first > 0 && uint64(i) >= c.first || !q.Holds(i) {
			break
		}
		if c.mine(a, p) {
			p.Name = ownName
		}
		list = append(list, p.Name)
	}
	body, _ := json.Marshal(list) // strings always encode
	return body
}

func newQueue(q kith.Queue, a asker, c choice) Queue {
	all := Queue{Name: q.Name, Limit: q.Limit, Revision: q.Revision, Places: []Place{}}
	for i, p := range q.Places {
		mine := c.mine(a, p)
		switch {
		case c.token != 0 && p.Token != c.token, c.token == 0 && c.first > 0 && uint64(i) >= c.first && !mine:
			all.Omitted++
			continue
		}
		all.Places = append(all.Places, Place{
			Position: i, Name: p.Name, Node: p.Node, Client: decodeIdentity(p.Client).name, Token: p.Token, Session: p.Session,
			Data: p.Data, Age: Millis(p.Age), Holds: q.Holds(i), Revoked: p.Revoked, Self: mine,
		})
	}
	return all
}

// streamQueue tells how the queue is, at once and after every change of what is asked for.
func (h *Handler) streamQueue(w http.ResponseWriter, r *http.Request, name kith.QueueName, a asker) {
	q := readQuery(r, "name", "limit", "token")
	c := choice{name: q.text("name"), first: q.number("limit"), token: q.number("token")}
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	reader := h.node.Client("", 0)
	defer reader.Close()
	var told *Queue
	tell := func(s *eventStream, n queueNews) error {
		if n.err != nil {
			return n.err
		}
		now := newQueue(n.queue, a, c)
		if told != nil && told.equal(now) {
			return nil
		}
		told = &now
		return s.send(eventView, now)
	}
	serveStream(h, w, r, make(chan queueNews), tell, func(ctx context.Context, feed chan<- queueNews) {
		tellQueue(ctx, reader.Follow(ctx, name), feed)
	})
}

// queueNews is what the watcher of a stream of a queue has to tell.
type queueNews struct {
	queue kith.Queue
	err   error
}

func tellQueue(ctx context.Context, views iter.Seq2[kith.Queue, error], feed chan<- queueNews) {
	for queue, err := range views {
		select {
		case feed <- queueNews{queue, err}:
		case <-ctx.Done():
			return
		}
	}
}

// enter takes a place, and waits until it holds.
func (h *Handler) enter(w http.ResponseWriter, r *http.Request, name kith.QueueName, a asker) {
	q := readQuery(r, "name", "limit", "timeout", "try", "attempt", "instead")
	own, attempt := cmp.Or(q.text("name"), a.name(r)), q.number("attempt")
	request := kith.EnterRequest{
		Queue: name, Member: memberName(own, attempt), Limit: int(min(q.number("limit"), math.MaxInt32)), Try: q.flag("try"),
	}
	timeout := q.duration("timeout")
	if name.Kind == kith.LockQueue {
		request.Limit = max(request.Limit, 1)
	} else if timeout == 0 {
		timeout = agreementTimeout // nobody is waited for
	}
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	data, release, err := h.body(w, r, MaxValue)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	request.Data = data
	leave, ok := h.take(w, h.waits, "waits for locks")
	if !ok {
		return
	}
	defer leave()
	// The time-outs of the server are for ordinary requests.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	http.NewResponseController(w).SetWriteDeadline(time.Time{})
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
	}
	defer cancel()
	err = h.clear(ctx, a, name, own, q.text("instead"))
	var entered kith.Entered
	if err == nil {
		entered, err = h.enterFor(ctx, a, request)
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.patience))
	if err != nil {
		h.fail(w, r, ended(ctx, err))
		return
	}
	if r.Context().Err() != nil { // nobody is there to hold it
		h.takeBack(name, entered)
		return
	}
	setRevision(w, entered.Revision)
	w.Header().Set(tokenHeader, strconv.FormatUint(entered.Token, 10))
	w.Header().Set(positionHeader, strconv.Itoa(entered.Position))
	w.Header().Set(sessionHeader, strconv.FormatUint(entered.Session, 10))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	// Once that is on its way the client may rely on it, and hang up.
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.takeBack(name, entered) // it does not know that it holds
	}
}

// ended gives an error that the end of the request has led to its cause.
func ended(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil || !errors.Is(err, cause) && !outcome.Ended(err):
		return err
	case errors.Is(cause, errShutdown):
		return notDone(fmt.Errorf("%w: %w", kith.ErrClosed, cause))
	case errors.Is(cause, errTimeout):
		return notDone(errTimeout)
	}
	return err
}

// memberName is what a place is called in its queue. The number of the attempt, 0 for none,
// is not shown as part of the name.
func memberName(name string, attempt uint64) string {
	i := strings.LastIndexByte(name, '#')
	if attempt > 0 || i >= 0 && i+1 < len(name) && strings.Trim(name[i+1:], "0123456789") == "" {
		return name + "#" + strconv.FormatUint(attempt, 10)
	}
	return name
}

// enterFor takes the place on behalf of the asker.
func (h *Handler) enterFor(ctx context.Context, a asker, request kith.EnterRequest) (e kith.Entered, err error) {
	c, done, err := h.holder(ctx, a)
	if err != nil {
		return e, err
	}
	defer done()
	e, err = c.acts.Enter(ctx, request)
	if errors.Is(err, lock.ErrTaken) {
		if e, err = h.again(ctx, a, request, err); err != nil || e.Token != 0 {
			return e, err
		}
		e, err = c.acts.Enter(ctx, request)
	}
	if err == nil && a.session != 0 && e.Session != a.session {
		h.takeBack(request.Queue, e)
		return e, notDone(kith.ErrSessionEnded)
	}
	return e, err
}

// clear gives up the places of attempts whose answers the client did not get.
func (h *Handler) clear(ctx context.Context, a asker, queue kith.QueueName, name, instead string) error {
	if instead == "" {
		return nil
	}
	members := make(map[string]bool)
	for text := range strings.SplitSeq(instead, ",") {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return notDone(fmt.Errorf("%w: instead is %q: want numbers of attempts with commas between", kv.ErrInvalid, instead))
		}
		members[memberName(name, n)] = true
	}
	_, err := h.leaveAll(ctx, queue, func(p kith.QueuePlace) bool { return a.owns(p) && members[p.Member] })
	if errors.Is(err, lock.ErrLost) {
		return nil
	}
	return err
}

// again answers one who asks for a place that it holds. The token is 0 if the place was
// given up meanwhile, of which this node had not heard; it has now.
func (h *Handler) again(ctx context.Context, a asker, request kith.EnterRequest, taken error) (e kith.Entered, err error) {
	q, err := h.look(ctx, request.Queue)
	if err != nil {
		return e, err
	}
	for i, p := range q.Places {
		if !a.owns(p) || p.Member != request.Member {
			continue
		}
		if !q.Holds(i) || p.Revoked {
			return e, taken
		}
		return kith.Entered{Token: p.Token, Session: p.Session, Revision: q.Revision, Position: i}, nil
	}
	return e, nil
}

// takeBack gives up a place that nobody knows of.
func (h *Handler) takeBack(name kith.QueueName, e kith.Entered) {
	reader := h.node.Client("", 0)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(reader.Context(), agreementTimeout)
	defer cancel()
	if _, err := reader.Leave(ctx, name, e.Session, e.Token); err != nil {
		h.log.Debug("a place that nobody knows of stays for its session's time", "queue", name.Name, "token", e.Token, "error", err)
	}
}

// leaveAll gives up the places in the queue for which which is true. The error is
// lock.ErrLost if there is none.
func (h *Handler) leaveAll(ctx context.Context, name kith.QueueName, which func(kith.QueuePlace) bool) (kv.Revision, error) {
	q, err := h.look(ctx, name)
	if err != nil {
		return 0, err
	}
	reader := h.node.Client("", 0)
	defer reader.Close()
	var revision kv.Revision
	for _, p := range q.Places {
		if !which(p) {
			continue
		}
		if revision, err = reader.Leave(ctx, name, p.Session, p.Token); err != nil {
			return 0, err
		}
	}
	if revision == 0 {
		return 0, notDone(lock.ErrLost)
	}
	return revision, nil
}

// leave gives up the caller's place, or breaks anybody's.
func (h *Handler) leave(w http.ResponseWriter, r *http.Request, name kith.QueueName, a asker) {
	q := readQuery(r, "name", "attempt", "token", "break", "timeout")
	own, attempt, token, breaks, timeout := q.text("name"), q.number("attempt"), q.number("token"), q.flag("break"), q.timeout()
	if breaks && token == 0 {
		q.fail("break needs the token of the place that is meant")
	}
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	if own == "" && (attempt > 0 || name.Kind == kith.GroupQueue && token == 0) {
		own = a.name(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	reader := h.node.Client("", 0)
	defer reader.Close()
	var revision kv.Revision
	var err error
	switch {
	case breaks:
		revision, err = reader.Break(ctx, name, token)
	case token != 0 && a.session != 0:
		revision, err = reader.Leave(ctx, name, a.session, token)
	default:
		revision, err = h.leaveAll(ctx, name, func(p kith.QueuePlace) bool {
			return a.owns(p) && (token == 0 || p.Token == token) && (own == "" || p.Name == own) &&
				(attempt == 0 || p.Member == memberName(own, attempt))
		})
	}
	h.done(w, r, revision, err)
}

// update replaces the data of the caller's place.
func (h *Handler) update(w http.ResponseWriter, r *http.Request, name kith.QueueName, a asker) {
	q := readQuery(r, "name", "token", "timeout")
	own, token, timeout := q.text("name"), q.number("token"), q.timeout()
	if q.err != nil {
		h.fail(w, r, notDone(q.err))
		return
	}
	if own == "" && token == 0 {
		own = a.name(r)
	}
	data, release, err := h.body(w, r, MaxValue)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	seen, err := h.look(ctx, name)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	for _, p := range seen.Places {
		if a.owns(p) && (token == 0 || p.Token == token) && (own == "" || p.Name == own) {
			reader := h.node.Client("", 0)
			defer reader.Close()
			revision, err := reader.Update(ctx, name, p.Token, data)
			h.done(w, r, revision, err)
			return
		}
	}
	h.fail(w, r, notDone(lock.ErrLost))
}
