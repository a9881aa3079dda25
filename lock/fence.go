package lock

import (
	"fmt"
	"sync/atomic"
)

// Fence guards a store of the user's own, one that kith does not know: it refuses
// tokens lower than the highest it has seen. A holder that was paused, lost the lock
// and wakes up late is refused as soon as its successor has been here.
//
// The zero Fence is ready and has seen nothing. A store that outlives its process
// keeps Highest with what it guards, and begins with NewFence. A Fence is safe for
// concurrent use, but checking and writing are two steps: both belong into the same
// critical section, or transaction, of the store. A Fence must not be copied.
type Fence struct {
	highest atomic.Uint64
}

// NewFence returns a Fence that has seen tokens up to highest.
func NewFence(highest uint64) *Fence {
	f := new(Fence)
	f.highest.Store(highest)
	return f
}

// Check returns nil if token is at least as high as all before it, else a
// *StaleTokenError. 0 is nobody's token and always refused. It does not block.
func (f *Fence) Check(token uint64) error {
	for {
		highest := f.highest.Load()
		if token < highest || token == 0 {
			return &StaleTokenError{Token: token, Highest: highest}
		}
		if token == highest || f.highest.CompareAndSwap(highest, token) {
			return nil
		}
	}
}

// Highest returns the highest token that has passed, 0 if none has.
func (f *Fence) Highest() uint64 { return f.highest.Load() }

// StaleTokenError says that a Fence has seen a higher token.
type StaleTokenError struct {
	Token, Highest uint64
}

// Error tells both tokens.
func (e *StaleTokenError) Error() string {
	if e.Token == 0 {
		return "lock: refused: no token"
	}
	return fmt.Sprintf("lock: refused: the token %d is stale, %d was here", e.Token, e.Highest)
}
