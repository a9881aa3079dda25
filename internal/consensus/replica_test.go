package consensus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

const testCluster = "0123456789abcdef0123456789abcdef"

var errNobody = errors.New("nobody is there")

func nobodyAnswers(context.Context, *statepb.Member, string, link.Purpose) (net.Conn, link.Identity, error) {
	return nil, link.Identity{}, errNobody
}

// begin starts member 1 of three on d; the test is the other two.
func begin(t *testing.T, d *memdisk.Disk) *Replica {
	t.Helper()
	return beginWith(t, d, nobodyAnswers)
}

func beginWith(t *testing.T, d *memdisk.Disk, dial func(context.Context, *statepb.Member, string, link.Purpose) (net.Conn, link.Identity, error)) *Replica {
	t.Helper()
	c := &statepb.Cluster{Id: testCluster, Feature: 1}
	for id := uint64(1); id <= 3; id++ {
		c.Members = append(c.Members, &statepb.Member{RaftId: id, Name: string(rune('a' + id - 1)), Pid: uint32(id), Voter: true, Directory: testCluster})
	}
	origin := time.Now()
	r, err := Start(Config{
		Cluster: c, Self: 1, Incarnation: 1, FS: d.Mount(), Dir: "/state",
		Dial: dial,
		Hub:  new(Hub), Clock: func() time.Duration { return time.Since(origin) }, Log: slog.New(slog.DiscardHandler),
		SessionTTL: 5 * time.Second, SessionGrace: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// inLoop runs fn in the loop and waits for it and for what it led to.
func inLoop(t *testing.T, r *Replica, fn func()) {
	t.Helper()
	for _, do := range []func(){fn, func() {}} {
		done := make(chan struct{})
		r.inbox.do(func() { do(); close(done) })
		select {
		case <-done:
		case <-r.ctx.Done():
			t.Fatalf("halted: %v", context.Cause(r.ctx))
		}
	}
}

func message(kind pb.MessageType, from, term uint64) *pb.Message {
	return &pb.Message{Type: &kind, From: &from, To: new(uint64(1)), Term: &term}
}

// A vote that was given is given, whatever happens to the process (S4).
func TestOneVotePerTerm(t *testing.T) {
	d := memdisk.New()
	ask := func(r *Replica, from uint64) (vote, term uint64) {
		m := message(pb.MsgVote, from, 5)
		m.Index, m.LogTerm = new(uint64(1)), new(uint64(1))
		inLoop(t, r, func() { r.step(m) })
		inLoop(t, r, func() { vote, term = r.store.hard.GetVote(), r.store.hard.GetTerm() })
		return vote, term
	}
	first := begin(t, d)
	if vote, term := ask(first, 2); vote != 2 || term != 5 {
		t.Fatalf("voted for %d in term %d, want 2 in 5", vote, term)
	}
	d.Kill()
	first.Close()
	again := begin(t, d)
	if vote, term := ask(again, 3); vote != 2 || term != 5 {
		t.Errorf("after a restart it voted for %d in term %d; it had voted for 2 in 5", vote, term)
	}
}

// An answer that comes late, to a round that was asked again since, is no answer
// to the reads that came in the meantime (S10).
func TestLateAnswerToALostRound(t *testing.T) { bubble.Test(t, lateAnswer) }

func lateAnswer(t *testing.T) {
	r := begin(t, memdisk.New())
	inLoop(t, r, func() { r.step(message(pb.MsgHeartbeat, 2, 1)) })
	begun := func(not string) (key string) {
		for key == "" || key == not {
			inLoop(t, r, func() {
				if r.reads.round != nil {
					key = r.reads.round.key
				}
			})
			if t.Context().Err() != nil {
				t.Fatal("no round")
			}
		}
		return key
	}
	answer := func(key string) {
		m := message(pb.MsgReadIndexResp, 2, 1)
		m.Index = new(uint64(1))
		m.Entries = []*pb.Entry{{Data: []byte(key)}}
		inLoop(t, r, func() { r.step(m) })
	}
	read := func() chan error {
		done := make(chan error, 1)
		go func() { done <- r.Barrier(t.Context()) }()
		return done
	}
	one := read()
	lost := begun("")
	inLoop(t, r, func() { r.reads.hurry(); r.startReads() }) // as when it was lost
	var repeated string
	inLoop(t, r, func() { repeated = r.reads.round.key })
	answer(repeated)
	if err := <-one; err != nil {
		t.Fatal(err)
	}
	two := read()
	begun("")
	answer(lost)
	select {
	case err := <-two:
		t.Errorf("the second read was let go by the first one's late answer (%v)", err)
	default:
	}
	inLoop(t, r, func() { repeated = r.reads.round.key })
	answer(repeated)
	if err := <-two; err != nil {
		t.Fatal(err)
	}
}

// A failed sync ends this node's part for good, also after a restart (S3, S4).
func TestFailedSync(t *testing.T) {
	d := memdisk.New()
	r := begin(t, d)
	d.Fail(memdisk.Sync, 1, errors.New("input/output error"))
	m := message(pb.MsgVote, 2, 5)
	m.Index, m.LogTerm = new(uint64(1)), new(uint64(1))
	r.inbox.do(func() { r.step(m) })
	<-r.Context().Done()
	if cause := context.Cause(r.Context()); !errors.Is(cause, outcome.ErrStateLost) {
		t.Errorf("halted by %v", cause)
	}
	if err := r.Barrier(t.Context()); !errors.Is(err, outcome.ErrStateLost) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("a read fails with %v", err)
	}
	if _, err := r.Propose(t.Context(), &statepb.Command{}); !errors.Is(err, outcome.ErrStateLost) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("a write fails with %v", err)
	}
	r.Close()
	d.Kill()
	if _, err := Start(Config{Cluster: r.cfg.Cluster, Self: 1, FS: d.Mount(), Dir: "/state", Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, outcome.ErrStateLost) {
		t.Errorf("the next start: %v", err)
	}
}

// A log that was taken away is not a new one (S3).
func TestLogTakenAway(t *testing.T) {
	d := memdisk.New()
	begin(t, d).Close()
	d.Kill()
	fs := d.Mount()
	names, err := fs.List("/state/log")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if err := fs.Remove("/state/log/" + name); err != nil {
			t.Fatal(err)
		}
	}
	c := &statepb.Cluster{Id: testCluster, Feature: 1, Members: []*statepb.Member{{RaftId: 1, Name: "a", Pid: 1, Voter: true, Directory: testCluster}}}
	if _, err := Start(Config{Cluster: c, Self: 1, FS: fs, Dir: "/state", Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, outcome.ErrStateLost) {
		t.Errorf("it starts with an empty log: %v", err)
	}
}

// Two members may have the same incarnation: the other one's registration is not
// ours, or each would get the answers to the other's commands.
func TestRegistrationOfAnother(t *testing.T) {
	r := &Replica{id: 1}
	theirs := state.Answer{Registration: &statepb.Registration{Member: 2, Incarnation: 7}, Result: &statepb.Result{Revision: 40}}
	ours := state.Answer{Registration: &statepb.Registration{Member: 1, Incarnation: 7}, Result: &statepb.Result{Revision: 41}}
	r.proposals.incarnation = 7
	if r.concerns(theirs) || !r.concerns(ours) {
		t.Error("a registration is known by its member")
	}
	if r.concerns(state.Answer{Proposer: 0}) || r.concerns(state.Answer{Proposer: 41}) {
		t.Error("before it is registered no answer is its own")
	}
	r.proposals.registered(ours.Registration, ours.Result)
	if !r.concerns(state.Answer{Proposer: 41}) || r.concerns(state.Answer{Proposer: 40}) {
		t.Error("afterwards those with its number are")
	}
}
