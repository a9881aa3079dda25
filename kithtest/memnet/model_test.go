package memnet

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/bubble"
)

// TestStreamModel: under any conditions, cuts and pauses, both directions of a stream deliver a
// prefix of what was written, nothing at all across a cut, and everything once all is healed.
func TestStreamModel(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // hides Deadline, which has no meaning in a bubble
			m := newStreamModel(t)
			defer m.network.Close()
			t.Repeat(map[string]func(*rapid.T){
				"sleep":      func(t *rapid.T) { time.Sleep(duration(time.Second).Draw(t, "sleep")) },
				"cut":        func(t *rapid.T) { m.network.Cut(m.direction(t)) },
				"heal path":  func(t *rapid.T) { m.network.HealPath(m.direction(t)) },
				"heal":       func(t *rapid.T) { m.network.Heal() },
				"isolate":    func(t *rapid.T) { m.network.Isolate(alphaAddr) },
				"pause":      func(t *rapid.T) { m.host(t).Pause() },
				"resume":     func(t *rapid.T) { m.host(t).Resume() },
				"conditions": m.setConditions,
				"cut off":    m.nothingCrosses,
			})
			m.everythingArrives(t)
		})
	})
}

type streamModel struct {
	network     *Network
	there, back *flow
}

func newStreamModel(t *rapid.T) *streamModel {
	n := New(rapid.Uint64().Draw(t, "seed"))
	m := &streamModel{network: n}
	l, err := n.Host(bravoAddr).Listen(t.Context(), "10.0.0.2:7000")
	if err != nil {
		t.Fatal(err)
	}
	near, err := n.Host(alphaAddr).Dial(t.Context(), "10.0.0.2:7000")
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	m.there, m.back = newFlow(t, near, far), newFlow(t, far, near)
	return m
}

func duration(longest time.Duration) *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "ns"))
	})
}

func (m *streamModel) direction(t *rapid.T) (from, to netip.Addr) {
	if rapid.Bool().Draw(t, "there") {
		return alphaAddr, bravoAddr
	}
	return bravoAddr, alphaAddr
}

func (m *streamModel) host(t *rapid.T) *Host {
	from, _ := m.direction(t)
	return m.network.Host(from)
}

func (m *streamModel) setConditions(t *rapid.T) {
	from, to := m.direction(t)
	m.network.SetPath(from, to, Conditions{
		Loss:   rapid.SampledFrom([]float64{0, 0, 0.1, 0.5, 1}).Draw(t, "loss"),
		Delay:  duration(50*time.Millisecond).Draw(t, "delay"),
		Jitter: duration(50*time.Millisecond).Draw(t, "jitter"),
	})
}

func (m *streamModel) nothingCrosses(t *rapid.T) {
	from, to := m.direction(t)
	flow := m.there
	if from == bravoAddr {
		flow = m.back
	}
	m.network.Cut(from, to)
	synctest.Wait() // for the reader of what had arrived
	before := flow.read.Load()
	time.Sleep(time.Minute)
	if after := flow.read.Load(); after != before {
		t.Fatalf("%d bytes crossed a cut", after-before)
	}
}

func (m *streamModel) everythingArrives(t *rapid.T) {
	m.network.Heal()
	for _, addr := range []netip.Addr{alphaAddr, bravoAddr} {
		m.network.Host(addr).Resume()
	}
	m.network.SetPath(alphaAddr, bravoAddr, Conditions{})
	m.network.SetPath(bravoAddr, alphaAddr, Conditions{})
	for _, f := range []*flow{m.there, m.back} {
		if err := <-f.done; err != nil {
			t.Fatal(err)
		}
	}
}

// flow writes a known text at one end and checks it at the other.
type flow struct {
	read atomic.Int64
	done chan error
}

func newFlow(t *rapid.T, from, to net.Conn) *flow {
	f := &flow{done: make(chan error, 1)}
	text := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 100, 1000).Draw(t, "text"), 1000)
	size := rapid.IntRange(1000, 100_000).Draw(t, "write size")
	pause := duration(300*time.Millisecond).Draw(t, "between writes")
	buf := make([]byte, rapid.IntRange(1000, 100_000).Draw(t, "read size"))
	go func() {
		for rest := text; len(rest) > 0; {
			n, err := from.Write(rest[:min(size, len(rest))])
			if err != nil {
				return
			}
			rest = rest[n:]
			time.Sleep(pause)
		}
		from.(*conn).CloseWrite()
	}()
	go func() { f.done <- f.check(to, text, buf) }()
	return f
}

func (f *flow) check(c net.Conn, want, buf []byte) error {
	for {
		n, err := c.Read(buf)
		if n > len(want) || !bytes.Equal(buf[:n], want[:n]) {
			return fmt.Errorf("other bytes than were written, after %d", f.read.Load())
		}
		want = want[n:]
		f.read.Add(int64(n))
		if err == io.EOF && len(want) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%v, with %d bytes to come", err, len(want))
		}
	}
}
