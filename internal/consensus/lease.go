package consensus

import (
	"container/heap"
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
	byID map[uint64]*lease
	// due has those that are not ending, the one to look at first at its head.
	due agenda
	// seen is the newest session that has a lease.
	seen uint64
	// proposed are the sessions whose end is not yet in an entry of this term.
	proposed []uint64
	// base is agreed time, in milliseconds, at the clock's reading at.
	base uint64
	at   time.Duration
}

// lease is what a leader knows of one session's time.
type lease struct {
	session uint64
	ttl     time.Duration
	// deadline is by this leader's clock, never sooner than TTL(1+ρ) after it received
	// the newest renewal that it acknowledged.
	deadline time.Duration
	// lookAt is when to look at the deadline, which has moved on since if the session
	// was renewed. So a renewal costs nothing here: only who is not renewed, or once in
	// each TTL, is moved in the agenda.
	lookAt time.Duration
	index  int // in the agenda, -1 if it is not there
}

// ending reports whether the session's end was proposed. None of its renewals is
// acknowledged any more.
func (l *lease) ending() bool { return l.index < 0 }

// agenda is a heap of leases by lookAt.
type agenda []*lease

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].lookAt < a[j].lookAt }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

// Push is called by package heap alone, as Pop is.
func (a *agenda) Push(x any) {
	l := x.(*lease)
	l.index = len(*a)
	*a = append(*a, l)
}

// Pop is called by package heap alone.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	l := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	l.index = -1
	return l
}

// add gives a session its first deadline.
func (ls *leases) add(session uint64, ttl, deadline time.Duration) {
	l := &lease{session: session, ttl: ttl, deadline: deadline, lookAt: deadline}
	ls.byID[session] = l
	ls.seen = max(ls.seen, session)
	heap.Push(&ls.due, l)
}

// end takes note of sessions that have ended.
func (ls *leases) end(ended []uint64) {
	for _, id := range ended {
		if l := ls.byID[id]; l != nil {
			if l.index >= 0 {
				heap.Remove(&ls.due, l.index)
			}
			delete(ls.byID, id)
		}
	}
}

// giveUp has the next entry of this term end the session, unless that is under way.
func (ls *leases) giveUp(l *lease) {
	if !l.ending() {
		heap.Remove(&ls.due, l.index)
		ls.proposed = append(ls.proposed, l.session)
	}
}

// overdue takes the next lease whose deadline has passed, nil if there is none.
func (ls *leases) overdue(now time.Duration) *lease {
	for len(ls.due) > 0 && now > ls.due[0].lookAt {
		l := ls.due[0]
		if now > l.deadline {
			return l
		}
		l.lookAt = l.deadline
		heap.Fix(&ls.due, 0)
	}
	return nil
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
	r.leases = leases{byID: make(map[uint64]*lease), base: r.machine.Time(), at: now}
	r.trackSessions(now)
	r.inbox.do(func() { // what was told meanwhile
		for t := range r.crash.evidence {
			r.judge(t.dead)
		}
	})
}

// trackSessions gives sessions that are new here their first deadline.
func (r *Replica) trackSessions(now time.Duration) {
	for s := range r.machine.SessionsAfter(r.leases.seen) {
		ttl := time.Duration(s.TTL) * time.Millisecond
		r.leases.add(s.ID, ttl, now+r.patience(ttl))
	}
}

// patience is how long a leader waits for the holder of a silent session.
func (r *Replica) patience(ttl time.Duration) time.Duration {
	if planted.Bug(planted.GrantEarly) {
		return max(0, ttl-2*(longest(ttl)-ttl)-r.cfg.SessionGrace) // before the holder lets go
	}
	return longest(ttl)
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
	for l := r.leases.overdue(now); l != nil; l = r.leases.overdue(now) {
		r.log.Info("a session's time is up", "session", l.session)
		r.leases.giveUp(l)
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

// promise acknowledges renewals: their sessions stay for their TTL from now on.
func (r *Replica) promise(renewals []renewal) {
	r.trackSessions(r.clock())
	answers := make(map[uint64][]renewal)
	for _, n := range renewals {
		l := r.leases.byID[n.session]
		if l == nil || l.ending() {
			continue // its holder finds out by applying the end, or by silence
		}
		l.deadline = max(l.deadline, n.received+r.patience(l.ttl))
		answers[n.from] = append(answers[n.from], n)
	}
	for to, all := range answers {
		for some := range slices.Chunk(all, maxRenewals) {
			if to != r.id {
				r.send(to, link.KindRenewed, appendRenewals(nil, some))
				continue
			}
			for _, n := range some {
				r.asks.answer(n.session, n.nonce)
			}
		}
	}
}
