//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// gate is what the receiver parks at when callers may stand in for it: while one does, the
// gate is shut, and what arrives wakes that caller and not the receiver.
//
// To wake a receiver, which then wakes the caller, costs a lone caller two changes of
// goroutine instead of one. Worse, Go answers the second with waking a further thread, to
// look for more work: a twentieth of a round trip between two processes (go.dev/src/runtime/proc.go,
// "Worker thread parking/unparking").
type gate struct {
	wake     *os.File // where who stands in parks
	raw      syscall.RawConn
	visits   sync.WaitGroup // of those who stand in
	attended bool           // somebody stands in; guarded by the socket's mutex
	set      func(open bool) error
}

// attend receives in the receiver's place, until done reports true, ctx or the socket
// ends. If somebody receives already, or there is no gate, it returns at once. Turn is
// that of the receiver. After an error the receiver hears of nothing any more.
func (s *socket) attend(ctx context.Context, turn func() (more bool), done func() bool) (err error) {
	if s.gate == nil || !s.standIn() {
		return nil
	}
	defer func() { err = s.relieve() }()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, s.kick)()
	}
	over := func() bool { return done() || s.shutting() || ctx.Err() != nil }
	for {
		err := s.gate.raw.Read(func(uintptr) bool {
			for !over() && turn() {
			}
			return over() // else park
		})
		if over() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		s.gate.wake.SetReadDeadline(time.Time{}) // kicked, as in receive
	}
}

// standIn shuts the gate, if the receiver is not busy and nobody else stands in.
func (s *socket) standIn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.leaving || s.turning || s.gate.attended || s.gate.set(false) != nil {
		return false
	}
	s.gate.attended = true
	s.gate.visits.Add(1)
	return true
}

// relieve lets the receiver receive again, and wakes it if there is something.
func (s *socket) relieve() error {
	defer s.gate.visits.Done()
	s.mu.Lock()
	s.gate.attended = false
	err := s.gate.set(true)
	kick := !s.parked || s.look()
	s.mu.Unlock()
	if kick {
		s.kick()
	}
	return err
}

// relieved waits until nobody stands in any more, after shut.
func (s *socket) relieved() {
	if s.gate != nil {
		s.gate.visits.Wait()
	}
}
