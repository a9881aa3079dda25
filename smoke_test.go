package kith

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/kith-go/kith/peers"
)

func TestSmoke(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	list := &peers.Peers{}
	for i, name := range []string{"alpha", "bravo", "charlie"} {
		list.Peers = append(list.Peers, &peers.Peer{PID: uint32(i + 1), Name: name, IPAddr: "127.0.0.1", Port: uint16(42000 + i)})
	}
	var nodes []*Node
	key := NewKey()
	for _, p := range list.Peers {
		n, err := Start(t.Context(), Config{Name: p.Name, Peers: list, Key: key, Dir: t.TempDir(), Logger: log.With("node", p.Name)})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	for v, err := range nodes[0].WatchMembers(t.Context()) {
		fmt.Println(v, err)
		if len(v.Members) == 3 {
			break
		}
	}
	start := time.Now()
	nodes[2].Close()
	for v, err := range nodes[0].WatchMembers(t.Context()) {
		fmt.Println(v.Changes, err)
		if m, _ := v.Find("charlie"); m.Status.String() == "failed" {
			break
		}
	}
	fmt.Println(time.Since(start), nodes[0].Status().Problems)
	start = time.Now()
	nodes[1].Leave(t.Context())
	fmt.Println("left", time.Since(start), nodes[0].Members())
}
