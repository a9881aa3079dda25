package lock_test

import (
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/lock"
)

func TestFence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		highest := rapid.Uint64Range(0, 5).Draw(t, "highest")
		f := lock.NewFence(highest)
		if highest == 0 && rapid.Bool().Draw(t, "zero value") {
			f = new(lock.Fence)
		}
		for _, token := range rapid.SliceOf(rapid.Uint64Range(0, 20)).Draw(t, "tokens") {
			err := f.Check(token)
			if fine := token != 0 && token >= highest; fine != (err == nil) {
				t.Fatalf("%d after %d: %v", token, highest, err)
			}
			if err == nil {
				highest = token
			} else if stale, ok := errors.AsType[*lock.StaleTokenError](err); !ok || stale.Token != token || stale.Highest != highest || err.Error() == "" {
				t.Fatalf("got %v", err)
			}
			if f.Highest() != highest {
				t.Fatalf("the highest is %d, not %d", f.Highest(), highest)
			}
		}
	})
}

// TestFenceIsSafe: whatever passes while others check, nobody passes after a higher
// one has.
func TestFenceIsSafe(t *testing.T) {
	var f lock.Fence
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range uint64(2000) {
				token := i*4 + uint64(w) + 1
				before := f.Highest()
				err := f.Check(token)
				if err == nil && token < before || err != nil && token > f.Highest() {
					t.Errorf("%d after %d: %v", token, before, err)
				}
			}
		})
	}
	wg.Wait()
	if f.Highest() != 8000 {
		t.Errorf("the highest is %d", f.Highest())
	}
}
