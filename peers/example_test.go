package peers_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kith-go/kith/peers"
)

func ExampleLoadFrom() {
	list, err := peers.LoadFrom("testdata/replicas.json")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range list.Sorted() {
		fmt.Println(p.PID, p.Name, p.Endpoint(true), p.ControlEndpoint())
	}
	// Output:
	// 1 alpha 192.0.2.10:3264 192.0.2.10:4264
	// 2 bravo bravo.example.com:3264 192.0.2.11:4264
	// 3 charlie 192.0.2.10:3265 192.0.2.10:4265
}

func ExamplePeers_Get() {
	list, err := peers.LoadFrom("testdata/replicas.json")
	if err != nil {
		log.Fatal(err)
	}
	_, err = list.Get("zulu")
	fmt.Println(err, errors.Is(err, peers.ErrNotFound))
	// Output: could not find a peer named 'zulu' true
}

func ExamplePeers_Validate() {
	list, err := peers.LoadFrom("testdata/oldest.json")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(list.Validate())
	// Output:
	// peers: the list has 4 faults:
	// testdata/oldest.json:4:5: peer "alpha" (pid 1): ip_address: the peer has no address: give ip_address, or else domain or hostname
	// testdata/oldest.json:4:33: peer "alpha" (pid 1): address: unknown key: did you mean "ip_address"?
	// testdata/oldest.json:4:66: peer "alpha" (pid 1): host: unknown key: did you mean "hostname"?
	// testdata/oldest.json:4:84: peer "alpha" (pid 1): ipaddr: unknown key: did you mean "ip_address"?
}

func ExamplePeers_Diff() {
	old, err := peers.LoadFrom("testdata/replicas.json")
	if err != nil {
		log.Fatal(err)
	}
	next := old.Clone()
	err = errors.Join(
		next.Remove("charlie"),
		next.Update("alpha", func(p *peers.Peer) { p.IPAddr = "2001:db8::10" }),
		next.Add(&peers.Peer{PID: 4, Name: "delta", Hostname: "hermes", Port: 3264}),
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(old.Diff(next))
	// Output:
	// + delta (pid 4) hermes:3264
	// - charlie (pid 3) 192.0.2.10:3265
	// ~ alpha (pid 1) ip_address 192.0.2.10 → 2001:db8::10
}

func ExampleWatch() {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "peers.json")

	for change, err := range peers.Watch(context.Background(), path) {
		if err != nil {
			fmt.Println("not there:", errors.Is(err, os.ErrNotExist))
			// Somebody else would do this, such as a person with an editor.
			list := &peers.Peers{}
			if err := list.Add(&peers.Peer{PID: 1, Name: "alpha", IPAddr: "127.0.0.1", Port: 3264}); err != nil {
				log.Fatal(err)
			}
			if err := list.Dump(path); err != nil {
				log.Fatal(err)
			}
			continue
		}
		fmt.Println(change.Diff)
		break
	}
	// Output:
	// not there: true
	// + alpha (pid 1) 127.0.0.1:3264
}

func ExampleSyncer() {
	syncer, err := peers.NewSyncer(peers.SyncerConfig{
		URL:    "https://example.com/peers",
		APIKey: "key",
		Path:   "/etc/kith/peers.json",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- syncer.Run(ctx) }()

	for change, err := range syncer.Updates(ctx) {
		if err != nil {
			log.Println(err) // change.Current is still the last good list
			continue
		}
		fmt.Println(change.Diff)
		break
	}
	cancel()
	<-done
}
