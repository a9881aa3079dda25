// Command three-of-n keeps three workers running, on however many replicas there are.
// Start five, kill one of those that work, and one of those that wait goes to work.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
)

// workers is how many work at a time.
const workers = 3

func main() {
	name := flag.String("name", "", "which peer of peers.json this is; by default the only one of this host")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	node, err := kith.Start(ctx, kith.Config{Name: *name})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Leave(context.Background())

	api := node.Group("api")
	var watch sync.WaitGroup
	watch.Go(func() {
		for view, err := range api.Watch(ctx) {
			if err != nil {
				log.Print(err)
				return
			}
			first := view.First(workers)
			fmt.Println("working:", names(first), "waiting:", names(view.Members[len(first):]))
		}
	})
	if err := api.Lead(ctx, workers, work); err != nil && ctx.Err() == nil {
		log.Print(err)
	}
	stop() // the watch, too
	watch.Wait()
}

// work runs on three replicas at a time. ctx ends before another may work instead. A
// replica that works stays one of the three, whoever else comes or goes.
func work(ctx context.Context) error {
	seat := group.SeatOf(ctx)
	fmt.Printf("%s works, with token %d\n", seat.Name(), seat.Token())
	<-ctx.Done() // here a worker would do its work
	fmt.Printf("%s has stopped: %v\n", seat.Name(), context.Cause(ctx))
	return nil
}

func names(members []group.Member) []string {
	words := make([]string, len(members))
	for i, m := range members {
		words[i] = m.Name
	}
	return words
}
