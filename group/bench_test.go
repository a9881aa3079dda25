package group_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/kith-go/kith/group"
)

// crowd puts ten seats of five nodes into each of many groups.
func crowd(b *testing.B, w *world, groups int) [][]*group.Seat {
	all := make([][]*group.Seat, groups)
	for i := range all {
		for j := range 10 {
			n := w.nodes[j%len(w.nodes)]
			seat, err := n.group(fmt.Sprint("group/", i)).Join(context.Background(), group.Name(fmt.Sprint("member ", j)))
			if err != nil {
				b.Fatal(err)
			}
			all[i] = append(all[i], seat)
		}
	}
	return all
}

// BenchmarkSeatMemory tells what one of 1,000 × 10 seats costs: the node's part
// (heap and goroutines of all five nodes), beside the five state machines, which
// have each seat once more.
func BenchmarkSeatMemory(b *testing.B) {
	const groups = 1000
	for b.Loop() {
		w := newWorld(b, 5)
		before, goroutines := heap(), runtime.NumGoroutine()
		seats := crowd(b, w, groups)
		with, n := heap(), runtime.NumGoroutine()-goroutines
		b.ReportMetric(float64(n)/groups, "goroutines/group")
		for _, g := range seats {
			for _, s := range g {
				if err := s.Leave(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		}
		w.close()
		b.ReportMetric(float64(with-before)/(groups*10), "B/seat")
		runtime.KeepAlive(seats)
	}
}

// heap returns the bytes in use, stacks included.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkLeave is one leave, and the rejoin that makes the next one possible, in
// one of many groups of ten, with nine others who move up. The five nodes all apply
// it, and the fake of the replica goes over all subscriptions: that, not the group, is
// what grows with the number of groups.
func BenchmarkLeave(b *testing.B) {
	for _, groups := range []int{1, 1000} {
		b.Run(fmt.Sprint("groups=", groups), func(b *testing.B) { benchmarkLeave(b, groups) })
	}
}

func benchmarkLeave(b *testing.B, groups int) {
	w := newWorld(b, 5)
	defer w.close()
	seats := crowd(b, w, groups)
	ctx := context.Background()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		g, n := i%groups, w.nodes[i/groups%len(w.nodes)]
		i++
		if err := seats[g][0].Leave(ctx); err != nil {
			b.Fatal(err)
		}
		seat, err := n.group(fmt.Sprint("group/", g)).Join(ctx, group.Name(fmt.Sprint("again ", i)))
		if err != nil {
			b.Fatal(err)
		}
		copy(seats[g], seats[g][1:])
		seats[g][9] = seat
	}
}

// BenchmarkWatch is one change of a group of ten, and the view of it.
func BenchmarkWatch(b *testing.B) {
	w := newWorld(b, 1)
	defer w.close()
	g := w.nodes[0].group("g")
	var seat *group.Seat
	for i := range 10 {
		var err error
		if seat, err = g.Join(context.Background(), group.Name(fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes := 0
	b.ReportAllocs()
	b.ResetTimer()
	for _, err := range g.Watch(ctx) {
		if err != nil {
			b.Fatal(err)
		}
		if changes++; changes > b.N {
			break
		}
		if err := seat.Update(ctx, fmt.Append(nil, changes)); err != nil {
			b.Fatal(err)
		}
	}
}
