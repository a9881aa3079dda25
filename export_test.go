package kith

import (
	"context"
	"time"

	"github.com/kith-go/kith/internal/consensus"
)

// SessionContext lets tests see when this node lets go of its session.
func (n *Node) SessionContext(ctx context.Context) (context.Context, error) {
	r, err := n.agreed.replica(ctx)
	if err != nil {
		return nil, err
	}
	s, err := r.Session(ctx)
	if err != nil {
		return nil, err
	}
	return s.Context(), nil
}

// SetSnapshotBytes makes snapshots more frequent than anybody would want them.
func (c *Config) SetSnapshotBytes(n int64) { c.snapshotBytes = n }

// ClientSession lets tests be remote clients that renew by themselves.
func (n *Node) ClientSession(ctx context.Context, client string, ttl time.Duration) (*consensus.Session, error) {
	r, err := n.agreed.replica(ctx)
	if err != nil {
		return nil, err
	}
	return r.ClientSession(ctx, client, ttl)
}
