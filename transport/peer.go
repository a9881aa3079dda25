package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/outcome"
)

// State is how things stand between this node and a peer.
type State uint8

const (
	// Unknown: no list of peers has this name (any more).
	Unknown State = iota
	// Connecting: it is listed, and no attempt to connect has succeeded or failed
	// since.
	Connecting
	// Up: there is a connection.
	Up
	// Down: the connection broke, or could not be made. The engine goes on trying.
	Down
)

// String returns the state in lower case, such as "up".
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Connecting:
		return "connecting"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// PeerStatus is what is known of a peer at one moment.
type PeerStatus struct {
	Name  string
	State State
	// Since is when it came into this state.
	Since time.Time
	// Endpoint is where it is looked for.
	Endpoint string
	// Incarnation is the one connected to, or the last that was; 0 if none was.
	Incarnation uint64
	// Err is why the last connection ended or the last attempt failed. It stays
	// after the next success, for those who come to look.
	Err error
}

// Peer is the handle of one peer, whatever becomes of it: across its restarts, new
// addresses and new incarnations it is connected to again by itself. Calls wait for
// the connection as long as their context allows, or with FailFast do not wait. It may
// be used by any number of goroutines.
type Peer struct {
	m    *Messenger
	name string
	up   atomic.Pointer[line] // the connection that calls go along; nil if there is none
	load traffic

	mu      sync.Mutex
	line    *line // the connection, also while the peer is not listed
	status  PeerStatus
	changed chan struct{} // closed and replaced when status changes
	shutErr error         // set when the messenger closes
}

func newPeer(m *Messenger, name string) *Peer {
	return &Peer{
		m: m, name: name,
		status:  PeerStatus{Name: name, Since: time.Now()},
		changed: make(chan struct{}),
	}
}

// Name returns the peer's name.
func (p *Peer) Name() string { return p.name }

// Status tells how things stand now.
func (p *Peer) Status() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Await waits until the peer is up. It ends with ErrNoPeer, ErrClosed, or
// ErrUnreachable when the context is over.
func (p *Peer) Await(ctx context.Context) error {
	_, err := p.connected(ctx, false)
	return p.m.failed("connect to", p.name, "", err)
}

func (p *Peer) isListed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status.State != Unknown
}

// turnLocked changes the state and wakes those who wait for it.
func (p *Peer) turnLocked(s State) {
	if p.status.State != s {
		p.status.State, p.status.Since = s, time.Now()
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// list tells whether the peer is listed now, and where.
func (p *Peer) list(listed bool, endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := p.status.Endpoint != endpoint
	p.status.Endpoint = endpoint
	switch {
	case !listed && p.status.State != Unknown:
		p.up.Store(nil)
		p.turnLocked(Unknown)
	case !listed:
	case p.status.State == Unknown && p.line != nil: // the engine had not hung up yet
		p.up.Store(p.line)
		p.turnLocked(Up)
	case p.status.State == Unknown, p.status.State == Down && moved:
		p.turnLocked(Connecting)
	}
}

// opened makes l the peer's connection, and returns the one before if it is there
// still: it leads to another process, or nowhere.
func (p *Peer) opened(l *line) (before *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.line = p.line, l
	p.status.Incarnation = l.remote.Incarnation
	if p.status.State != Unknown {
		p.up.Store(l)
		p.turnLocked(Up)
	}
	return before
}

// lost tells that l is gone.
func (p *Peer) lost(l *line, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != l {
		return
	}
	p.line = nil
	p.up.Store(nil)
	p.status.Err = cause
	if p.status.State != Unknown {
		p.turnLocked(Down)
	}
}

func (p *Peer) attemptFailed(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != nil {
		return
	}
	p.status.Err = cause
	if p.status.State == Connecting {
		p.turnLocked(Down)
	}
}

func (p *Peer) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shutErr = ErrClosed
	p.turnLocked(p.status.State)
}

// connected returns the connection to the peer, and waits for one unless it is to
// fail fast.
func (p *Peer) connected(ctx context.Context, failFast bool) (*line, error) {
	if absent := p.m.absent; absent != nil {
		return nil, &outcome.Error{Err: absent, Outcome: outcome.NotDone}
	}
	for {
		if l := p.up.Load(); l != nil {
			return l, nil
		}
		p.mu.Lock()
		l, status, changed, shutErr := p.up.Load(), p.status, p.changed, p.shutErr
		p.mu.Unlock()
		switch {
		case shutErr != nil:
			return nil, shutErr
		case l != nil:
			return l, nil
		case status.State == Unknown:
			return nil, ErrNoPeer
		case failFast:
			return nil, status.away(nil)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, status.away(context.Cause(ctx))
		}
	}
}

// away is the error of a call for which there is no connection.
func (s PeerStatus) away(waited error) error {
	e := &outcome.Error{Err: ErrUnreachable, Outcome: outcome.NotDone}
	if waited != nil {
		e.Err = fmt.Errorf("%w: %w", ErrUnreachable, waited)
	}
	switch {
	case s.Err != nil:
		e.Hint = fmt.Sprintf("%s is %s since %s: %v", s.Name, s.State, s.Since.Format(time.TimeOnly), s.Err)
	default:
		e.Hint = fmt.Sprintf("%s is %s since %s", s.Name, s.State, s.Since.Format(time.TimeOnly))
	}
	return e
}
