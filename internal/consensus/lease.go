package consensus

import (
	"maps"
	"slices"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/planted"
)

// rho is how wrong the rate of a clock may be (S11).
const rho = 0.01

// leases is what a leader knows about the sessions' time (S11). It belongs to the
// loop, is empty on followers, and nothing of it is in the log: a new leader
// gives everybody their full time.
type leases struct {
	// deadlines are by this leader's clock, never sooner than TTL(1+ρ) after
	// it received the newest renewal that it acknowledged.
	deadlines map[uint64]time.Duration
	// ending are the sessions whose end was proposed. None of their renewals
	// is acknowledged any more.
	ending map[uint64]bool
	// proposed are those of ending that are not yet in an entry of this term.
	proposed []uint64
	// base is agreed time, in milliseconds, at the clock's reading at.
	base uint64
	at   time.Duration
}

// renewal is a request to keep a session, as it arrived.
type renewal struct {
	from, session, nonce uint64
	received             time.Duration
}

// settle is called when the first entry of this leader's term was applied: now it
// knows all that was committed before.
func (r *Replica) settle() {
	r.settled = true
	now := r.clock()
	r.leases = leases{
		deadlines: make(map[uint64]time.Duration),
		ending:    make(map[uint64]bool),
		base:      r.machine.Time(),
		at:        now,
	}
	r.trackSessions(now)
}

// trackSessions gives sessions that are new here their first deadline, and forgets
// those that have ended.
func (r *Replica) trackSessions(now time.Duration) {
	for s := range r.machine.Sessions() {
		if _, known := r.leases.deadlines[s.ID]; !known {
			r.leases.deadlines[s.ID] = now + longest(time.Duration(s.TTL)*time.Millisecond)
		}
	}
	gone := func(id uint64) bool {
		_, there := r.machine.Session(id)
		return !there
	}
	maps.DeleteFunc(r.leases.deadlines, func(id uint64, _ time.Duration) bool { return gone(id) })
	maps.DeleteFunc(r.leases.ending, func(id uint64, _ bool) bool { return gone(id) })
}

func longest(ttl time.Duration) time.Duration  { return ttl + time.Duration(float64(ttl)*rho) }
func shortest(ttl time.Duration) time.Duration { return ttl - time.Duration(float64(ttl)*rho) }

// agreedNow is the agreed time that this leader would propose (S17).
func (r *Replica) agreedNow() uint64 {
	return r.leases.base + uint64((r.clock()-r.leases.at)/time.Millisecond)
}

// expire proposes the end of sessions whose time is up, and moves agreed time when
// a key is due. It runs once per tick.
func (r *Replica) expire() {
	if r.lead != r.id || !r.settled {
		return
	}
	now := r.clock()
	r.trackSessions(now)
	for _, id := range slices.Sorted(maps.Keys(r.leases.deadlines)) {
		if now > r.leases.deadlines[id] && !r.leases.ending[id] {
			r.log.Info("a session's time is up", "session", id)
			r.leases.ending[id] = true
			r.leases.proposed = append(r.leases.proposed, id)
		}
	}
	due, any := r.machine.NextExpiry()
	if len(r.leases.proposed) > 0 || any && due <= r.agreedNow() {
		r.proposeEntry(nil)
	}
}

// renew answers requests to keep sessions, all of one turn with one read round:
// only who still leads may promise anything (S11).
func (r *Replica) renew(renewals []renewal) {
	if len(renewals) == 0 || r.lead != r.id || !r.settled {
		return // they ask again
	}
	asked := slices.Clone(renewals)
	if planted.Bug(planted.RenewAlone) {
		r.promise(asked)
		return
	}
	term := r.term
	r.reads.add(&read{then: func(index uint64) {
		if index > 0 && r.lead == r.id && r.term == term {
			r.promise(asked)
		}
	}})
}

func (r *Replica) promise(renewals []renewal) {
	for _, n := range renewals {
		s, there := r.machine.Session(n.session)
		if !there || r.leases.ending[n.session] {
			continue // its holder finds out by applying the end, or by silence
		}
		r.leases.deadlines[n.session] = max(r.leases.deadlines[n.session], n.received+longest(time.Duration(s.TTL)*time.Millisecond))
		if n.from == r.id {
			r.sessions.renewed(n.session, n.nonce)
			continue
		}
		r.send(n.from, link.KindRenewed, appendRenewal(nil, n.session, n.nonce))
	}
}
