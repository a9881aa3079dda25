package consensus

import (
	"time"

	"go.etcd.io/raft/v3"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/state"
)

// maxEntry is how many bytes of batches become one entry of the log.
const maxEntry = 1 << 20

// hold is for how long what comes next may wait for the entry that is under way. An
// entry with everything that has come meanwhile beats many small ones: each costs every
// voter a sync. Where a majority is farther away than this, entries overlap.
const hold = 5 * time.Millisecond

// mayPropose reports whether this leader may put another entry into the log now.
func (r *Replica) mayPropose() bool {
	switch {
	case r.refused || r.uncommitted >= maxUncommitted:
		return false
	case r.underway == 0:
		return r.gathering() == 0
	}
	return r.clock()-r.proposedAt >= hold
}

// queued reports whether there is something to propose.
func (r *Replica) queued() bool { return len(r.backlog) > 0 || r.proposals.ready() > 0 }

// lookAgain sees to it that what is queued on a leader is proposed: at once if that
// became possible in this turn, else when others were waited for, or after the hold.
func (r *Replica) lookAgain() {
	switch {
	case r.lead != r.id || r.refused || r.uncommitted >= maxUncommitted || !r.queued():
	case r.underway == 0 && r.gathering() == 0:
		r.inbox.wake()
	case r.underway == 0:
		r.alarm.Reset(r.gathering())
	default:
		r.alarm.Reset(max(0, hold-(r.clock()-r.proposedAt)))
	}
}

// offer brings what nodes want to propose on its way: into the log on the leader,
// to the leader elsewhere.
func (r *Replica) offer(batches [][]byte) {
	if r.lead == raft.None {
		return // others send theirs again when there is a leader
	}
	if r.lead != r.id {
		r.forward()
		return
	}
	for _, b := range batches {
		if r.backlogBytes+len(b) > maxUncommitted {
			break // dropped: its node sends it again
		}
		r.backlog = append(r.backlog, b)
		r.backlogBytes += len(b)
		r.backlogCommands += commands(b)
	}
	if registration := r.register(); registration != nil {
		r.backlog = append(r.backlog, registration)
		r.backlogBytes += len(registration)
	}
	for r.queued() && r.mayPropose() {
		if !r.proposeEntry(r.batches()) {
			return
		}
	}
}

// forward sends this node's own commands to the leader.
func (r *Replica) forward() {
	if registration := r.register(); registration != nil {
		r.send(r.lead, link.KindPropose, registration)
	}
	for {
		batch := r.proposals.next(r.tick)
		if batch == nil || !r.send(r.lead, link.KindPropose, batch) {
			return // not sent: again after the next connection, or in a second
		}
	}
}

// register returns this node's registration as a proposer when it is time to
// send it, once in a while until it is registered.
func (r *Replica) register() []byte {
	if r.registering != 0 && r.tick-r.registering < retryTicks {
		return nil
	}
	batch := r.proposals.registration(r.id)
	if batch != nil {
		r.registering = max(r.tick, 1)
	}
	return batch
}

// batches takes what becomes the next entry: of this node's commands and of those
// of others, so that neither starves. A registration has an entry of its own (S8).
func (r *Replica) batches() [][]byte {
	var taken [][]byte
	size := 0
	take := func(b []byte) {
		taken = append(taken, b)
		size += len(b)
	}
	var own []byte
	alone := len(r.backlog) > 0 && isRegistration(r.backlog[0])
	if !alone {
		own = r.proposals.next(r.tick)
		size = len(own)
	}
	count := commands(own)
	n := 0
	for n < len(r.backlog) && size < maxEntry && (n == 0 || !alone && !isRegistration(r.backlog[n])) {
		take(r.backlog[n])
		r.backlogBytes -= len(r.backlog[n])
		count += commands(r.backlog[n])
		n++
	}
	r.backlog = append(r.backlog[:0], r.backlog[n:]...)
	r.company.next(count)
	r.backlogCommands -= count - commands(own)
	if own != nil {
		take(own) // last: what came over a link was asked for earlier, and locks go by this order
	}
	return taken
}

// isRegistration tells from the first bytes: a proposer registers before it has
// a number.
func isRegistration(batch []byte) bool {
	return len(batch) == 0 || batch[0] != 1<<3
}

// proposeEntry puts batches into the log as one entry, with the time and the ends
// of sessions that only a leader may tell (S7). It reports whether raft took it.
func (r *Replica) proposeEntry(batches [][]byte) bool {
	var now uint64
	if r.settled {
		now = r.agreedNow()
	}
	size := 64
	for _, b := range batches {
		size += len(b) + 8
	}
	data := state.AppendEntryHeader(make([]byte, 0, size), r.term, now, r.leases.proposed)
	for _, b := range batches {
		data = state.AppendBatch(data, b)
	}
	if err := r.node.Propose(data); err != nil {
		// Most likely this leader hands over. Others send theirs to its successor.
		r.log.Debug("raft refused a proposal", "error", err)
		r.proposals.again(r.tick)
		r.refused = true
		return false
	}
	r.leases.proposed = r.leases.proposed[:0]
	r.uncommitted += int64(len(data))
	r.underway++
	r.proposedAt = r.clock()
	return true
}
