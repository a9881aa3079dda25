package memnet

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
)

const period = 5 * time.Second

// TestAnHourOfAHundredHosts: each host sends a packet to two others, and each fifth
// host talks to its neighbour over a stream, every five seconds.
func TestAnHourOfAHundredHosts(t *testing.T) {
	const hosts = 100
	duration := time.Hour
	if testing.Short() {
		duration = time.Minute
	}
	began := time.Now()
	var echoes atomic.Int64
	bubble.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetDefault(Conditions{Loss: 0.01, Delay: time.Millisecond, Jitter: 4 * time.Millisecond})
		addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, byte(i % hosts)}) }
		end := time.Now().Add(duration)
		for i := range hosts {
			go gossip(t, n.Host(addr(i)), addr(i+1), addr(i+7), end)
			if i%5 == 0 {
				l, err := n.Host(addr(i+1)).Listen(t.Context(), ":8000")
				if err != nil {
					t.Fatal(err)
				}
				go echo(l)
				go converse(t, n.Host(addr(i)), addr(i+1), end, &echoes)
			}
		}
		time.Sleep(duration + time.Minute)
		n.Close()
		s := n.Stats()
		if want := uint64(2 * hosts * duration / period); s.PacketsSent != want || s.PacketsDelivered+s.DroppedByLoss != want {
			t.Errorf("%+v", s)
		}
		if want := int64(hosts / 5 * duration / period); echoes.Load() != want {
			t.Errorf("%d echoes, want %d", echoes.Load(), want)
		}
	})
	t.Logf("%v took %v", duration, time.Since(began))
}

func gossip(t *testing.T, h *Host, one, other netip.Addr, end time.Time) {
	c, err := h.ListenPacket(t.Context(), ":7000")
	if err != nil {
		t.Error(err)
		return
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := c.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	message := make([]byte, 500)
	for ; time.Now().Before(end); time.Sleep(period) {
		for _, to := range []netip.Addr{one, other} {
			c.WriteTo(message, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 7000)))
		}
	}
}

func echo(l net.Listener) {
	c, err := l.Accept()
	if err == nil {
		io.Copy(c, c)
		c.Close()
	}
}

func converse(t *testing.T, h *Host, to netip.Addr, end time.Time, echoes *atomic.Int64) {
	c, err := h.Dial(t.Context(), netip.AddrPortFrom(to, 8000).String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	b := make([]byte, 100)
	for next := time.Now(); next.Before(end); time.Sleep(time.Until(next)) {
		c.Write(b)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Error(err)
			return
		}
		echoes.Add(1)
		next = next.Add(period)
	}
}

// BenchmarkPacket sends packets and reads them, 64 at a time.
func BenchmarkPacket(b *testing.B) {
	for name, conditions := range map[string]Conditions{"perfect": {}, "delayed": {Delay: time.Microsecond, Jitter: time.Microsecond}} {
		b.Run(name, func(b *testing.B) {
			n := New(1)
			defer n.Close()
			n.SetDefault(conditions)
			from, err := n.Host(alphaAddr).ListenPacket(b.Context(), "10.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			at, err := n.Host(bravoAddr).ListenPacket(b.Context(), "10.0.0.2:0")
			if err != nil {
				b.Fatal(err)
			}
			body, buf, to := make([]byte, 1000), make([]byte, 1500), at.LocalAddr()
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				if _, err := from.WriteTo(body, to); err != nil {
					b.Fatal(err)
				}
				if i%64 != 0 {
					continue
				}
				for range 64 {
					if _, _, err := at.ReadFrom(buf); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// streamPair returns a connection's ends in real time.
func streamPair(b *testing.B, conditions Conditions) (near, far net.Conn) {
	n := New(1)
	b.Cleanup(func() { n.Close() })
	n.SetDefault(conditions)
	l, err := n.Host(bravoAddr).Listen(b.Context(), "10.0.0.2:7000")
	if err != nil {
		b.Fatal(err)
	}
	if near, err = n.Host(alphaAddr).Dial(b.Context(), "10.0.0.2:7000"); err != nil {
		b.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	return near, far
}

// BenchmarkStream writes 32 KiB at a time while another goroutine reads.
func BenchmarkStream(b *testing.B) {
	near, far := streamPair(b, Conditions{})
	body := make([]byte, 32<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, far, make([]byte, 64<<10))
	}()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		near.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := near.Write(body); err != nil {
			b.Fatal(err)
		}
	}
	near.Close()
	<-done
}

// BenchmarkRoundTrip sends a number there and back.
func BenchmarkRoundTrip(b *testing.B) {
	near, far := streamPair(b, Conditions{})
	go func() {
		buf := make([]byte, 8)
		for {
			if _, err := io.ReadFull(far, buf); err != nil {
				return
			}
			far.Write(buf)
		}
	}()
	buf := make([]byte, 8)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		binary.BigEndian.PutUint64(buf, i)
		near.SetDeadline(time.Now().Add(time.Minute))
		near.Write(buf)
		if _, err := io.ReadFull(near, buf); err != nil || binary.BigEndian.Uint64(buf) != i {
			b.Fatal(err)
		}
	}
}
