package consensus

import (
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"
)

// maxInbox bounds the bytes that wait for the loop; connections are not read
// from while there are more.
const maxInbox = 64 << 20

// inbox is where everybody leaves work for the loop, which takes all of it at
// once: what arrives while the disk works is one batch afterwards.
type inbox struct {
	bell chan struct{} // has a value while there may be work

	mu   sync.Mutex // guards all below
	work work
	size int
	// room is closed and replaced when the loop has taken a full inbox.
	room chan struct{}
}

// work is what the loop does in one turn.
type work struct {
	messages []*pb.Message
	batches  [][]byte // proposals of other nodes, encoded
	renewals []renewal
	events   []func() // run by the loop, in order
}

func newInbox() *inbox {
	return &inbox{bell: make(chan struct{}, 1), room: make(chan struct{})}
}

// wake makes the loop take a turn.
func (in *inbox) wake() {
	select {
	case in.bell <- struct{}{}:
	default:
	}
}

// put lets add leave work of the given size. The caller sees to it that it is done, by
// [Replica.attend] or wake. When there is too much already it waits for room, or returns
// false when done is closed.
func (in *inbox) put(done <-chan struct{}, size int, add func(*work)) bool {
	in.mu.Lock()
	for in.size > maxInbox {
		room := in.room
		in.mu.Unlock()
		select {
		case <-room:
		case <-done:
			return false
		}
		in.mu.Lock()
	}
	add(&in.work)
	in.size += size
	in.mu.Unlock()
	return true
}

// do runs fn in the loop. It does not wait for it, and does nothing after the
// loop has ended.
func (in *inbox) do(fn func()) {
	in.mu.Lock()
	in.work.events = append(in.work.events, fn)
	in.mu.Unlock()
	in.wake()
}

// take returns all work and leaves the inbox with the empty slices of spent.
func (in *inbox) take(spent work) work {
	clear(spent.messages)
	clear(spent.batches)
	clear(spent.events)
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := in.work
	in.work = work{spent.messages[:0], spent.batches[:0], spent.renewals[:0], spent.events[:0]}
	if in.size > maxInbox {
		close(in.room)
		in.room = make(chan struct{})
	}
	in.size = 0
	return taken
}
