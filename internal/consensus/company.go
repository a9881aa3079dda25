package consensus

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// company tells a leader whether to wait a moment for more before it makes an entry. Those
// whose commands an entry answers tend to come back with more, all at about the same time,
// those on the leader first. If the first of them were alone in the next entry, the others
// would wait for that one and then share another: twice as many entries as needed, and who
// contends for a lock from farther away would fall behind.
//
// So a leader bets that as many commands come as were in one of the last entries. When it
// loses, because they do not come in time, it stops betting for a while, and for longer each
// time: those who come on their own do not wait for others.
//
// It belongs to who has the floor.
type company struct {
	sizes   [3]int        // commands in the last entries
	entries int           // made by this leader
	applied time.Duration // when nothing was under way any more
	bet     bool          // the next entry is being waited for
	pause   int           // entries that were not bet on after the last lost bet, 0 after one won
	sober   int           // entries to come that are not bet on
}

const (
	// gather is the longest that a leader waits for others: about what it takes for an
	// answer to reach a node nearby, and the node's next command to come back.
	gather = 200 * time.Microsecond
	// few is the most commands that are waited for. Where there are more, some are under
	// way while others prepare, which is better than all at once.
	few = 8
	// soberest is for how many entries at most there is no bet after a lost one: twice as
	// many each time, from 8 on.
	soberest = 8 << 5
)

// wait returns how much longer a leader with nothing under way, and so many commands to
// propose, waits for others; 0 if it does not.
func (c *company) wait(now time.Duration, commands int) time.Duration {
	expected := slices.Max(c.sizes[:])
	if c.sober > 0 || commands == 0 || commands >= expected || expected > few {
		return 0
	}
	left := max(0, gather-(now-c.applied))
	c.bet = c.bet || left > 0
	return left
}

// next notes that one more entry is made, of so many commands.
func (c *company) next(commands int) {
	switch {
	case c.bet && commands >= slices.Max(c.sizes[:]):
		c.pause = 0
	case c.bet:
		c.sober = min(max(2*c.pause, 8), soberest)
		c.pause = c.sober
	case c.sober > 0:
		c.sober--
	}
	c.bet = false
	c.sizes[c.entries%len(c.sizes)] = commands
	c.entries++
}

// gathering is wait, with what there is to propose.
func (r *Replica) gathering() time.Duration {
	return r.company.wait(r.clock(), r.backlogCommands+r.proposals.ready())
}

// commands returns how many there are in an encoded batch that was found in order.
func commands(batch []byte) (n int) {
	for len(batch) > 0 {
		field, _, size := protowire.ConsumeField(batch)
		if size < 0 {
			return n
		}
		if field == 3 {
			n++
		}
		batch = batch[size:]
	}
	return n
}
