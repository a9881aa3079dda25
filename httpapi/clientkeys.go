package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

// WriteOptions are the conditions of a write and how long it lasts. The zero value
// is a write without conditions that stays.
type WriteOptions struct {
	// IfRevision, if not 0, is the revision that the key must be at.
	IfRevision kv.Revision
	// IfAbsent lets the write happen only if the key is not there.
	IfAbsent bool
	// TTL, if not 0, is how long the key stays, to the millisecond.
	TTL time.Duration
}

// Stale returns a client whose reads are answered by the agent's own copy at once, as
// those of [kv.Store.Stale]. It shares c's connections.
func (c *Client) Stale() *Client {
	stale := *c
	stale.stale = true
	return &stale
}

// Get returns the key's entry, or an error that is [kv.ErrNotFound].
func (c *Client) Get(ctx context.Context, key string) (kv.Entry, error) {
	q := c.about("get", key)
	resp, err := q.ask(ctx, call{path: keyPath("/data/", key), query: c.reading()})
	if err != nil {
		return kv.Entry{}, err
	}
	value, err := c.read(ctx, resp, "/data/"+key)
	if err != nil {
		return kv.Entry{}, q.failed(outcome.NotDone, err)
	}
	entry := kv.Entry{Key: key, Ephemeral: resp.Header.Get(ephemeralHeader) != ""}
	if len(value) > 0 {
		entry.Value = value
	}
	entry.Revision, err = q.revision(resp)
	switch {
	case err != nil:
		return kv.Entry{}, err
	case entry.Revision == 0:
		return kv.Entry{}, q.failed(outcome.NotDone, kv.ErrNotFound)
	}
	created, _ := strconv.ParseUint(resp.Header.Get(createdHeader), 10, 64)
	left, _ := strconv.ParseInt(resp.Header.Get(ttlHeader), 10, 64)
	entry.Created, entry.TTL = kv.Revision(created), time.Duration(left)*time.Millisecond
	return entry, nil
}

// List returns the keys with the prefix that follow after, limit of them at most, 0
// for as many as a page holds.
func (c *Client) List(ctx context.Context, prefix, after string, limit int) (kv.Page, error) {
	query := c.reading()
	query.Set("values", "true")
	query.Set("prefix", prefix)
	query.Set("after", after)
	query.Set("limit", strconv.Itoa(max(limit, 0)))
	var l Listing
	if err := c.list(ctx, prefix, query, &l); err != nil {
		return kv.Page{}, err
	}
	page := kv.Page{Revision: l.Revision, Next: l.Next, Entries: make([]kv.Entry, len(l.Entries))}
	for i, e := range l.Entries {
		page.Entries[i] = kv.Entry{
			Key: e.Key, Value: e.Value, Revision: e.Revision, Created: e.Created, TTL: time.Duration(e.TTL), Ephemeral: e.Ephemeral,
		}
	}
	return page, nil
}

// Names returns the names of the keys with the prefix that follow after, in order,
// limit of them at most, 0 for all.
func (c *Client) Names(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	query := c.reading()
	query.Set("prefix", prefix)
	query.Set("after", after)
	query.Set("limit", strconv.Itoa(max(limit, 0)))
	var names []string
	return names, c.list(ctx, prefix, query, &names)
}

// list asks for a listing and decodes it into v.
func (c *Client) list(ctx context.Context, prefix string, query url.Values, v any) error {
	q := c.about("list", prefix)
	resp, err := q.ask(ctx, call{path: "/data", query: query})
	if err != nil {
		return err
	}
	return q.failed(outcome.NotDone, c.decode(ctx, resp, "/data", v))
}

// Set writes the key and returns the revision of that. value is not kept.
func (c *Client) Set(ctx context.Context, key string, value []byte, o WriteOptions) (kv.Revision, error) {
	query := o.query()
	if o.TTL != 0 {
		query.Set("ttl", o.TTL.String())
	}
	return c.about("set", key).write(ctx, o, call{method: http.MethodPost, path: keyPath("/data/", key), query: query, body: value})
}

// Delete deletes the key, if IfRevision or IfAbsent allow it, and returns the revision of
// that. TTL means nothing here.
func (c *Client) Delete(ctx context.Context, key string, o WriteOptions) (kv.Revision, error) {
	return c.about("delete", key).write(ctx, o, call{method: http.MethodDelete, path: keyPath("/data/", key), query: o.query()})
}

// DeletePrefix deletes all keys with the prefix and returns how many there were and
// the revision.
func (c *Client) DeletePrefix(ctx context.Context, prefix string) (int, kv.Revision, error) {
	q := c.about("delete prefix", prefix)
	resp, err := q.ask(ctx, call{method: http.MethodDelete, path: "/data", query: url.Values{"prefix": {prefix}}})
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	deleted, err := strconv.Atoi(resp.Header.Get(deletedHeader))
	if err != nil {
		return 0, 0, q.strange("its answer does not say how many keys are gone")
	}
	revision, err := q.revision(resp)
	return deleted, revision, err
}

// Commit does a transaction. Conditions that do not hold are no error: see
// TxnResult.Succeeded.
func (c *Client) Commit(ctx context.Context, t Txn) (TxnResult, error) {
	q := c.about("txn", "")
	body, err := json.Marshal(t)
	if err != nil {
		return TxnResult{}, q.failed(outcome.NotDone, fmt.Errorf("httpapi: %w", err))
	}
	resp, err := q.ask(ctx, call{method: http.MethodPost, path: "/txn", body: body})
	if err != nil {
		return TxnResult{}, err
	}
	var result TxnResult
	return result, q.failed(outcome.Unknown, c.decode(ctx, resp, "/txn", &result))
}

// Fire fires the event and returns the revision of that; with ifRevision, if not 0,
// only if it was fired at that one last.
func (c *Client) Fire(ctx context.Context, name string, ifRevision kv.Revision) (kv.Revision, error) {
	o := WriteOptions{IfRevision: ifRevision}
	return c.about("fire", name).write(ctx, o, call{method: http.MethodPost, path: keyPath("/watches/", name), query: o.query()})
}

// WaitChange waits until nothing of that name is at the revision any more, as
// [kv.Store.WaitChange] does, for as long as ctx allows.
func (c *Client) WaitChange(ctx context.Context, name string, at kv.Revision) (kv.Revision, error) {
	q := c.about("wait", name)
	resp, err := q.ask(ctx, call{path: keyPath("/watches/", name), query: url.Values{"rev": {format(at)}}, patient: true})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return q.revision(resp)
}

// Watch streams the changes of all keys with the prefix as [kv.Store.Watch] does: with
// after = 0 the current state first, else those after that revision. It does not connect
// again when the connection is lost: give the revision of the last change that had Last set
// to go on. Errors are as with [Client.WatchNodes].
func (c *Client) Watch(ctx context.Context, prefix string, after kv.Revision) iter.Seq2[kv.Change, error] {
	query := c.reading()
	query.Set("prefix", prefix)
	return c.watch(ctx, "/watches", query, after)
}

// WatchKey is Watch for one key.
func (c *Client) WatchKey(ctx context.Context, key string, after kv.Revision) iter.Seq2[kv.Change, error] {
	if key == "" { // which would be a stream of all
		err := c.about("watch", key).failed(outcome.NotDone, fmt.Errorf("%w: the key is empty", kv.ErrInvalid))
		return func(yield func(kv.Change, error) bool) { yield(kv.Change{}, err) }
	}
	return c.watch(ctx, keyPath("/watches/", key), c.reading(), after)
}

func (c *Client) watch(ctx context.Context, path string, query url.Values, after kv.Revision) iter.Seq2[kv.Change, error] {
	query.Set("after", format(after))
	return follow(ctx, c, path, query, decodeChange)
}

// decodeChange knows the events that tell of keys.
func decodeChange(_, data string) (change kv.Change, known bool, err error) {
	var k KeyChange
	if err := json.Unmarshal([]byte(data), &k); err != nil {
		return kv.Change{}, false, err
	}
	change, known = k.change()
	return change, known, nil
}

// query returns the conditions as parameters.
func (o WriteOptions) query() url.Values {
	query := url.Values{}
	if o.IfRevision != 0 {
		query.Set("if-rev", format(o.IfRevision))
	}
	if o.IfAbsent {
		query.Set("absent", "true")
	}
	return query
}

// wanted returns the condition that a conflict is about.
func (o WriteOptions) wanted() kv.Condition {
	if o.IfAbsent {
		return kv.IfAbsent()
	}
	return kv.IfRevision(o.IfRevision)
}

// reading returns the parameters of every read.
func (c *Client) reading() url.Values {
	query := url.Values{}
	if c.stale {
		query.Set("stale", "true")
	}
	return query
}

// question is something that the cluster must agree on, for errors.
type question struct {
	c        *Client
	op, name string
	anyName  bool // the name is a prefix, or there is none
}

func (c *Client) about(op, name string) *question {
	return &question{c, op, name, op == "list" || op == "delete prefix" || op == "txn"}
}

// ask lets the agent know how long ctx allows for an answer, so that it is the one to
// say what stands in the way. Errors are *outcome.Error.
func (q *question) ask(ctx context.Context, r call) (*http.Response, error) {
	if q.name == "" && !q.anyName { // which would mean all keys to the API
		return nil, q.failed(outcome.NotDone, fmt.Errorf("%w: the name is empty", kv.ErrInvalid))
	}
	limit := MaxValue
	if r.path == "/txn" {
		limit = MaxTxnBody
	}
	if len(r.body) > limit { // the agent would hang up in the midst of it
		return nil, q.failed(outcome.NotDone, fmt.Errorf("%w: %d bytes, the limit is %d", kv.ErrTooLarge, len(r.body), limit))
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		left = max(time.Millisecond, left-min(left/10, 100*time.Millisecond))
		if r.query == nil {
			r.query = url.Values{}
		}
		r.query.Set("timeout", strconv.FormatInt(left.Milliseconds(), 10))
		r.patient = r.patient || left > agreementTimeout
	}
	resp, err := q.c.ask(ctx, r)
	if err == nil {
		return resp, nil
	}
	o := outcome.NotDone
	if r.method != "" { // a change
		o = outcome.Unknown
	}
	if e, ok := errors.AsType[*ReplyError](err); ok {
		o = e.outcome(o)
	}
	if e, ok := errors.AsType[*UnreachableError](err); ok {
		if !e.sent {
			o = outcome.NotDone
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("httpapi: waiting for %s: %w", q.c.URL(), e.Err)
		}
	}
	return nil, q.failed(o, err)
}

// write asks for a change and returns its revision.
func (q *question) write(ctx context.Context, options WriteOptions, r call) (kv.Revision, error) {
	resp, err := q.ask(ctx, r)
	if e, ok := errors.AsType[*ReplyError](err); ok && e.problem.Reason == reasonConflict {
		actual, _ := strconv.ParseUint(e.header.Get(revisionHeader), 10, 64)
		err = q.failed(outcome.NotDone, &kv.ConflictError{Key: q.name, Wanted: options.wanted(), Actual: kv.Revision(actual)})
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return q.revision(resp)
}

// outcome returns what the reply says about the outcome; if it says nothing, a
// refusal of the request itself has done nothing, and for the rest it is the one given.
func (e *ReplyError) outcome(otherwise outcome.Outcome) outcome.Outcome {
	for o := outcome.NotDone; o <= outcome.Done; o++ {
		if e.problem.Outcome == o.String() {
			return o
		}
	}
	if e.Code < http.StatusInternalServerError {
		return outcome.NotDone
	}
	return otherwise
}

// revision returns the revision that an answer carries.
func (q *question) revision(resp *http.Response) (kv.Revision, error) {
	n, err := strconv.ParseUint(resp.Header.Get(revisionHeader), 10, 64)
	if err != nil {
		return 0, q.strange("its answer carries no " + revisionHeader)
	}
	return kv.Revision(n), nil
}

// strange is the error of an answer that is none of this API.
func (q *question) strange(why string) error {
	return q.failed(outcome.Unknown, fmt.Errorf("httpapi: %s %w: %s", q.c.URL(), errStranger, why))
}

func (q *question) failed(o outcome.Outcome, err error) error {
	if err == nil {
		return nil
	}
	return &outcome.Error{Op: q.op, Name: q.name, Outcome: o, Err: err}
}

// keyPath returns the path for a key, in which no byte of the key can mean anything
// else.
func keyPath(route, key string) string { return route + url.PathEscape(key) }

func format(r kv.Revision) string { return strconv.FormatUint(uint64(r), 10) }
