package statepb

import "google.golang.org/protobuf/proto"

// HasUnknown reports whether m, or a message in it, has fields that this release
// does not know. It uses no reflection, since it is asked for every operation of the
// log. It is true for Entry, Batch, Command, Txn, Condition, Op and Snapshot, which
// package state takes apart itself.
func HasUnknown(m proto.Message) bool {
	switch m := m.(type) {
	case *Put:
		return len(m.unknownFields) > 0
	case *Delete:
		return len(m.unknownFields) > 0
	case *DeletePrefix:
		return len(m.unknownFields) > 0
	case *Get:
		return len(m.unknownFields) > 0
	case *KeyAt:
		return len(m.unknownFields) > 0
	case *ValueIs:
		return len(m.unknownFields) > 0
	case *Held:
		return len(m.unknownFields) > 0 || m.Queue.hasUnknown()
	case *Enter:
		return len(m.unknownFields) > 0 || m.Queue.hasUnknown()
	case *Leave:
		return len(m.unknownFields) > 0 || m.Queue.hasUnknown()
	case *UpdateSlot:
		return len(m.unknownFields) > 0 || m.Queue.hasUnknown()
	case *Revoke:
		return len(m.unknownFields) > 0 || m.Queue.hasUnknown()
	case *Fire:
		return len(m.unknownFields) > 0
	case *OpenSession:
		return len(m.unknownFields) > 0
	case *EndSession:
		return len(m.unknownFields) > 0
	case *Admit:
		return len(m.unknownFields) > 0
	case *SetLimits:
		return len(m.unknownFields) > 0 || m.Limits.hasUnknown()
	case *RaiseFeature:
		return len(m.unknownFields) > 0
	case *Registration:
		return len(m.unknownFields) > 0
	}
	return hasUnknownPart(m)
}

// hasUnknownPart is HasUnknown for what only snapshots hold.
func hasUnknownPart(m proto.Message) bool {
	switch m := m.(type) {
	case *Header:
		return len(m.unknownFields) > 0
	case *Cluster:
		unknown := len(m.unknownFields) > 0 || m.Limits.hasUnknown()
		for _, member := range m.Members {
			unknown = unknown || len(member.unknownFields) > 0
		}
		return unknown
	case *Session:
		return len(m.unknownFields) > 0
	case *Item:
		return len(m.unknownFields) > 0
	case *Queue:
		return len(m.unknownFields) > 0 || m.Name.hasUnknown()
	case *Slot:
		return len(m.unknownFields) > 0
	case *Event:
		return len(m.unknownFields) > 0
	case *Proposer:
		return len(m.unknownFields) > 0
	case *Answer:
		return len(m.unknownFields) > 0 || m.Result.hasUnknown()
	case *Change:
		return len(m.unknownFields) > 0
	case *Trailer:
		return len(m.unknownFields) > 0
	}
	return true
}

func (m *QueueName) hasUnknown() bool { return m != nil && len(m.unknownFields) > 0 }

func (m *Limits) hasUnknown() bool { return m != nil && len(m.unknownFields) > 0 }

func (m *Result) hasUnknown() bool {
	if m == nil {
		return false
	}
	unknown := len(m.unknownFields) > 0 || m.Owner != nil && len(m.Owner.unknownFields) > 0
	for _, op := range m.Ops {
		unknown = unknown || len(op.unknownFields) > 0
	}
	return unknown
}
