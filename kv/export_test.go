package kv

const (
	LeastKeyBytes   = leastKeyBytes
	LeastValueBytes = leastValueBytes
)

// Nibble makes watches take so many changes or keys from the state at once, so that
// a few are enough to see what happens between two looks.
func (s *Store) Nibble(n int) { s.pull = n }
