package consensus

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/kith-go/kith/internal/link"
)

const (
	// renewRetryTicks is after how many ticks a renewal without an answer is asked for
	// again.
	renewRetryTicks = 5
	// maxRenewals is how many renewals one frame carries.
	maxRenewals = 4096
)

// asks are this node's requests to renew sessions that have no answer yet. The loop
// sends all that have come since its last turn in one frame.
type asks struct {
	mu sync.Mutex // guards all below
	// last is the newest nonce. The first one is drawn: an answer to a former process of
	// this node must not be taken for one to a question that was asked later.
	last  uint64
	open  map[uint64]*ask // by nonce
	queue []*ask          // those of open that are to be sent (again)
}

// ask is one request to renew a session.
type ask struct {
	session, nonce uint64
	// asked is the replica's clock before it was sent for the first time: what the
	// holder may count from (S11).
	asked time.Duration
	// answered gets the ask itself when the leader has promised to keep the session. It
	// has room for one and belongs to whoever asked, for several asks perhaps.
	answered chan *ask
	tries    int
}

func newAsks() asks {
	return asks{last: rand.Uint64(), open: make(map[uint64]*ask)}
}

// add queues a request.
func (q *asks) add(session uint64, now time.Duration, answered chan *ask) *ask {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	a := &ask{session: session, nonce: q.last, asked: now, answered: answered}
	q.open[a.nonce] = a
	q.queue = append(q.queue, a)
	return a
}

// drop takes requests back: nobody waits for their answers any more. It reports
// whether the last of them was ever sent.
func (q *asks) drop(given ...*ask) (sent bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range given {
		delete(q.open, a.nonce)
		sent = a.tries > 0
	}
	return sent
}

// answer hands the leader's promise to whoever asked for it.
func (q *asks) answer(session, nonce uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.open[nonce]
	if a == nil || a.session != session {
		return
	}
	delete(q.open, nonce)
	select {
	case a.answered <- a:
	default: // the asker has an answer that it did not look at yet; the next one will do
	}
}

// again queues everything that has no answer.
func (q *asks) again() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = q.queue[:0]
	for _, a := range q.open {
		q.queue = append(q.queue, a)
	}
}

// take returns what is to be sent, which was taken back by nobody.
func (q *asks) take() []renewal {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	taken := make([]renewal, 0, len(q.queue))
	for _, a := range q.queue {
		if q.open[a.nonce] == a {
			a.tries++
			taken = append(taken, renewal{session: a.session, nonce: a.nonce})
		}
	}
	clear(q.queue)
	q.queue = q.queue[:0]
	return taken
}

// sendRenewals brings this node's requests to the leader, if there is one. What is
// lost on the way is sent again (see onTick).
func (r *Replica) sendRenewals() {
	if r.lead == raft.None {
		return
	}
	taken := r.asks.take()
	if r.lead == r.id {
		now := r.clock()
		for i := range taken {
			taken[i].from, taken[i].received = r.id, now
		}
		r.renew(taken)
		return
	}
	for len(taken) > 0 {
		n := min(len(taken), maxRenewals)
		if !r.send(r.lead, link.KindRenew, appendRenewals(nil, taken[:n])) {
			return
		}
		taken = taken[n:]
	}
}

// A frame of renewals, or of answers to them, is a session and a nonce for each, as
// varints.

func appendRenewals(dst []byte, renewals []renewal) []byte {
	for _, n := range renewals {
		dst = binary.AppendUvarint(dst, n.session)
		dst = binary.AppendUvarint(dst, n.nonce)
	}
	return dst
}

var errRenewals = errors.New("malformed renewals")

func decodeRenewals(b []byte) ([]renewal, error) {
	r := reader{b: b}
	var renewals []renewal
	for len(r.b) > 0 {
		n := renewal{session: r.uvarint(), nonce: r.uvarint()}
		if r.bad || len(renewals) == maxRenewals {
			return nil, errRenewals
		}
		renewals = append(renewals, n)
	}
	return renewals, nil
}
