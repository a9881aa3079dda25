package transporttest

import (
	"context"
	"errors"
	"io"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

// quiet is a stream handler that only listens, and tells how that ended.
func quiet(ended chan<- error) transport.StreamHandler {
	return func(_ context.Context, s *transport.Stream) error {
		_, err := io.Copy(io.Discard, s)
		ended <- err
		return err
	}
}

// lost says whether err is what a request comes to whose connection broke, or whose
// peer turned out to be another process.
func lost(err error) bool {
	return (errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrPeerRestarted)) &&
		outcome.Of(err) == outcome.Unknown
}

var badDays = []test{
	{"Killed", func(c *cluster) {
		killer := can[Killer](c)
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		c.serve(n[1], "quiet", quiet(make(chan error, 9)))
		c.serve(n[0], "quiet", quiet(h.ended))
		handle, stream := n[0].Peer("bravo"), c.open(n[0], "bravo", "quiet")
		c.open(n[1], "alpha", "quiet")
		results := make(chan error, 20)
		for range 20 {
			go func() {
				_, err := handle.Request(c.Context(), "hold", nil)
				results <- err
			}()
			<-h.begun
		}
		killer.Kill("bravo")
		for range 20 {
			if err := <-results; !lost(err) {
				c.Errorf("under way: %v", err)
			}
		}
		if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, transport.ErrUnreachable) {
			c.Errorf("the stream to it: %v", err)
		}
		if _, err := stream.Write(make([]byte, 1)); !errors.Is(err, transport.ErrUnreachable) {
			c.Errorf("the stream to it: %v", err)
		}
		if err := <-h.ended; !errors.Is(err, transport.ErrUnreachable) && !errors.Is(err, transport.ErrPeerRestarted) {
			c.Errorf("the stream from it: %v", err)
		}
		_, err := handle.Request(c.ctx(), "hold", nil, transport.FailFast())
		if !errors.Is(err, transport.ErrUnreachable) || outcome.Of(err) != outcome.NotDone {
			c.Errorf("a new request: %v", err)
		}
		_ = n[1].Close() // the test's own; to the others it is dead
		c.handle(c.run("bravo", transport.Config{}), "echo", echo)
		c.eventually("the same handle works again", func() bool {
			_, err := handle.Request(c.ctx(), "echo", nil)
			return err == nil
		})
		if got := handle.Status(); got.State != transport.Up || got.Incarnation != 3 {
			c.Errorf("its status is %+v", got)
		}
	}},
	{"Stopped", func(c *cluster) {
		stopper := can[Stopper](c)
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		result := make(chan error)
		go func() {
			_, err := n[0].Request(c.Context(), "bravo", "hold", nil)
			result <- err
		}()
		<-h.begun
		stopper.Stop("bravo")
		if err := <-result; !lost(err) { // without a deadline of its own
			c.Errorf("got %v", err)
		}
		stopper.Continue("bravo")
		if err := <-h.ended; !errors.Is(err, context.Canceled) {
			c.Errorf("the handler's context ended with %v", err)
		}
		if _, err := n[0].Request(c.ctx(), "bravo", transport.SubjectPing, nil); err != nil {
			c.Error(err)
		}
	}},
	{"Broken", func(c *cluster) {
		breaker := can[Breaker](c)
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[1], "hold", h.handle)
		result := make(chan error)
		go func() {
			_, err := n[0].Request(c.Context(), "bravo", "hold", nil)
			result <- err
		}()
		<-h.begun
		breaker.Break("alpha", "bravo")
		if err := <-result; !lost(err) {
			c.Errorf("got %v", err)
		}
		if err := <-h.ended; !errors.Is(err, context.Canceled) {
			c.Errorf("the handler's context ended with %v", err)
		}
		if _, err := n[0].Request(c.ctx(), "bravo", transport.SubjectPing, nil); err != nil {
			c.Error(err)
		}
		if len(h.begun) != 0 {
			c.Error("the request ran again")
		}
	}},
	{"Moved", func(c *cluster) {
		mover := can[Mover](c)
		n := c.start("alpha", "bravo")
		handle := n[0].Peer("bravo")
		if err := n[1].Close(); err != nil {
			c.Fatal(err)
		}
		mover.Move("bravo")
		c.handle(c.run("bravo", transport.Config{}), "echo", echo)
		n[0].SetPeers(c.list())
		c.eventually("it is found where it is now", func() bool {
			_, err := handle.Request(c.ctx(), "echo", nil)
			return err == nil
		})
		if got := handle.Status(); got.Endpoint != c.world.Address("bravo").Endpoint {
			c.Errorf("its status is %+v", got)
		}
	}},
}
