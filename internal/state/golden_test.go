package state

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/kith-go/kith/internal/state/statepb"
)

var update = flag.Bool("update", false, "write testdata anew: only for a format that no release has written yet")

const (
	goldenLog      = "testdata/log.txt"
	goldenSnapshot = "testdata/snapshot.txt"
)

// goldenEntries are entries with every command and every operation in them.
func goldenEntries() []*statepb.Entry {
	commands := []*statepb.Command{
		openSession(1, "", 10_000),    // revision 1
		openSession(2, "client", 500), // 2
		txn(opPut("a", "1"), opPutFor("ttl", "2", 5000, 0), opPutFor("eph", "3", 0, 1), opPut("p/1", ""), opPut("p/2", "")),
		iff(conds{keyIs("a", 3), keyIs("none", 0), keyExists("ttl"), valueEquals("eph", "3")},
			ops{opDelete("eph"), opDeletePrefix("p/"), opGet("a"), opPut("a", "2")}, ops{opGet("a")}),
		iff(conds{keyIs("a", 3)}, ops{opDelete("a")}, ops{opGet("a"), opPutFor("eph", "4", 777, 2)}),
		fireIf("event", 0), // 6
		fireIf("event", 6), // 7
		fireIf("event", 6),
		enter(&statepb.Enter{Queue: lockNamed("l"), Session: 1, Member: "x", Data: []byte("data"), Limit: 1}), // 8
		enter(&statepb.Enter{Queue: lockNamed("l"), Session: 2, Member: "y", Limit: 1, OnlyIfHeld: true}),
		enter(&statepb.Enter{Queue: lockNamed("l"), Session: 2, Member: "y", Limit: 1, Precedence: 5}), // 9
		enter(&statepb.Enter{Queue: groupNamed("g"), Session: 2, Member: "y"}),                         // 10
		enter(&statepb.Enter{Queue: groupNamed("g"), Session: 1, Member: "x"}),                         // 11
		iff(conds{isHeld(lockNamed("l"), 8, 0), isHeld(groupNamed("g"), 11, 2)}, ops{opPutFor("fenced", "1", 0, 2)}, nil),
		leave(&statepb.Leave{Queue: groupNamed("g"), Session: 2, Member: "y"}),
		leave(&statepb.Leave{Queue: groupNamed("g"), Token: 10}),
		updateSlot(lockNamed("l"), 9, "waits"),
		revoke(lockNamed("l"), 8),
		endSession(3),
		admit(2, "d2"),
		setLimits(&statepb.Limits{KeyBytes: 100, ValueBytes: 2000, StateBytes: 1 << 20, TxnOps: 10, HistoryEvents: 18,
			HistoryBytes: 5000, QueueSlots: 20, Sessions: 7, Window: 10_000, MinTtlMs: 5, MaxTtlMs: 50_000, Events: 9}),
		raiseFeature(1),
		openSession(3, "", 50), // 18
		txn(opPut("", "")),
		txn(opPut("large", strings.Repeat("x", 2001))),
	}
	entries := []*statepb.Entry{
		{Term: 1, Time: 1000, Batches: []*statepb.Batch{{Registration: &statepb.Registration{Member: 1, Incarnation: 7}}}},
		{Term: 1, Batches: []*statepb.Batch{{Registration: &statepb.Registration{Member: 2, Incarnation: 1 << 60}}}},
	}
	for i, c := range commands {
		c.Seq = uint64(i + 1)
	}
	return append(entries,
		&statepb.Entry{Term: 1, Time: 2000, Batches: []*statepb.Batch{{Proposer: 2, Low: 1, Commands: commands}}},
		&statepb.Entry{Term: 1, Time: 2777, Batches: []*statepb.Batch{{Proposer: 3, Commands: []*statepb.Command{numbered(5, txn(opGet("eph")))}}}},
		&statepb.Entry{Term: 1, Time: 2800, Ended: []uint64{18}, Batches: []*statepb.Batch{{Proposer: 2, Low: 4}}},
	)
}

// TestGolden: what earlier releases have written is read as they meant it, and
// written again in the same bytes (S9).
func TestGolden(t *testing.T) {
	var log [][]byte
	for _, e := range goldenEntries() {
		data, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, data)
	}
	if *update {
		write(t, goldenLog, log...)
	}
	stored := stored(t, goldenLog)
	if len(stored) != len(log) {
		t.Fatalf("%s has %d entries, not %d", goldenLog, len(stored), len(log))
	}
	m, err := Found(cluster(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range stored {
		if !bytes.Equal(data, log[i]) {
			t.Errorf("entry %d is encoded otherwise than it was", i)
		}
		if _, err := m.Apply(uint64(i+2), 1, data); err != nil {
			t.Fatal(err)
		}
	}
	snapshot := snapshotBytes(t, m.Snapshot())
	if *update {
		write(t, goldenSnapshot, snapshot)
	}
	want := storedOne(t, goldenSnapshot)
	if !bytes.Equal(snapshot, want) {
		t.Errorf("the log leads to another snapshot than it did:\n%v\nwas\n%v", split(t, snapshot), split(t, want))
	}
	if again := snapshotBytes(t, restored(t, want).Snapshot()); !bytes.Equal(again, want) {
		t.Error("the snapshot is not what it was after being restored")
	}
}

// TestGoldenIsComplete: the golden log has every command, condition and operation in it, the
// snapshot every part, and each field is set somewhere.
func TestGoldenIsComplete(t *testing.T) {
	set := map[protoreflect.FullName]bool{}
	for _, e := range goldenEntries() {
		note(e.ProtoReflect(), set)
	}
	for _, part := range split(t, storedOne(t, goldenSnapshot)) {
		note(part.ProtoReflect(), set)
	}
	messages := (&statepb.Entry{}).ProtoReflect().Descriptor().ParentFile().Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !set[name] {
				t.Errorf("%s is nowhere set", name)
			}
		}
	}
}

func note(m protoreflect.Message, set map[protoreflect.FullName]bool) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		set[field.FullName()] = true
		switch {
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				note(value.List().Get(i).Message(), set)
			}
		case field.Message() != nil:
			note(value.Message(), set)
		}
		return true
	})
}

// write and stored keep one record a line, in base64.
func write(t *testing.T, path string, records ...[]byte) {
	t.Helper()
	var b bytes.Buffer
	for _, record := range records {
		fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(record))
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, path string) (records [][]byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		record, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

func storedOne(t *testing.T, path string) []byte {
	t.Helper()
	return stored(t, path)[0]
}
