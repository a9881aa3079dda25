package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/kithtest/memnet"
)

var alphaAddr, bravoAddr, strangerAddr = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.6.6.6")

func listen(t *testing.T, n *memnet.Network, addr netip.Addr, name string, key secret.Key) *link.Link {
	t.Helper()
	l, err := link.Listen(t.Context(), link.Config{
		Network: n.Host(addr), Bind: ":8000", Advertise: addr, Cluster: "test", Name: name, Key: key,
		OnStream: func(c net.Conn, _ link.Hello) { io.Copy(c, c); c.Close() },
		OnPacket: func([]byte, netip.AddrPort, time.Time) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSilentStrangers: connections that say nothing occupy the hall for five
// seconds at most, however many there are; then everybody is served again.
func TestSilentStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		key := secret.NewKey()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", key), listen(t, n, bravoAddr, "bravo", key)
		defer alpha.Close()
		defer bravo.Close()
		stranger := n.Host(strangerAddr)
		var open []net.Conn
		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			conn, err := stranger.Dial(ctx, "10.0.0.2:8000")
			cancel()
			if err == nil {
				open = append(open, conn)
			}
		}
		if len(open) < 128 {
			t.Fatalf("only %d strangers got in; the test needs a full hall", len(open))
		}
		start := time.Now()
		for {
			_, _, err := alpha.Dial(t.Context(), "bravo", "10.0.0.2:8000", link.Probe)
			if err == nil {
				break
			}
			if time.Since(start) > time.Minute {
				t.Fatalf("a minute after %d silent strangers: %v", len(open), err)
			}
		}
		for _, conn := range open {
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) {
				if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
					t.Fatal("a silent stranger is still connected")
				}
			}
			conn.Close()
		}
	})
}

// TestDialIntoSilence: a cut path ends a dial after five seconds, with a reason.
func TestDialIntoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", secret.Key{}), listen(t, n, bravoAddr, "bravo", secret.Key{})
		defer alpha.Close()
		defer bravo.Close()
		for what, from := range map[string][2]netip.Addr{"there": {alphaAddr, bravoAddr}, "back": {bravoAddr, alphaAddr}} {
			n.Cut(from[0], from[1])
			start := time.Now()
			_, _, err := alpha.Dial(t.Context(), "bravo", "10.0.0.2:8000", link.Gossip)
			if took := time.Since(start); err == nil || took != 5*time.Second {
				t.Errorf("cut on the way %s: %v after %v; want an error after 5 s", what, err, took)
			}
			if _, ok := errors.AsType[*link.PeerError](err); !ok {
				t.Errorf("cut on the way %s: %T", what, err)
			}
			n.Heal()
		}
		if _, _, err := alpha.Dial(t.Context(), "bravo", "10.0.0.2:8000", link.Probe); err != nil {
			t.Errorf("after healing: %v", err)
		}
	})
}

// TestAcceptedStreamsHaveNoDeadline: the handshake's must not outlive it.
func TestAcceptedStreamsHaveNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		key := secret.NewKey()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", key), listen(t, n, bravoAddr, "bravo", key)
		defer alpha.Close()
		defer bravo.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		conn, _, err := alpha.Dial(ctx, "bravo", "10.0.0.2:8000", link.Gossip)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		cancel() // a dial's context is over with the dial
		time.Sleep(time.Hour)
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}
