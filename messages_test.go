package kith_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/transport"
)

// within returns a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// nameItself lets a node answer "whoami" with its name and the request's body.
func nameItself(t testing.TB, n *kith.Node) {
	t.Helper()
	err := n.Handle("whoami", func(_ context.Context, r transport.Message) (transport.Message, error) {
		return transport.Message{Body: fmt.Appendf(nil, "%s for %s: %s", n.Name(), r.Peer, r.Body)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// asks fails the test unless the peer answers what nameItself says.
func asks(t testing.TB, from *kith.Node, peer string) {
	t.Helper()
	reply, err := from.Request(within(t, time.Minute), peer, "whoami", []byte("hello"))
	want := fmt.Sprintf("%s for %s: hello", peer, from.Name())
	if err != nil || string(reply.Body) != want || reply.Peer != peer {
		t.Errorf("%s asks %s: %q of %s, %v; want %q", from.Name(), peer, reply.Body, reply.Peer, err, want)
	}
}

func everyoneAsksEveryone(t testing.TB, c *kithtest.Cluster) {
	t.Helper()
	for _, from := range c.Nodes() {
		for _, to := range c.Nodes() {
			asks(t, from, to.Name())
		}
	}
}

// TestMessages: all that a node can do, over real sockets.
func TestMessages(t *testing.T) {
	c := kithtest.Start(t, 3, kithtest.Options{})
	needLibzmq(t, c.Nodes()[0])
	speak(t, c)
}

// TestMessagesVirtual is the same in virtual time.
func TestMessagesVirtual(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: memnet.Conditions{Delay: time.Millisecond}}, speak)
}

func speak(t *testing.T, c *kithtest.Cluster) {
	alpha, bravo, charlie := c.Node("alpha"), c.Node("bravo"), c.Node("charlie")
	for _, n := range c.Nodes() {
		nameItself(t, n)
	}
	everyoneAsksEveryone(t, c)
	ctx := within(t, time.Minute)

	// Errors tell the outcome.
	if _, err := alpha.Request(ctx, "zulu", "whoami", nil); !errors.Is(err, transport.ErrNoPeer) || kith.OutcomeOf(err) != kith.NotDone {
		t.Errorf("a request to nobody: %v", err)
	}
	if _, err := alpha.Request(ctx, "bravo", "nothing", nil); !errors.Is(err, transport.ErrNoHandler) || kith.OutcomeOf(err) != kith.NotDone {
		t.Errorf("a request for what nobody handles: %v", err)
	}
	fail := func(context.Context, transport.Message) (transport.Message, error) {
		return transport.Message{}, transport.Coded("broke", errors.New("no money"))
	}
	if err := bravo.Handle("pay", fail, transport.Concurrency(1)); err != nil {
		t.Fatal(err)
	}
	if err := bravo.Handle("pay", fail); !errors.Is(err, transport.ErrHandled) {
		t.Errorf("handled twice: %v", err)
	}
	_, err := alpha.Request(ctx, "bravo", "pay", nil)
	if e, ok := errors.AsType[*transport.RemoteError](err); !ok || e.Code != "broke" || kith.OutcomeOf(err) != kith.Done {
		t.Errorf("a handler's own error: %v", err)
	}
	bravo.Unhandle("pay")
	if _, err := alpha.Request(ctx, "bravo", "pay", nil); !errors.Is(err, transport.ErrNoHandler) {
		t.Errorf("the handler is gone: %v", err)
	}

	// All, and the first.
	answered := map[string]bool{}
	for reply, err := range charlie.RequestAll(ctx, "whoami", []byte("all")) {
		if err != nil {
			t.Errorf("%s answers %v", reply.Peer, err)
		}
		answered[reply.Peer] = true
	}
	if len(answered) != 3 {
		t.Errorf("all is %v", answered)
	}

	// One way, and published.
	got := make(chan string, 1)
	err = charlie.Handle("note", func(_ context.Context, m transport.Message) (transport.Message, error) {
		got <- m.Peer + " " + string(m.Body)
		return transport.Message{}, nil
	})
	if err == nil {
		err = alpha.Send(ctx, "charlie", "note", []byte("psst"))
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case note := <-got:
		if note != "alpha psst" {
			t.Errorf("the note is %q", note)
		}
	case <-ctx.Done():
		t.Error("the note did not come")
	}
	var subs []*transport.Subscription
	for _, n := range c.Nodes() {
		s, err := n.Subscribe("news.")
		if err == nil {
			err = s.Ready(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, s)
	}
	if reached, err := bravo.Publish(ctx, "news.today", []byte("rain")); err != nil || reached != 3 {
		t.Errorf("the news reached %d, %v", reached, err)
	}
	for _, s := range subs {
		m, err := s.Next(ctx)
		if err != nil || m.Peer != "bravo" || m.Subject != "news.today" || string(m.Body) != "rain" {
			t.Errorf("the news is %+v, %v", m, err)
		}
	}

	// A stream.
	err = bravo.HandleStream("upper", func(_ context.Context, s *transport.Stream) error {
		text, err := io.ReadAll(s)
		if err == nil {
			_, err = s.Write(bytes.ToUpper(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := charlie.OpenStream(ctx, "bravo", "upper")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write([]byte("quiet")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(s); err != nil || string(text) != "QUIET" {
		t.Errorf("the stream says %q, %v", text, err)
	}

	if info := alpha.MessageStats(); len(info.Peers) < 3 {
		t.Errorf("the statistics know %d peers", len(info.Peers))
	}
}

// TestMessagesAcrossFaults: the handle that is asked for first is good for ever, handlers and
// subscriptions are there for whoever comes back.
func TestMessagesAcrossFaults(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Seed: 7, Conditions: memnet.Conditions{Delay: time.Millisecond}}, func(t *testing.T, c *kithtest.Cluster) {
		alpha := c.Node("alpha")
		for _, n := range c.Nodes() {
			nameItself(t, n)
		}
		bravo := alpha.Peer("bravo")
		say := func() string {
			t.Helper()
			reply, err := bravo.Request(within(t, time.Minute), "whoami", nil)
			if err != nil {
				t.Errorf("asking bravo: %v", err)
			}
			return string(reply.Body)
		}
		say()

		// Killed: what is under way fails at once, what comes waits as long as it may.
		stuck := make(chan struct{})
		err := c.Node("bravo").Handle("hang", func(ctx context.Context, _ transport.Message) (transport.Message, error) {
			close(stuck)
			<-ctx.Done()
			return transport.Message{}, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		var failedAfter time.Duration
		var killed time.Time
		go func() {
			_, err := bravo.Request(within(t, time.Hour), "hang", nil)
			failedAfter = time.Since(killed)
			failed <- err
		}()
		<-stuck
		killed = time.Now()
		c.Kill("bravo")
		if err := <-failed; !errors.Is(err, transport.ErrUnreachable) || kith.OutcomeOf(err) != kith.Unknown {
			t.Errorf("in flight when bravo was killed: %v", err)
		}
		if failedAfter > 20*time.Millisecond {
			t.Errorf("that took %v", failedAfter)
		}
		if _, err := bravo.Request(within(t, time.Minute), "whoami", nil, transport.FailFast()); !errors.Is(err, transport.ErrUnreachable) || kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("a dead bravo: %v", err)
		}
		if state := bravo.Status(); state.State != transport.Down || state.Err == nil {
			t.Errorf("a dead bravo is %+v", state)
		}
		before := bravo.Status().Incarnation
		nameItself(t, c.Restart("bravo"))
		say()
		if now := bravo.Status(); now.Incarnation <= before || now.Incarnation != uint64(c.Node("bravo").Status().Incarnation) {
			t.Errorf("restarted, its incarnation is %d after %d", now.Incarnation, before)
		}

		// Stopped, cut off, without power.
		for what, fault := range map[string]struct{ begin, end func() }{
			"pause":     {func() { c.Pause("bravo") }, func() { c.Resume("bravo") }},
			"cut":       {func() { c.CutBoth("alpha", "bravo") }, c.Heal},
			"partition": {func() { c.Partition([]string{"bravo"}) }, c.Heal},
			"power":     {func() { c.PowerOff("bravo") }, func() { nameItself(t, c.Restart("bravo")) }},
		} {
			say()
			fault.begin()
			_, err := bravo.Request(within(t, 10*time.Second), "whoami", nil)
			if !errors.Is(err, transport.ErrUnreachable) {
				t.Errorf("%s: %v", what, err)
			}
			fault.end()
			say()
		}

		// bravo moves to another port, and goes on as the same process with the handlers it has.
		list := c.Peers()
		list.Peers[1].Port, list.Peers[1].ControlPort = 7400, list.Peers[1].Control()
		was := bravo.Status().Incarnation
		c.SetPeers(list)
		if got := c.Node("bravo").Self().Port; got != 7400 {
			t.Errorf("bravo is at %d", got)
		}
		say()
		if now := bravo.Status(); !strings.HasSuffix(now.Endpoint, ":7400") || now.Incarnation != was {
			t.Errorf("moved, bravo is at %s, incarnation %d, before %d", now.Endpoint, now.Incarnation, was)
		}
		everyoneAsksEveryone(t, c)

		// Taken off the list, and put back.
		without := c.Peers()
		without.Peers = without.Peers[:2]
		if err := alpha.SetPeers(t.Context(), without); err != nil {
			t.Fatal(err)
		}
		if _, err := alpha.Request(within(t, time.Minute), "charlie", "whoami", nil); !errors.Is(err, transport.ErrNoPeer) {
			t.Errorf("charlie is no peer: %v", err)
		}
		if err := alpha.SetPeers(t.Context(), c.Peers()); err != nil {
			t.Fatal(err)
		}
		c.Await("alpha reaches charlie again", func() bool {
			_, err := alpha.Request(within(t, time.Minute), "charlie", "whoami", nil)
			return err == nil
		})
	})
}

// TestMessagesMove: a node that moves breaks its connections, and says that it is that;
// subscriptions, on either side, go on at its new place.
func TestMessagesMove(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{Conditions: memnet.Conditions{Delay: time.Millisecond}}, func(t *testing.T, c *kithtest.Cluster) {
		alpha, bravo := c.Node("alpha"), c.Node("bravo")
		err := bravo.Handle("hang", func(ctx context.Context, _ transport.Message) (transport.Message, error) {
			<-ctx.Done()
			return transport.Message{}, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		everyoneConnects(t, c)
		subs := map[*kith.Node]*transport.Subscription{}
		for _, n := range c.Nodes() {
			if subs[n], err = n.Subscribe("news"); err == nil {
				err = subs[n].Ready(within(t, time.Minute))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := alpha.Request(t.Context(), "bravo", "hang", nil)
			waiting <- err
		}()
		synctest.Wait()
		time.Sleep(time.Second) // of virtual time: it has arrived

		list := c.Peers()
		list.Peers[0].Port, list.Peers[0].ControlPort = 7400, list.Peers[0].Control()
		c.SetPeers(list)
		if err := <-waiting; !errors.Is(err, transport.ErrUnreachable) || errors.Is(err, kith.ErrClosed) || kith.OutcomeOf(err) != kith.Unknown {
			t.Errorf("in flight when alpha moved: %v", err)
		}
		c.Await("both follow", func() bool { return bravo.Peer("alpha").Status().Endpoint == "tcp://10.0.0.1:7400" })
		everyoneConnects(t, c)
		for publisher := range subs {
			for _, s := range subs {
				if err := s.Ready(within(t, time.Minute)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := publisher.Publish(t.Context(), "news", []byte(publisher.Name())); err != nil {
				t.Fatal(err)
			}
			for n, s := range subs {
				for m, err := range s.All(within(t, time.Minute)) {
					if _, lag := errors.AsType[*transport.LagError](err); lag {
						continue // the connection was broken, which is told
					}
					if err != nil || string(m.Body) != publisher.Name() {
						t.Errorf("%s publishes, %s hears %+v, %v", publisher.Name(), n.Name(), m, err)
					}
					break
				}
			}
		}
	})
}

// everyoneConnects waits until all running nodes are connected to all others.
func everyoneConnects(t testing.TB, c *kithtest.Cluster) {
	t.Helper()
	for _, from := range c.Nodes() {
		for _, to := range c.Nodes() {
			if err := from.Peer(to.Name()).Await(within(t, time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestMessagesEndWithTheNode: whatever waits returns, and says why.
func TestMessagesEndWithTheNode(t *testing.T) {
	kithtest.Virtual(t, 2, kithtest.Options{Conditions: memnet.Conditions{Delay: time.Millisecond}}, func(t *testing.T, c *kithtest.Cluster) {
		alpha, bravo := c.Node("alpha"), c.Node("bravo")
		hang := func(ctx context.Context, _ transport.Message) (transport.Message, error) {
			<-ctx.Done()
			return transport.Message{}, ctx.Err()
		}
		if err := bravo.Handle("hang", hang); err != nil {
			t.Fatal(err)
		}
		sub, err := alpha.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 4)
		calls := []func() error{
			func() error { _, err := alpha.Request(t.Context(), "bravo", "hang", nil); return err },
			func() error { _, err := bravo.Request(t.Context(), "bravo", "hang", nil); return err },
			func() error { _, err := sub.Next(t.Context()); return err },
			func() error {
				for _, err := range alpha.RequestAll(t.Context(), "hang", nil, transport.To("bravo")) {
					return err
				}
				return nil
			},
		}
		if err := alpha.Peer("bravo").Await(t.Context()); err != nil { // RequestAll waits for nobody
			t.Fatal(err)
		}
		for _, call := range calls {
			go func() { errs <- call() }()
		}
		synctest.Wait()
		time.Sleep(time.Second) // of virtual time: all of them wait
		alpha.Close()
		for range len(calls) - 1 {
			if err := <-errs; !errors.Is(err, kith.ErrClosed) {
				t.Errorf("alpha closed: %v", err)
			}
		}
		bravo.Close()
		if err := <-errs; !errors.Is(err, kith.ErrClosed) {
			t.Errorf("bravo closed: %v", err)
		}
		if _, err := alpha.Request(t.Context(), "bravo", "hang", nil); !errors.Is(err, kith.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := alpha.Handle("late", hang); !errors.Is(err, kith.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestMessagesOff: a node that carries no messages does everything else, and each call says
// the same, at once.
func TestMessagesOff(t *testing.T) {
	off := func(_ string, cfg *kith.Config) { cfg.Messages.Off = true }
	kithtest.Virtual(t, 2, kithtest.Options{Configure: off}, func(t *testing.T, c *kithtest.Cluster) {
		alpha := c.Node("alpha")
		if err := alpha.Ready(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		ctx := t.Context() // without a deadline
		for what, call := range map[string]func() error{
			"Request":      func() error { _, err := alpha.Request(ctx, "bravo", "s", nil); return err },
			"Request self": func() error { _, err := alpha.Request(ctx, "alpha", "s", nil); return err },
			"handle":       func() error { _, err := alpha.Peer("bravo").Request(ctx, "s", nil); return err },
			"Send":         func() error { return alpha.Send(ctx, "bravo", "s", nil) },
			"handle sends": func() error { return alpha.Peer("bravo").Send(ctx, "s", nil) },
			"handle opens": func() error { _, err := alpha.Peer("bravo").OpenStream(ctx, "s"); return err },
			"handle waits": func() error { return alpha.Peer("bravo").Await(ctx) },
			"own handle":   func() error { _, err := alpha.Peer("alpha").Request(ctx, "kith.ping", nil); return err },
			"unlisted":     func() error { return alpha.Peer("zulu").Send(ctx, "s", nil) },
			"Publish":      func() error { _, err := alpha.Publish(ctx, "s", nil); return err },
			"Subscribe":    func() error { _, err := alpha.Subscribe("s"); return err },
			"OpenStream":   func() error { _, err := alpha.OpenStream(ctx, "bravo", "s"); return err },
			"Handle":       func() error { return alpha.Handle("s", nil) },
			"HandleStream": func() error { return alpha.HandleStream("s", nil) },
			"RequestAll": func() (err error) {
				for _, err = range alpha.RequestAll(ctx, "s", nil) {
				}
				return err
			},
		} {
			if err := call(); !errors.Is(err, kith.ErrNoMessages) || kith.OutcomeOf(err) != kith.NotDone || !strings.Contains(err.Error(), "Messages.Off") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if s := alpha.Peer("bravo").Status(); s.State != transport.Down || !errors.Is(s.Err, kith.ErrNoMessages) {
			t.Errorf("bravo is %+v", s)
		}
	})
}

// needLibzmq skips where the program was built without it.
func needLibzmq(t *testing.T, n *kith.Node) {
	t.Helper()
	if _, err := n.Request(t.Context(), n.Name(), "kith.ping", nil); errors.Is(err, kith.ErrNoMessages) {
		t.Skipf("NOT TESTED: %v", err)
	}
}

// TestMessagesAlone: a node without a list talks to itself at a free port. When a list
// comes that gives it another name and place, its handlers and subscriptions come along.
func TestMessagesAlone(t *testing.T) {
	dir := lonely(t)
	node, err := kith.Start(t.Context(), kith.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	needLibzmq(t, node)
	port := node.Self().Port
	if port == 0 || node.Peers().Peers[0].Port != port {
		t.Errorf("it listens at %d, the list says %d", port, node.Peers().Peers[0].Port)
	}
	nameItself(t, node)
	asks(t, node, node.Name())
	sub, err := node.Subscribe("news")
	if err != nil {
		t.Fatal(err)
	}
	alpha, bravo := node.Peer("alpha"), node.Peer("bravo")

	list := onLoopback(t, "alpha", "bravo")
	list.Peers[1].IPAddr = "192.0.2.1" // elsewhere: which peer this node is must be plain
	if err := list.Dump(filepath.Join(dir, "peers.json")); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	for change, err := range node.WatchPeers(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if len(change.Current.Peers) == 2 {
			break
		}
	}
	if node.Name() != "alpha" || node.Self().Port != list.Peers[0].Port {
		t.Fatalf("it is %s at %d", node.Name(), node.Self().Port)
	}
	asks(t, node, "alpha")
	if reply, err := alpha.Request(ctx, "whoami", []byte("me")); err != nil || string(reply.Body) != "alpha for alpha: me" {
		t.Errorf("the handle of before: %q, %v", reply.Body, err)
	}
	if state := bravo.Status().State; state == transport.Unknown {
		t.Errorf("bravo is %v", state)
	}
	if _, err := node.Publish(ctx, "news.1", []byte("moved")); err != nil {
		t.Fatal(err)
	}
	for m, err := range sub.All(ctx) {
		if _, lag := errors.AsType[*transport.LagError](err); lag {
			continue // the connection to the node of the old name has ended
		}
		if err != nil || string(m.Body) != "moved" || m.Peer != "alpha" {
			t.Errorf("published after the move: %+v, %v", m, err)
		}
		break
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		conn.Close()
		t.Error("the old port is open still")
	}
}

// TestMessagesStay: a list that changes nothing for this node breaks no connection.
func TestMessagesStay(t *testing.T) {
	c := kithtest.Start(t, 2, kithtest.Options{})
	alpha, bravo := c.Node("alpha"), c.Node("bravo")
	needLibzmq(t, alpha)
	err := bravo.HandleStream("echo", func(_ context.Context, s *transport.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	s, err := alpha.OpenStream(ctx, "bravo", "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	charlie := onLoopback(t, "x", "y", "charlie").Peers[2]
	list := c.Peers()
	list.Peers = append(list.Peers, charlie)
	c.SetPeers(list)
	if _, err := s.Write([]byte("on")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(s); err != nil || string(text) != "on" {
		t.Errorf("the stream says %q, %v", text, err)
	}
}

// TestMessagePortTaken: a node does not start beside another program at its message port,
// and one that runs does not move there; both say so, and how to go on.
func TestMessagePortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)

	list := onLoopback(t, "alpha")
	good := list.Clone()
	list.Peers[0].Port = port
	if node, err := kith.Start(t.Context(), kith.Config{Peers: list}); err == nil {
		defer node.Close()
		needLibzmq(t, node)
		t.Error("it has started")
	} else if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "Messages.Off") {
		t.Errorf("the port is taken: %v", err)
	}
	node, err := kith.Start(t.Context(), kith.Config{Peers: good})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	nameItself(t, node)
	if err := node.SetPeers(t.Context(), list); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("moving there: %v", err)
	}
	if got := node.Self().Port; got != good.Peers[0].Port {
		t.Errorf("it says that it is at %d", got)
	}
	asks(t, node, "alpha")
	taken.Close()
	if err := node.SetPeers(t.Context(), list); err != nil {
		t.Errorf("moving there when the port is free: %v", err)
	}
	asks(t, node, "alpha")
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("nothing listens at the new port: %v", err)
	}
	conn.Close()
}
