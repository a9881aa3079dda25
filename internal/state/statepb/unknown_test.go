package statepb

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// takenApart are the messages that package state decodes itself, strictly.
var takenApart = []protoreflect.Name{"Entry", "Batch", "Command", "Txn", "Condition", "Op", "Snapshot"}

// TestHasUnknown puts an unknown field into every message of the contract and into
// every message within, one at a time, and sees that it is found.
func TestHasUnknown(t *testing.T) {
	unknown := protoreflect.RawFields(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	messages := File_kith_state_v1_state_proto.Messages()
	tried := 0
	for i := range messages.Len() {
		name := messages.Get(i).Name()
		full := func() (protoreflect.Message, []protoreflect.Message) {
			m := fresh(t, messages.Get(i))
			return m, within(m)
		}
		m, all := full()
		if slices.Contains(takenApart, name) {
			if !HasUnknown(m.Interface()) {
				t.Errorf("%s counts as known, and is not looked into", name)
			}
			continue
		}
		if slices.Contains([]protoreflect.Name{"QueueName", "Limits", "Result", "OpResult", "Member"}, name) {
			continue // looked at within others
		}
		if HasUnknown(m.Interface()) {
			t.Errorf("%s: something is unknown in what is known", name)
		}
		for j := range all {
			m, all := full()
			all[j].SetUnknown(unknown)
			if !HasUnknown(m.Interface()) {
				t.Errorf("%s: an unknown field in its %s is not found", name, all[j].Descriptor().Name())
			}
			tried++
		}
	}
	if tried < 40 {
		t.Errorf("only %d messages were tried", tried)
	}
}

func fresh(t *testing.T, d protoreflect.MessageDescriptor) protoreflect.Message {
	t.Helper()
	for _, m := range []proto.Message{
		&Entry{}, &Batch{}, &Registration{}, &Command{}, &Txn{}, &Condition{}, &KeyAt{}, &ValueIs{}, &Held{}, &Op{},
		&Put{}, &Delete{}, &DeletePrefix{}, &Get{}, &Fire{}, &OpenSession{}, &EndSession{}, &QueueName{}, &Enter{},
		&Leave{}, &UpdateSlot{}, &Revoke{}, &Admit{}, &SetLimits{}, &RaiseFeature{}, &Limits{}, &Result{}, &OpResult{},
		&Snapshot{}, &Header{}, &Trailer{}, &Cluster{}, &Member{}, &Item{}, &Queue{}, &Slot{}, &Session{}, &Event{},
		&Proposer{}, &Answer{}, &Change{},
	} {
		if m.ProtoReflect().Descriptor() == d {
			return m.ProtoReflect()
		}
	}
	t.Fatalf("%s is missing in this test", d.Name())
	return nil
}

// within fills m with a message of every kind it can hold and returns all of them, m first.
func within(m protoreflect.Message) []protoreflect.Message {
	all := []protoreflect.Message{m}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch field := fields.Get(i); {
		case field.Message() == nil:
		case field.IsList():
			all = append(all, within(m.Mutable(field).List().AppendMutable().Message())...)
		default:
			all = append(all, within(m.Mutable(field).Message())...)
		}
	}
	return all
}
