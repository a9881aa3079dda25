// Command config follows a configuration that all replicas share: it prints the
// settings as they are, and again whenever somebody changes them. Another copy of it
// does that with -set '{"motd":"good morning"}', and so does
// `kith set config/app '{"motd":"good morning"}'` where an agent runs.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
)

// settings are the value of the key config/app, in JSON.
type settings struct {
	Motd     string `json:"motd"`
	MaxUsers int    `json:"max_users"`
}

func main() {
	name := flag.String("name", "", "which peer of peers.json this is; by default the only one of this host")
	set := flag.String("set", "", "write these settings first, in JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	node, err := kith.Start(ctx, kith.Config{Name: *name})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Leave(context.Background())

	config := kv.Typed[settings](node.KV(), "config/", nil)
	if *set != "" {
		var s settings
		if err = json.Unmarshal([]byte(*set), &s); err == nil {
			_, err = config.Set(ctx, "app", s)
		}
		if err != nil {
			log.Print(err) // of Set: it says whether it was done all the same
			return
		}
	}
	for change, err := range config.Watch(ctx, 0) {
		switch {
		case err != nil:
			log.Print(err) // settings that are no JSON do not end the watch; what does comes last
		case change.Kind == kv.Written && change.Key == "app":
			fmt.Printf("settings at revision %d: %+v\n", change.Revision, change.Value)
		}
	}
}
