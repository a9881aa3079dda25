package consensus

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/kith-go/kith/internal/bubble"
)

// TestSlowOpening: a session of which most was over when it was open is renewed in time.
func TestSlowOpening(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := preside(t)
		defer c.Close()
		c.ack() // its registration as a proposer
		lasts := shortest(c.cfg.SessionTTL) - c.cfg.SessionGrace
		alive := func(until time.Time) {
			for time.Now().Before(until) {
				c.step(message(pb.MsgHeartbeatResp, 2, c.term)) // it still leads, and nothing is committed
				time.Sleep(tickEvery)
			}
		}
		opened := make(chan *Session, 1)
		began := time.Now()
		go func() {
			s, err := c.Session(t.Context())
			if err != nil {
				t.Error(err)
			}
			opened <- s
		}()
		alive(began.Add(lasts - c.cfg.SessionTTL/10))
		c.ack()
		s := <-opened
		if s == nil {
			return
		}
		for time.Since(began) < lasts+c.cfg.SessionTTL/10 {
			c.confirm()
		}
		if err := s.ctx.Err(); err != nil {
			t.Errorf("it was lost, though renewals were answered at once: %v", context.Cause(s.ctx))
		}
	})
}
