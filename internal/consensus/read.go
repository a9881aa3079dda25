package consensus

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/planted"
)

// readRetry is after how many ticks a round of reads that brought no answer is
// taken for lost.
const readRetry = 2

// reads gathers those that wait for a read point (S10): an index that the leader
// had committed after they came, confirmed by a majority. All that come while a
// round is under way share the next one.
type reads struct {
	mu     sync.Mutex // guards the two fields below
	queue  []*read
	closed error

	// The rest belongs to the loop.
	round   *round // under way, nil if none
	counter uint64
	// ready are rounds whose index the machine has not reached yet, by index.
	ready []*round
}

// read is one that waits. Exactly one of the two is set.
type read struct {
	done chan error             // gets nil or why not
	then func(confirmed uint64) // runs in the loop; 0: it was lost and will not be tried again
}

// round is one request for a read index.
type round struct {
	key     string // the context that it went out with, never used twice
	reads   []*read
	started uint64 // tick
	lost    bool   // ask again at once
	index   uint64
}

// add queues r for the next round.
func (q *reads) add(r *read) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	q.queue = append(q.queue, r)
	return nil
}

// drop takes back what waits no longer, if it is still in the queue.
func (q *reads) drop(r *read) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.queue, r); i >= 0 {
		q.queue = slices.Delete(q.queue, i, i+1)
	}
}

func (q *reads) take() []*read {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.queue
	q.queue = nil
	return taken
}

func (q *reads) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue) > 0
}

// close ends all reads with err; it runs in the loop.
func (q *reads) close(err error) {
	q.mu.Lock()
	q.closed = err
	left := q.queue
	q.queue = nil
	q.mu.Unlock()
	if q.round != nil {
		left = append(left, q.round.reads...)
		q.round = nil
	}
	for _, rd := range q.ready {
		left = append(left, rd.reads...)
	}
	q.ready = nil
	for _, r := range left {
		r.end(0, err)
	}
}

func (r *read) end(index uint64, err error) {
	if r.then != nil {
		r.then(index)
		return
	}
	r.done <- err
}

// startReads begins a round if there are reads that wait for one and it can have
// an answer. It runs in the loop.
func (r *Replica) startReads() {
	q := &r.reads
	if q.round != nil && (q.round.lost || r.tick-q.round.started >= readRetry) {
		r.askAgain()
		return
	}
	if q.round != nil || r.lead == raft.None || r.lead == r.id && !r.settled || !q.waiting() {
		return
	}
	q.round = &round{reads: q.take()}
	r.ask()
}

// ask sends the round out under a new context (S10).
func (r *Replica) ask() {
	q := &r.reads
	if !planted.Bug(planted.ReuseReadContext) {
		q.counter++
	}
	key := make([]byte, 0, 24)
	key = binary.BigEndian.AppendUint64(key, r.id)
	key = binary.BigEndian.AppendUint64(key, r.incarnation)
	key = binary.BigEndian.AppendUint64(key, q.counter)
	q.round.key, q.round.started, q.round.lost = string(key), r.tick, false
	r.node.ReadIndex(key)
}

// askAgain repeats a round that was lost, or puts it off while nobody could
// answer. What the old context still brings is ignored.
func (r *Replica) askAgain() {
	if r.lead == raft.None || r.lead == r.id && !r.settled {
		r.reads.round.started = r.tick
		r.reads.round.key = ""
		return
	}
	r.ask()
}

// confirmed takes the answers to rounds. It runs in the loop.
func (r *Replica) confirmed(states []raft.ReadState) {
	q := &r.reads
	for _, s := range states {
		if q.round == nil || string(s.RequestCtx) != q.round.key {
			continue // an answer to a round that was repeated since
		}
		q.round.index = s.Index
		q.ready = append(q.ready, q.round)
		q.round = nil
	}
}

// release ends the reads whose index the machine has reached.
func (r *Replica) release() {
	q := &r.reads
	for len(q.ready) > 0 && q.ready[0].index <= r.applied {
		for _, one := range q.ready[0].reads {
			one.end(q.ready[0].index, nil)
		}
		q.ready[0] = nil
		q.ready = q.ready[1:]
	}
}

// hurry has a round that was asked of an earlier leader asked again at once.
func (q *reads) hurry() {
	if q.round != nil {
		q.round.lost = true
	}
}

// mayStep reports whether a read request of another node may enter raft now. A
// leader that has not committed in its own term does not know yet what is
// committed; raft holds such requests back, except where it is the only voter
// (S10). The other node asks again.
func (r *Replica) mayStep(m *pb.Message) bool {
	return m.GetType() != pb.MsgReadIndex || r.lead == r.id && r.settled
}

// Barrier returns nil once this node's state has every change that was
// acknowledged anywhere before the call: a linearizable read is a Barrier and a
// look at the local state. It blocks until then, until ctx ends, or the replica.
// Calls at the same time share one round to a majority.
//
// Errors are *outcome.Error with outcome NotDone: ErrNoQuorum around ctx's cause,
// ErrClosed, ErrStateLost.
func (r *Replica) Barrier(ctx context.Context) error {
	if ctx.Err() != nil {
		return r.failed(r.tooLate(ctx), outcome.NotDone)
	}
	if planted.Bug(planted.ReadLocally) {
		return nil
	}
	one := &read{done: make(chan error, 1)}
	if err := r.reads.add(one); err != nil {
		return r.failed(err, outcome.NotDone)
	}
	r.inbox.wake()
	select {
	case err := <-one.done:
		if err != nil {
			return r.failed(err, outcome.NotDone)
		}
		return nil
	case <-ctx.Done():
		r.reads.drop(one)
		return r.failed(r.tooLate(ctx), outcome.NotDone)
	}
}
