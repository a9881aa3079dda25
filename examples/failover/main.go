// Command failover runs the master of a service on exactly one replica. Start a copy on
// each, kill the master with kill -9, and the next in line takes over within
// milliseconds; press Ctrl-Z instead, and it takes as long as a session lasts.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
)

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

	db := node.Group("db")
	var watch sync.WaitGroup
	watch.Go(func() {
		for view, err := range db.Watch(ctx) {
			if err != nil {
				log.Print(err)
				return
			}
			fmt.Println("db:", inOrder(view))
		}
	})
	if err := db.Lead(ctx, 1, master); err != nil && ctx.Err() == nil {
		log.Print(err)
	}
	stop() // the watch, too
	watch.Wait()
}

// master runs on one replica at a time. ctx ends before anybody else can be the master,
// so that what is done with ctx is done by one alone. What it writes to other systems
// carries the token: examples/fenced-writer shows why.
func master(ctx context.Context) error {
	seat := group.SeatOf(ctx)
	fmt.Printf("%s is the master now, with token %d\n", seat.Name(), seat.Token())
	<-ctx.Done() // here a master would do its work
	fmt.Printf("%s is the master no more: %v\n", seat.Name(), context.Cause(ctx))
	return nil
}

// inOrder tells who is the master and who comes after it.
func inOrder(view group.View) string {
	words := make([]string, len(view.Members))
	for i, m := range view.Members {
		switch i {
		case 0:
			words[i] = fmt.Sprintf("%s is the master (token %d)", m.Name, m.Token)
		case 1:
			words[i] = m.Name + " is next"
		default:
			words[i] = "then " + m.Name
		}
	}
	if len(words) == 0 {
		return "nobody is there"
	}
	return strings.Join(words, ", ")
}
