package inproc_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/inproc"
	"github.com/kith-go/kith/transport/transporttest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// world is a network as the suite wants it.
type world struct {
	*inproc.Network
	mu    sync.Mutex
	moves map[string]int
}

func (w *world) Address(name string) transport.Address {
	w.mu.Lock()
	defer w.mu.Unlock()
	return transport.Address{Name: name, Endpoint: fmt.Sprintf("mem:%s/%d", name, w.moves[name])}
}

func (w *world) Engine(name string) transport.Engine {
	return w.Network.Engine(w.Address(name).Endpoint)
}

func (w *world) Move(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moves[name]++
}

func suite(o inproc.Options, virtual bool) transporttest.Suite {
	return transporttest.Suite{
		World:   func(*testing.T) transporttest.World { return &world{Network: inproc.New(o), moves: map[string]int{}} },
		Virtual: virtual,
	}
}

// TestContract: the engine keeps the contract, in virtual time, with and without delay,
// and by the real clock.
func TestContract(t *testing.T) {
	t.Run("Slow", func(t *testing.T) {
		s := suite(inproc.Options{Seed: 1, MinDelay: time.Millisecond, MaxDelay: 8 * time.Millisecond}, true)
		s.Seeds = 12
		transporttest.Run(t, s)
	})
	t.Run("Instant", func(t *testing.T) { transporttest.Run(t, suite(inproc.Options{}, true)) })
	t.Run("RealTime", func(t *testing.T) {
		s := suite(inproc.Options{}, false)
		s.Seeds = 1
		transporttest.Run(t, s)
	})
}
