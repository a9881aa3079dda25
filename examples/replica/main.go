// Command replica joins the cluster that peers.json describes and prints who
// comes and goes. Without a peers.json it is a cluster of one; start it, then
// write the file, and watch.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"

	"github.com/kith-go/kith"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	node, err := kith.Start(ctx, kith.Config{Logger: slog.Default()})
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
			fmt.Println(change.Member.Name, change.Kind)
		}
	}
}
