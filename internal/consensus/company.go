package consensus

import "time"

// company is whether others than the leader have something in its entries. Callers on the
// leader have their answers before those on other nodes have theirs, so they are the first
// to come back with more. If that were taken at once it would be alone in an entry of its
// own, the others would wait for that entry and then be alone in the next one: twice as
// many entries as needed, and who contends for a lock from farther away would fall
// behind. So the leader waits a little for others, if they were there lately.
//
// It belongs to the loop.
type company struct {
	entries uint64        // that this leader has proposed
	others  uint64        // the newest of them with something of others, 0 if there is none
	applied time.Duration // when nothing was under way any more
}

const (
	// gather is the longest that a leader waits for others: about what it takes for an
	// answer to reach a node nearby, and the node's next command to come back.
	gather = 200 * time.Microsecond
	// recent is in how many of the last entries others must have been to be waited for.
	recent = 3
)

// next notes that one more entry is made, with so many batches of others.
func (c *company) next(batches int) {
	c.entries++
	if batches > 0 {
		c.others = c.entries
	}
}

// wait returns how much longer a leader with nothing under way waits for others before it
// proposes what it has itself; 0 if it does not.
func (c *company) wait(now time.Duration) time.Duration {
	if c.others == 0 || c.entries-c.others >= recent {
		return 0
	}
	return max(0, gather-(now-c.applied))
}

// gathering is wait, for as long as nothing of others is there.
func (r *Replica) gathering() time.Duration {
	if len(r.backlog) > 0 {
		return 0
	}
	return r.company.wait(r.clock())
}
