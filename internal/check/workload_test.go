package check

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
)

// asked returns what each client of the workload asks of a store of its own.
func asked(t *testing.T, w Workload) [][]string {
	h := NewHistory()
	w.Run(t.Context(), h, func(int) Client { return direct{newStore(0, noBug)} })
	ops := make([][]string, w.Clients)
	for _, o := range h.Record().Operations {
		ops[o.Client] = append(ops[o.Client], o.Op.String())
	}
	return ops
}

func TestSeedDecides(t *testing.T) {
	w := Workload{Seed: 1, Clients: 3, Ops: 50, Keys: 4, Mix: MultiKey()}
	first, again := asked(t, w), asked(t, w)
	w.Seed = 2
	other := asked(t, w)
	for i := range w.Clients {
		if len(first[i]) != w.Ops || !slices.Equal(first[i], again[i]) {
			t.Errorf("client %d asked otherwise with the same seed", i)
		}
		if slices.Equal(first[i], other[i]) || slices.Equal(first[i], first[(i+1)%w.Clients]) {
			t.Errorf("client %d asked the same with another seed, or as another client", i)
		}
	}
}

// TestWorkloadIsInteresting: conditions hold often enough, and fail often enough, and
// every kind of operation is asked.
func TestWorkloadIsInteresting(t *testing.T) {
	r, _ := crowd(t, Workload{Clients: 5, Ops: 200, Keys: 4, Prefix: "k/", Mix: MultiKey()}, noBug, 0.02)
	count := make(map[string]int)
	for _, o := range r.Operations {
		name := o.Op.Kind.String()
		switch {
		case o.Result.Outcome != outcome.Done:
			name = o.Result.Outcome.String()
		case o.Result.Conflict:
			name += " conflict"
		case len(o.Op.If) > 0:
			name += " held"
		}
		count[name]++
	}
	for _, name := range []string{"get", "set", "list", "delete", "delete-prefix", "set held", "set conflict",
		"delete held", "delete conflict", "txn held", "txn conflict", "unknown", "not done"} {
		if count[name] < 3 {
			t.Errorf("%s: %d times", name, count[name])
		}
	}
	if t.Failed() {
		t.Log(count)
	}
}

// stuck is a client that never gets an answer.
type stuck struct{}

func (stuck) Do(ctx context.Context, _ Op) Result {
	<-ctx.Done()
	return Failed(ctx.Err())
}

func TestWorkloadEnds(t *testing.T) {
	t.Run("with its operations, each within its time", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			h, start := NewHistory(), time.Now()
			Workload{Clients: 2, Ops: 3, Timeout: time.Second}.Run(t.Context(), h, func(int) Client { return stuck{} })
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("took %v", took)
			}
			if n := len(h.Record().Operations); n != 6 {
				t.Errorf("%d operations", n)
			}
		})
	})
	t.Run("with the context", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			h, s := NewHistory(), newStore(0, noBug)
			Workload{Clients: 2, Keys: 1, Think: time.Second, Mix: SingleKey()}.Run(ctx, h, func(int) Client { return direct{s} })
			if n := len(h.Record().Operations); n < 60 || n > 240 { // 120 on average
				t.Errorf("%d operations", n)
			}
		})
	})
}
