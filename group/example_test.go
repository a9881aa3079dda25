package group_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/kv"
)

// exampleNode stands for a kith.Node.
type exampleNode struct {
	*replicatest.Node
	places *queue.Places
}

func (n *exampleNode) Group(name string, options ...group.Option) *group.Group {
	return group.New(n.places, uint32(n.ID), name, options...)
}

func (n *exampleNode) KV() *kv.Store { return kv.New(n.Node) }

func (n *exampleNode) Close() {
	n.Node.Close()
	n.places.Close()
}

// startExample stands for kith.Start on several machines.
func startExample(nodes int) (all []*exampleNode, stop func()) {
	c := replicatest.New(nil)
	for range nodes {
		r := c.Join()
		all = append(all, &exampleNode{r, queue.New(r, r.Name)})
	}
	return all, func() {
		for _, n := range all {
			n.Close()
		}
	}
}

// A service runs on one node. When that is closed, the next in line takes over.
func ExampleGroup_Lead() {
	nodes, stop := startExample(2)
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	serving := make(chan string)
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() {
			err := node.Group("db").Lead(ctx, 1, func(ctx context.Context) error {
				select {
				case serving <- node.Name:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				// What is written under the seat is refused when the place is lost,
				// however late this process is.
				_, err := node.KV().Set(ctx, "db/master", []byte(node.Name), kv.IfHeld(group.SeatOf(ctx)))
				if err != nil {
					return err
				}
				<-ctx.Done() // serve
				return context.Cause(ctx)
			})
			if ctx.Err() == nil { // else err is what fn made of the end
				fmt.Println(err)
			}
		})
	}
	first := <-serving
	for _, node := range nodes {
		if node.Name == first { // it fails: its session with the cluster ends
			node.Cluster().End(node.SessionID())
		}
	}
	second := <-serving
	fmt.Println("another one:", first != second)
	cancel()
	wg.Wait()
	// Output: another one: true
}

// Three of five nodes serve. Whoever stops is replaced by the next in line.
func ExampleSeat_Wait() {
	nodes, stop := startExample(5)
	defer stop()
	ctx := context.Background()

	var seats []*group.Seat
	for _, node := range nodes {
		seat, err := node.Group("api").Join(ctx, group.Data([]byte("http://"+node.Name)))
		if err != nil {
			fmt.Println(err)
			return
		}
		seats = append(seats, seat)
	}
	serve := func() {
		for _, seat := range seats {
			if seat.Leading(3) {
				fmt.Print(seat.Name(), " ")
			}
		}
		fmt.Println("serve")
	}
	serve()
	if err := seats[1].Leave(ctx); err != nil {
		fmt.Println(err)
		return
	}
	if err := seats[3].Wait(ctx, 3); err != nil {
		fmt.Println(err)
		return
	}
	serve()
	// Output:
	// alpha bravo charlie serve
	// alpha charlie delta serve
}

// Anybody can follow who is in a group, and who leads.
func ExampleGroup_Watch() {
	nodes, stop := startExample(2)
	defer stop()
	ctx := context.Background()
	seat, err := nodes[0].Group("db").Join(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := nodes[1].Group("db").Join(ctx, group.Data([]byte("10.0.0.2:5432"))); err != nil {
		fmt.Println(err)
		return
	}
	for view, err := range nodes[1].Group("db").Watch(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		leader, _ := view.Leader()
		fmt.Printf("led by %s, %q, of %d\n", leader.Name, leader.Data, len(view.Members))
		if leader.Self {
			break
		}
		if err := seat.Leave(ctx); err != nil { // the leader goes
			fmt.Println(err)
			return
		}
	}
	// Output:
	// led by alpha, "", of 2
	// led by bravo, "10.0.0.2:5432", of 1
}
