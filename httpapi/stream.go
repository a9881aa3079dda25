package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/kith-go/kith"
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
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		writeError(w, http.StatusServiceUnavailable, fmt.Sprintf("%d event streams are open already, no more are served", maxStreams))
		return
	}
	s := &eventStream{w: w, rc: http.NewResponseController(w), patience: h.patience}
	if err := s.open(); err != nil {
		h.log.Debug("http stream cannot be opened", "remote", r.RemoteAddr, "error", err)
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()

	// Nothing is queued here: a watcher waits until its news is taken, and what
	// happens meanwhile is bounded and counted where it comes from.
	feed := make(chan news)
	watchers.Go(func() { h.watchMembers(ctx, feed) })
	watchers.Go(func() { h.watchPeers(ctx, feed) })
	err := h.pump(ctx, s, feed)
	switch cause := context.Cause(r.Context()); {
	case s.broken != nil:
		h.log.Debug("http stream broke off", "remote", r.RemoteAddr, "error", s.broken)
	case errors.Is(cause, errShutdown):
		s.send(eventEnd, ending{cause.Error()})
	case cause == nil:
		s.send(eventEnd, ending{err.Error()})
	}
}

// pump turns news into events until one of the watchers or the stream fails.
func (h *Handler) pump(ctx context.Context, s *eventStream, feed <-chan news) error {
	beat := time.NewTicker(h.heartbeat)
	defer beat.Stop()
	var state nodesState
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			if err := s.comment("heartbeat"); err != nil {
				return err
			}
		case n := <-feed:
			if n.err != nil {
				return n.err
			}
			name, event := state.take(n, h.node, time.Now())
			if name == "" {
				continue
			}
			if err := s.send(name, event); err != nil {
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

func (s *eventStream) send(event string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return s.write("event: " + event + "\ndata: " + string(body) + "\n\n")
}

// write sends text within the stream's patience: a client that does not read
// costs one buffer for that long, and is then cut off.
func (s *eventStream) write(text string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.broken = err
		return err
	}
	if _, s.broken = s.w.Write([]byte(text)); s.broken == nil {
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
