//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

var streamMiB = flag.Int("zmq.stream", 128, "how many MiB TestLongStream sends")

// numbered is a stream's content: 8-byte numbers that count upwards.
type numbered struct{ next uint64 }

func (n *numbered) fill(b []byte) {
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], n.next)
		n.next++
	}
}

func (n *numbered) check(b []byte) error {
	for i := 0; i < len(b); i += 8 {
		if got := binary.BigEndian.Uint64(b[i:]); got != n.next {
			return fmt.Errorf("number %d came as %d", n.next, got)
		}
		n.next++
	}
	return nil
}

// TestLongStream: a stream keeps its order and takes little memory, however long it is and
// however fast its sender. make soak sends 10 GiB.
func TestLongStream(t *testing.T) {
	alpha, bravo := pair(t, secret.Key{})
	total := *streamMiB << 20
	received := make(chan error, 1)
	err := bravo.HandleStream("numbers", func(_ context.Context, s *transport.Stream) error {
		received <- func() error {
			var content numbered
			buf := make([]byte, 256<<10)
			for got := 0; got < total; got += len(buf) {
				if _, err := io.ReadFull(s, buf); err != nil {
					return fmt.Errorf("after %d bytes: %w", got, err)
				}
				if err := content.check(buf); err != nil {
					return err
				}
			}
			if n, err := s.Read(buf); n > 0 || err != io.EOF {
				return fmt.Errorf("after the last byte: %d more, %w", n, err)
			}
			return nil
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := alpha.OpenStream(t.Context(), "bravo", "numbers")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	before, most := resident(t), 0
	over := make(chan struct{})
	var watch sync.WaitGroup
	end := sync.OnceFunc(func() { close(over); watch.Wait() })
	defer end()
	watch.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(20 * time.Millisecond):
				most = max(most, resident(t))
			}
		}
	})
	var content numbered
	chunk := make([]byte, 1<<20)
	begun := time.Now()
	for range *streamMiB {
		content.fill(chunk)
		if _, err := s.Write(chunk); err != nil {
			t.Fatal(err, <-received) // the handler has ended, and knows more
		}
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Error(err)
	}
	end()
	t.Logf("%d MiB, %.0f MiB/s, %d MiB of memory more than before", *streamMiB, float64(*streamMiB)/time.Since(begun).Seconds(), (most-before)>>20)
	if most-before > 128<<20 {
		t.Errorf("a stream took %d MiB", (most-before)>>20)
	}
}
