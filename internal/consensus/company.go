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
// So a leader bets that as many commands come as were in one of the last entries, within the
// time that such an entry took: that far away are they who hear of it and answer. When it
// loses, because they do not come in time, it goes on betting if it had won lately, about as
// often at least as it lost; else it stops for a while, and for longer each time: those who
// come on their own do not wait for others.
//
// It belongs to who has the floor.
type company struct {
	sizes   [3]int           // commands in the last entries
	times   [3]time.Duration // how long the last entries took, each of which was the last under way
	entries int              // made by this leader
	applied time.Duration    // when nothing was under way any more
	bet     bool             // the next entry is being waited for
	trust   int              // grows with each bet won, halves with each one lost
	pause   int              // entries that were not bet on after the last lost bet, 0 after one won
	sober   int              // entries to come that are not bet on
}

const (
	// gather is the longest that a leader waits for others where entries take less: about
	// what it takes for an answer to reach a node nearby, and the node's next command to come
	// back. gatherFar is the longest where they take more.
	gather    = 200 * time.Microsecond
	gatherFar = hold / 2
	// few is the most commands that are waited for. Where there are more, some are under
	// way while others prepare, which is better than all at once.
	few = 8
	// most is how far trust goes: after so many bets won a few may be lost in a row.
	most = 16
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
	left := max(0, c.patience()-(now-c.applied))
	c.bet = c.bet || left > 0
	return left
}

// patience is for how long others are waited for.
func (c *company) patience() time.Duration {
	return min(max(gather, slices.Min(c.times[:])), gatherFar)
}

// finished notes that the last entry was proposed and applied at these times, and that
// nothing is under way now.
func (c *company) finished(proposed, applied time.Duration) {
	c.applied = applied
	c.times[c.entries%len(c.times)] = applied - proposed
}

// next notes that one more entry is made, of so many commands.
func (c *company) next(commands int) {
	switch {
	case c.bet && commands >= slices.Max(c.sizes[:]):
		c.pause = 0
		c.trust = min(c.trust+1, most)
	case c.bet && c.trust > 0:
		c.trust /= 2
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
