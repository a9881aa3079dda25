package consensus

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/planted"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/wal"
)

// retryTicks is after how many ticks a command without an answer is sent again.
const retryTicks = 20

// scratch is memory that the loop uses again in each turn.
type scratch struct {
	work    work
	frames  map[uint64][]byte
	entries []wal.Entry
	answers []state.Answer
	changes []state.Change
	ended   []uint64
}

// loop takes a turn whenever there is something to do. Each takes everything that has come
// in since the last one, so that what arrives while the disk works shares the next write.
func (r *Replica) loop() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	defer r.alarm.Stop()
	defer r.stop()
	for {
		tick := false
		select {
		case <-r.ctx.Done():
		case <-ticker.C:
			tick = true
		case <-r.alarm.C:
		case <-r.inbox.bell:
		}
		runtime.Gosched() // callers that were just answered come back with more
		r.floor <- struct{}{}
		if r.ctx.Err() != nil {
			return // with the floor: nobody takes it any more
		}
		r.takeTurn(tick)
		<-r.floor
	}
}

// attend is called by who has left work in the inbox without waking the loop, and has nothing
// else to do: it takes the turn itself, which is quicker than to wake the loop for it. If
// somebody takes a turn already, the loop will look after it.
func (r *Replica) attend() {
	select {
	case r.floor <- struct{}{}:
	default:
		r.inbox.wake()
		return
	}
	if r.ctx.Err() == nil {
		r.takeTurn(false)
	}
	<-r.floor
}

// takeTurn is called by who has the floor.
func (r *Replica) takeTurn(tick bool) {
	defer func() {
		if p := recover(); p != nil { // raft's most likely, on a state that cannot be
			r.fail(fmt.Errorf("panic: %v", p))
		}
	}()
	if tick {
		r.onTick()
	}
	if r.ctx.Err() == nil { // the tick may have found that the disk fails
		r.turn()
	}
}

// stop ends everybody who waits.
func (r *Replica) stop() {
	cause := context.Cause(r.ctx)
	if cause == outcome.ErrClosed {
		r.writeState() // or it is learnt again, as after a crash
	}
	r.proposals.close(cause)
	r.reads.close(cause)
	r.publish()
}

func (r *Replica) onTick() {
	r.tick++
	r.refused = false
	r.node.Tick()
	if at, any := r.proposals.oldest(); any && r.tick-at >= retryTicks {
		r.proposals.again(r.tick - retryTicks)
	}
	if r.tick%renewRetryTicks == 0 {
		r.asks.again()
	}
	if r.lead != raft.None {
		r.probeLost(false)
	}
	r.forgetEvidence()
	r.expire()
	r.writeState()
	r.publish()
}

func (r *Replica) turn() {
	w := r.inbox.take(r.scratch.work)
	r.scratch.work = w
	for _, event := range w.events {
		event()
	}
	for _, m := range w.messages {
		r.step(m)
	}
	r.renew(w.renewals)
	r.sendRenewals()
	r.offer(w.batches)
	for r.startReads(); r.ctx.Err() == nil && r.node.HasReady(); r.startReads() {
		if err := r.handle(r.node.Ready()); err != nil {
			r.fail(err)
			return
		}
	}
	r.snapshots.received = nil // raft has taken it, or did not want it
	r.release()
	r.lookAgain()
}

func (r *Replica) step(m *pb.Message) {
	r.members[m.GetFrom()].heard = r.tick
	if m.GetType() == pb.MsgHeartbeat && m.GetTerm() >= r.term && m.GetCommit() > r.store.last() {
		// A leader lets others commit only what they have acknowledged.
		r.fail(fmt.Errorf("%s says that this node has acknowledged entries up to %d, and its log ends at %d", r.name(m.GetFrom()), m.GetCommit(), r.store.last()))
		return
	}
	if !r.mayStep(m) {
		return
	}
	if m.GetType() == pb.MsgSnap && !r.snapshots.has(m) {
		return
	}
	if m.GetFrom() == r.lead && m.GetTerm() == r.term {
		r.echoes.hear(m, r.store.hard.GetCommit())
	}
	if err := r.node.Step(m); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
		r.log.Debug("raft refused a message", "type", m.GetType(), "from", m.GetFrom(), "error", err)
	}
}

// handle does what raft asks for, in the order that keeps promises: the disk
// before the acknowledgements, the log before the machine.
func (r *Replica) handle(rd raft.Ready) error {
	r.follow(rd)
	early := 0
	if r.lead == r.id {
		early = r.sendEarly(rd.Messages)
	}
	if err := r.persist(rd); err != nil {
		return err
	}
	r.sendRest(rd.Messages, early > 0)
	if err := r.apply(rd.CommittedEntries); err != nil {
		return err
	}
	r.confirmed(rd.ReadStates)
	r.node.Advance(rd)
	r.release()
	r.maybeSnapshot()
	return nil
}

// follow notes changes of term and leader.
func (r *Replica) follow(rd raft.Ready) {
	term, lead := r.term, r.lead
	if rd.HardState != nil {
		term = rd.HardState.GetTerm()
	}
	if rd.SoftState != nil {
		lead = rd.SoftState.Lead
	}
	if term == r.term && lead == r.lead {
		return
	}
	if lead == raft.None && r.lead != raft.None {
		r.leaderless = r.tick
	}
	r.term, r.lead = term, lead
	r.settled, r.leases = false, leases{}
	r.backlog, r.backlogBytes, r.backlogCommands, r.uncommitted = nil, 0, 0, 0
	r.underway, r.company = 0, company{}
	r.registering = 0
	r.crash.evidence = nil
	if lead == raft.None {
		r.log.Info("no leader", "term", term)
	} else {
		r.crash.over()
		r.log.Info("leader", "term", term, "leader", r.name(lead), "self", lead == r.id)
		r.proposals.again(r.tick) // S8: whoever was asked before may never answer
		r.reads.hurry()
		r.asks.again()
		r.probeLost(true)
		r.inbox.wake()
	}
	r.publish()
}

// persist writes to the log what must be there before anything else happens. Every
// hard state is written, synced or not (S4): one that only says what is committed, which
// needs no sync and nobody waits for, with the next entries or at the next tick, whichever
// comes first. An index of what is committed that a crash took back is learnt again.
func (r *Replica) persist(rd raft.Ready) error {
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := r.install(rd); err != nil {
			return err
		}
	}
	if rd.HardState != nil {
		r.store.hard, r.unwritten = rd.HardState, true
	}
	if len(rd.Entries) > 0 || rd.MustSync {
		if err := r.write(rd.Entries, rd.MustSync); err != nil {
			return err
		}
	}
	return r.store.append(rd.Entries)
}

// write adds to the log on disk, with the hard state if that one has an older one.
func (r *Replica) write(added []*pb.Entry, sync bool) error {
	if r.wal == nil {
		return nil
	}
	entries := r.scratch.entries[:0]
	for _, e := range added {
		entries = append(entries, wal.Entry{Index: e.GetIndex(), Term: e.GetTerm(), Type: uint8(e.GetType()), Data: e.GetData()})
	}
	r.scratch.entries = entries
	var hard *wal.State
	if r.unwritten {
		h := r.store.hard
		hard = &wal.State{Term: h.GetTerm(), Vote: h.GetVote(), Commit: h.GetCommit()}
		if planted.Bug(planted.ForgetVote) {
			hard.Vote = 0
		}
	}
	err := r.patiently(func() error { return r.wal.Append(hard, entries, sync) })
	clear(entries)
	r.unwritten = r.unwritten && err != nil
	return err
}

// writeState writes a hard state that still waits for that.
func (r *Replica) writeState() {
	if !r.unwritten {
		return
	}
	if err := r.write(nil, false); err != nil {
		r.fail(err)
	}
}

// patiently does something to the log, and again for as long as the disk is full.
func (r *Replica) patiently(do func() error) error {
	for {
		err := do()
		if !errors.Is(err, wal.ErrNoSpace) {
			r.trouble = ""
			return r.poison(err)
		}
		if !r.awaitSpace(err) {
			return outcome.ErrClosed // and nothing that had to be written is acknowledged
		}
	}
}

// awaitSpace pauses while the disk is full. Until there is room this node says
// nothing, and the others go on without it.
func (r *Replica) awaitSpace(err error) bool {
	if r.trouble == "" {
		r.log.Error("no room for the log: this node waits until there is", "error", err)
	}
	r.trouble = err.Error() + "; this node waits until there is room"
	r.publish()
	pause := time.NewTimer(time.Second)
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// apply brings committed entries into the machine and answers their callers.
func (r *Replica) apply(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	answers, changes, ended := r.scratch.answers[:0], r.scratch.changes[:0], r.scratch.ended[:0]
	settles := false
	err := func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range entries {
			if e.GetType() != pb.EntryNormal {
				return fmt.Errorf("entry %d is a configuration change, which this release does not know", e.GetIndex())
			}
			out, err := r.machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData())
			if err != nil {
				return err
			}
			for _, a := range out.Answers {
				if r.concerns(a) {
					answers = append(answers, a)
				}
			}
			changes = append(changes, out.Changes...)
			ended = append(ended, out.Ended...)
			if e.GetTerm() == r.term {
				r.uncommitted = max(0, r.uncommitted-int64(len(e.GetData())))
				settles = true
				if r.underway = max(0, r.underway-1); r.underway == 0 {
					r.company.finished(r.proposedAt, r.clock())
				}
			}
			r.snapshots.grown += int64(entrySize(e))
		}
		return nil
	}()
	r.scratch.answers, r.scratch.changes, r.scratch.ended = answers, changes, ended
	if err != nil {
		return err
	}
	r.applied = entries[len(entries)-1].GetIndex()
	r.sessions.end(ended) // before anybody here learns that places became free
	r.leases.end(ended)
	r.conclude(answers)
	if len(changes) > 0 {
		r.cfg.Hub.notify(changes)
	}
	if settles && r.lead == r.id && !r.settled {
		r.settle()
	}
	clear(answers)
	clear(changes)
	return nil
}

// concerns reports whether an answer is to this node. Incarnations are not unique
// among members, so a registration is known by its member.
func (r *Replica) concerns(a state.Answer) bool {
	if a.Registration != nil {
		return a.Registration.GetMember() == r.id
	}
	return a.Proposer != 0 && a.Proposer == r.proposals.proposer
}

// conclude hands answers to their callers.
func (r *Replica) conclude(answers []state.Answer) {
	if len(answers) == 0 {
		return
	}
	for _, a := range answers {
		if a.Registration != nil {
			r.proposals.registered(a.Registration, a.Result)
			r.registering = 0
			r.inbox.wake()
		}
	}
	if !r.proposals.answer(answers) {
		r.log.Error("another process has registered as this node: is its state directory a copy?")
		r.proposals.unregister()
		r.inbox.wake()
	}
}
