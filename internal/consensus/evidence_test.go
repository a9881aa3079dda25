package consensus

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/state/statepb"
)

// chair is member 1 of three as their leader; the test is the other two. It belongs to a
// bubble.
type chair struct {
	t *testing.T
	*Replica
	term   uint64
	asked  uint64 // rounds of reads before this term
	probes atomic.Int64
	reach  atomic.Pointer[error] // what dialling ends with
}

func preside(t *testing.T) *chair {
	c := &chair{t: t}
	c.answer(errNobody)
	c.Replica = beginWith(t, memdisk.New(), func(ctx context.Context, _ *statepb.Member, _ string, purpose link.Purpose) (net.Conn, link.Identity, error) {
		if purpose == link.Probe {
			c.probes.Add(1)
			return nil, link.Identity{}, *c.reach.Load()
		}
		<-ctx.Done() // the test says what becomes of connections
		return nil, link.Identity{}, ctx.Err()
	})
	c.elect()
	return c
}

func (c *chair) answer(err error) { c.reach.Store(&err) }

var refusal = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

func (c *chair) step(m *pb.Message) { inLoop(c.t, c.Replica, func() { c.Replica.step(m) }) }

// elect makes it the leader of a new term, and has it commit in that.
func (c *chair) elect() {
	inLoop(c.t, c.Replica, func() {
		c.term = c.node.BasicStatus().GetTerm() + 1
		c.asked = c.reads.counter
		c.node.ForgetLeader()
		c.node.Campaign()
	})
	c.step(message(pb.MsgPreVoteResp, 2, c.term))
	c.step(message(pb.MsgVoteResp, 2, c.term))
	c.ack()
	inLoop(c.t, c.Replica, func() {
		if c.lead != c.id || !c.settled {
			c.t.Errorf("leader %d, settled %v", c.lead, c.settled)
		}
	})
}

// depose has member 3 lead the next term.
func (c *chair) depose() {
	c.term++
	c.step(message(pb.MsgHeartbeat, 3, c.term))
}

// ack has member 2 acknowledge all there is, until nothing more comes.
func (c *chair) ack() {
	for range 4 {
		var last uint64
		inLoop(c.t, c.Replica, func() { last = c.store.last() })
		m := message(pb.MsgAppResp, 2, c.term)
		m.Index = &last
		c.step(m)
	}
}

// confirm has member 2 confirm that it leads, to all rounds of reads of this term, and to
// those that follow from that.
func (c *chair) confirm() {
	for range 3 {
		m := message(pb.MsgHeartbeatResp, 2, c.term)
		inLoop(c.t, c.Replica, func() { m.Context = binary.LittleEndian.AppendUint64(nil, c.reads.counter-c.asked) })
		c.step(m)
		time.Sleep(tickEvery * readRetry)
	}
}

// offered proposes a batch of another member, and commits it.
func (c *chair) offered(b *statepb.Batch) {
	data, err := b.MarshalVT()
	if err != nil {
		c.t.Fatal(err)
	}
	c.inbox.put(nil, len(data), func(w *work) { w.batches = append(w.batches, data) })
	inLoop(c.t, c.Replica, func() {})
	c.ack()
}

// session opens one of member 2's, which registers in the given incarnation.
func (c *chair) session(incarnation uint64) (id uint64) {
	c.offered(&statepb.Batch{Registration: &statepb.Registration{Member: 2, Incarnation: incarnation}})
	var proposer uint64
	inLoop(c.t, c.Replica, func() { proposer = c.machine.Index() })
	c.offered(&statepb.Batch{Proposer: proposer, Commands: []*statepb.Command{{Op: &statepb.Command_OpenSession{
		OpenSession: &statepb.OpenSession{Member: 2, TtlMs: 60_000},
	}}}})
	inLoop(c.t, c.Replica, func() {
		for s := range c.machine.SessionsOf(2) {
			id = s.ID
		}
	})
	if id == 0 {
		c.t.Fatal("no session")
	}
	return id
}

// meet has a connection to member 2, of some incarnation, come up.
func (c *chair) meet(incarnation uint64) {
	inLoop(c.t, c.Replica, func() { c.up(2, "10.0.0.2:7000", incarnation) })
}

// part has it end in a crash.
func (c *chair) part() {
	c.answer(refusal)
	inLoop(c.t, c.Replica, func() { c.down(2, io.EOF) })
	synctest.Wait()
}

func (c *chair) lose(incarnation uint64) {
	c.meet(incarnation)
	c.part()
}

// reign lets time pass in which member 2's messages keep it in office.
func (c *chair) reign(d time.Duration) {
	for range d / (electionTicks / 2 * tickEvery) {
		time.Sleep(electionTicks / 2 * tickEvery)
		c.step(message(pb.MsgHeartbeatResp, 2, c.term))
	}
}

func (c *chair) told(voter, incarnation uint64) {
	inLoop(c.t, c.Replica, func() { c.witness(voter, testimony{2, incarnation}) })
}

// A session of a node ends by the crash path when the leader and a majority agree on the
// incarnation whose it is, in this term, lately, and not otherwise (S12).
func TestEvidence(t *testing.T) {
	const of = 7
	for name, tc := range map[string]struct {
		story func(c *chair)
		ends  bool
	}{
		"both":                      {func(c *chair) { c.lose(of); c.told(3, of) }, true},
		"the other way round":       {func(c *chair) { c.meet(of); c.told(3, of); c.part() }, true},
		"one that did not register": {func(c *chair) { c.lose(of + 1); c.told(3, of+1) }, false},
		"the leader alone":          {func(c *chair) { c.lose(of) }, false},
		"all but the leader":        {func(c *chair) { c.told(3, of); c.told(2, of) }, false},
		"the dead one's word":       {func(c *chair) { c.lose(of); c.told(2, of) }, false},
		"a stranger's word":         {func(c *chair) { c.lose(of); c.told(9, of) }, false},
		"a former incarnation":      {func(c *chair) { c.lose(of - 1); c.told(3, of-1) }, false},
		"of two incarnations":       {func(c *chair) { c.lose(of); c.told(3, of-1) }, false},
		"a later one instead":       {func(c *chair) { c.lose(of); c.told(3, of+1) }, false},
		"long ago":                  {func(c *chair) { c.meet(of); c.told(3, of); c.reign((fresh + 20) * tickEvery); c.part() }, false},
		"heard of since": {func(c *chair) {
			c.meet(of)
			c.told(3, of)
			inLoop(c.t, c.Replica, func() { c.alive(2, of) })
			c.part()
		}, false},
		"heard of since, in another incarnation": {func(c *chair) {
			c.meet(of)
			c.told(3, of)
			inLoop(c.t, c.Replica, func() { c.alive(2, of-1) })
			c.part()
		}, false},
		"in another term": {func(c *chair) { c.meet(of); c.told(3, of); c.depose(); c.elect(); c.part() }, false},
		"asked again in this term": {func(c *chair) {
			c.lose(of)
			c.depose()
			c.elect()
			synctest.Wait()
			c.told(3, of)
		}, true},
		"silent": {func(c *chair) {
			c.lose(of)
			inLoop(c.t, c.Replica, func() { c.crash.evidence = nil })
			c.answer(context.DeadlineExceeded)
			c.told(3, of)
			c.reign(10 * time.Second)
		}, false},
		"no connection was lost": {func(c *chair) {
			c.answer(refusal)
			inLoop(c.t, c.Replica, func() { c.up(2, "10.0.0.2:7000", of); c.parted(2) })
			c.told(3, of)
		}, false},
		"never connected": {func(c *chair) {
			c.answer(refusal)
			inLoop(c.t, c.Replica, func() { c.down(2, refusal); c.probe(2) })
			c.told(3, of)
		}, false},
		"ignored": {func(c *chair) {
			inLoop(c.t, c.Replica, func() { c.cfg.IgnoreRefusals = true })
			c.lose(of)
			c.told(3, of)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c := preside(t)
				id := c.session(of)
				tc.story(c)
				synctest.Wait()
				c.ack()
				if there := has(c.Replica, id); there == tc.ends {
					t.Errorf("the session is there: %v", there)
				}
			})
		})
	}
}

// While a dead node's session is there its death is looked into each second, and no
// longer; in between nothing is dialled.
func TestProbesEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := preside(t)
		id := c.session(7)
		c.lose(7)
		before := c.probes.Load()
		c.reign(10 * time.Second)
		if n := c.probes.Load() - before; n < 8 || n > 11 {
			t.Errorf("%d probes in ten seconds", n)
		}
		c.told(3, 7)
		c.ack()
		if has(c.Replica, id) {
			t.Fatal("the session goes on")
		}
		c.reign(time.Second)
		before = c.probes.Load()
		c.reign(time.Minute)
		if n := c.probes.Load() - before; n != 0 {
			t.Errorf("%d probes of a node that has nothing to lose", n)
		}
	})
}

// A leader that was deposed before a majority confirmed it acknowledges nothing, not
// even when it leads again (S11). Nor does one that is about to end the session.
func TestRenewalsInFlight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := preside(t)
		id := c.session(7)
		deadline := func() (at time.Duration) {
			t.Helper()
			inLoop(t, c.Replica, func() {
				if l := c.leases.byID[id]; l != nil {
					at = l.deadline
				}
			})
			if at == 0 {
				t.Fatalf("no lease; leader %d, settled %v", c.lead, c.settled)
			}
			return at
		}
		renew := func() {
			inLoop(t, c.Replica, func() { c.renew([]renewal{{from: 2, session: id, nonce: 1, received: c.clock()}}) })
		}
		time.Sleep(2 * tickEvery) // new sessions are noted once in a tick
		first := deadline()
		time.Sleep(time.Second / 4)
		renew()
		if deadline() != first {
			t.Error("acknowledged without a majority")
		}
		c.depose()
		c.elect()
		again := deadline()
		if again <= first {
			t.Errorf("a new leader gives it until %v, before it was %v", again, first)
		}
		c.confirm()
		if deadline() != again {
			t.Error("acknowledged in another term")
		}
		renew()
		c.confirm()
		renewed := deadline()
		if renewed <= again {
			t.Error("not acknowledged although it leads")
		}
		renew()
		inLoop(t, c.Replica, func() { c.leases.giveUp(c.leases.byID[id]) })
		c.confirm()
		if deadline() != renewed {
			t.Error("acknowledged although its end is under way")
		}
	})
}

// Releasing in the moment of expiry is one end, whoever comes first, and no error.
func TestReleaseRacesExpiry(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := single(t)
		const ttl = time.Second
		for early := -3 * tickEvery; early <= 3*tickEvery; early += tickEvery / 5 {
			s, err := r.ClientSession(t.Context(), "client", ttl)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(longest(ttl) - early)
			if err := s.End(t.Context()); err != nil {
				t.Errorf("released %v before its time was up: %v", early, err)
			}
			if has(r, s.ID) || s.Context().Err() == nil {
				t.Errorf("released %v before its time was up, and there", early)
			}
		}
	})
}

// Who moves has no session until it is registered anew, loses no call, and what it opens
// then is another's in the eyes of those who saw the old place.
func TestRelocate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := single(t)
		first, err := r.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		incarnation := func() (n uint64) {
			inLoop(t, r, func() { n = r.machine.Incarnation(1) })
			return n
		}
		before := incarnation()
		done := make(chan error, 100)
		for range cap(done) {
			go func() {
				_, err := r.Propose(t.Context(), &statepb.Command{Op: &statepb.Command_Fire{Fire: &statepb.Fire{Name: "e"}}})
				done <- err
			}()
		}
		opening := make(chan *Session)
		go func() {
			s, err := r.Session(t.Context())
			if err != nil {
				t.Error(err)
			}
			opening <- s
		}()
		r.Relocate()
		if first.Context().Err() == nil {
			t.Error("the session is relied upon after Relocate")
		}
		second, err := r.Session(t.Context())
		if err != nil || second.ID == first.ID || has(r, first.ID) {
			t.Errorf("after it: %v, %v", second, err)
		}
		if after := incarnation(); after <= before {
			t.Errorf("registered as %d, before as %d", after, before)
		}
		if s := <-opening; s != first && s.ID < second.ID && s.Context().Err() == nil {
			t.Errorf("a session that was being opened lives on: %d", s.ID)
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// Whoever sees that the node has moved sees its registration retire: a session that is
// opened afterwards is not one of those that end with it.
func TestRelocateIsOneStep(t *testing.T) {
	r := &Replica{inbox: newInbox()}
	r.proposals.mu.Lock()
	done := make(chan struct{})
	go func() {
		r.Relocate()
		close(done)
	}()
	for blocked := 0; blocked < 100; runtime.Gosched() {
		if !r.sessions.mu.TryLock() {
			blocked++
			continue
		}
		blocked = 0
		moves := r.sessions.moves
		r.sessions.mu.Unlock()
		if moves > 0 {
			t.Error("the move is seen before the registration retires")
			break
		}
	}
	r.proposals.mu.Unlock()
	<-done
	if !r.proposals.retiring || r.sessions.moved() != 1 {
		t.Error("nothing has moved")
	}
}

// The registration gives way when what was sent under it is answered, and what was not
// sent waits for the next one.
func TestRetire(t *testing.T) {
	p := registered()
	one, _ := p.add(encoded(t, "sent"))
	p.next(1)
	two, _ := p.add(encoded(t, "waits"))
	p.retire()
	if p.ready() > 0 || p.next(1) != nil || p.registration(1) != nil {
		t.Error("something goes out while an answer is due")
	}
	p.again(1)
	if b := decoded(t, p.next(2)); b.GetProposer() != 42 || len(b.GetCommands()) != 1 || b.GetCommands()[0].GetSeq() != one.seq {
		t.Errorf("sent again: %v", b)
	}
	p.answer(answers(p, one.seq))
	if r := decoded(t, p.registration(1)).GetRegistration(); r.GetIncarnation() != 8 || p.proposer != 0 {
		t.Errorf("registers as %v", r)
	}
	p.registered(&statepb.Registration{Member: 1, Incarnation: 8}, &statepb.Result{Revision: 50})
	if b := decoded(t, p.next(3)); b.GetProposer() != 50 || b.GetCommands()[0].GetSeq() != two.seq {
		t.Errorf("%v", b)
	}
	if p.registration(1) != nil {
		t.Error("retires twice")
	}
}

func FuzzDecodeTestimony(f *testing.F) {
	f.Add(appendTestimony(nil, testimony{2, 1 << 60}))
	f.Fuzz(func(t *testing.T, b []byte) {
		one, err := decodeTestimony(b)
		if err != nil {
			return
		}
		if again, err := decodeTestimony(appendTestimony(nil, one)); err != nil || again != one {
			t.Fatal(one, again, err)
		}
	})
}
