//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	libzmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"
)

// errSocketClosed is what calls into a closed socket return.
var errSocketClosed = errors.New("zmq: socket closed")

// socket is a libzmq socket that goroutines share: any of them calls into it with
// use or send, and one receives at a time, in receive or in attend.
//
// ZMQ_FD becomes readable once when something happens inside, be it a message, a
// pipe that has room again or a connection that ended; every call into the socket
// takes such news in. So a sender can take in the news of an arrived message that
// the receiver, parked on ZMQ_FD, then never hears of. Hence look.
type socket struct {
	// forgetful leaves out the look at ZMQ_EVENTS: for the test that shows why it is
	// there.
	forgetful bool

	mu     sync.Mutex
	z      *libzmq.Socket // guarded by mu, as all below
	raw    rawSocket      // the same, as libzmq knows it
	closed bool
	// parked tells that the receiver waits, or is about to, having found nothing.
	parked bool
	// leaving tells the receiver, and who stands in for it, to end.
	leaving bool
	// turning tells that the receiver deals with something, and keeps others from standing
	// in. What belongs to who receives is handed over with this and gate.attended.
	turning bool
	// posted waits to be run by the receiver.
	posted []func()

	// wake is a duplicate of ZMQ_FD in Go's poller: closing an os.File closes its
	// descriptor, and ZMQ_FD belongs to libzmq. If there is a gate it is that instead.
	wake *os.File
	// gate lets others stand in for the receiver; nil if nobody can.
	gate *gate
}

// newSocket makes a socket of the given kind, and sets its options.
func newSocket(ctx *libzmq.Context, kind libzmq.Type, options ...func(*libzmq.Socket) error) (*socket, error) {
	z, err := ctx.NewSocket(kind)
	if err != nil {
		return nil, fmt.Errorf("zmq: making a socket: %w", err)
	}
	for _, set := range options {
		if err := set(z); err != nil {
			z.Close()
			return nil, fmt.Errorf("zmq: setting up a socket: %w", err)
		}
	}
	wake, err := duplicate(z)
	if err != nil {
		z.Close()
		return nil, err
	}
	raw, err := socketOf(z)
	if err != nil {
		wake.Close()
		z.Close()
		return nil, err
	}
	return &socket{z: z, raw: raw, wake: wake}, nil
}

func duplicate(z *libzmq.Socket) (*os.File, error) {
	fd, err := z.GetFd()
	if err != nil {
		return nil, fmt.Errorf("zmq: %w", err)
	}
	twin, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("zmq: duplicating a descriptor: %w", err)
	}
	return os.NewFile(uintptr(twin), "zmq"), nil
}

// use calls into the socket. Fn must not block.
func (s *socket) use(fn func(z *libzmq.Socket) error) error {
	kick, err := func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return false, errSocketClosed
		}
		err := fn(s.z)
		return s.look(), err
	}()
	if kick {
		s.kick()
	}
	return err
}

// post has the receiver run fn, between messages and without the mutex held. It
// reports whether there is a receiver to do so still.
func (s *socket) post(fn func()) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.posted = append(s.posted, fn)
	kick := s.parked
	s.parked = false
	s.mu.Unlock()
	if kick {
		s.kick()
	}
	return true
}

// look is what everybody does before giving the mutex back, when they called into
// the socket and did not receive until nothing was left. It reports whether the
// receiver must be kicked.
func (s *socket) look() (kick bool) {
	if !s.looks() {
		return false
	}
	events, err := s.z.GetEvents()
	return s.saw(err != nil || events&libzmq.POLLIN != 0)
}

// looks tells whether there is need to look: a receiver that is not parked does so itself.
func (s *socket) looks() bool { return s.parked && !s.forgetful }

// saw is the rest of look, for who has looked.
func (s *socket) saw(receivable bool) (kick bool) {
	if receivable {
		s.parked = false
	}
	return receivable
}

// kick wakes the receiver, or who stands in for it. A kick that comes late wakes it in
// vain, once; one that goes to who has just been relieved is not missed: whoever takes
// over looks.
func (s *socket) kick() {
	s.mu.Lock()
	who := s.wake
	if s.gate != nil && s.gate.attended {
		who = s.gate.wake
	}
	s.mu.Unlock()
	who.SetReadDeadline(time.Unix(1, 0))
}

// receive calls turn whenever there may be messages or something was posted, until
// shut. Turn takes what there is with the mutex held, until nothing is left or it
// has enough, and reports which; then, without the mutex, it deals with it.
func (s *socket) receive(turn func() (more bool)) {
	raw, err := s.wake.SyscallConn()
	if err != nil {
		return // closed already
	}
	for {
		err := raw.Read(func(uintptr) bool {
			for s.turns() && turn() {
			}
			return s.rests() // else park
		})
		if s.shutting() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		// Kicked. What it was for is found in the next turn, and who comes after this
		// line sees parked, and kicks again.
		s.wake.SetReadDeadline(time.Time{})
	}
}

// turns tells whether the receiver may take a turn, since nobody stands in for it.
func (s *socket) turns() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turning = s.gate == nil || !s.gate.attended
	return s.turning
}

// rests notes that the receiver has dealt with all, and tells whether it is to end.
func (s *socket) rests() (ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turning = false
	return s.leaving
}

// A turn of the receiver ends after that many messages or bytes, so that others come
// to the socket and what arrived is dealt with.
const (
	turnMessages = 64
	turnBytes    = 1 << 20
)

// gather is the part of a turn that holds the mutex: take takes what is there, until
// nothing is left or it has enough, and reports which. It returns what was posted
// meanwhile.
func (s *socket) gather(take func() (more bool)) (posted []func(), more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	posted, s.posted = s.posted, nil
	more = take()
	s.parked = !more
	return posted, more
}

// turn takes messages of at most this many parts, and returns an inbox for release, with
// what was posted meanwhile. Mind is as in fill.
func (s *socket) turn(e *Engine, most int, mind bool) (in *inbox, posted []func(), more bool) {
	in = e.inboxes.Get().(*inbox)
	posted, more = s.gather(func() bool { return in.fill(s.raw, most, mind) })
	return in, posted, more
}

// shut ends receive and attend, from any goroutine and more than once, and does not wait
// for them. The socket stays usable.
func (s *socket) shut() {
	s.mu.Lock()
	s.leaving = true
	s.mu.Unlock()
	s.wake.SetReadDeadline(time.Unix(1, 0))
	if s.gate != nil {
		s.gate.wake.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *socket) shutting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

// close closes the socket. Whoever calls it has waited for receive to end.
func (s *socket) close() {
	s.wake.Close()
	if s.gate != nil {
		s.gate.wake.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.posted = nil
	s.z.SetLinger(0)
	s.z.Close()
}

// again reports whether a call would have had to wait.
func again(err error) bool { return err == libzmq.Errno(syscall.EAGAIN) }
