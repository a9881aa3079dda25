package consensus

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/bubble"
)

// TestEchoes: only the second of two acknowledgements that are alike is left out, and only
// as the answer to word of a commit.
func TestEchoes(t *testing.T) {
	const leader, term = 2, 7
	ack := func(index uint64) *pb.Message {
		return &pb.Message{Type: pb.MsgAppResp.Enum(), To: new(uint64(leader)), Term: new(uint64(term)), Index: new(index)}
	}
	news := func(commit uint64, entries ...*pb.Entry) *pb.Message {
		return &pb.Message{Type: pb.MsgApp.Enum(), From: new(uint64(leader)), Term: new(uint64(term)), Commit: new(commit), Entries: entries}
	}
	const committed = 9
	for _, tc := range []struct {
		name string
		then func(e *echoes)
		ack  *pb.Message
		want bool
	}{
		{"word of a commit", func(e *echoes) { e.hear(news(10), committed) }, ack(10), true},
		{"word of a commit, and entries", func(e *echoes) { e.hear(news(10, &pb.Entry{}), committed) }, ack(10), false},
		{"nothing new: a leader that is not sure", func(e *echoes) { e.hear(news(committed), committed) }, ack(10), false},
		{"a heartbeat", func(e *echoes) {
			e.hear(&pb.Message{Type: pb.MsgHeartbeat.Enum(), Commit: new(uint64(10))}, committed)
		}, ack(10), false},
		{"another index", func(e *echoes) { e.hear(news(10), committed) }, ack(11), false},
		{"another leader", func(e *echoes) { e.hear(news(10), committed) },
			&pb.Message{Type: pb.MsgAppResp.Enum(), To: new(uint64(3)), Term: new(uint64(term)), Index: new(uint64(10))}, false},
		{"another term", func(e *echoes) { e.hear(news(10), committed) },
			&pb.Message{Type: pb.MsgAppResp.Enum(), To: new(uint64(leader)), Term: new(uint64(term + 1)), Index: new(uint64(10))}, false},
		{"a refusal", func(e *echoes) { e.hear(news(10), committed) },
			&pb.Message{Type: pb.MsgAppResp.Enum(), To: new(uint64(leader)), Term: new(uint64(term)), Index: new(uint64(10)), Reject: new(true)}, false},
		{"another message", func(e *echoes) { e.hear(news(10), committed) },
			&pb.Message{Type: pb.MsgHeartbeatResp.Enum(), To: new(uint64(leader)), Term: new(uint64(term)), Index: new(uint64(10))}, false},
		{"a connection was lost", func(e *echoes) { e.forget(leader); e.hear(news(10), committed) }, ack(10), false},
		{"somebody else's connection was lost", func(e *echoes) { e.forget(leader + 1); e.hear(news(10), committed) }, ack(10), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e echoes
			if e.redundant(ack(10)) {
				t.Fatal("the first acknowledgement is left out")
			}
			tc.then(&e)
			if got := e.redundant(tc.ack); got != tc.want {
				t.Errorf("left out: %v, want %v", got, tc.want)
			}
			if tc.want && e.redundant(tc.ack) {
				t.Error("left out without word of a commit")
			}
		})
	}
}

// TestAcknowledgementsAfterAReconnection: whichever way a connection begins, what was said
// before it is said again.
func TestAcknowledgementsAfterAReconnection(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := preside(t)
		defer c.Close()
		c.depose()
		news := func() (index uint64) {
			var last, term uint64
			inLoop(t, c.Replica, func() {
				last = c.store.last()
				term, _ = c.store.Term(last)
			})
			m := message(pb.MsgApp, 3, c.term)
			m.Index, m.LogTerm, m.Commit = &last, &term, new(uint64(1))
			c.step(m)
			inLoop(t, c.Replica, func() { index = c.echoes.index })
			return index
		}
		for way, begin := range map[string]func(){
			"accepted": func() { c.met(3, 1) },
			"dialled":  func() { c.up(3, "10.0.0.3:1", 1) },
		} {
			if news() == 0 {
				t.Fatal("no acknowledgement went out")
			}
			inLoop(t, c.Replica, begin)
			var left echoes
			inLoop(t, c.Replica, func() { left = c.echoes })
			if left != (echoes{}) {
				t.Errorf("after a connection was %s it still relies on %+v", way, left)
			}
		}
	})
}
