package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	// DefaultMaxQueue is what a pipe holds when PipeConfig.MaxQueue is 0.
	DefaultMaxQueue = 64 << 20

	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second
	// stuck is how long a piece of at most writePiece bytes may take to leave:
	// whoever reads nothing for so long must not hold memory any longer.
	stuck      = 10 * time.Second
	writePiece = 256 << 10
	// coalesce is the size of the buffer in which small frames become one write; a
	// part that does not fit is written from where it is.
	coalesce = 64 << 10
	// spareFrames bounds the emptied batch that is kept for the next frames.
	spareFrames = 16 << 10
)

// PipeConfig describes a pipe. Dial and Route are required.
type PipeConfig struct {
	// Dial opens a connection and does the handshake. It is called again and
	// again, until the pipe is closed; ctx ends with the pipe.
	Dial func(ctx context.Context) (net.Conn, error)
	// Route is what the frames carry.
	Route Route
	// OnUp is told of each established connection, before anything is sent over it,
	// OnDown of each failed dial and of each lost connection, with the reason. They
	// are called one at a time, without locks held, by the pipe's goroutine, which
	// does nothing else meanwhile. Neither may call Close. Either may be nil.
	OnUp   func()
	OnDown func(err error)
	// MaxQueue bounds the bytes that are queued or being written; 0 means
	// DefaultMaxQueue. A single frame may exceed it when nothing else is queued.
	MaxQueue int
	// Log gets the pipe's ups and downs; nil means nobody.
	Log *slog.Logger
}

// Pipe is the sending half of what one member says to another: it keeps a
// connection, and sends frames over it in order, without making the sender wait for
// the other side. What is queued when a connection fails is lost; Raft copes with that. Its
// methods are safe for concurrent use.
type Pipe struct {
	cfg    PipeConfig
	log    *slog.Logger
	ctx    context.Context // ends with the pipe
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
	wake   chan struct{} // holds one token: frames were queued
	nudge  chan struct{} // holds one token: dial now

	mu     sync.Mutex   // guards all below
	writer *frameWriter // to the connection, nil without one
	queue  batch
	stats  PipeStats
}

// PipeStats count what a pipe has done since its beginning.
type PipeStats struct {
	Frames, Bytes uint64 // written; the bytes are those of bodies
	AtOnce        uint64 // times that a sender wrote what was queued itself
	Dropped       uint64 // frames that Send did not take, or that were lost with a connection
	Queued        int    // memory in frames that are queued or being written now
}

// batch is a sequence of frames.
type batch struct {
	frames []queued
	parts  [][]byte // of the frames' bodies, in order
}

type queued struct {
	kind  Kind
	parts int
	size  int
}

// NewPipe starts a pipe. It begins to dial at once.
func NewPipe(cfg PipeConfig) *Pipe {
	if cfg.MaxQueue == 0 {
		cfg.MaxQueue = DefaultMaxQueue
	}
	p := &Pipe{
		cfg:   cfg,
		log:   cfg.Log,
		done:  make(chan struct{}),
		wake:  make(chan struct{}, 1),
		nudge: make(chan struct{}, 1),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()
	return p
}

// Close closes the connection, drops what is queued, and waits for the pipe's
// goroutine.
func (p *Pipe) Close() {
	p.cancel()
	<-p.done
}

// Up reports whether there is a connection.
func (p *Pipe) Up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writer != nil
}

// Stats returns the pipe's counters.
func (p *Pipe) Stats() PipeStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Nudge makes a pipe that waits to dial again do so now: somebody has seen the
// other side. While a dial is under way it means one more if that fails.
func (p *Pipe) Nudge() { token(p.nudge) }

// token puts one into c, unless it is there already.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Send queues a frame whose body is the parts one after another, and writes it if it is
// small and the socket idle. It does not wait for the other side, and reports whether it
// took the frame: not without a connection, when the queue is full, or when the body is
// over MaxBody. A frame that was taken can still be lost, with the connection.
//
// The parts must not be changed afterwards, whatever Send returns. The pipe does
// not change them either, so that several pipes can share them.
func (p *Pipe) Send(kind Kind, parts ...[]byte) bool {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	p.mu.Lock()
	f := queued{kind, len(parts), size}
	full := p.stats.Queued > 0 && p.stats.Queued+f.space() > p.cfg.MaxQueue
	w := p.writer
	if w == nil || full || size > MaxBody {
		p.stats.Dropped++
		p.mu.Unlock()
		return false
	}
	first := len(p.queue.frames) == 0
	p.queue.frames = append(p.queue.frames, f)
	p.queue.parts = append(p.queue.parts, parts...)
	p.stats.Queued += f.space()
	p.mu.Unlock()
	if first && !(size <= atOnce && w.sendNow()) {
		token(p.wake)
	}
	return true
}

func (p *Pipe) run() {
	defer close(p.done)
	backoff := minBackoff
	for p.ctx.Err() == nil {
		conn, err := p.cfg.Dial(p.ctx)
		lasted := false
		if err == nil {
			since := time.Now()
			err = p.carry(conn)
			lasted = time.Since(since) >= maxBackoff
		}
		if p.ctx.Err() != nil {
			return
		}
		p.log.Debug("no connection", "route", p.cfg.Route, "error", err)
		if p.cfg.OnDown != nil {
			p.cfg.OnDown(err)
		}
		// Whether a connection that ended after a while is refused now tells a crash from
		// a fault of the network: that is worth knowing at once (SAFETY.md, S12, S15).
		if lasted || p.rest(backoff) {
			backoff = minBackoff
		} else {
			backoff = min(2*backoff, maxBackoff)
		}
	}
}

// rest waits before the next dial, and reports whether a nudge ended that.
func (p *Pipe) rest(backoff time.Duration) (nudged bool) {
	timer := time.NewTimer(backoff/2 + rand.N(backoff))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.nudge:
		return true
	case <-p.ctx.Done():
	}
	return false
}

// carry sends what is queued over conn until that fails, and closes it.
func (p *Pipe) carry(conn net.Conn) error {
	stop := context.AfterFunc(p.ctx, func() { hangUp(conn) })
	w := newFrameWriter(p, conn)
	var watcher sync.WaitGroup
	watcher.Go(func() { w.fail(watch(conn)) })
	select {
	case <-p.nudge: // it was about this connection
	default:
	}
	p.setUp(w)
	p.log.Debug("connected", "route", p.cfg.Route, "addr", conn.RemoteAddr())
	if p.cfg.OnUp != nil {
		p.cfg.OnUp()
	}
	w.turn <- struct{}{}
	err := p.pump(w)
	stop()
	hangUp(conn)
	<-w.turn
	p.setUp(nil)
	watcher.Wait()
	return err
}

var errTalkative = errors.New("link: the other side sent something on a connection that is not its to speak on")

// watch notices the end of a connection on which nothing is to be received.
func watch(conn net.Conn) error {
	n, err := conn.Read(make([]byte, 1))
	if n > 0 {
		err = errTalkative
	}
	return err
}

// hangUp closes conn at once. A TLS connection would first try to say goodbye,
// for seconds if nobody listens.
func hangUp(conn net.Conn) {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		secured.NetConn().Close()
	}
	conn.Close()
}

// setUp notes that a connection began, or with nil that it ended. Nothing is queued in
// between.
func (p *Pipe) setUp(w *frameWriter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writer = w
	p.stats.Dropped += uint64(len(p.queue.frames))
	p.stats.Queued = 0
	p.queue = batch{}
	select {
	case <-p.wake:
	default:
	}
}

// pump writes the queue to a connection until one of the two fails.
func (p *Pipe) pump(w *frameWriter) error {
	for {
		select {
		case <-p.wake:
		case err := <-w.failed:
			return lossOf(err)
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		<-w.turn
		_, err := w.sendQueue(math.MaxInt)
		w.turn <- struct{}{}
		if err != nil {
			return err
		}
	}
}

func lossOf(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("link: the other side closed the connection: %w", io.EOF)
	}
	return err
}

// take exchanges the queue for an emptied batch, if it has no more bytes than most.
func (p *Pipe) take(old batch, most int) (full batch, ok bool) {
	if cap(old.frames) > spareFrames || cap(old.parts) > spareFrames {
		old = batch{} // a burst is over
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stats.Queued > most {
		return old, false
	}
	full = p.queue
	p.queue = batch{old.frames[:0], old.parts[:0]}
	return full, true
}

// lose counts frames that were under way when the connection failed.
func (p *Pipe) lose(frames int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Dropped += uint64(frames)
}
