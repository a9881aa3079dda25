package memnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneWayCut(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: 10 * time.Millisecond})
		near, far := r.connect()
		a, b := r.listenPacket(r.alpha, "10.0.0.1:0"), r.listenPacket(r.bravo, "10.0.0.2:0")
		r.write(near, "under way ") // is held too
		r.send(a, "under way", b)   // vanishes
		r.Cut(alphaAddr, bravoAddr)
		r.write(near, "and held")
		r.send(a, "cut", b)
		r.silent(far)
		r.receive(b, "")

		r.write(far, "the other way")
		r.read(near, "the other way")
		r.send(b, "the other way", a)
		r.receive(a, "the other way")

		begin := time.Now()
		r.HealPath(alphaAddr, bravoAddr)
		r.read(far, "under way ")
		r.read(far, "and held")
		if since := time.Since(begin); since != 10*time.Millisecond {
			r.Errorf("held bytes took %v after the cut", since)
		}
		r.receive(b, "")
		if got := r.Stats().DroppedByCut; got != 2 {
			r.Errorf("%d packets cut", got)
		}
	})
}

func TestCutHoldsTheWriter(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to netip.Addr
		arrives  int64
	}{
		{"of the way there", alphaAddr, bravoAddr, 0},
		{"of the way back", bravoAddr, alphaAddr, window},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtually(t, func(r *rig) {
				near, far := r.connect()
				r.Cut(c.from, c.to)
				done := make(chan error, 1)
				go func() { done <- second(near.Write(make([]byte, 2*window))) }()
				var arrived counter
				go io.Copy(&arrived, far)
				time.Sleep(time.Hour)
				select {
				case err := <-done:
					r.Fatalf("Write returned %v", err)
				default:
				}
				if arrived := arrived.Load(); arrived != c.arrives {
					r.Errorf("%d bytes arrived, want %d", arrived, c.arrives)
				}
				r.Heal()
				if err := <-done; err != nil {
					r.Error(err)
				}
				near.Close()
				synctest.Wait()
				if arrived := arrived.Load(); arrived != 2*window {
					r.Errorf("%d bytes arrived in the end", arrived)
				}
			})
		})
	}
}

type counter struct{ atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.Add(int64(len(b)))
	return len(b), nil
}

// reaches reports for each pair of hosts whether a packet gets through, as rows of digits.
func reaches(r *rig, hosts ...*Host) string {
	var rows []string
	for _, from := range hosts {
		var row strings.Builder
		for _, to := range hosts {
			c, _ := to.ListenPacket(r.Context(), ":5000")
			s, _ := from.ListenPacket(r.Context(), ":5001")
			s.WriteTo([]byte("x"), &net.UDPAddr{IP: to.Addr().AsSlice(), Port: 5000})
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, _, err := c.ReadFrom(make([]byte, 1))
			fmt.Fprint(&row, map[bool]string{true: "1", false: "0"}[err == nil])
			c.Close()
			s.Close()
		}
		rows = append(rows, row.String())
	}
	return strings.Join(rows, " ")
}

func TestCuts(t *testing.T) {
	addrs := make([]netip.Addr, 4)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})
	}
	a, b, c, d := addrs[0], addrs[1], addrs[2], addrs[3]
	set := func(addrs ...netip.Addr) []netip.Addr { return addrs }
	for _, test := range []struct {
		name string
		do   func(n *Network)
		want string
	}{
		{"nothing", func(n *Network) {}, "1111 1111 1111 1111"},
		{"cut", func(n *Network) { n.Cut(a, b) }, "1011 1111 1111 1111"},
		{"oneself", func(n *Network) { n.Cut(a, a) }, "1111 1111 1111 1111"},
		{"IPv6 form", func(n *Network) { n.Cut(netip.AddrFrom16(a.As16()), b) }, "1011 1111 1111 1111"},
		{"isolate", func(n *Network) { n.Isolate(b) }, "1011 0100 1011 1011"},
		{"partition", func(n *Network) { n.Partition(set(a, b), set(c, d)) }, "1100 1100 0011 0011"},
		{"partition, some in no group", func(n *Network) { n.Partition(set(a), set(b)) }, "1011 0111 1111 1111"},
		{"partition of one group", func(n *Network) { n.Partition(set(a, b)) }, "1111 1111 1111 1111"},
		{"bridge", func(n *Network) { n.Partition(set(a, b), set(b, c), set(d)) }, "1100 1110 0110 0001"},
		{"partition replaced", func(n *Network) { n.Partition(set(a), set(b, c, d)); n.Partition(set(a, b), set(c, d)) }, "1100 1100 0011 0011"},
		{"partition ended, cut left", func(n *Network) { n.Cut(a, b); n.Partition(set(a), set(c)); n.Partition() }, "1011 1111 1111 1111"},
		{"heal path of partition", func(n *Network) { n.Partition(set(a, b), set(c, d)); n.HealPath(a, c) }, "1110 1100 0011 0011"},
		{"heal path, then isolate", func(n *Network) { n.HealPath(a, b); n.Isolate(a) }, "1000 0111 0111 0111"},
		{"isolate, then heal path", func(n *Network) { n.Isolate(a); n.HealPath(a, b) }, "1100 0111 0111 0111"},
		{"heal path, then partition", func(n *Network) { n.HealPath(a, c); n.Partition(set(a, b), set(c, d)) }, "1100 1100 0011 0011"},
		{"heal", func(n *Network) { n.Cut(a, b); n.Isolate(c); n.Partition(set(a), set(d)); n.Heal() }, "1111 1111 1111 1111"},
	} {
		for _, order := range []string{"before the hosts", "after the hosts"} {
			t.Run(test.name+" "+order, func(t *testing.T) {
				virtually(t, func(r *rig) {
					if order == "before the hosts" {
						test.do(r.Network)
					}
					hosts := []*Host{r.Host(a), r.Host(b), r.Host(c), r.Host(d)}
					if order == "after the hosts" {
						reaches(r, hosts...)
						test.do(r.Network)
					}
					if got := reaches(r, hosts...); got != test.want {
						t.Errorf("%s, want %s", got, test.want)
					}
				})
			})
		}
	}
}

func TestPartitionHoldsStreams(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		r.Partition([]netip.Addr{alphaAddr}, []netip.Addr{bravoAddr})
		r.write(near, "there")
		r.write(far, "and back")
		r.silent(near)
		r.silent(far)
		r.Heal()
		r.read(near, "and back")
		near.Close()
		if got, err := io.ReadAll(far); string(got) != "there" || err != nil {
			r.Errorf("read %q, %v", got, err)
		}
	})
}
