package lock_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/lock"
)

// BenchmarkUncontended is one acquire and release, with the fake's log and machines in it.
func BenchmarkUncontended(b *testing.B) {
	n := join(replicatest.New(nil))
	defer n.close()
	l := n.lock("some/lock")
	b.ReportAllocs()
	for b.Loop() {
		held, err := l.Acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := held.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBare is the same two entries without package lock.
func BenchmarkBare(b *testing.B) {
	n := join(replicatest.New(nil))
	defer n.close()
	session, err := n.Session(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	name := &statepb.QueueName{Name: "some/lock"}
	b.ReportAllocs()
	for b.Loop() {
		r, err := n.Propose(b.Context(), &statepb.Command{Op: &statepb.Command_Enter{Enter: &statepb.Enter{
			Queue: name, Session: session, Member: "alpha", Limit: 1,
		}}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := n.Propose(b.Context(), &statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
			Queue: name, Session: session, Token: r.GetToken(),
		}}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHandover is one release and acquire among contenders who all wait in line.
func BenchmarkHandover(b *testing.B) {
	for _, contenders := range []int{2, 16, 10_000} {
		b.Run(fmt.Sprint(contenders), func(b *testing.B) {
			c := replicatest.New(nil)
			n := join(c)
			defer n.close()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			l := n.lock("some/lock")
			hold, err := l.Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			granted := make(chan *lock.Held)
			for range contenders {
				go func() {
					for {
						held, err := l.Acquire(ctx)
						if err != nil {
							return
						}
						select {
						case granted <- held:
						case <-ctx.Done():
							_ = held.Release(context.Background())
							return
						}
					}
				}()
			}
			for slots(c, "some/lock") <= contenders {
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := hold.Release(ctx); err != nil {
					b.Fatal(err)
				}
				hold = <-granted
			}
		})
	}
}
