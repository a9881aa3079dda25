package kith_test

import (
	"testing"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/peers"
)

// BenchmarkStart starts and closes a node of one.
func BenchmarkStart(b *testing.B) {
	list := &peers.Peers{Peers: []*peers.Peer{{PID: 1, Name: "solo", IPAddr: "127.0.0.1", Port: 17318}}}
	b.ReportAllocs()
	for b.Loop() {
		node, err := kith.Start(b.Context(), kith.Config{Name: "solo", Peers: list})
		if err != nil {
			b.Fatal(err)
		}
		if err := node.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
