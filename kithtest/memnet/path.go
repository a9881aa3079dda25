package memnet

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Conditions say what one direction of a path does to what travels along it. The zero value is a
// perfect path: nothing is lost and everything arrives at once. Values out of range are brought
// into it.
type Conditions struct {
	// Loss is the probability, 0 to 1, that a packet is lost. A stream's segment that is lost is
	// sent again and so only late, except that a Loss of 1 holds streams as a cut does.
	Loss float64

	// Delay is how long everything takes; Jitter the most that a random extra, chosen uniformly for
	// each packet, adds to it. So packets may overtake one another; a stream's segments do not.
	Delay, Jitter time.Duration

	// Duplicate is the probability, 0 to 1, that a packet which is not lost arrives twice, each copy
	// with its own jitter. Streams do not notice duplicates.
	Duplicate float64
}

func (c Conditions) clamped() Conditions {
	return Conditions{
		Loss:      min(max(c.Loss, 0), 1),
		Delay:     max(c.Delay, 0),
		Jitter:    max(c.Jitter, 0),
		Duplicate: min(max(c.Duplicate, 0), 1),
	}
}

// retransmission is how long the first repetition of a lost segment takes.
func (c *Conditions) retransmission() time.Duration {
	return max(10*time.Millisecond, 2*(c.Delay+c.Jitter))
}

const (
	maxRetransmission = 10 * time.Second
	maxRepetitions    = 100 // so that a Loss of nearly 1 does not roll dice for ever
)

// pair names a directed path.
type pair struct{ from, to netip.Addr }

// path is one direction between two hosts, as it now is.
type path struct {
	pair
	src  *Host
	dst  *Host // nil while there is none with that address
	self bool  // from a host to itself: always perfect

	conditions Conditions
	cut        bool
	dice       dice   // for packets
	dials      uint64 // streams dialled along it
}

// blocked reports whether nothing gets through at all.
func (p *path) blocked() bool { return p.cut || p.conditions.Loss >= 1 }

// cuts is what the test has cut. A path is cut by a call for just this path, by the isolation of an
// end, or by a partition; of contradicting calls the latest counts, hence healed.
type cuts struct {
	paths    map[pair]bool // true: cut, false: healed after a wider cut
	isolated map[netip.Addr]bool
	groups   map[netip.Addr][]int
}

func newCuts() cuts {
	return cuts{paths: make(map[pair]bool), isolated: make(map[netip.Addr]bool)}
}

func (c *cuts) severed(p pair) bool {
	if cut, ok := c.paths[p]; ok {
		return cut
	}
	return c.isolated[p.from] || c.isolated[p.to] || c.apart(p.from, p.to)
}

// apart reports whether the partition has both hosts in groups, and never in the same one.
func (c *cuts) apart(a, b netip.Addr) bool {
	in, other := c.groups[a], c.groups[b]
	if len(in) == 0 || len(other) == 0 {
		return false
	}
	return !slices.ContainsFunc(in, func(g int) bool { return slices.Contains(other, g) })
}

// forgetHealed lets a wider cut prevail over earlier calls of HealPath for the paths chosen.
func (c *cuts) forgetHealed(chosen func(pair) bool) {
	for p, cut := range c.paths {
		if !cut && chosen(p) {
			delete(c.paths, p)
		}
	}
}

// dice is a source of random decisions.
type dice struct{ pcg rand.PCG }

func newDice(seed uint64, p pair, which ...uint64) dice {
	for _, addr := range []netip.Addr{p.from, p.to} {
		b := addr.As16()
		seed = mix(seed, binary.BigEndian.Uint64(b[:8]))
		seed = mix(seed, binary.BigEndian.Uint64(b[8:]))
	}
	for _, w := range which {
		seed = mix(seed, w)
	}
	return dice{pcg: *rand.NewPCG(seed, mix(seed, 0))}
}

// mix folds v into a hash (the finalizer of splitmix64). What it returns decides what every seed
// means, so it must not change.
func mix(hash, v uint64) uint64 {
	hash += v + 0x9e3779b97f4a7c15
	hash = (hash ^ hash>>30) * 0xbf58476d1ce4e5b9
	hash = (hash ^ hash>>27) * 0x94d049bb133111eb
	return hash ^ hash>>31
}

// roll returns a number in [0, 1).
func (d *dice) roll() float64 { return float64(d.pcg.Uint64()>>11) / (1 << 53) }

func spread(d time.Duration, roll float64) time.Duration {
	return time.Duration(float64(d) * roll)
}
