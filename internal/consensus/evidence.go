package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/kith-go/kith/internal/link"
)

// A crash is told from silence by what a dying process's kernel does: it closes the
// process's connections, and refuses new ones at the port where it listened. A node
// gives up its session before it closes its port, whether it ends or moves
// ([Replica.Close], [Replica.Relocate]). So whoever was connected to one, in some
// incarnation, and is refused afterwards at the very address where that one answered,
// knows that this incarnation holds nothing any more (S12).
//
// One voter's word is not enough: what it was told may have been told by a firewall on
// its way. The leader ends the sessions of a node only when itself and a majority of the
// voters have seen both, in its term, lately, and none of them has heard of the node
// since. Sessions of remote clients are never ended so: their process is another.
//
// All of this belongs to the loop.

const (
	// probeTimeout bounds one dial of a probe, and how long a silent node occupies it.
	probeTimeout = time.Second
	// fresh is for how many ticks a voter's word counts. While it matters it is given
	// again every retryTicks.
	fresh = 3 * retryTicks
)

// probePauses are waited before the attempts of one probe. There are several because a
// process that dies may close its connections before its listener, in whose backlog the
// first attempts then end.
var probePauses = [...]time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond}

// acquaintance is what a node knows of the connection that it had to another one.
type acquaintance struct {
	// at is the numeric address where the connection ended, incarnation whom it met
	// there. They stay when it is gone.
	at          string
	incarnation uint64
	up          bool
	// lost: the connection has ended, and this incarnation was not heard of since.
	lost bool

	probing, again bool
	probed         uint64 // the tick of the last probe
}

// sighting is what a probe found.
type sighting struct {
	refused     bool
	incarnation uint64 // of whom it met, 0 if nobody
}

// probe asks at the address of a member's last connection whether it is still there.
// While it does so, another call means once more afterwards.
func (r *Replica) probe(id uint64) {
	m := r.members[id]
	if m == nil || m.probing {
		if m != nil {
			m.again = true
		}
		return
	}
	m.probing, m.again, m.probed = true, false, r.tick
	at, of, lost := m.at, m.acquaintance.incarnation, m.lost
	r.wg.Go(func() {
		seen := r.look(m, at)
		r.inbox.do(func() {
			m.probing = false
			switch {
			case seen.incarnation != 0:
				r.alive(id, seen.incarnation)
			case seen.refused:
				r.crashed(id, "it refuses connections")
				if lost && m.lost && m.at == at && m.acquaintance.incarnation == of {
					r.testify(id, of)
				}
			}
			if m.again {
				r.probe(id)
			}
		})
	})
}

// look dials a member at an address, or wherever it is by the list if that is "", until
// it is there, is refused, or says nothing. It runs outside of the loop.
func (r *Replica) look(m *member, at string) sighting {
	for _, pause := range probePauses {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			timer.Stop()
			return sighting{}
		}
		ctx, cancel := context.WithTimeout(r.ctx, probeTimeout)
		_, id, err := r.cfg.Dial(ctx, m.Member, at, link.Probe)
		silent := ctx.Err() != nil
		cancel()
		if err == nil {
			return sighting{incarnation: id.Incarnation}
		}
		if link.Refused(err) {
			return sighting{refused: true}
		}
		if _, answered := errors.AsType[*link.Refusal](err); answered || silent {
			return sighting{}
		}
	}
	return sighting{}
}

// alive notes that a member was heard of. That makes void what was seen of its death: it
// lives, or has been started again and says so itself, by registering. A newer
// incarnation means that the old one is gone.
func (r *Replica) alive(id, incarnation uint64) {
	m := r.members[id]
	m.lost = false
	maps.DeleteFunc(r.crash.evidence, func(t testimony, _ map[uint64]uint64) bool { return t.dead == id })
	before := m.newest
	m.newest = max(before, incarnation)
	if before != 0 && incarnation > before {
		r.crashed(id, "it was started anew")
	}
}

// parted notes that the connection to a member has ended, or the one from it while there
// was none to it.
func (r *Replica) parted(id uint64) {
	if m := r.members[id]; !m.up && m.at != "" {
		m.lost = true
	}
	r.probe(id)
}

// probeLost asks once more about all that seem dead, so that a new leader hears of it,
// and learns of it itself. Of those that have nothing to lose it asks only if all is set.
func (r *Replica) probeLost(all bool) {
	for id, m := range r.members {
		if m.lost && (all || r.tick-m.probed >= retryTicks && r.hasSession(id)) {
			r.probe(id)
		}
	}
}

func (r *Replica) hasSession(id uint64) bool {
	for range r.machine.SessionsOf(id) {
		return true
	}
	return false
}

// testify tells the leader that an incarnation of a member has crashed, as seen from
// here.
func (r *Replica) testify(dead, incarnation uint64) {
	switch {
	case r.cfg.IgnoreRefusals || r.lead == raft.None || r.lead == dead || r.isLearner():
	case r.lead == r.id:
		r.witness(r.id, testimony{dead, incarnation})
	default:
		r.send(r.lead, link.KindCrashed, appendTestimony(nil, testimony{dead, incarnation}))
	}
}

// testimony is the word of a voter that an incarnation of a member has crashed.
type testimony struct{ dead, incarnation uint64 }

func appendTestimony(dst []byte, t testimony) []byte {
	dst = binary.AppendUvarint(dst, t.dead)
	return binary.AppendUvarint(dst, t.incarnation)
}

func decodeTestimony(b []byte) (testimony, error) {
	r := reader{b: b}
	t := testimony{r.uvarint(), r.uvarint()}
	if r.bad || len(r.b) > 0 {
		return testimony{}, errors.New("malformed testimony")
	}
	return t, nil
}

// witness takes a voter's word on the leader.
func (r *Replica) witness(voter uint64, t testimony) {
	if r.cfg.IgnoreRefusals || r.lead != r.id || r.members[t.dead] == nil || voter == t.dead {
		return
	}
	if !slices.Contains(r.store.conf.GetVoters(), voter) {
		return
	}
	if r.crash.evidence == nil {
		r.crash.evidence = make(map[testimony]map[uint64]uint64)
	}
	if r.crash.evidence[t] == nil {
		r.crash.evidence[t] = make(map[uint64]uint64)
	}
	r.crash.evidence[t][voter] = r.tick
	r.judge(t.dead)
}

// judge ends the sessions of a member if the evidence suffices.
//
// A member's sessions are all of the incarnation in which it is registered, and the
// evidence must be about just that one: which of two others was the later one the wall
// clock does not tell. After a move, or when the clock was set back between two starts, a
// member is registered in another incarnation than others meet it in, and its sessions
// run out by their time.
func (r *Replica) judge(dead uint64) {
	if r.lead != r.id || !r.settled {
		return
	}
	by := r.crash.evidence[testimony{dead, r.machine.Incarnation(dead)}]
	voters, agree := r.store.conf.GetVoters(), 0
	for _, voter := range voters {
		if lately(by, voter, r.tick) {
			agree++
		}
	}
	if !lately(by, r.id, r.tick) || agree <= len(voters)/2 {
		return
	}
	r.trackSessions(r.clock())
	ends := false
	for s := range r.machine.SessionsOf(dead) {
		if l := r.leases.byID[s.ID]; l != nil && !l.ending() {
			r.log.Info("a node has crashed: its session ends", "node", r.name(dead), "session", s.ID, "seen_by", agree)
			r.leases.giveUp(l)
			ends = true
		}
	}
	if ends {
		r.proposeEntry(nil)
	}
}

// lately reports whether the voter has given its word a short while before now.
func lately(by map[uint64]uint64, voter, now uint64) bool {
	at, spoke := by[voter]
	return spoke && now-at <= fresh
}

// forgetEvidence drops what is too old to count.
func (r *Replica) forgetEvidence() {
	maps.DeleteFunc(r.crash.evidence, func(_ testimony, by map[uint64]uint64) bool {
		maps.DeleteFunc(by, func(voter, _ uint64) bool { return !lately(by, voter, r.tick) })
		return len(by) == 0
	})
}
