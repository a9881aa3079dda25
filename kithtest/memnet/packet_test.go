package memnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
)

// stringAddr is a foreign net.Addr.
type stringAddr string

func (stringAddr) Network() string  { return "udp" }
func (a stringAddr) String() string { return string(a) }

func TestPacketAddresses(t *testing.T) {
	virtually(t, func(r *rig) {
		wild := r.listenPacket(r.alpha, ":5000")
		bound := r.listenPacket(r.alpha, "127.0.0.1:5001")
		bravo := r.listenPacket(r.bravo, "10.0.0.2:5000")
		for _, c := range []struct {
			from, at net.PacketConn
			to       net.Addr
			sender   string
		}{
			{wild, bravo, &net.UDPAddr{IP: net.ParseIP("10.0.0.2"), Port: 5000}, "10.0.0.1:5000"},
			{wild, bravo, stringAddr("10.0.0.2:5000"), "10.0.0.1:5000"},
			{wild, bravo, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 5000}, "10.0.0.1:5000"},
			{bravo, wild, stringAddr("10.0.0.1:5000"), "10.0.0.2:5000"},
			{wild, bound, stringAddr("127.0.0.1:5001"), "127.0.0.1:5000"},
			{wild, bound, &net.UDPAddr{Port: 5001}, "127.0.0.1:5000"},
			{bound, wild, stringAddr("127.0.0.9:5000"), "127.0.0.1:5001"},
			{bound, wild, stringAddr("10.0.0.1:5000"), "127.0.0.1:5001"},
		} {
			if n, err := c.from.WriteTo([]byte("hello"), c.to); n != 5 || err != nil {
				r.Fatalf("WriteTo(%v) = %d, %v", c.to, n, err)
			}
			sender := r.receive(c.at, "hello")
			if _, ok := sender.(*net.UDPAddr); !ok || sender.String() != c.sender {
				r.Errorf("to %v: sender is %T %v, want %s", c.to, sender, sender, c.sender)
			}
		}
		for _, to := range []net.Addr{nil, (*net.UDPAddr)(nil), stringAddr("bravo:5000"), stringAddr("")} {
			if _, err := wild.WriteTo([]byte("x"), to); err == nil {
				r.Errorf("WriteTo(%v) succeeded", to)
			}
		}
		if _, err := bound.WriteTo([]byte("x"), bravo.LocalAddr()); !errors.Is(err, syscall.EINVAL) {
			r.Errorf("from loopback to another host: %v", err)
		}
		if _, err := wild.WriteTo([]byte("x"), stringAddr("10.9.9.9:1")); err != nil {
			r.Errorf("to nobody: %v", err)
		}
		if _, err := r.alpha.ListenPacket(r.Context(), ":5000"); !errors.Is(err, syscall.EADDRINUSE) {
			r.Errorf("ListenPacket: %v", err)
		}
		if _, err := r.alpha.ListenPacket(r.Context(), "10.0.0.2:5009"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			r.Errorf("ListenPacket: %v", err)
		}
	})
}

func TestPacketSizes(t *testing.T) {
	virtually(t, func(r *rig) {
		a, b := r.listenPacket(r.alpha, "10.0.0.1:0"), r.listenPacket(r.bravo, "10.0.0.2:0")
		r.send(a, "truncated", b)
		r.send(a, "", b)
		r.send(a, strings.Repeat("x", maxDatagram), b)
		short, long := make([]byte, 5), make([]byte, 1<<16)
		if n, _, err := b.ReadFrom(short); n != 5 || err != nil || string(short) != "trunc" {
			r.Errorf("ReadFrom = %d, %v, %q", n, err, short)
		}
		if n, _, err := b.ReadFrom(long); n != 0 || err != nil {
			r.Errorf("an empty packet: %d, %v", n, err)
		}
		if n, _, err := b.ReadFrom(long); n != maxDatagram || err != nil {
			r.Errorf("the largest packet: %d, %v", n, err)
		}
		_, err := a.WriteTo(make([]byte, maxDatagram+1), b.LocalAddr())
		if op := new(net.OpError); !errors.Is(err, syscall.EMSGSIZE) || !errors.As(err, &op) || op.Op != "write" || op.Net != "udp" {
			r.Errorf("a larger packet: %v", err)
		}
	})
}

func TestPacketQueueIsBounded(t *testing.T) {
	virtually(t, func(r *rig) {
		a, b := r.listenPacket(r.alpha, "10.0.0.1:0"), r.listenPacket(r.bravo, "10.0.0.2:0")
		for i := range packetQueue + 10 {
			r.send(a, fmt.Sprint(i), b)
		}
		for i := range packetQueue {
			r.receive(b, fmt.Sprint(i))
		}
		r.receive(b, "")
		if got := r.Stats().DroppedByFullQueue; got != 10 {
			r.Errorf("%d packets dropped, want 10", got)
		}
	})
}

func TestPacketDeadlinesAndClose(t *testing.T) {
	virtually(t, func(r *rig) {
		c := r.listenPacket(r.alpha, ":5000")
		b := make([]byte, 1)
		begin := time.Now()
		c.SetDeadline(begin.Add(time.Second))
		if _, _, err := c.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) || time.Since(begin) != time.Second {
			r.Errorf("ReadFrom: %v after %v", err, time.Since(begin))
		}
		if _, err := c.WriteTo(b, stringAddr("10.0.0.2:1")); !isTimeout(err) {
			r.Errorf("WriteTo: %v", err)
		}
		c.SetWriteDeadline(time.Time{})
		c.SetReadDeadline(time.Now().Add(time.Hour))
		time.AfterFunc(time.Second, func() { c.Close() })
		if _, _, err := c.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
			r.Errorf("ReadFrom: %v", err)
		}
		if _, err := c.WriteTo(b, stringAddr("10.0.0.2:1")); !errors.Is(err, net.ErrClosed) {
			r.Errorf("WriteTo: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			r.Errorf("second Close: %v", err)
		}
		if err := c.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			r.Errorf("SetDeadline: %v", err)
		}
		r.listenPacket(r.alpha, ":5000")
	})
}

func TestConditionsOutOfRange(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Loss: -1, Delay: -1, Jitter: -1, Duplicate: -1})
		r.SetPath(bravoAddr, alphaAddr, Conditions{Loss: 2, Duplicate: 2})
		a, b := r.listenPacket(r.alpha, "10.0.0.1:0"), r.listenPacket(r.bravo, "10.0.0.2:0")
		r.send(a, "one", b)
		r.send(b, "other", a)
		r.receive(b, "one")
		r.receive(b, "")
		r.receive(a, "")
	})
}

// fates sends n numbered packets and returns in which order they arrived.
func fates(t *testing.T, seed uint64, n int, c Conditions, disturb func(*Network)) (order []int, stats Stats) {
	bubble.Test(t, func(t *testing.T) {
		network := New(seed)
		defer network.Close()
		network.SetDefault(c)
		ctx := t.Context()
		a, _ := network.Host(alphaAddr).ListenPacket(ctx, "10.0.0.1:1")
		b, _ := network.Host(bravoAddr).ListenPacket(ctx, "10.0.0.2:1")
		for i := range n {
			if disturb != nil && i == n/2 {
				disturb(network)
			}
			a.WriteTo([]byte{byte(i >> 8), byte(i)}, b.LocalAddr())
			if i%100 == 99 {
				order = drain(b, order)
			}
		}
		time.Sleep(c.Delay + c.Jitter)
		order = drain(b, order)
		stats = network.Stats()
	})
	return order, stats
}

// drain reads what has arrived after a millisecond.
func drain(c net.PacketConn, order []int) []int {
	b := make([]byte, 2)
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	for {
		if _, _, err := c.ReadFrom(b); err != nil {
			return order
		}
		order = append(order, int(b[0])<<8|int(b[1]))
	}
}

func TestLossAndDuplicatesAreAsOftenAsAsked(t *testing.T) {
	const n, loss, duplicate = 20_000, 0.1, 0.05
	order, stats := fates(t, 7, n, Conditions{Loss: loss, Duplicate: duplicate}, nil)
	within := func(what string, got uint64, n, p float64) {
		if sigma := math.Sqrt(n * p * (1 - p)); math.Abs(float64(got)-n*p) > 4*sigma {
			t.Errorf("%s: %d, want about %v ± %.0f", what, got, n*p, sigma)
		}
	}
	within("lost", stats.DroppedByLoss, n, loss)
	within("duplicated", stats.PacketsDuplicated, n*(1-loss), duplicate)
	if uint64(len(order)) != stats.PacketsDelivered || stats.PacketsSent != n || stats.PacketBytesSent != 2*n ||
		stats.PacketsSent+stats.PacketsDuplicated != stats.PacketsDelivered+stats.DroppedByLoss {
		t.Errorf("%d arrived; %+v", len(order), stats)
	}
}

func TestDelayAndJitter(t *testing.T) {
	virtually(t, func(r *rig) {
		const n = 1000
		r.SetPath(alphaAddr, bravoAddr, Conditions{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond})
		a, b := r.listenPacket(r.alpha, "10.0.0.1:0"), r.listenPacket(r.bravo, "10.0.0.2:0")
		begin := time.Now()
		for i := range n {
			a.WriteTo([]byte{byte(i >> 8), byte(i)}, b.LocalAddr())
		}
		var sum time.Duration
		overtaken, latest, buf := 0, -1, make([]byte, 2)
		for range n {
			b.ReadFrom(buf)
			took := time.Since(begin)
			if took < 50*time.Millisecond || took > 70*time.Millisecond {
				r.Fatalf("a packet took %v", took)
			}
			sum += took
			i := int(buf[0])<<8 | int(buf[1])
			if i < latest {
				overtaken++
			}
			latest = max(latest, i)
		}
		if mean := sum / n; mean < 59*time.Millisecond || mean > 61*time.Millisecond {
			r.Errorf("on average %v", mean)
		}
		if overtaken < n/2 {
			r.Errorf("only %d packets were overtaken", overtaken)
		}
		begin = time.Now()
		r.send(b, "back", a)
		r.receive(a, "back")
		if time.Since(begin) != 0 {
			r.Errorf("the way back took %v", time.Since(begin))
		}
	})
}

func TestSeedDecides(t *testing.T) {
	c := Conditions{Loss: 0.2, Duplicate: 0.1, Delay: time.Millisecond, Jitter: 10 * time.Millisecond}
	first, _ := fates(t, 1, 2000, c, nil)
	again, _ := fates(t, 1, 2000, c, nil)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Error("the same seed decided differently")
	}
	if other, _ := fates(t, 2, 2000, c, nil); fmt.Sprint(first) == fmt.Sprint(other) {
		t.Error("another seed decided the same")
	}
	// Traffic elsewhere, and streams on the same path, change nothing.
	busy, _ := fates(t, 1, 2000, c, func(n *Network) {
		ctx := context.Background()
		bravo := n.Host(bravoAddr)
		other, _ := n.Host(delta).ListenPacket(ctx, ":1")
		back, _ := bravo.ListenPacket(ctx, ":2")
		l, _ := bravo.Listen(ctx, ":1")
		for range 100 {
			other.WriteTo([]byte("x"), stringAddr("10.0.0.2:9"))
			back.WriteTo([]byte("x"), stringAddr("10.0.0.1:9"))
		}
		go n.Host(alphaAddr).Dial(ctx, l.Addr().String())
	})
	if fmt.Sprint(first) != fmt.Sprint(busy) {
		t.Error("other traffic changed the decisions")
	}
}

// TestSeedsKeepTheirMeaning: a seed that found a fault must find it again after an update.
func TestSeedsKeepTheirMeaning(t *testing.T) {
	p := pair{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	d := newDice(42, p, 1)
	got := fmt.Sprintf("%.6f %.6f %.6f", d.roll(), d.roll(), d.roll())
	if want := "0.715204 0.482988 0.525098"; got != want {
		t.Errorf("dice of seed 42: %s, want %s", got, want)
	}
}

// The packets sent during a cut are lost, and the fates of those after it are as if there had been none.
func TestCutDoesNotShiftDecisions(t *testing.T) {
	c := Conditions{Loss: 0.2}
	whole, _ := fates(t, 1, 2000, c, nil)
	cut, stats := fates(t, 1, 2000, c, func(n *Network) {
		n.Cut(alphaAddr, bravoAddr)
		a, _ := n.Host(alphaAddr).ListenPacket(context.Background(), ":9")
		for range 1000 {
			a.WriteTo([]byte("x"), stringAddr("10.0.0.2:1"))
		}
		n.HealPath(alphaAddr, bravoAddr)
	})
	if stats.DroppedByCut != 1000 || len(cut) == 0 {
		t.Errorf("%d packets cut, %d arrived", stats.DroppedByCut, len(cut))
	}
	for i := 0; i < len(cut) && cut[i] < 1000; i++ {
		if cut[i] != whole[i] {
			t.Fatal("the packets before the cut differ")
		}
	}
}
