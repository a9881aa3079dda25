// Command replica joins the cluster that peers.json describes and prints who is
// in it, and who comes and goes. Without a peers.json it is a cluster of one;
// start it, then write the file, and watch.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/kith-go/kith"
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

	for view, err := range node.WatchMembers(ctx) {
		if err != nil {
			log.Print(err) // such as: another node has this name
			break
		}
		for _, change := range view.Changes {
			fmt.Println(change.Member.Name, change.Kind) // bravo joined, bravo failed …
		}
		fmt.Println("now:", view) // alpha alive, bravo failed, charlie alive
	}
}
