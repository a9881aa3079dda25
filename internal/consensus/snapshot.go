package consensus

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/snapshot"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/wal"
)

const (
	// keepSnapshots is how many stay on disk: the newest, and the one before it, for a
	// person who has to find out what happened.
	keepSnapshots = 2
	// chunkTimeout bounds the sending or receiving of one piece of a snapshot.
	chunkTimeout = 30 * time.Second
	chunkSize    = 256 << 10
	// retryUnreachable is the pause after a snapshot that could not be sent, so that
	// raft does not ask for it in a tight loop.
	retryUnreachable = time.Second
)

// snapshots is what goes on with snapshots. It belongs to the loop.
type snapshots struct {
	grown   int64 // bytes of log since the newest one
	making  bool
	sending map[uint64]*transfer
	// received are machines restored from snapshots that came in, by index, until raft
	// has decided about them.
	received map[uint64]*state.Machine
}

// transfer is a snapshot on its way to a member.
type transfer struct {
	Sent, Total int64
}

func (s *snapshots) has(m *pb.Message) bool {
	return s.received[m.GetSnapshot().GetMetadata().GetIndex()] != nil
}

// maybeSnapshot writes a snapshot when the log has grown enough. The machine's tree
// is copied on write, so that changes go on meanwhile.
func (r *Replica) maybeSnapshot() {
	if r.snapshots.making || r.snapshots.grown < r.cfg.SnapshotBytes {
		return
	}
	r.snapshots.grown = 0
	if r.snaps == nil { // in memory: nobody ever needs the old entries
		r.store.compact(r.applied)
		return
	}
	r.mu.Lock() // copying touches what readers share
	s := r.machine.Snapshot()
	r.mu.Unlock()
	r.snapshots.making = true
	r.wg.Go(func() {
		began := time.Now()
		err := r.writeSnapshot(s)
		r.inbox.do(func() { r.snapshotMade(s, err, time.Since(began)) })
	})
}

func (r *Replica) writeSnapshot(s *state.Snapshot) error {
	w, err := r.snaps.Create(s.Index(), s.Term())
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, chunkSize)
	if _, err = s.WriteTo(buffered); err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		w.Abort()
		return err
	}
	return w.Commit()
}

func (r *Replica) snapshotMade(s *state.Snapshot, err error, took time.Duration) {
	r.snapshots.making = false
	if err != nil {
		r.log.Error("a snapshot could not be written; the log stays longer", "index", s.Index(), "error", err)
		return
	}
	r.log.Info("snapshot", "index", s.Index(), "took", took)
	if s.Index() <= r.store.snapIndex { // one from the leader was faster
		return
	}
	r.store.snapIndex, r.store.snapTerm = s.Index(), s.Term()
	if err := r.snaps.Prune(keepSnapshots); err != nil {
		r.log.Warn("old snapshots could not be removed", "error", err)
	}
	r.compact()
}

// compact forgets the log before the newest snapshot, but for a tail that spares
// followers that lag a little a whole snapshot.
func (r *Replica) compact() {
	upTo, tail := r.store.snapIndex, int64(0)
	for upTo > r.store.beforeIndex {
		tail += int64(entrySize(r.store.entries[upTo-r.store.first()]))
		if tail > r.cfg.TrailBytes {
			break
		}
		upTo--
	}
	if upTo <= r.store.beforeIndex {
		return
	}
	r.store.compact(upTo)
	err := r.wal.Compact(upTo, r.store.beforeTerm)
	if errors.Is(err, wal.ErrNoSpace) {
		r.log.Warn("the log could not be shortened; the next snapshot tries again", "error", err)
		return
	}
	if err != nil {
		r.fail(r.poison(err))
	}
}

// sendSnapshot streams the newest snapshot to a member that has fallen behind the
// log. m is raft's message, which goes ahead of the bytes.
func (r *Replica) sendSnapshot(m *pb.Message) {
	to := r.members[m.GetTo()]
	if to == nil || r.snaps == nil || r.snapshots.sending[m.GetTo()] != nil {
		return
	}
	if r.snapshots.sending == nil {
		r.snapshots.sending = make(map[uint64]*transfer)
	}
	r.snapshots.sending[to.GetRaftId()] = &transfer{}
	r.wg.Go(func() {
		err := r.stream(to, m)
		status := raft.SnapshotFinish
		if err != nil {
			status = raft.SnapshotFailure
			r.log.Warn("a snapshot could not be sent", "to", to.GetName(), "error", err)
			pause := time.NewTimer(retryUnreachable)
			defer pause.Stop()
			select {
			case <-pause.C:
			case <-r.ctx.Done():
			}
		}
		r.inbox.do(func() {
			delete(r.snapshots.sending, to.GetRaftId())
			r.node.ReportSnapshot(to.GetRaftId(), status)
		})
	})
}

func (r *Replica) stream(to *member, m *pb.Message) error {
	of := m.GetSnapshot().GetMetadata()
	meta := snapshot.Meta{Index: of.GetIndex(), Term: of.GetTerm()}
	file, size, err := r.snaps.Raw(meta)
	if err != nil {
		return err
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(r.ctx, chunkTimeout)
	conn, _, err := r.cfg.Dial(ctx, to.Member, "", link.Snapshot)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(r.ctx, func() { conn.Close() })
	defer stop()
	began := time.Now()
	r.log.Info("sending a snapshot", "to", to.GetName(), "index", meta.Index, "bytes", size)
	if err := r.sendChunks(conn, to.GetRaftId(), m, file, size); err != nil {
		return err
	}
	r.log.Info("a snapshot was sent", "to", to.GetName(), "index", meta.Index, "bytes", size, "took", time.Since(began))
	return nil
}

// sendChunks writes the offer (the size and raft's message) and the file.
func (r *Replica) sendChunks(conn net.Conn, to uint64, m *pb.Message, file io.Reader, size int64) error {
	route := link.Route{Tag: link.TagOf(r.cfg.Cluster.GetId()), From: r.id, To: to}
	var frame []byte
	put := func(body []byte) error {
		frame = link.AppendFrame(frame[:0], route, link.KindSnapshot, body)
		conn.SetDeadline(time.Now().Add(chunkTimeout))
		_, err := conn.Write(frame)
		return err
	}
	if err := put(appendMessage(binary.BigEndian.AppendUint64(nil, uint64(size)), m)); err != nil {
		return err
	}
	chunk := make([]byte, chunkSize)
	for sent := int64(0); sent < size; {
		n, err := io.ReadFull(file, chunk[:min(int64(len(chunk)), size-sent)])
		if err != nil {
			return err
		}
		if err := put(chunk[:n]); err != nil {
			return err
		}
		sent += int64(n)
		r.inbox.do(func() {
			if t := r.snapshots.sending[to]; t != nil {
				t.Sent, t.Total = sent, size
			}
		})
	}
	conn.SetDeadline(time.Now().Add(10 * chunkTimeout)) // it restores before it answers
	return readVerdict(link.NewFrameReader(conn, route.Back()))
}

// readVerdict reads the receiver's answer: nothing, or what went wrong.
func readVerdict(frames *link.FrameReader) error {
	kind, text, err := frames.Read()
	switch {
	case err != nil:
		return err
	case kind != link.KindInstalled:
		return fmt.Errorf("the receiver answers with a frame of kind %d", kind)
	case len(text) > 0:
		return fmt.Errorf("the receiver says: %.256q", text)
	}
	return nil
}

// receiveSnapshot takes a snapshot from a leader, checks and restores it, and only
// then lets raft know.
func (r *Replica) receiveSnapshot(conn net.Conn, hello link.Hello) {
	err := r.takeSnapshot(conn, hello)
	if r.ctx.Err() != nil {
		return
	}
	var verdict []byte
	if err != nil {
		r.log.Warn("a snapshot could not be taken", "from", hello.Name, "error", err)
		verdict = []byte(err.Error())
	}
	conn.SetDeadline(time.Now().Add(chunkTimeout))
	conn.Write(link.AppendFrame(nil, hello.Route().Back(), link.KindInstalled, verdict)) // best effort: the sender takes silence for failure
}

func (r *Replica) takeSnapshot(conn net.Conn, hello link.Hello) error {
	if r.snaps == nil {
		return errors.New("this node keeps no snapshots")
	}
	select {
	case <-r.receiving:
		defer func() { r.receiving <- struct{}{} }()
	default:
		return errors.New("another snapshot is being received")
	}
	frames := link.NewFrameReader(conn, hello.Route())
	conn.SetDeadline(time.Now().Add(chunkTimeout))
	m, size, err := readOffer(frames)
	if err != nil {
		return err
	}
	of := m.GetSnapshot().GetMetadata()
	if m.GetFrom() != hello.RaftID || m.GetTo() != r.id || m.GetType() != pb.MsgSnap {
		return errors.New("the offer is not from you, or not for me") // S2
	}
	meta := snapshot.Meta{Index: of.GetIndex(), Term: of.GetTerm(), Size: size}
	if err := r.takeChunks(conn, frames, meta); err != nil {
		return err
	}
	machine, err := r.restore(meta)
	if err != nil { // nor may the next start find it
		return errors.Join(err, r.snaps.Remove(meta))
	}
	done := make(chan struct{})
	r.inbox.do(func() {
		defer close(done)
		r.snapshots.received = map[uint64]*state.Machine{meta.Index: machine}
		r.step(m)
	})
	select {
	case <-done:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

func readOffer(frames *link.FrameReader) (*pb.Message, int64, error) {
	kind, body, err := frames.Read()
	if err != nil {
		return nil, 0, err
	}
	if kind != link.KindSnapshot || len(body) < 12 {
		return nil, 0, fmt.Errorf("%w: no offer of a snapshot", errMessage)
	}
	size := int64(binary.BigEndian.Uint64(body))
	m, err := decodeMessage(body[12:])
	if err != nil {
		return nil, 0, err
	}
	if size < 0 {
		return nil, 0, fmt.Errorf("%w: a size of %d", errMessage, size)
	}
	return m, size, nil
}

func (r *Replica) takeChunks(conn net.Conn, frames *link.FrameReader, meta snapshot.Meta) error {
	w, err := r.snaps.Receive(meta)
	if err != nil {
		return err
	}
	for got := int64(0); got < meta.Size; {
		conn.SetDeadline(time.Now().Add(chunkTimeout))
		kind, chunk, err := frames.Read()
		if err == nil && kind != link.KindSnapshot {
			err = fmt.Errorf("a frame of kind %d in a snapshot", kind)
		}
		if err == nil {
			_, err = w.Write(chunk)
		}
		if err != nil {
			w.Abort()
			return err
		}
		got += int64(len(chunk))
	}
	return w.Commit()
}

// restore reads a snapshot into a machine and makes sure that it is this cluster's.
func (r *Replica) restore(meta snapshot.Meta) (*state.Machine, error) {
	file, err := r.snaps.Open(meta)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m, err := state.Restore(bufio.NewReaderSize(file, chunkSize))
	if err != nil {
		return nil, fmt.Errorf("snapshot %d: %w", meta.Index, err)
	}
	if got := m.Cluster().GetId(); got != r.cfg.Cluster.GetId() {
		return nil, fmt.Errorf("snapshot %d is of cluster %s, this one is %s", meta.Index, got, r.cfg.Cluster.GetId())
	}
	if m.Index() != meta.Index || m.Term() != meta.Term {
		return nil, fmt.Errorf("snapshot %d holds the state at %d", meta.Index, m.Index())
	}
	return m, nil
}

// install puts a snapshot that raft has accepted in the place of log and machine.
func (r *Replica) install(rd raft.Ready) error {
	of := rd.Snapshot.GetMetadata()
	index, term := of.GetIndex(), of.GetTerm()
	machine := r.snapshots.received[index]
	r.snapshots.received = nil
	if machine == nil {
		return fmt.Errorf("raft accepted snapshot %d, which did not arrive", index)
	}
	hard := r.store.hard
	if rd.HardState != nil {
		hard = rd.HardState
	}
	state := wal.State{Term: hard.GetTerm(), Vote: hard.GetVote(), Commit: max(hard.GetCommit(), index)}
	if err := r.patiently(func() error { return r.wal.Reset(index, term, state) }); err != nil {
		return err
	}
	r.store.install(index, term, of.GetConfState())
	r.mu.Lock()
	r.machine = machine
	r.mu.Unlock()
	r.applied = index
	r.snapshots.grown = 0
	r.proposals.again(r.tick) // answers may be in the snapshot: the window has them (S8)
	r.sessions.endUnless(func(id uint64) bool {
		_, there := machine.Session(id)
		return there
	})
	r.cfg.Hub.WakeAll()
	if err := r.snaps.Prune(keepSnapshots); err != nil {
		r.log.Warn("old snapshots could not be removed", "error", err)
	}
	r.log.Info("installed a snapshot", "index", index, "keys", machine.Len())
	return nil
}
