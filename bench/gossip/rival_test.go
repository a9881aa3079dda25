package gossip

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
)

// rival is one plain memberlist node on a host of the network in memory.
type rival struct {
	name string
	host *memnet.Host
	list *memberlist.Memberlist

	mu    sync.Mutex
	alive map[string]bool
	lost  int // leaves seen
}

const rivalPort = 7946

func startRival(name string, host *memnet.Host) (*rival, error) {
	r := &rival{name: name, host: host, alive: make(map[string]bool)}
	transport, err := newTransport(host)
	if err != nil {
		return nil, err
	}
	cfg := memberlist.DefaultLANConfig()
	cfg.Name = name
	cfg.Transport = transport
	cfg.Events = r
	cfg.Logger = log.New(io.Discard, "", 0)
	// Without it a restarted node of the same name would have to wait; it is
	// the one setting that is not the default, and only matters between kills.
	cfg.DeadNodeReclaimTime = time.Second
	r.list, err = memberlist.Create(cfg)
	return r, err
}

func (r *rival) NotifyJoin(n *memberlist.Node)   { r.note(n.Name, true) }
func (r *rival) NotifyUpdate(n *memberlist.Node) {}
func (r *rival) NotifyLeave(n *memberlist.Node)  { r.note(n.Name, false) }

func (r *rival) note(name string, alive bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alive[name] && !alive {
		r.lost++
	}
	r.alive[name] = alive
}

func (r *rival) sees(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive[name]
}

func (r *rival) losses() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// rivals is a cluster of them; nil stands for one that is dead.
type rivals []*rival

// startRivals starts n at once and has each join the first, trying until it
// works, as a program around memberlist does.
func startRivals(t *testing.T, network *memnet.Network, n int) rivals {
	all := make(rivals, n)
	for i := range all {
		all.launch(t, network, i)
	}
	var wg sync.WaitGroup
	for _, r := range all[1:] {
		wg.Go(func() {
			for {
				if _, err := r.list.Join([]string{address(0, n)}); err == nil {
					return
				}
				time.Sleep(250 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return all
}

func (all rivals) launch(t *testing.T, network *memnet.Network, i int) {
	r, err := startRival(kithtest.Names(len(all))[i], network.Host(hostAddr(i)))
	if err != nil {
		t.Fatal(err)
	}
	all[i] = r
}

func hostAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte((i + 1) >> 8), byte(i + 1)})
}

// address is that of the i-th of n, counted round, as Join takes it.
func address(i, n int) string {
	return fmt.Sprintf("%s/%s:%d", kithtest.Names(n)[i%n], hostAddr(i%n), rivalPort)
}

// agree asks all that live.
func (all rivals) agree(ok func(*rival) bool) func() bool {
	return func() bool {
		for _, r := range all {
			if r != nil && !ok(r) {
				return false
			}
		}
		return true
	}
}

func (all rivals) losses() int {
	sum := 0
	for _, r := range all {
		sum += r.losses()
	}
	return sum
}

// transport is memberlist's Transport on a memnet host.
type transport struct {
	host    *memnet.Host
	tcp     net.Listener
	udp     net.PacketConn
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func newTransport(host *memnet.Host) (*transport, error) {
	ctx, addr := context.Background(), fmt.Sprintf(":%d", rivalPort)
	tcp, err := host.Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	udp, err := host.ListenPacket(ctx, addr)
	if err != nil {
		tcp.Close()
		return nil, err
	}
	t := &transport{host: host, tcp: tcp, udp: udp,
		packets: make(chan *memberlist.Packet, 512), streams: make(chan net.Conn), done: make(chan struct{})}
	go t.receive()
	go t.accept()
	return t, nil
}

func (t *transport) receive() {
	for {
		buf := make([]byte, 65536)
		n, from, err := t.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: buf[:n], From: from, Timestamp: time.Now()}:
		default:
		}
	}
}

func (t *transport) accept() {
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			return
		}
		select {
		case t.streams <- conn:
		case <-t.done:
			conn.Close()
		}
	}
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.host.Addr().AsSlice(), rivalPort, nil
}

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.udp.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.host.Dial(ctx, addr)
}

func (t *transport) Shutdown() error {
	t.once.Do(func() {
		close(t.done)
		t.tcp.Close()
		t.udp.Close()
	})
	return nil
}
