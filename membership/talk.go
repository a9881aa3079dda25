package membership

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	// MaxBroadcast bounds the name and payload of a broadcast together, in
	// bytes: it must fit into one datagram with others.
	MaxBroadcast = 480
	// MaxQuery bounds the name and payload of a query together, and each of
	// its answers, in bytes.
	MaxQuery = 896

	// What serf adds at most when it encodes them: Lamport times and field
	// names; for a query also the asker's name and address.
	broadcastOverhead = 64
	queryOverhead     = 320

	broadcastQueue = 256
	queryWorkers   = 16
)

// Broadcast is a small message that gossip carries to all members, at most once
// each, most likely to all of them, in no certain order.
type Broadcast struct {
	Name    string
	Payload []byte
}

// Response is one member's answer to a query.
type Response struct {
	From    string
	Payload []byte
}

// QueryHandler answers a query from the node called from. ctx ends when the
// asker stops waiting or this node stops. A nil answer sends none; one above
// MaxQuery bytes is not sent, and logged. The handler owns payload. It must be
// safe for concurrent use, and a panic in it is the program's.
type QueryHandler func(ctx context.Context, from string, payload []byte) []byte

// talk is who listens to broadcasts and queries.
type talk struct {
	log      *slog.Logger
	mu       sync.Mutex // guards all below
	ears     map[*ear]struct{}
	handlers map[string]QueryHandler
	closed   bool
}

// ear is one stream of broadcasts; talk.mu guards queue and lagged.
type ear struct {
	name   string
	queue  []Broadcast
	lagged bool
	wake   chan struct{}
}

func newTalk(log *slog.Logger) *talk {
	return &talk{log: log, ears: make(map[*ear]struct{}), handlers: make(map[string]QueryHandler)}
}

func (t *talk) deliver(b Broadcast) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := range t.ears {
		if e.name != b.Name {
			continue
		}
		if len(e.queue) == broadcastQueue {
			e.lagged = true
		} else {
			e.queue = append(e.queue, Broadcast{b.Name, slices.Clone(b.Payload)})
		}
		e.nudge()
	}
}

func (e *ear) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (t *talk) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for e := range t.ears {
		e.nudge()
	}
}

// Broadcast sends a small message to all members, this node included. It
// returns when the message is queued; whom it reaches is not known. Errors are
// ErrTooLarge, ErrReserved and ErrClosed.
func (g *Gossip) Broadcast(name string, payload []byte) error {
	e := g.running()
	if e == nil {
		return ErrClosed
	}
	if strings.HasPrefix(name, "_") {
		return fmt.Errorf("%w: broadcast %q", ErrReserved, name)
	}
	if n := len(name) + len(payload); n > MaxBroadcast {
		return fmt.Errorf("%w: a broadcast of %d bytes, name included (limit %d)", ErrTooLarge, n, MaxBroadcast)
	}
	if err := e.serf.UserEvent(name, payload, false); err != nil {
		return fmt.Errorf("membership: broadcast %q: %w", name, err)
	}
	return nil
}

// Broadcasts streams the broadcasts called name that arrive from the first
// iteration on. To a node that has just joined, others may repeat older ones. A reader more than 256 behind gets those and then ErrLagged as
// the last element, after Close the last is ErrClosed; when ctx ends the stream
// just ends.
func (g *Gossip) Broadcasts(ctx context.Context, name string) iter.Seq2[Broadcast, error] {
	t := g.talk
	return func(yield func(Broadcast, error) bool) {
		e := &ear{name: name, wake: make(chan struct{}, 1)}
		t.mu.Lock()
		t.ears[e] = struct{}{}
		t.mu.Unlock()
		defer func() {
			t.mu.Lock()
			delete(t.ears, e)
			t.mu.Unlock()
		}()
		for ctx.Err() == nil {
			b, ok, err := t.next(e)
			switch {
			case err != nil:
				yield(Broadcast{}, err)
				return
			case ok:
				if !yield(b, nil) {
					return
				}
				continue
			}
			select {
			case <-e.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (t *talk) next(e *ear) (Broadcast, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(e.queue) > 0:
		b := e.queue[0]
		e.queue = e.queue[1:]
		return b, true, nil
	case e.lagged:
		return Broadcast{}, false, ErrLagged
	case t.closed:
		return Broadcast{}, false, ErrClosed
	}
	return Broadcast{}, false, nil
}

// HandleQuery answers queries called name with fn from now on; nil answers no
// more. At most sixteen run at once, more are not answered.
func (g *Gossip) HandleQuery(name string, fn QueryHandler) {
	g.talk.mu.Lock()
	defer g.talk.mu.Unlock()
	if fn == nil {
		delete(g.talk.handlers, name)
		return
	}
	g.talk.handlers[name] = fn
}

// Query asks all members, this node included, and streams their answers as they
// come. It ends without an error when all that are alive have answered, or when
// the time for answers is over: at ctx's deadline, else after a time that grows
// with the size of the cluster (1.6 s to 5 s). Who has not answered then has no
// handler, is too busy, or was not reached. The errors are ErrTooLarge and
// ErrReserved as the sole element, and ErrClosed as the last.
func (g *Gossip) Query(ctx context.Context, name string, payload []byte) iter.Seq2[Response, error] {
	return func(yield func(Response, error) bool) {
		e, answers, err := g.ask(ctx, name, payload)
		if err != nil {
			yield(Response{}, err)
			return
		}
		defer answers.Close()
		waiting := make(map[string]bool)
		for _, m := range g.board.snapshot() {
			if m.Status == StatusAlive {
				waiting[m.Name] = true
			}
		}
		for len(waiting) > 0 {
			select {
			case r, ok := <-answers.ResponseCh():
				if !ok {
					return
				}
				delete(waiting, r.From)
				if !yield(Response{From: r.From, Payload: r.Payload}, nil) {
					return
				}
			case <-e.ctx.Done():
				yield(Response{}, ErrClosed)
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

func (g *Gossip) ask(ctx context.Context, name string, payload []byte) (*engine, *serf.QueryResponse, error) {
	e := g.running()
	if e == nil {
		return nil, nil, ErrClosed
	}
	if strings.HasPrefix(name, "_") {
		return nil, nil, fmt.Errorf("%w: query %q", ErrReserved, name)
	}
	if n := len(name) + len(payload); n > MaxQuery {
		return nil, nil, fmt.Errorf("%w: a query of %d bytes, name included (limit %d)", ErrTooLarge, n, MaxQuery)
	}
	params := e.serf.DefaultQueryParams()
	if deadline, ok := ctx.Deadline(); ok {
		params.Timeout = time.Until(deadline)
	}
	// serf tells queries apart by a clock that it reads before it advances it: of
	// two at once, one would get the other's answers.
	select {
	case e.query <- struct{}{}:
		defer func() { <-e.query }()
	case <-e.ctx.Done():
		return nil, nil, ErrClosed
	}
	answers, err := e.serf.Query(name, payload, params)
	if err != nil {
		return nil, nil, fmt.Errorf("membership: query %q: %w", name, err)
	}
	return e, answers, nil
}

// answer runs the handler of a query on a goroutine of the engine's.
func (e *engine) answer(q *serf.Query) {
	t := e.g.talk
	t.mu.Lock()
	fn := t.handlers[q.Name]
	t.mu.Unlock()
	if fn == nil {
		return
	}
	select {
	case e.workers <- struct{}{}:
	default:
		e.log.Warn("query not answered: too many at once", "query", q.Name, "limit", queryWorkers)
		return
	}
	e.wg.Go(func() {
		defer func() { <-e.workers }()
		ctx, cancel := context.WithDeadline(e.ctx, q.Deadline())
		defer cancel()
		answer := fn(ctx, q.SourceNode(), slices.Clone(q.Payload))
		if answer == nil || ctx.Err() != nil {
			return
		}
		if err := q.Respond(answer); err != nil {
			e.log.Warn("answer to a query not sent", "query", q.Name, "to", q.SourceNode(), "bytes", len(answer), "error", err)
		}
	})
}
