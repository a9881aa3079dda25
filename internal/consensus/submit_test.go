package consensus

import (
	"context"
	"errors"
	"testing"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
)

// TestSubmitted: a command stays under way when who waits for its answer goes, and is taken
// back when that is over for which it was made.
func TestSubmitted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := preside(t)
		defer c.Close()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		open := &statepb.Command{Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{Member: 1, TtlMs: 10_000}}}

		if _, err := c.Submit(ended, open); outcome.Of(err) != outcome.NotDone || !errors.Is(err, context.Canceled) {
			t.Errorf("submitted by one who has gone: %v", err)
		}
		p, err := c.Submit(t.Context(), open)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if result, known, err := p.Answer(ended); known {
				t.Fatalf("nobody has answered, and it is %v, %v", result, err)
			}
		}
		answered := make(chan *statepb.Result)
		go func() {
			result, known, err := p.Answer(context.Background())
			if err != nil || !known {
				t.Errorf("%v, known: %v", err, known)
			}
			answered <- result
		}()
		c.ack()
		for done := false; !done; {
			select {
			case result := <-answered:
				if result.GetCode() != statepb.Result_OK || result.GetRevision() == 0 {
					t.Errorf("%v", result)
				}
				done = true
			default:
				c.ack() // the registration goes first
			}
		}

		lasting, end := context.WithCancel(t.Context())
		p, err = c.Submit(lasting, open)
		if err != nil {
			t.Fatal(err)
		}
		inLoop(t, c.Replica, func() {}) // it is sent
		end()
		if _, known, err := p.Answer(context.Background()); !known || outcome.Of(err) != outcome.Unknown {
			t.Errorf("taken back after it was sent: %v, known: %v", err, known)
		}
	})
}
