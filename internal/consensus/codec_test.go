package consensus

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// anyMessage draws messages of all kinds that travel between nodes.
func anyMessage(t *rapid.T) *pb.Message {
	number := func(name string) *uint64 {
		return new(rapid.OneOf(rapid.Uint64Range(1, 300), rapid.Just(uint64(math.MaxUint64)), rapid.Uint64Min(1)).Draw(t, name))
	}
	kind := rapid.SampledFrom([]pb.MessageType{
		pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp, pb.MsgHeartbeat,
		pb.MsgHeartbeatResp, pb.MsgSnap, pb.MsgTimeoutNow, pb.MsgReadIndex, pb.MsgReadIndexResp,
	}).Draw(t, "type")
	m := &pb.Message{
		Type: &kind, To: number("to"), From: number("from"), Term: number("term"), LogTerm: number("logTerm"),
		Index: new(rapid.Uint64Range(0, 1<<40).Draw(t, "index")), Commit: number("commit"), Vote: number("vote"),
		RejectHint: number("hint"), Reject: new(rapid.Bool().Draw(t, "reject")),
	}
	switch kind {
	case pb.MsgApp:
		for i := range rapid.IntRange(0, 5).Draw(t, "entries") {
			m.Entries = append(m.Entries, &pb.Entry{
				Type: pb.EntryNormal.Enum(), Index: new(m.GetIndex() + 1 + uint64(i)),
				Term: new(rapid.Uint64Range(1, m.GetTerm()).Draw(t, "entryTerm")), Data: someBytes(t, "data"),
			})
		}
	case pb.MsgReadIndex:
		m.Entries = []*pb.Entry{{Type: pb.EntryNormal.Enum(), Index: new(uint64), Term: new(uint64), Data: someBytes(t, "key")}}
	case pb.MsgHeartbeat, pb.MsgHeartbeatResp:
		if rapid.Bool().Draw(t, "reads") {
			m.Context = []byte("12345678")
		}
	case pb.MsgSnap:
		ids := rapid.SliceOfN(rapid.Uint64(), 0, 4)
		m.Snapshot = newSnapshot(*number("snapIndex"), *number("snapTerm"), &pb.ConfState{
			Voters: ids.Draw(t, "voters"), Learners: ids.Draw(t, "learners"), AutoLeave: new(false),
		})
	}
	return m
}

func someBytes(t *rapid.T, name string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, name)
}

func TestMessagesSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []*pb.Message
		var body []byte
		for range rapid.IntRange(0, 4).Draw(t, "messages") {
			m := anyMessage(t)
			sent = append(sent, m)
			body = appendMessage(body, m)
		}
		var got []*pb.Message
		err := decodeMessages(body, func(m *pb.Message) error {
			got = append(got, m)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(sent) {
			t.Fatalf("%d messages became %d", len(sent), len(got))
		}
		for i := range got {
			want := proto.Clone(sent[i]).(*pb.Message)
			if want.Snapshot != nil { // nil and empty are the same here
				want.Snapshot.Metadata.ConfState.Voters = append([]uint64{}, want.Snapshot.Metadata.ConfState.Voters...)
				want.Snapshot.Metadata.ConfState.Learners = append([]uint64{}, want.Snapshot.Metadata.ConfState.Learners...)
			}
			if !proto.Equal(want, got[i]) {
				t.Fatalf("sent %v\ngot  %v", want, got[i])
			}
		}
	})
}

func TestTruncatedMessagesAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := appendMessage(nil, anyMessage(t))
		cut := rapid.IntRange(1, len(body)-1).Draw(t, "cut")
		if err := decodeMessages(body[:cut], func(*pb.Message) error { return nil }); !errors.Is(err, errMessage) {
			t.Fatalf("cut at %d of %d: %v", cut, len(body), err)
		}
	})
}

// What raft would panic about, or take for its own, must not reach it.
func TestMessagesThatRaftMustNotSee(t *testing.T) {
	good := func() *pb.Message {
		return &pb.Message{Type: pb.MsgApp.Enum(), To: new(uint64(1)), From: new(uint64(2)), Term: new(uint64(3)), Index: new(uint64(7))}
	}
	entry := func(index, term uint64, kind pb.EntryType) *pb.Entry {
		return &pb.Entry{Type: &kind, Index: &index, Term: &term, Data: []byte("x")}
	}
	for name, spoil := range map[string]func(m *pb.Message){
		"local message":                func(m *pb.Message) { m.Type = pb.MsgHup.Enum() },
		"proposal (S7)":                func(m *pb.Message) { m.Type = pb.MsgProp.Enum() },
		"unknown type":                 func(m *pb.Message) { m.Type = pb.MessageType(99).Enum() },
		"no term":                      func(m *pb.Message) { m.Term = nil },
		"no sender":                    func(m *pb.Message) { m.From = nil },
		"gap in entries":               func(m *pb.Message) { m.Entries = []*pb.Entry{entry(9, 3, pb.EntryNormal)} },
		"entry of a later term":        func(m *pb.Message) { m.Entries = []*pb.Entry{entry(8, 4, pb.EntryNormal)} },
		"configuration change (S5)":    func(m *pb.Message) { m.Entries = []*pb.Entry{entry(8, 3, pb.EntryConfChangeV2)} },
		"snapshot without one":         func(m *pb.Message) { m.Type = pb.MsgSnap.Enum() },
		"heartbeat answer, 3 bytes":    func(m *pb.Message) { m.Type, m.Context = pb.MsgHeartbeatResp.Enum(), []byte("abc") },
		"read request without a key":   func(m *pb.Message) { m.Type = pb.MsgReadIndex.Enum() },
		"storage answer":               func(m *pb.Message) { m.Type = pb.MsgStorageAppendResp.Enum() },
		"transfer asked by a stranger": func(m *pb.Message) { m.Type = pb.MsgTransferLeader.Enum() },
	} {
		m := good()
		spoil(m)
		if err := decodeMessages(appendMessage(nil, m), func(*pb.Message) error { return nil }); !errors.Is(err, errMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := decodeMessages(appendMessage(nil, good()), func(*pb.Message) error { return nil }); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// A length that is claimed allocates nothing.
func TestClaimedLengthsAllocateNothing(t *testing.T) {
	body := appendMessage(nil, &pb.Message{Type: pb.MsgApp.Enum(), To: new(uint64(1)), From: new(uint64(2)), Term: new(uint64(3))})
	huge := append(body[:len(body)-1:len(body)-1], 0xff, 0xff, 0xff, 0xff, 0x7f) // entries
	huge[3] += 4
	if n := testing.AllocsPerRun(10, func() { decodeMessages(huge, func(*pb.Message) error { return nil }) }); n > 12 {
		t.Errorf("%v allocations", n)
	}
	if err := decodeMessages(huge, func(*pb.Message) error { return nil }); !errors.Is(err, errMessage) {
		t.Error(err)
	}
}

func FuzzDecodeMessages(f *testing.F) {
	f.Add(appendMessage(nil, &pb.Message{Type: pb.MsgHeartbeat.Enum(), To: new(uint64(1)), From: new(uint64(2)), Term: new(uint64(3)), Context: []byte("12345678")}))
	f.Add(appendMessage(nil, &pb.Message{Type: pb.MsgSnap.Enum(), To: new(uint64(1)), From: new(uint64(2)), Term: new(uint64(3)), Snapshot: newSnapshot(4, 3, &pb.ConfState{Voters: []uint64{1, 2}})}))
	f.Fuzz(func(t *testing.T, body []byte) {
		var again []byte
		err := decodeMessages(body, func(m *pb.Message) error {
			again = appendMessage(again, m)
			return nil
		})
		if err != nil {
			return
		}
		var twice []byte // varints can be longer than need be; then they are not afterwards
		if err := decodeMessages(again, func(m *pb.Message) error {
			twice = appendMessage(twice, m)
			return nil
		}); err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("%x became %x: %v", again, twice, err)
		}
	})
}

func FuzzDecodeRenewals(f *testing.F) {
	f.Add(appendRenewals(nil, []renewal{{session: 1, nonce: 2}, {session: 3, nonce: 1 << 63}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		renewals, err := decodeRenewals(b)
		if err != nil {
			return
		}
		if again, err := decodeRenewals(appendRenewals(nil, renewals)); err != nil || !slices.Equal(again, renewals) {
			t.Fatal(renewals, again, err)
		}
	})
}
