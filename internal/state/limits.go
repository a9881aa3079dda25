package state

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Feature is the newest feature level that this release can apply (S9).
const Feature = 1

// All of these decide what a command does: changing one takes a new feature level (S9).
const (
	// sweep is how many keys may expire in one entry, so that none takes long.
	sweep = 1000
	// maxFound is how many bytes of values the gets of one transaction may return.
	maxFound = 1 << 20
	// maxKept is how many such bytes are kept for one proposer, whatever its window.
	maxKept = 32 << 20
	// maxMembers is how many members, and hence proposers, a cluster may have.
	maxMembers = 1024

	// What the quota charges for each beside the bytes of its name and content: about
	// what it costs in memory.
	itemCharge    = 160
	slotCharge    = 160
	queueCharge   = 160
	sessionCharge = 160
	eventCharge   = 128
)

// limit is the range and the default of one field of statepb.Limits.
type limit struct {
	name                string
	field               func(*statepb.Limits) *uint64
	least, normal, most uint64
}

// limits are those of feature level 1. The upper ends keep a part of a snapshot
// smaller than maxPart, and a window no smaller than what a node may have under way.
var limits = []limit{
	{"key_bytes", func(l *statepb.Limits) *uint64 { return &l.KeyBytes }, 64, 1 << 10, 16 << 10},
	{"value_bytes", func(l *statepb.Limits) *uint64 { return &l.ValueBytes }, 1 << 10, 1 << 20, 16 << 20},
	{"state_bytes", func(l *statepb.Limits) *uint64 { return &l.StateBytes }, 1 << 10, 1 << 30, 1 << 40},
	{"txn_ops", func(l *statepb.Limits) *uint64 { return &l.TxnOps }, 1, 128, 4096},
	{"history_events", func(l *statepb.Limits) *uint64 { return &l.HistoryEvents }, 1, 16 << 10, 16 << 20},
	{"history_bytes", func(l *statepb.Limits) *uint64 { return &l.HistoryBytes }, 1, 32 << 20, 1 << 36},
	{"queue_slots", func(l *statepb.Limits) *uint64 { return &l.QueueSlots }, 1, 64 << 10, 1 << 20},
	{"sessions", func(l *statepb.Limits) *uint64 { return &l.Sessions }, 1, 64 << 10, 1 << 20},
	{"window", func(l *statepb.Limits) *uint64 { return &l.Window }, 8 << 10, 16 << 10, maxWindow},
	{"min_ttl_ms", func(l *statepb.Limits) *uint64 { return &l.MinTtlMs }, 1, 500, maxTTL},
	{"max_ttl_ms", func(l *statepb.Limits) *uint64 { return &l.MaxTtlMs }, 1, 24 * 3600 * 1000, maxTTL},
	{"events", func(l *statepb.Limits) *uint64 { return &l.Events }, 1, 64 << 10, 1 << 20},
}

const (
	maxWindow = 64 << 10
	maxTTL    = 366 * 24 * 3600 * 1000
)

// effective returns l with defaults in the place of zeros, or what is wrong with it.
func effective(l *statepb.Limits) (*statepb.Limits, error) {
	filled := &statepb.Limits{}
	if l != nil {
		filled = proto.CloneOf(l)
	}
	for _, limit := range limits {
		field := limit.field(filled)
		if *field == 0 {
			*field = limit.normal
		}
		if *field < limit.least || *field > limit.most {
			return nil, fmt.Errorf("%s is %d: want %d to %d", limit.name, *field, limit.least, limit.most)
		}
	}
	if filled.MinTtlMs > filled.MaxTtlMs {
		return nil, fmt.Errorf("min_ttl_ms is %d, above max_ttl_ms, %d", filled.MinTtlMs, filled.MaxTtlMs)
	}
	return filled, nil
}
