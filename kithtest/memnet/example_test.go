package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"github.com/kith-go/kith/kithtest/memnet"
)

// Two hosts talk over a slow path; then one of the programs dies.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memnet.New(1)
	defer network.Close()
	network.SetDefault(memnet.Conditions{Delay: time.Millisecond})
	network.AddName("bravo", netip.MustParseAddr("10.0.0.2"))

	bravo := network.Host(netip.MustParseAddr("10.0.0.2"))
	listener, err := bravo.Listen(ctx, ":7000")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			io.WriteString(conn, "hello from bravo")
		}
	}()

	alpha := network.Host(netip.MustParseAddr("10.0.0.1"))
	conn, err := alpha.Dial(ctx, "bravo:7000")
	if err != nil {
		fmt.Println(err)
		return
	}
	greeting := make([]byte, 16)
	io.ReadFull(conn, greeting)
	fmt.Printf("%s\n", greeting)

	bravo.Kill()
	_, err = conn.Read(greeting)
	fmt.Println("connection reset:", errors.Is(err, syscall.ECONNRESET))
	_, err = alpha.Dial(ctx, "bravo:7000")
	fmt.Println("connection refused:", errors.Is(err, syscall.ECONNREFUSED))
	// Output:
	// hello from bravo
	// connection reset: true
	// connection refused: true
}
