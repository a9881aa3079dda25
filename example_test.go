package kith_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// One replica of the cluster that peers.json describes.
func ExampleStart() {
	ctx := context.Background()
	node, err := kith.Start(ctx, kith.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Leave(context.WithoutCancel(ctx))
	for view, err := range node.WatchMembers(ctx) {
		if err != nil {
			log.Print(err)
			break
		}
		for _, change := range view.Changes {
			fmt.Println(change.Member.Name, change.Kind)
		}
		fmt.Println("now:", view)
	}
}

// solo starts a node of one with a list of its own, for the examples below.
func solo() *kith.Node {
	list := &peers.Peers{Peers: []*peers.Peer{{PID: 1, Name: "solo", IPAddr: "127.0.0.1", Port: 16318}}}
	node, err := kith.Start(context.Background(), kith.Config{Name: "solo", Peers: list, Tags: map[string]string{"zone": "a"}})
	if err != nil {
		log.Fatal(err)
	}
	return node
}

func ExampleNode_Members() {
	node := solo()
	defer node.Close()
	for _, m := range node.Members() {
		fmt.Println(m.PID, m.Name, m.Status, m.Addr, m.Tags)
	}
	// Output: 1 solo alive 127.0.0.1:17318 map[zone:a]
}

func ExampleNode_WatchPeers() {
	node := solo()
	defer node.Close()
	for change, err := range node.WatchPeers(context.Background()) {
		if err != nil {
			fmt.Println(err) // the file is bad, or the node has ended
			continue
		}
		fmt.Println(len(change.Current.Peers), "peers")
		break
	}
	// Output: 1 peers
}

func ExampleNode_Query() {
	node := solo()
	defer node.Close()
	node.HandleQuery("free", func(_ context.Context, from string, payload []byte) []byte {
		return fmt.Appendf(nil, "12 GiB on %s", payload)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for r, err := range node.Query(ctx, "free", []byte("/var")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", r.From, r.Payload)
	}
	// Output: solo: 12 GiB on /var
}

func ExampleNode_Broadcast() {
	node := solo()
	defer node.Close()
	heard := make(chan membership.Broadcast)
	go func() {
		for b := range node.Broadcasts(context.Background(), "reload") {
			heard <- b
			return
		}
	}()
	for { // nobody waits for a listener: say it until it is heard
		if err := node.Broadcast("reload", []byte("now")); err != nil {
			log.Fatal(err)
		}
		select {
		case b := <-heard:
			fmt.Printf("%s %s\n", b.Name, b.Payload)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	// Output: reload now
}

// A write is answered when it is on the disks of a majority; every node reads it
// from then on. A node of one founds its cluster by itself, at once.
func ExampleNode_KV() {
	node := solo()
	defer node.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := node.KV().Set(ctx, "motd", []byte("good morning")); err != nil {
		log.Fatal(err) // kith.OutcomeOf(err) tells whether it was done all the same
	}
	entry, err := node.KV().Get(ctx, "motd")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", entry.Key, entry.Value)
	// Output: motd: good morning
}

// A key that is still at the revision it was read at has not been touched
// meanwhile: so nobody's change is lost.
func ExampleNode_KV_conditional() {
	node := solo()
	defer node.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	store := node.KV()
	read, err := store.Set(ctx, "limit", []byte("100"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.Set(ctx, "limit", []byte("200"), kv.IfRevision(read)); err != nil {
		log.Fatal(err)
	}
	_, err = store.Set(ctx, "limit", []byte("300"), kv.IfRevision(read)) // too late
	conflict, ok := errors.AsType[*kv.ConflictError](err)
	fmt.Println(ok && conflict.Actual > read, kith.OutcomeOf(err))
	// Output: true not done
}

// A watch begins with the keys as they are and goes on with every change, in order.
func ExampleNode_KV_watch() {
	node := solo()
	defer node.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	store := node.KV()
	if _, err := store.Set(ctx, "config/limit", []byte("100")); err != nil {
		log.Fatal(err)
	}
	for c, err := range store.Watch(ctx, "config/", 0) {
		if err != nil {
			log.Fatal(err)
		}
		switch c.Kind {
		case kv.Synced: // that was all there is; what follows is news
			if _, err := store.Delete(ctx, "config/limit"); err != nil {
				log.Fatal(err)
			}
		case kv.Written:
			fmt.Printf("%s is %s\n", c.Key, c.Value)
		case kv.Deleted:
			fmt.Printf("%s is gone\n", c.Key)
			return
		}
	}
	// Output:
	// config/limit is 100
	// config/limit is gone
}
