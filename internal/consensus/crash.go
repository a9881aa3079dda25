package consensus

import (
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// crash is what follows when the leader's process has died, which is seen at once
// where it is: its kernel closes its connections and refuses new ones (S15).
// Silence is something else and waits for the election timeout.
//
// It belongs to the loop.
type crash struct {
	campaign *time.Timer // nil unless this node is about to campaign
	attempts int
	// evidence is what this node was told as a leader, in this term (S12): by whom, and at
	// which tick the last time.
	evidence map[testimony]map[uint64]uint64
}

const (
	// stagger is the head start of each voter before the next by rank: voters that
	// campaign at the same moment split the vote.
	stagger = 15 * time.Millisecond
	// maxCampaigns bounds the early attempts; afterwards it is raft's own timeout.
	maxCampaigns = 25
)

// over ends the search for a successor.
func (c *crash) over() {
	if c.campaign != nil {
		c.campaign.Stop()
		c.campaign = nil
	}
	c.attempts = 0
}

// crashed is told that the process of a member has died. If that was the leader,
// this node forgets it, so that it grants its vote at once, and voters campaign
// in the order of their rank.
func (r *Replica) crashed(id uint64, why string) {
	if id != r.lead || id == r.id {
		return
	}
	r.log.Info("the leader has crashed", "leader", r.name(id), "because", why)
	if err := r.node.ForgetLeader(); err != nil {
		r.log.Debug("raft does not forget the leader", "error", err)
	}
	r.crash.over()
	rank := r.rank(id)
	if rank < 0 {
		return // a learner
	}
	r.campaignAfter(time.Duration(rank) * stagger)
}

// rank is this voter's place among those that are left, -1 for a learner.
func (r *Replica) rank(dead uint64) int {
	voters := slices.Sorted(slices.Values(r.store.conf.GetVoters()))
	voters = slices.DeleteFunc(voters, func(id uint64) bool { return id == dead })
	return slices.Index(voters, r.id)
}

func (r *Replica) campaignAfter(d time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		r.inbox.do(func() {
			if r.crash.campaign == timer {
				r.campaign()
			}
		})
	})
	r.crash.campaign = timer
}

// campaign asks for votes, and again with jitter until there is a leader: those
// that have not noticed the crash yet ignore the first attempt silently.
func (r *Replica) campaign() {
	if r.lead != raft.None && r.crash.attempts > 0 || r.crash.attempts >= maxCampaigns {
		r.crash.over()
		return
	}
	r.crash.attempts++
	if err := r.node.Campaign(); err != nil {
		r.log.Debug("raft does not campaign", "error", err)
	}
	r.campaignAfter(stagger + rand.N(3*stagger))
}
