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

	"github.com/kith-go/kith/internal/bubble"
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

// TestSilentStrangers: connections that say nothing, from many addresses, occupy
// the hall for a second at most; then everybody is served again.
func TestSilentStrangers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		key := secret.NewKey()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", key), listen(t, n, bravoAddr, "bravo", key)
		defer alpha.Close()
		defer bravo.Close()
		start := time.Now()
		var open []net.Conn
		for i := range 200 {
			from := netip.AddrFrom4([4]byte{10, 6, 6, byte(1 + i/16)})
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			conn, err := n.Host(from).Dial(ctx, "10.0.0.2:8000")
			cancel()
			if err == nil {
				open = append(open, conn)
			}
		}
		if len(open) < 128 {
			t.Fatalf("only %d strangers got in; the test needs a full hall", len(open))
		}
		if _, _, err := alpha.Dial(t.Context(), link.Call{Name: "bravo", Addr: "10.0.0.2:8000", Purpose: link.Probe}); err != nil {
			t.Errorf("after %d silent strangers: %v", len(open), err)
		}
		if took := time.Since(start); took > 2500*time.Millisecond { // 200 strangers are two halls full
			t.Errorf("%d silent strangers kept a node out for %v", len(open), took)
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

// TestOneHostFillsNothing: the connections of one address leave room for others,
// and those that came too many are closed at once.
func TestOneHostFillsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", secret.Key{}), listen(t, n, bravoAddr, "bravo", secret.Key{})
		defer alpha.Close()
		defer bravo.Close()
		start := time.Now()
		var open []net.Conn
		for range 140 {
			conn, err := n.Host(strangerAddr).Dial(t.Context(), "10.0.0.2:8000")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "K") // a first byte, and then nothing
			open = append(open, conn)
			synctest.Wait() // or the network's backlog overflows
		}
		if _, _, err := alpha.Dial(t.Context(), link.Call{Name: "bravo", Addr: "10.0.0.2:8000", Purpose: link.Probe}); err != nil {
			t.Errorf("beside 140 strangers of one address: %v", err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("140 strangers of one address kept a node out for %v", took)
		}
		held := 0
		for _, conn := range open {
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := conn.Read(make([]byte, 1))
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				held++
			}
		}
		if held != 16 {
			t.Errorf("%d of the 140 are still served, want 16", held)
		}
		// When they are gone their host is served again.
		time.Sleep(5 * time.Second)
		stranger, err := n.Host(strangerAddr).Dial(t.Context(), "10.0.0.2:8000")
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		said := time.Now()
		if _, err := stranger.Read(make([]byte, 1)); err == nil || time.Since(said) < 900*time.Millisecond {
			t.Errorf("a late silent stranger: %v after %v, want to be closed after a second", err, time.Since(said))
		}
	})
}

// TestDialIntoSilence: a cut path ends a dial after five seconds, with a reason.
func TestDialIntoSilence(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", secret.Key{}), listen(t, n, bravoAddr, "bravo", secret.Key{})
		defer alpha.Close()
		defer bravo.Close()
		for what, from := range map[string][2]netip.Addr{"there": {alphaAddr, bravoAddr}, "back": {bravoAddr, alphaAddr}} {
			n.Cut(from[0], from[1])
			start := time.Now()
			_, _, err := alpha.Dial(t.Context(), link.Call{Name: "bravo", Addr: "10.0.0.2:8000", Purpose: link.Gossip})
			if took := time.Since(start); err == nil || took != 5*time.Second {
				t.Errorf("cut on the way %s: %v after %v; want an error after 5 s", what, err, took)
			}
			if _, ok := errors.AsType[*link.PeerError](err); !ok {
				t.Errorf("cut on the way %s: %T", what, err)
			}
			n.Heal()
		}
		if _, _, err := alpha.Dial(t.Context(), link.Call{Name: "bravo", Addr: "10.0.0.2:8000", Purpose: link.Probe}); err != nil {
			t.Errorf("after healing: %v", err)
		}
	})
}

// TestAcceptedStreamsHaveNoDeadline: the handshake's must not outlive it.
func TestAcceptedStreamsHaveNoDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		defer n.Close()
		key := secret.NewKey()
		alpha, bravo := listen(t, n, alphaAddr, "alpha", key), listen(t, n, bravoAddr, "bravo", key)
		defer alpha.Close()
		defer bravo.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		conn, _, err := alpha.Dial(ctx, link.Call{Name: "bravo", Addr: "10.0.0.2:8000", Purpose: link.Gossip})
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
