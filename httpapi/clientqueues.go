package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strconv"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

// Owners returns the names of those who hold the lock, in order, the client's own as "*",
// and the revision for [Client.WaitChange].
func (c *Client) Owners(ctx context.Context, lock string) ([]string, kv.Revision, error) {
	return c.names(ctx, "owners", keyPath("/locks/", lock), lock, url.Values{})
}

// Members returns the names of the first members of the group, limit of them at most, 0 for
// all; the first one leads. The client's own are "*". The revision is for
// [Client.WaitChange].
func (c *Client) Members(ctx context.Context, group string, limit int) ([]string, kv.Revision, error) {
	return c.names(ctx, "members", keyPath("/groups/", group), group, url.Values{"limit": {strconv.Itoa(max(limit, 0))}})
}

func (c *Client) names(ctx context.Context, op, path, name string, query url.Values) ([]string, kv.Revision, error) {
	q := c.about(op, name)
	resp, err := q.ask(ctx, call{path: path, query: query})
	if err != nil {
		return nil, 0, err
	}
	var names []string
	if err := c.decode(ctx, resp, path, &names); err != nil {
		return nil, 0, q.failed(outcome.NotDone, err)
	}
	revision, err := q.revision(resp)
	return names, revision, err
}

// ExplainLock returns who holds the lock and who waits for it.
func (c *Client) ExplainLock(ctx context.Context, lock string) (Queue, error) {
	return c.explain(ctx, keyPath("/locks/", lock), lock)
}

// ExplainGroup returns the members of the group and all that is known of them.
func (c *Client) ExplainGroup(ctx context.Context, group string) (Queue, error) {
	return c.explain(ctx, keyPath("/groups/", group), group)
}

func (c *Client) explain(ctx context.Context, path, name string) (Queue, error) {
	q := c.about("explain", name)
	resp, err := q.ask(ctx, call{path: path, query: url.Values{"explain": {"true"}}})
	if err != nil {
		return Queue{}, err
	}
	var queue Queue
	return queue, q.failed(outcome.NotDone, c.decode(ctx, resp, path, &queue))
}

// WatchLock streams the lock's holders and those who wait: first as they are, then after
// every change; a slow reader misses states, never the last. Errors are those of
// [Client.WatchNodes].
func (c *Client) WatchLock(ctx context.Context, lock string) iter.Seq2[Queue, error] {
	return c.watchQueue(ctx, keyPath("/locks/", lock), url.Values{})
}

// WatchGroup streams the first members of the group, limit of them at most, 0 for all, and
// the client's own wherever they stand, as WatchLock does.
func (c *Client) WatchGroup(ctx context.Context, group string, limit int) iter.Seq2[Queue, error] {
	return c.watchQueue(ctx, keyPath("/groups/", group), url.Values{"limit": {strconv.Itoa(max(limit, 0))}})
}

func (c *Client) watchQueue(ctx context.Context, path string, query url.Values) iter.Seq2[Queue, error] {
	return follow(ctx, c, path, query, func(name, data string) (queue Queue, known bool, err error) {
		if name != eventView {
			return queue, false, nil
		}
		return queue, true, json.Unmarshal([]byte(data), &queue)
	})
}

// BreakLock asks the holder whose token it is to go: its context ends, and the next one
// holds the lock when it was released, or its session has ended. One who waits is
// removed at once. It returns when that is in force, and does not wait for the holder. The
// error is ErrLost if nobody has the token.
func (c *Client) BreakLock(ctx context.Context, lock string, token uint64) error {
	return c.revoke(ctx, keyPath("/locks/", lock), lock, token)
}

// BreakGroup asks the member whose token it is to go, as BreakLock does.
func (c *Client) BreakGroup(ctx context.Context, group string, token uint64) error {
	return c.revoke(ctx, keyPath("/groups/", group), group, token)
}

func (c *Client) revoke(ctx context.Context, path, name string, token uint64) error {
	return c.about("break", name).leave(ctx, path, url.Values{"break": {"true"}, "token": {strconv.FormatUint(token, 10)}})
}

// Sessions returns the sessions of remote clients.
func (c *Client) Sessions(ctx context.Context) ([]SessionInfo, error) {
	var list []SessionInfo
	return list, c.get(ctx, "/sessions", &list)
}

// HeldError says that a lock is held by others. It matches [ErrHeld].
type HeldError struct {
	// Lock is its name, Holder the first of them.
	Lock   string
	Holder Place
}

// Error names the holder.
func (e *HeldError) Error() string {
	return fmt.Sprintf("httpapi: %s is held by %s with the token %d", e.Lock, e.Holder.Name, e.Holder.Token)
}

// Unwrap makes the error one that is ErrHeld.
func (e *HeldError) Unwrap() error { return ErrHeld }
