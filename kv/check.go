package kv

import (
	"fmt"
	"unicode/utf8"

	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

const (
	// No cluster's limits are lower than these: what fits them need not be compared
	// with the limits in force, for which the state must be looked at.
	leastKeyBytes   = 64
	leastValueBytes = 1 << 10
	leastTxnOps     = 1

	// MaxTxn bounds the keys and values of one transaction together, those of its
	// conditions included, in bytes: all
	// of it is one entry of the log, during which nothing else is replicated.
	MaxTxn = 8 << 20
)

// checkName refuses what can be the name of nothing.
func checkName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%w: the %s is empty", ErrInvalid, what)
	}
	return checkText(what, s)
}

func checkText(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: the %s is not valid UTF-8", ErrInvalid, what)
	}
	return nil
}

func checkSize[N int | uint64](what string, size int, limit N) error {
	if uint64(size) > uint64(limit) {
		return fmt.Errorf("%w: the %s has %d bytes, the limit is %d", ErrTooLarge, what, size, limit)
	}
	return nil
}

// limits returns those in force where this node stands, or nil if it cannot tell;
// then only the machine can judge.
func (s *Store) limits() (l *statepb.Limits) {
	if err := s.replica.View(func(m *state.Machine) { l = m.Limits() }); err != nil {
		return nil
	}
	return l
}

// checkPut refuses what the machine would refuse, before it is sent: at best that
// spares the cluster a large value, and the error tells size and limit.
func (s *Store) checkPut(key string, value []byte) error {
	if err := checkName("key", key); err != nil {
		return err
	}
	if len(key) <= leastKeyBytes && len(value) <= leastValueBytes {
		return nil
	}
	l := s.limits()
	if l == nil {
		return nil
	}
	if err := checkSize("key", len(key), l.GetKeyBytes()); err != nil {
		return err
	}
	return checkSize("value", len(value), l.GetValueBytes())
}

// check refuses conditions that make no sense. A condition that names no key is
// about own, if there is one.
func (c *Condition) check(own string) error {
	if c.test == isHeld {
		return c.checkHeld()
	}
	if c.test == noTest {
		return fmt.Errorf("%w: an empty condition", ErrInvalid)
	}
	if c.key == "" && own == "" {
		return fmt.Errorf("%w: a condition without a key: say which with Of", ErrInvalid)
	}
	if err := checkText("key of a condition", c.key); err != nil {
		return err
	}
	return checkSize("value of a condition", len(c.value), MaxTxn)
}

func (c *Condition) checkHeld() error {
	if c.key != "" {
		return fmt.Errorf("%w: IfHeld is about no key", ErrInvalid)
	}
	if c.holder == nil {
		return fmt.Errorf("%w: IfHeld without a holder", ErrInvalid)
	}
	kind, name, _, _ := c.holder.Fence()
	if _, known := queueKinds[kind]; !known {
		return fmt.Errorf("%w: IfHeld of a %q: want a lock or a group", ErrInvalid, kind)
	}
	return checkName("name of the "+kind, name)
}
