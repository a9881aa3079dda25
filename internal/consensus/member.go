package consensus

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"

	pb "go.etcd.io/raft/v3/raftpb"
)

// member is another member and the way to it.
type member struct {
	*statepb.Member
	pipe *link.Pipe
	// newest is the highest incarnation in which it was heard of, heard the tick of its
	// last message. They belong to the loop, as the acquaintance does.
	newest uint64
	heard  uint64
	acquaintance
}

// connect begins to connect to all other members.
func (r *Replica) connect() {
	for _, m := range r.cfg.Cluster.GetMembers() {
		if m.GetRaftId() == r.id {
			continue
		}
		other := &member{Member: m}
		id := m.GetRaftId()
		var at string // of the connection that stands or is coming up, as whom it met; the pipe's
		var whom uint64
		other.pipe = link.NewPipe(link.PipeConfig{
			Dial: func(ctx context.Context) (net.Conn, error) {
				conn, there, err := r.cfg.Dial(ctx, m, "", link.Raft)
				if err == nil {
					at, whom = conn.RemoteAddr().String(), there.Incarnation
				}
				return conn, err
			},
			Route: link.Route{Tag: link.TagOf(r.cfg.Cluster.GetId()), From: r.id, To: id},
			OnUp: func() {
				at, whom := at, whom
				r.inbox.do(func() { r.up(id, at, whom) })
			},
			OnDown: func(err error) { r.inbox.do(func() { r.down(id, err) }) },
			Log:    r.log,
		})
		r.members[id] = other
	}
}

// send puts a frame on its way to another member, or reports that it did not.
func (r *Replica) send(to uint64, kind link.Kind, body []byte) bool {
	m := r.members[to]
	return m != nil && m.pipe.Send(kind, body)
}

// up notes that there is a connection to a member: at an address, to an incarnation.
func (r *Replica) up(id uint64, at string, incarnation uint64) {
	m := r.members[id]
	m.at, m.acquaintance.incarnation, m.up = at, incarnation, true
	r.echoes.forget(id)
	r.alive(id, incarnation)
	if id == r.lead {
		r.proposals.again(r.tick) // what was sent on the old connection may be lost
		r.asks.again()
		r.probeLost(true)
	}
}

// down notes that a connection to a member has ended, or that there is none.
func (r *Replica) down(id uint64, err error) {
	m := r.members[id]
	was := m.up
	m.up = false
	r.node.ReportUnreachable(id)
	switch {
	case was:
		r.parted(id)
	case link.Refused(err):
		r.crashed(id, "it refuses connections")
	case id == r.lead:
		r.probe(id)
	}
}

func (r *Replica) name(id uint64) string {
	for _, m := range r.cfg.Cluster.GetMembers() {
		if m.GetRaftId() == id {
			return m.GetName()
		}
	}
	return ""
}

// Nudge makes the replica try at once to reach the member called name: gossip has
// just seen it.
func (r *Replica) Nudge(name string) {
	for _, m := range r.members {
		if m.GetName() == name {
			m.pipe.Nudge()
		}
	}
}

// Serve takes what another member sends on a connection that the control port
// has accepted for link.Raft or link.Snapshot, and judged by cluster and IDs (S2).
// It blocks until the connection or the replica ends, and closes conn.
func (r *Replica) Serve(conn net.Conn, hello link.Hello) {
	defer conn.Close()
	stop := context.AfterFunc(r.ctx, func() { conn.Close() })
	defer stop()
	from := hello.RaftID
	if r.members[from] == nil {
		return
	}
	if hello.Purpose == link.Snapshot {
		r.receiveSnapshot(conn, hello)
		return
	}
	done := make(chan struct{})
	if !r.readers.run(func() { defer close(done); r.listen(conn, hello) }) {
		return
	}
	select {
	case <-done:
	case <-link.HungUp(conn): // the reader may be amid a turn that waits for the disk
	}
}

// listen serves a connection of frames.
func (r *Replica) listen(conn net.Conn, hello link.Hello) {
	from := hello.RaftID
	r.inbox.do(func() { r.met(from, hello.Incarnation) })
	err := r.receive(link.NewFrameReader(conn, hello.Route()), from)
	if r.ctx.Err() == nil {
		r.log.Debug("connection ended", "from", r.name(from), "error", err)
		r.inbox.do(func() { r.parted(from) })
	}
}

// readers are the goroutines that read what other members send.
type readers struct {
	mu   sync.Mutex // guards done, and that none begins afterwards
	done bool
	wg   sync.WaitGroup
}

// run reports whether fn was begun: not after end.
func (r *readers) run(fn func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		r.wg.Go(fn)
	}
	return !r.done
}

// end waits for them. Their connections are being closed.
func (r *readers) end() {
	r.mu.Lock()
	r.done = true
	r.mu.Unlock()
	r.wg.Wait()
}

// met notes a connection from a member.
func (r *Replica) met(id, incarnation uint64) {
	r.members[id].pipe.Nudge()
	r.echoes.forget(id)
	r.alive(id, incarnation)
}

// receive reads frames until the connection ends. What does not belong here ends
// it (S2); what was read before is kept.
func (r *Replica) receive(frames *link.FrameReader, from uint64) error {
	for {
		kind, body, err := frames.Read()
		if err != nil {
			return err
		}
		if err := r.accept(kind, body, from); err != nil {
			r.log.Warn("a member sent what it should not", "from", r.name(from), "error", err)
			return err
		}
		if frames.More() { // perhaps half a frame, which may take its time
			r.inbox.wake()
		} else {
			r.attend()
		}
	}
}

func (r *Replica) accept(kind link.Kind, body []byte, from uint64) error {
	switch kind {
	case link.KindRaft:
		return r.acceptMessages(body, from)
	case link.KindPropose:
		return r.acceptBatch(body)
	case link.KindRenew:
		renewals, err := decodeRenewals(body)
		if err != nil {
			return err
		}
		now := r.clock()
		for i := range renewals {
			renewals[i].from, renewals[i].received = from, now
		}
		r.inbox.put(r.ctx.Done(), len(body), func(w *work) { w.renewals = append(w.renewals, renewals...) })
		return nil
	case link.KindRenewed:
		answers, err := decodeRenewals(body)
		for _, n := range answers {
			r.asks.answer(n.session, n.nonce)
		}
		return err
	case link.KindCrashed:
		t, err := decodeTestimony(body)
		if err == nil {
			r.inbox.put(r.ctx.Done(), len(body), func(w *work) {
				w.events = append(w.events, func() { r.witness(from, t) })
			})
		}
		return err
	}
	return nil // a later release's, which it sends only where it is not needed
}

func (r *Replica) acceptMessages(body []byte, from uint64) error {
	var messages []*pb.Message
	err := decodeMessages(body, func(m *pb.Message) error {
		if m.GetFrom() != from || m.GetTo() != r.id {
			return nil // S2: raft would take it for its own
		}
		messages = append(messages, m)
		return nil
	})
	if len(messages) > 0 {
		r.inbox.put(r.ctx.Done(), len(body), func(w *work) { w.messages = append(w.messages, messages...) })
	}
	return err
}

// acceptBatch takes another node's proposals. They are looked at here, since an
// entry that cannot be understood would halt every node (S9).
func (r *Replica) acceptBatch(body []byte) error {
	if len(body) > maxCommand+maxBatch {
		return fmt.Errorf("a batch of %d bytes", len(body))
	}
	if err := state.CheckBatch(body); err != nil {
		return err
	}
	r.inbox.put(r.ctx.Done(), len(body), func(w *work) { w.batches = append(w.batches, body) })
	return nil
}
