package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/transport"
)

// subscribe subscribes, and waits until it is known everywhere.
func (c *cluster) subscribe(n *node, prefix string, opts ...transport.SubscribeOption) *transport.Subscription {
	c.Helper()
	s, err := n.Subscribe(prefix, opts...)
	if err == nil {
		err = s.Ready(c.ctx())
	}
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// publish publishes, and checks how many connections it went to.
func (c *cluster) publish(n *node, topic, body string, reached int) {
	c.Helper()
	if got, err := n.Publish(c.ctx(), topic, []byte(body)); err != nil || got != reached {
		c.Fatalf("%s published %s to %d, want %d: %v", n.name, topic, got, reached, err)
	}
}

// expect reads what comes next.
func (c *cluster) expect(s *transport.Subscription, peer, topic, body string) {
	c.Helper()
	m, err := s.Next(c.ctx())
	if err != nil || m.Peer != peer || m.Subject != topic || string(m.Body) != body {
		c.Fatalf("got %+v, %v; want %s %s %s", m, err, peer, topic, body)
	}
}

var publications = []test{
	{"Prefix", func(c *cluster) {
		n := c.start("alpha", "bravo", "carol")
		jobs := c.subscribe(n[1], "jobs/")
		failed := c.subscribe(n[1], "jobs/failed/")
		all := c.subscribe(n[2], "")
		c.publish(n[0], "jobs/new/1", "a", 2)
		c.publish(n[0], "news", "b", 1)
		c.publish(n[0], "jobs/failed/1", "c", 2)
		c.expect(jobs, "alpha", "jobs/new/1", "a")
		c.expect(jobs, "alpha", "jobs/failed/1", "c")
		c.expect(failed, "alpha", "jobs/failed/1", "c") // two publishers have no order
		c.publish(n[1], "jobs/failed/2", "d", 2)
		c.expect(jobs, "bravo", "jobs/failed/2", "d")
		c.expect(failed, "bravo", "jobs/failed/2", "d")
		var topics []string
		for range 4 {
			m, err := all.Next(c.ctx())
			if err != nil {
				c.Fatal(err)
			}
			topics = append(topics, m.Subject)
		}
		slices.Sort(topics)
		if want := []string{"jobs/failed/1", "jobs/failed/2", "jobs/new/1", "news"}; !slices.Equal(topics, want) {
			c.Errorf("all are %v", topics)
		}
	}},
	{"Unsubscribe", func(c *cluster) {
		n := c.start("alpha", "bravo")
		one, two := c.subscribe(n[1], "t"), c.subscribe(n[1], "t")
		c.publish(n[0], "t", "1", 1)
		c.publish(n[0], "t", "2", 1)
		c.expect(two, "alpha", "t", "1")
		c.expect(one, "alpha", "t", "1")
		c.expect(two, "alpha", "t", "2")
		c.eventually("both have both", func() bool { return one.Waiting() == 1 })
		one.Close()
		c.publish(n[0], "t", "3", 1)
		c.expect(two, "alpha", "t", "3")
		two.Close()
		c.eventually("the publisher knows that nobody listens", func() bool {
			reached, err := n[0].Publish(c.ctx(), "t", nil)
			return reached == 0 && err == nil
		})
		c.expect(one, "alpha", "t", "2") // closed, and still read
		if _, err := one.Next(c.ctx()); !errors.Is(err, transport.ErrClosed) {
			c.Errorf("then %v", err)
		}
		again := c.subscribe(n[1], "t/again") // not what was published meanwhile
		c.publish(n[0], "t/again", "4", 1)
		c.expect(again, "alpha", "t/again", "4")
	}},
	{"WhoComesLater", func(c *cluster) {
		n := c.start("alpha", "bravo")
		s := c.subscribe(n[0], "t")
		carol := c.run("carol", transport.Config{})
		for _, old := range n {
			old.SetPeers(c.list())
		}
		c.settle()
		if err := s.Ready(c.ctx()); err != nil {
			c.Fatal(err)
		}
		c.publish(carol, "t", "x", 1)
		c.expect(s, "carol", "t", "x")
	}},
	{"ManyPrefixes", func(c *cluster) {
		n := c.start("alpha", "bravo")
		var last *transport.Subscription
		for i := range 5000 {
			s, err := n[1].Subscribe(fmt.Sprintf("subject/%d/", i))
			if err != nil {
				c.Fatal(err)
			}
			last = s
		}
		if err := last.Ready(c.ctx()); err != nil {
			c.Fatal(err)
		}
		c.publish(n[0], "subject/4999/x", "y", 1)
		c.expect(last, "alpha", "subject/4999/x", "y")
	}},
	{"SlowReaderIsTold", func(c *cluster) {
		n := c.start("alpha", "bravo")
		s := c.subscribe(n[1], "t", transport.Buffer(10))
		other := c.subscribe(n[1], "t")
		for i := range 25 {
			c.publish(n[0], "t", fmt.Sprint(i), 1)
		}
		for i := range 25 {
			c.expect(other, "alpha", "t", fmt.Sprint(i)) // all have arrived
		}
		for i := range 10 {
			c.expect(s, "alpha", "t", fmt.Sprint(i))
		}
		_, err := s.Next(c.ctx())
		if lag, ok := errors.AsType[*transport.LagError](err); !ok || lag.Peer != "" || lag.Lost != 15 {
			c.Errorf("got %v", err)
		}
		c.publish(n[0], "t", "on", 1)
		c.expect(s, "alpha", "t", "on")
	}},
	{"SlowConnectionIsTold", func(c *cluster) {
		stopper := can[Stopper](c)
		c.names = []string{"alpha", "bravo"}
		alpha := c.run("alpha", transport.Config{Limits: transport.Limits{PublishBacklog: 64 << 10}})
		bravo := c.run("bravo", transport.Config{})
		c.settle()
		s := c.subscribe(bravo, "t", transport.Buffer(1<<20))
		const sent = 5000
		stopper.Stop("bravo")
		for range sent {
			if _, err := alpha.Publish(c.ctx(), "t", make([]byte, 1000)); err != nil {
				c.Fatal(err)
			}
		}
		stopper.Continue("bravo")
		got, lost := 0, uint64(0)
		for got+int(lost) < sent {
			_, err := s.Next(c.ctx())
			lag, ok := errors.AsType[*transport.LagError](err)
			switch {
			case ok && lag.Lost == 0:
				c.Skip("the connection broke meanwhile")
			case ok:
				lost += lag.Lost
			case err != nil:
				c.Fatalf("after %d and %d lost: %v", got, lost, err)
			default:
				got++
			}
		}
		if got+int(lost) != sent || lost == 0 {
			c.Errorf("%d came, %d were lost, of %d", got, lost, sent)
		}
	}},
}

var gatherings = []test{
	{"All", func(c *cluster) {
		n := c.start("alpha", "bravo", "carol")
		for _, to := range n[:2] {
			c.handle(to, "who", func(context.Context, transport.Message) (transport.Message, error) {
				return transport.Message{Body: []byte(to.name)}, nil
			})
		}
		got := map[string]bool{}
		for m, err := range n[0].RequestAll(c.ctx(), "who", nil) {
			switch m.Peer {
			case "carol":
				if !errors.Is(err, transport.ErrNoHandler) || outcome.Of(err) != outcome.NotDone {
					c.Errorf("carol: %v", err)
				}
			default:
				if err != nil || string(m.Body) != m.Peer {
					c.Errorf("%s: %q, %v", m.Peer, m.Body, err)
				}
			}
			got[m.Peer] = true
		}
		if len(got) != 3 {
			c.Errorf("heard of %v", got)
		}
		for m, err := range n[0].RequestAll(c.ctx(), "who", nil, transport.To("bravo", "zulu")) {
			if (m.Peer == "zulu") != errors.Is(err, transport.ErrNoPeer) || m.Peer == "alpha" {
				c.Errorf("%s: %v", m.Peer, err)
			}
		}
	}},
	{"First", func(c *cluster) {
		n := c.start("alpha", "bravo", "carol")
		h := newHold()
		c.handle(n[0], "who", echo)
		c.handle(n[1], "who", func(ctx context.Context, r transport.Message) (transport.Message, error) {
			<-h.begun // carol's has begun
			return echo(ctx, r)
		})
		c.handle(n[2], "who", h.handle)
		var got []string
		for m, err := range n[0].RequestAll(c.ctx(), "who", nil, transport.First(2)) {
			if err != nil {
				c.Error(err)
			}
			got = append(got, m.Peer)
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"alpha", "bravo"}) {
			c.Errorf("the first two are %v", got)
		}
		if err := <-h.ended; !errors.Is(err, context.Canceled) {
			c.Errorf("the third, which nobody waits for, ended with %v", err)
		}
	}},
	{"Left", func(c *cluster) {
		n := c.start("alpha", "bravo")
		h := newHold()
		c.handle(n[0], "who", func(ctx context.Context, r transport.Message) (transport.Message, error) {
			<-h.begun
			return echo(ctx, r)
		})
		c.handle(n[1], "who", h.handle)
		for range n[0].RequestAll(c.ctx(), "who", nil) {
			break
		}
		if err := <-h.ended; !errors.Is(err, context.Canceled) {
			c.Errorf("the other one ended with %v", err)
		}
	}},
}
