package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

const (
	// subscribers is how many there are, each with a connection of its own.
	subscribers = 8
	// publishBatch messages are acknowledged together, and so many batches may be
	// under way: fewer messages than any system keeps for a slow subscriber.
	publishBatch = 128
	batchesAhead = 16
	// acksName is what the place is called where subscribers acknowledge.
	acksName = "acks"
	// lostAfter is how long the publisher waits for a batch until it counts as lost.
	lostAfter = stage.Drain / 2
)

// acks is how subscribers tell the publisher what they have got, beside the system
// that is measured and alike for all: a byte on a TCP connection for each batch.
type acks struct {
	listener net.Listener
	counts   [subscribers]int // each its subscriber's

	mu        sync.Mutex
	publisher net.Conn // the newest; guarded by mu
}

// What a byte says, but for the number of a subscriber that has a batch.
const (
	ackReady = 0xfe // at the beginning
	ackLost  = 0xff // a subscriber has lost messages
)

func newAcks() (*acks, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &acks{listener: l}
	go func() { // until close
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.publisher = c
			a.mu.Unlock()
			a.tell(ackReady)
		}
	}()
	return a, nil
}

func (a *acks) close() { a.listener.Close() }

func (a *acks) places() []place {
	return []place{{acksName, a.listener.Addr().(*net.TCPAddr).Port}}
}

// got counts a message of a subscriber, which calls it from one goroutine.
func (a *acks) got(subscriber int, err error) {
	if err != nil {
		a.tell(ackLost)
		return
	}
	if a.counts[subscriber]++; a.counts[subscriber]%publishBatch == 0 {
		a.tell(byte(subscriber))
	}
}

func (a *acks) tell(what byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.publisher != nil {
		a.publisher.Write([]byte{what}) // a publisher that is gone has ended its load
	}
}

// publishing is one publisher that publishes as fast as its slowest subscriber takes
// it. A message counts when all subscribers have it.
type publishing struct {
	stage.Loop
	Size int
	Acks int // port
	Name string
}

// ProfileName is this load's among those of its process.
func (q *publishing) ProfileName() string { return q.Name }

// Run returns a *stage.Sample, whose latencies are those from the publication of a
// batch's last message to its arrival at all subscribers.
func (q *publishing) Run(ctx context.Context, p party) (any, error) {
	from, ok := p.(publisher)
	if !ok {
		return nil, fmt.Errorf("a %T publishes nothing", p)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", q.Acks))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(lostAfter))
	told := bufio.NewReader(conn)
	if b, err := told.ReadByte(); err != nil || b != ackReady {
		return nil, fmt.Errorf("subscribers are not ready: %d, %w", b, err)
	}
	var (
		at      int32
		begun   = make(chan time.Time, batchesAhead)
		latency stage.Histogram
		failed  = make(chan error, 2)
		wg      sync.WaitGroup
	)
	collected, end := context.WithCancel(ctx)
	wg.Go(func() { failed <- q.publish(collected, from.publisher(q.Size), begun, &at) })
	wg.Go(func() {
		defer end()
		failed <- q.collect(conn, told, begun, &latency, &at)
	})
	s, err := watch(q.Loop, &at)
	wg.Wait()
	if err := errors.Join(err, <-failed, <-failed); err != nil {
		return nil, err
	}
	s.Latency = latency
	if s.Done() == 0 {
		return nil, errors.New("no publication has reached all subscribers")
	}
	return s, nil
}

// publish fills begun with a time for each batch, whose room bounds what is under way,
// as long as somebody collects them.
func (q *publishing) publish(collected context.Context, one func() error, begun chan<- time.Time, at *int32) error {
	defer close(begun)
	for phase(atomic.LoadInt32(at)) != over {
		for range publishBatch {
			if err := one(); err != nil {
				return err
			}
		}
		select {
		case begun <- time.Now():
		case <-collected.Done():
			return nil
		}
	}
	return nil
}

// collect takes a time from begun for each batch that all subscribers have.
func (q *publishing) collect(conn net.Conn, told io.ByteReader, begun <-chan time.Time, latency *stage.Histogram, at *int32) error {
	var batches [subscribers]int
	for done := 0; ; {
		since, more := <-begun
		if !more {
			return nil
		}
		conn.SetReadDeadline(time.Now().Add(lostAfter))
		for done++; slices.Min(batches[:]) < done; {
			who, err := told.ReadByte()
			switch {
			case err != nil:
				return fmt.Errorf("a batch has not reached all subscribers: %w", err)
			case who >= subscribers:
				return errors.New("a subscriber has lost publications")
			}
			batches[who]++
		}
		if phase(atomic.LoadInt32(at)) == counting {
			latency.Add(time.Since(since), publishBatch)
		}
	}
}
