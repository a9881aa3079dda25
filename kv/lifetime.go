package kv

import (
	"context"
	"fmt"
	"time"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Lifetime bounds how long a key stays: see TTL and Ephemeral. A key with both goes
// at the earlier end. A write without them makes the key permanent again. The zero
// Lifetime is invalid.
type Lifetime struct {
	ephemeral bool
	ttl       time.Duration
}

func (Lifetime) setOption() {}

// TTL lets the key expire d after the write, by the cluster's agreed time: that
// advances with the leader's clock and stands still while there is no leader, so
// that a key may live longer than d. d is rounded up to milliseconds and must be
// positive.
func TTL(d time.Duration) Lifetime { return Lifetime{ttl: d} }

// Ephemeral ties the key to the session of the node that writes it: the key goes
// when the node leaves, dies, or is out of touch for too long.
func Ephemeral() Lifetime { return Lifetime{ephemeral: true} }

// join makes one lifetime of those that an operation was given; the zero one of
// none.
func join(all []Lifetime) (joined Lifetime, err error) {
	for _, l := range all {
		switch {
		case l.ttl < 0 || l.ttl == 0 && !l.ephemeral:
			return Lifetime{}, fmt.Errorf("%w: a TTL of %v", ErrInvalid, l.ttl)
		case l.ephemeral && joined.ephemeral, l.ttl > 0 && joined.ttl > 0:
			return Lifetime{}, fmt.Errorf("%w: the same option twice", ErrInvalid)
		}
		joined.ephemeral = joined.ephemeral || l.ephemeral
		joined.ttl += l.ttl
	}
	return joined, nil
}

// encode puts the lifetime into p, for which it may have to open a session.
func (s *Store) encode(ctx context.Context, l Lifetime, p *statepb.Put) (err error) {
	p.TtlMs = milliseconds(l.ttl)
	if l.ephemeral {
		p.Session, err = s.replica.Session(ctx)
	}
	return err
}

// milliseconds rounds up.
func milliseconds(d time.Duration) uint64 {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return uint64(ms)
}
