package transporttest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

var lives = []test{
	{"CallsWaitForThePeer", func(c *cluster) {
		c.names = []string{"alpha", "bravo"}
		alpha := c.run("alpha", transport.Config{})
		handle := alpha.Peer("bravo")
		c.eventually("bravo is known to be down", func() bool { return handle.Status().State == transport.Down })
		if s := handle.Status(); s.Err == nil || s.Endpoint != c.world.Address("bravo").Endpoint {
			c.Errorf("its status is %+v", s)
		}
		_, err := handle.Request(c.ctx(), "echo", nil, transport.FailFast())
		if !errors.Is(err, transport.ErrUnreachable) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("in a hurry: %v", err)
		}
		ctx, cancel := context.WithTimeout(c.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = handle.Request(ctx, "echo", nil)
		if !errors.Is(err, transport.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("for a while: %v", err)
		}
		done := make(chan error)
		go func() {
			_, err := handle.Request(c.ctx(), transport.SubjectPing, nil)
			done <- err
		}()
		go func() { done <- handle.Send(c.ctx(), transport.SubjectPing, nil) }()
		go func() { done <- handle.Await(c.ctx()) }()
		c.run("bravo", transport.Config{})
		for range 3 {
			if err := <-done; err != nil {
				c.Error(err)
			}
		}
		if s := handle.Status(); s.State != transport.Up || s.Incarnation != 2 {
			c.Errorf("its status is %+v", s)
		}
	}},
	{"ListedAndUnlisted", func(c *cluster) {
		n := c.start("alpha", "bravo")
		handle := n[0].Peer("bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		waiting := make(chan error)
		go func() {
			_, err := handle.Request(c.ctx(), "hold", nil)
			waiting <- err
		}()
		<-h.begun
		n[0].SetPeers(nil)
		if err := <-waiting; !errors.Is(err, transport.ErrUnreachable) || outcome.Of(err) != outcome.Unknown {
			c.Errorf("under way: %v", err)
		}
		if _, err := handle.Request(c.ctx(), "echo", nil); !errors.Is(err, transport.ErrNoPeer) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("unlisted: %v", err)
		}
		if s := handle.Status().State; s != transport.Unknown {
			c.Errorf("unlisted it is %v", s)
		}
		n[0].SetPeers(c.list())
		if n[0].Peer("bravo") != handle {
			c.Error("the handle is another one")
		}
		if _, err := handle.Request(c.ctx(), transport.SubjectPing, nil); err != nil {
			c.Errorf("listed again: %v", err)
		}
	}},
	{"CloseWithRequestsUnderWay", func(c *cluster) {
		n := c.start("alpha", "bravo", "carol")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		c.handle(n[2], "hold", h.handle)
		c.serve(n[2], "quiet", func(ctx context.Context, s *transport.Stream) error {
			_, err := io.Copy(io.Discard, s)
			return err
		})
		sub := c.subscribe(n[1], "t")
		results := map[string]chan error{}
		start := func(what string, f func() error) {
			result := make(chan error, 1)
			results[what] = result
			go func() { result <- f() }()
		}
		start("request to it", func() error { _, err := n[0].Request(c.ctx(), "bravo", "hold", nil); return err })
		start("request by it", func() error { _, err := n[1].Request(c.ctx(), "carol", "hold", nil); return err })
		start("request to itself", func() error { _, err := n[1].Request(c.ctx(), "bravo", "hold", nil); return err })
		stream := c.open(n[1], "carol", "quiet")
		start("stream", func() error { _, err := stream.Read(make([]byte, 1)); return err })
		start("subscription", func() error { _, err := sub.Next(c.ctx()); return err })
		for range 3 {
			<-h.begun
		}
		var work sync.WaitGroup
		for range 2 {
			work.Go(func() {
				if err := n[1].Close(); err != nil {
					c.Error(err)
				}
			})
		}
		work.Wait()
		for what, result := range results {
			want := transport.ErrClosed
			if what == "request to it" {
				want = transport.ErrUnreachable
			}
			if err := <-result; !errors.Is(err, want) || strings.HasPrefix(what, "request") && outcome.Of(err) != outcome.Unknown {
				c.Errorf("%s: %v", what, err)
			}
		}
		for range 3 { // bravo's own two, and carol's, whose caller is gone
			if err := <-h.ended; !errors.Is(err, context.Canceled) {
				c.Errorf("a handler ended with %v", err)
			}
		}
		_, err := n[1].Request(c.ctx(), "carol", "hold", nil)
		if !errors.Is(err, transport.ErrClosed) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("a request afterwards: %v", err)
		}
		if _, err := n[1].Publish(c.ctx(), "t", nil); !errors.Is(err, transport.ErrClosed) {
			c.Errorf("a publication afterwards: %v", err)
		}
		if err := n[1].Handle("late", echo); !errors.Is(err, transport.ErrClosed) {
			c.Errorf("a handler afterwards: %v", err)
		}
		if _, err := n[1].Subscribe("t"); !errors.Is(err, transport.ErrClosed) {
			c.Errorf("a subscription afterwards: %v", err)
		}
	}},
	{"RestartAfterClose", func(c *cluster) {
		n := c.start("alpha", "bravo")
		handle, sub := n[0].Peer("bravo"), c.subscribe(n[0], "t")
		if err := n[1].Close(); err != nil {
			c.Fatal(err)
		}
		if _, err := sub.Next(c.ctx()); err == nil {
			c.Error("the subscriber was not told of the gap")
		}
		bravo := c.run("bravo", transport.Config{})
		c.handle(bravo, "echo", echo)
		c.eventually("the new incarnation is connected", func() bool { return handle.Status().Incarnation == 3 })
		c.eventually("it answers", func() bool {
			_, err := handle.Request(c.ctx(), "echo", nil)
			return err == nil
		})
		if err := sub.Ready(c.ctx()); err != nil {
			c.Fatal(err)
		}
		c.publish(bravo, "t", "again", 1)
		c.expect(sub, "bravo", "t", "again")
	}},
}
