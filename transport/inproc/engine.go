package inproc

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kith-go/kith/transport"
)

// Engine is one node's place in a Network. It implements transport.Engine.
type Engine struct {
	net      *Network
	endpoint string
	setup    transport.Setup
	closing  chan struct{}
	work     sync.WaitGroup

	dead, off, frozen bool // under the network's lock

	mu     sync.Mutex
	closed bool
	dials  map[string]*dial
	halves map[*half]struct{}
}

// Engine returns an engine that will listen at an endpoint, which is any text.
func (n *Network) Engine(endpoint string) *Engine {
	return &Engine{
		net: n, endpoint: endpoint,
		closing: make(chan struct{}),
		dials:   map[string]*dial{},
		halves:  map[*half]struct{}{},
	}
}

// Start begins to listen.
func (e *Engine) Start(s transport.Setup) error {
	e.setup = s
	return e.net.listen(e)
}

// dial is the attempt to have a connection to one peer, again and again.
type dial struct {
	transport.Address
	stop chan struct{}
}

// SetPeers tells whom to be connected to.
func (e *Engine) SetPeers(peers []transport.Address) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	for name, d := range e.dials {
		if !slices.Contains(peers, d.Address) {
			close(d.stop)
			delete(e.dials, name)
		}
	}
	for _, p := range peers {
		if e.dials[p.Name] == nil {
			d := &dial{Address: p, stop: make(chan struct{})}
			e.dials[p.Name] = d
			e.work.Go(func() { e.keepDialling(d) })
		}
	}
}

// Close hangs up and waits for all goroutines.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.closing)
	}
	e.mu.Unlock()
	e.net.leave(e)
	for _, h := range e.all() {
		h.end(transport.ErrClosed)
		h.hangUp()
	}
	e.work.Wait()
	return nil
}

func (e *Engine) all() []*half {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*half, 0, len(e.halves))
	for h := range e.halves {
		all = append(all, h)
	}
	return all
}

func (e *Engine) keepDialling(d *dial) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-d.stop:
			return
		case <-e.closing:
			return
		}
		h, err := e.connect(d)
		switch {
		case h != nil:
			select {
			case <-h.told:
				pause.Reset(0)
			case <-d.stop:
				h.end(errors.New("no longer a peer"))
				h.hangUp()
				return
			case <-e.closing:
				return
			}
		case err != nil:
			e.setup.Events.Failed(d.Name, err)
			pause.Reset(e.net.options.Redial)
		default:
			return
		}
	}
}

// connect makes one attempt. Without connection and error the dial is over.
func (e *Engine) connect(d *dial) (*half, error) {
	if delay := e.net.delay() + e.net.delay(); delay > 0 && !e.sleep(d, delay) {
		return nil, nil
	}
	var patience *time.Timer
	for {
		to, way, changed, err := e.net.reach(e, d.Endpoint, d.Name)
		if err != nil {
			return nil, err
		}
		if to != nil {
			if h := join(e, to); h != nil {
				return h, nil
			}
			return nil, errRefused
		}
		var expired <-chan time.Time
		if way == silence {
			if patience == nil {
				patience = time.NewTimer(e.net.options.Silence)
				defer patience.Stop()
			}
			expired = patience.C
		}
		select {
		case <-changed:
		case <-expired:
			return nil, errSilent
		case <-d.stop:
			return nil, nil
		case <-e.closing:
			return nil, nil
		}
	}
}

func (e *Engine) sleep(d *dial, delay time.Duration) bool {
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-d.stop:
	case <-e.closing:
	}
	return false
}

// join connects two engines. It returns nil if one of them is closed.
func join(from, to *Engine) *half {
	a := newHalf(from, transport.Remote{Identity: to.setup.Self, Endpoint: to.endpoint, Ours: true})
	b := newHalf(to, transport.Remote{Identity: from.setup.Self, Endpoint: from.endpoint})
	a.other, b.other = b, a
	if !to.host(b) {
		return nil
	}
	if !from.host(a) {
		b.end(errGoodbye)
		return nil
	}
	return a
}

// host lets a half live here, unless the engine is closed.
func (e *Engine) host(h *half) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.halves[h] = struct{}{}
	e.work.Go(func() {
		h.run()
		close(h.told)
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.halves, h)
	})
	return true
}
