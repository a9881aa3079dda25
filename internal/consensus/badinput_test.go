package consensus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/snapshot"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Reads that come during a round begin their own round when that one ends,
// not a tick later.
func TestReadsThatCameDuringARound(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := begin(t, memdisk.New())
		inLoop(t, r, func() { r.step(message(pb.MsgHeartbeat, 2, 1)) })
		one, two := make(chan error, 1), make(chan error, 1)
		go func() { one <- r.Barrier(t.Context()) }()
		synctest.Wait()
		go func() { two <- r.Barrier(t.Context()) }()
		synctest.Wait()
		if r.reads.round == nil {
			t.Fatal("no round")
		}
		m := message(pb.MsgReadIndexResp, 2, 1)
		m.Index = new(uint64(1))
		m.Entries = []*pb.Entry{{Data: []byte(r.reads.round.key)}}
		r.inbox.put(nil, 1, func(w *work) { w.messages = append(w.messages, m) })
		synctest.Wait()
		if err := <-one; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r.reads.round == nil {
			t.Error("the second read waits, and no round is under way for it: it will start with the next tick")
		}
	})
}

func alone(t *testing.T, d *memdisk.Disk, clock func() time.Duration, ttl time.Duration, log *slog.Logger) *Replica {
	t.Helper()
	c := &statepb.Cluster{Id: testCluster, Feature: 1, Members: []*statepb.Member{{RaftId: 1, Name: "a", Pid: 1, Voter: true, Directory: testCluster}}}
	r, err := Start(Config{Cluster: c, Self: 1, Incarnation: 1, FS: d.Mount(), Dir: "/state",
		Dial: nobodyAnswers,
		Hub:  new(Hub), Clock: clock, Log: log, SessionTTL: ttl, SessionGrace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A session is over for its holder as soon as the boot-time clock says so,
// also when the machine slept and Go's timers did not run (S11).
func TestSessionAfterSuspend(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		origin := time.Now()
		clock := func() time.Duration { return time.Since(origin) + time.Duration(slept.Load()) }
		r := alone(t, memdisk.New(), clock, time.Hour, slog.New(slog.DiscardHandler))
		s, err := r.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		slept.Store(int64(3 * time.Hour)) // suspended
		synctest.Wait()
		if again, err := r.Session(t.Context()); err == nil && again == s {
			t.Error("Session still returns a session whose deadline passed hours ago")
		}
		time.Sleep(2 * time.Second)
		if s.Context().Err() == nil {
			t.Error("two seconds after the machine woke up the holder still believes in its session")
		}
	})
}

// A snapshot that was refused leaves nothing behind that the next start
// trips over.
func TestRefusedSnapshot(t *testing.T) {
	foreign, err := state.Found(&statepb.Cluster{Id: "ffffffffffffffffffffffffffffffff", Feature: 1,
		Members: []*statepb.Member{{RaftId: 1, Name: "a", Pid: 1, Voter: true, Directory: testCluster}}}, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	od := memdisk.New()
	os, err := snapshot.OpenStore(od.Mount(), "/o")
	if err != nil {
		t.Fatal(err)
	}
	w, err := os.Create(100, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Snapshot().WriteTo(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	raw, size, err := os.Raw(snapshot.Meta{Index: 100, Term: 3})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(raw)
	raw.Close()

	d := memdisk.New()
	r := begin(t, d)
	here, there := net.Pipe()
	done := make(chan struct{})
	hello := link.Hello{Purpose: link.Snapshot}
	hello.ClusterID, hello.RaftID, hello.ToID, hello.Name = testCluster, 2, 1, "b"
	go func() { defer close(done); r.Serve(there, hello) }()
	route := link.Route{Tag: link.TagOf(testCluster), From: 2, To: 1}
	m := message(pb.MsgSnap, 2, 3)
	m.Snapshot = newSnapshot(100, 3, &pb.ConfState{Voters: []uint64{1, 2, 3}})
	here.Write(link.AppendFrame(nil, route, link.KindSnapshot, appendMessage(binary.BigEndian.AppendUint64(nil, uint64(size)), m)))
	here.Write(link.AppendFrame(nil, route, link.KindSnapshot, body))
	t.Log("verdict:", readVerdict(link.NewFrameReader(here, route.Back())))
	here.Close()
	<-done
	r.Close()
	d.Kill()
	cfg := r.cfg
	cfg.FS = d.Mount()
	again, err := Start(cfg)
	if err != nil {
		t.Fatalf("the node does not start any more: %v", err)
	}
	again.Close()
}

// A registration of another node, and what waits behind it, get into the log
// although two small callers on the leader are always there.
func TestRegistrationDoesNotStarve(t *testing.T) {
	r := &Replica{}
	r.proposals.proposer = 5
	reg, _ := (&statepb.Batch{Registration: &statepb.Registration{Member: 2, Incarnation: 7}}).MarshalVT()
	theirs := appendBatchHeader(nil, 9, 0)
	r.backlog, r.backlogBytes = [][]byte{reg, theirs}, len(reg)+len(theirs)
	small := func() { r.proposals.add(make([]byte, 100, 128)) }
	small()
	for range 1000 { // one call is in the entry under way, the other one comes meanwhile
		taken := r.batches()
		small()
		for _, b := range taken {
			if bytes.Equal(b, theirs) {
				return
			}
		}
		r.proposals.mu.Lock()
		for _, c := range append([]*call(nil), r.proposals.calls[r.proposals.head:]...) {
			if c.state == sent {
				r.proposals.finish(c)
			}
		}
		r.proposals.mu.Unlock()
	}
	t.Errorf("1000 entries of 100 bytes each; the backlog still holds %d batches", len(r.backlog))
}

// Other nodes' proposals get their share while the leader's own callers keep it busy.
func TestNobodyStarves(t *testing.T) {
	r := &Replica{}
	r.proposals.proposer = 5
	theirs := appendBatchHeader(nil, 9, 0)
	r.backlog, r.backlogBytes = [][]byte{theirs}, len(theirs)
	big := func() []byte { return make([]byte, 64<<10, 64<<10+16) }
	for range 64 { // 4 MiB under way, in a closed loop
		if _, err := r.proposals.add(big()); err != nil {
			t.Fatal(err)
		}
	}
	for entry := range 1000 {
		for _, b := range r.batches() {
			if bytes.Equal(b, theirs) {
				return
			}
		}
		// this entry is answered: its callers come back
		r.proposals.mu.Lock()
		var answered []*call
		for _, c := range r.proposals.calls[r.proposals.head:] {
			if c.state == sent {
				answered = append(answered, c)
			}
		}
		for _, c := range answered {
			r.proposals.finish(c)
		}
		r.proposals.mu.Unlock()
		for range answered {
			if _, err := r.proposals.add(big()); err != nil {
				t.Fatal(entry, err)
			}
		}
	}
	t.Error("1000 entries, and the other node's batch is in none of them")
}

type counter struct {
	slog.Handler
	n *atomic.Int64
}

func (c counter) Enabled(context.Context, slog.Level) bool { return true }
func (c counter) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "raft refused a proposal" {
		c.n.Add(1)
	}
	return nil
}

// While leadership is being handed over raft takes no proposals: the loop must
// not spin meanwhile.
func TestNoSpinDuringHandover(t *testing.T) {
	d := memdisk.New()
	r := begin(t, d)
	var refused atomic.Int64
	inLoop(t, r, func() { r.log = slog.New(counter{slog.DiscardHandler, &refused}) })
	step := func(m *pb.Message) { inLoop(t, r, func() { r.step(m) }) }
	inLoop(t, r, func() { r.node.Campaign() })
	step(message(pb.MsgPreVoteResp, 2, 2))
	step(message(pb.MsgVoteResp, 2, 2))
	acked := func() {
		m := message(pb.MsgAppResp, 2, 2)
		var last uint64
		inLoop(t, r, func() { last = r.store.last() })
		m.Index = &last
		step(m)
	}
	for range 5 {
		acked()
	}
	var proposer uint64
	inLoop(t, r, func() { proposer = r.proposals.proposer })
	if proposer == 0 {
		t.Fatal("not registered")
	}
	inLoop(t, r, func() { r.node.TransferLeader(2) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := r.Propose(ctx, &statepb.Command{Op: &statepb.Command_Fire{Fire: &statepb.Fire{Name: "e"}}})
	t.Log(err)
	if n := refused.Load(); n > 20 {
		t.Errorf("the loop offered the command %d times in 200 ms", n)
	}
}

// A leader that says this node has acknowledged what it does not have: its log has
// lost something, and it halts (S3).
func TestHeartbeatBeyondTheLog(t *testing.T) {
	r := begin(t, memdisk.New())
	m := message(pb.MsgHeartbeat, 2, 5)
	m.Commit = new(uint64(1 << 40))
	if err := r.accept(link.KindRaft, appendMessage(nil, m), 2); err != nil {
		t.Fatal(err)
	}
	<-r.ctx.Done()
	if cause := context.Cause(r.ctx); !errors.Is(cause, outcome.ErrStateLost) || !strings.Contains(cause.Error(), "acknowledged") {
		t.Errorf("halted by %v", cause)
	}
}
