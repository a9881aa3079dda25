package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// Names of the events of a stream.
const (
	eventView   = "view"
	eventChange = "change"
	eventEnd    = "end"
)

// errShutdown is the cause with which [Serve] ends streams.
var errShutdown = errors.New("the server is shutting down")

// news is what one of the two watchers of a stream has to tell.
type news struct {
	view *membership.View // from gossip
	list *peers.Peers     // the list of peers in force
	err  error            // the watcher ended
}

// streamNodes sends the nodes and every change of them until the client goes
// away, reads too slowly, or the node or the server ends.
func (h *Handler) streamNodes(w http.ResponseWriter, r *http.Request) {
	// Nothing is queued here: a watcher waits until its news is taken, and what
	// happens meanwhile is bounded and counted where it comes from.
	feed := make(chan news)
	var state nodesState
	tell := func(s *eventStream, n news) error {
		if n.err != nil {
			return n.err
		}
		name, event := state.take(n, h.node, time.Now())
		if name == "" {
			return nil
		}
		return s.send(name, event)
	}
	serveStream(h, w, r, feed, tell, h.watchMembers, h.watchPeers)
}

// admit takes a place for a request that may stay for long, or answers that there is
// none. release gives it back.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, places chan struct{}, what string) (release func(), ok bool) {
	if r.ContentLength != 0 { // until it is read, nobody would notice that the client has gone
		h.fail(w, r, notDone(fmt.Errorf("%w: this takes no body", kv.ErrInvalid)))
		return nil, false
	}
	return h.take(w, places, what)
}

// take is admit for requests whose body has been read.
func (h *Handler) take(w http.ResponseWriter, places chan struct{}, what string) (release func(), ok bool) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	default:
		w.Header().Set("Retry-After", "10")
		_, p := refusalOf(notDone(fmt.Errorf("%w: %d %s are open already, no more are served", kith.ErrOverloaded, cap(places), what)))
		writeProblem(w, http.StatusServiceUnavailable, p)
		return nil, false
	}
}

// serveStream answers r with events, until the client goes away or reads too slowly,
// the node or the server ends, or tell fails. The watchers put what they find into
// feed, on goroutines of their own, and end with their context; tell sends it.
func serveStream[T any](h *Handler, w http.ResponseWriter, r *http.Request, feed chan T,
	tell func(*eventStream, T) error, watchers ...func(context.Context, chan<- T),
) {
	release, ok := h.admit(w, r, h.streams, "event streams")
	if !ok {
		return
	}
	defer release()
	s := &eventStream{w: w, rc: http.NewResponseController(w), patience: h.patience}
	if err := s.open(); err != nil {
		h.log.Debug("http stream cannot be opened", "remote", r.RemoteAddr, "error", err)
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for _, watch := range watchers {
		running.Go(func() { watch(ctx, feed) })
	}
	err := pump(ctx, s, h.heartbeat, feed, tell)
	switch cause := context.Cause(r.Context()); {
	case s.broken != nil:
		h.log.Debug("http stream broke off", "remote", r.RemoteAddr, "error", s.broken)
	case errors.Is(cause, errShutdown):
		s.send(eventEnd, ending{cause.Error()})
	case cause == nil:
		s.send(eventEnd, ending{err.Error()})
	}
}

// pump turns what comes into events until ctx ends or tell fails. Events are written
// together while more wait.
func pump[T any](ctx context.Context, s *eventStream, heartbeat time.Duration, feed <-chan T, tell func(*eventStream, T) error) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			if err := s.comment("heartbeat"); err != nil {
				return err
			}
		case n := <-feed:
			s.more = len(feed) > 0
			if err := tell(s, n); err != nil {
				return err
			}
		}
	}
}

// nodesState is what a stream has told last.
type nodesState struct {
	begun   bool // the first view was told
	members []membership.Member
	list    *peers.Peers
	fault   string // why newer content of the peers file is not in force
}

// take brings the state up to date with n and returns the event that tells of
// it, without a name if there is nothing to tell.
func (s *nodesState) take(n news, node Node, now time.Time) (name string, event NodesEvent) {
	status := node.Status()
	switch {
	case n.view != nil && !s.begun:
		name, s.begun, s.list = eventView, true, node.Peers()
	case n.view != nil:
		name = eventChange
	case !s.begun:
		return "", event // the first view will show the list as it is by then
	default:
		// The difference to what was told, not to what the watcher saw before:
		// its first list may be newer than the view.
		diff := s.list.Diff(n.list)
		if diff.Empty() && status.PeersError == s.fault {
			return "", event
		}
		name, s.list = eventChange, n.list
		event.Changes = listChanges(diff, now)
	}
	if n.view != nil {
		s.members, event.Skipped = n.view.Members, n.view.Skipped
		for _, c := range n.view.Changes {
			event.Changes = append(event.Changes, newChange(c, now))
		}
	}
	event.Changes = orEmpty(event.Changes)
	event.Nodes = mergeNodes(status, s.list, s.members)
	s.fault = status.PeersError
	return name, event
}

// errNodeEnded is why a stream ends when the node gives no cause.
var errNodeEnded = errors.New("the node has ended")

func (h *Handler) watchMembers(ctx context.Context, feed chan<- news) {
	tell := func(n news) bool {
		select {
		case feed <- n:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for view, err := range h.node.WatchMembers(ctx) {
		if err != nil {
			tell(news{err: err})
			return
		}
		if !tell(news{view: &view}) {
			return
		}
	}
	tell(news{err: errNodeEnded})
}

// watchPeers tells the changes of the list of peers, and of whether newer content
// of the file is refused. Its end is not the stream's: the node's own end is told
// by the other watcher.
func (h *Handler) watchPeers(ctx context.Context, feed chan<- news) {
	for change, err := range h.node.WatchPeers(ctx) {
		if errors.Is(err, kith.ErrClosed) {
			return
		}
		// Any other error is of newer content; Current is the list that stays.
		if change.Current == nil {
			continue
		}
		select {
		case feed <- news{list: change.Current}:
		case <-ctx.Done():
			return
		}
	}
}

// eventStream writes server-sent events.
type eventStream struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
	more     bool  // what is sent next is followed by more at once
	broken   error // the first failed write
}

func (s *eventStream) open() error {
	// The server's time-outs are for ordinary requests. Where there are none to
	// lift (a recorder in a test), there is nothing to do.
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	header := s.w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s.w.WriteHeader(http.StatusOK)
	return s.comment("kith")
}

func (s *eventStream) comment(text string) error { return s.write(": " + text + "\n\n") }

func (s *eventStream) send(event string, data any) error { return s.sendAs("", event, data) }

// sendAs sends an event with an ID, from which a client may go on, if it is not empty.
func (s *eventStream) sendAs(id, event string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.write(id + "event: " + event + "\ndata: " + string(body) + "\n\n")
}

// write sends text within the stream's patience: a client that does not read
// costs one buffer for that long, and is then cut off.
func (s *eventStream) write(text string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.broken = err
		return err
	}
	if _, s.broken = io.WriteString(s.w, text); s.broken == nil && !s.more {
		s.broken = s.rc.Flush()
	}
	return s.broken
}

// listChanges tells the changes of the list of peers.
func listChanges(d peers.Diff, now time.Time) []NodeChange {
	changes := make([]NodeChange, 0, len(d.Added)+len(d.Removed)+len(d.Changed))
	add := func(kind string, p *peers.Peer, fields []string) {
		changes = append(changes, NodeChange{
			Kind: kind, Name: p.Name, Time: now, PID: p.PID, Address: p.ControlEndpoint(), Fields: fields,
		})
	}
	for _, p := range d.Added {
		add(ListAdded, p, nil)
	}
	for _, p := range d.Removed {
		add(ListRemoved, p, nil)
	}
	for _, e := range d.Changed {
		add(ListChanged, e.New, e.Fields)
	}
	return changes
}
