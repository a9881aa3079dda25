// Command fenced-writer shows why a lock is not enough, and what is: a fencing token, and
// a store that knows about tokens. One copy is the store; it has nothing to do with the
// cluster but lock.Fence:
//
//	fenced-writer -serve 127.0.0.1:8080
//
// The others are replicas. One at a time holds the lock, and writes what is typed there:
//
//	fenced-writer -name alpha -store http://127.0.0.1:8080
//
// Press Ctrl-Z where the lock is held. After some seconds another holds it. Type fg, and
// a line: this copy still believes to hold the lock, and the store refuses what it sends.
package main

import (
	"bufio"
	"context"
	"errors"
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
	serve := flag.String("serve", "", "be the store, at `host:port`")
	file := flag.String("file", "store.json", "where the store keeps its value")
	url := flag.String("store", "http://127.0.0.1:8080", "where the store is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *serve != "" {
		if err := serveStore(ctx, *serve, *file); err != nil {
			log.Fatal(err)
		}
		return
	}
	node, err := kith.Start(ctx, kith.Config{Name: *name})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Leave(context.Background())

	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
		stop() // there is no more to write
	}()
	for ctx.Err() == nil {
		if err := write(ctx, node, client{*url}, lines); err != nil && ctx.Err() == nil {
			log.Print(err)
			return
		}
	}
}

// write holds the lock and writes lines until ctx ends or the store knows of a later
// holder.
func write(ctx context.Context, node *kith.Node, store client, lines <-chan string) error {
	held, err := node.Lock("store").Acquire(ctx)
	if err != nil {
		return err
	}
	// If the lock is lost there is nothing to release; if ctx has ended it goes with the node.
	defer held.Release(ctx)

	// A new holder shows its token before it relies on anything: from here on the store
	// refuses what its predecessor may still have on the way.
	value, err := store.send(ctx, "GET", held.Token(), "")
	if err == nil {
		fmt.Printf("%s holds the lock with token %d; the store has %q\n", node.Name(), held.Token(), value)
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			// Other programs do all this with held.Context(), and stop when it ends: then
			// hardly ever is a write refused. But hardly ever is not never: a process can
			// be paused after it has looked. This one does not look at all.
			if _, err = store.send(ctx, "PUT", held.Token(), line); err == nil {
				fmt.Printf("%s has written %q with token %d\n", node.Name(), line, held.Token())
			}
		}
	}
	if !errors.Is(err, errStale) {
		return err
	}
	fmt.Printf("%s was refused: %v\n", node.Name(), err)
	return nil
}
