package state

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/kith-go/kith/internal/state/statepb"
)

// FuzzApply feeds arbitrary entries to two machines, one of which is restored from its snapshot
// again and again. Neither panics, both do the same, and CheckBatch agrees with Apply.
func FuzzApply(f *testing.F) {
	var log []byte
	for _, e := range goldenEntries() {
		data, err := e.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{})
		log = data
	}
	f.Add(log, []byte{0xff})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := everything(t).m
		b := restored(t, snapshotBytes(t, a.Snapshot()))
		for _, data := range [][]byte{first, second, first} {
			pristine := bytes.Clone(data)
			_, errA := a.Apply(a.Index()+1, a.Term(), data)
			if !bytes.Equal(data, pristine) {
				t.Fatal("Apply changed its data")
			}
			for i := range data {
				data[i] = 0xff // nothing of it may be kept
			}
			_, errB := b.Apply(b.Index()+1, b.Term(), pristine)
			copy(data, pristine)
			if (errA == nil) != (errB == nil) {
				t.Fatalf("one said %v, the other %v", errA, errB)
			}
			if _, unintelligible := errors.AsType[*UnintelligibleError](errA); errA != nil && !unintelligible {
				t.Fatal(errA)
			}
			checkBatches(t, data, errA)
			snapshot := snapshotBytes(t, a.Snapshot())
			if !bytes.Equal(snapshot, snapshotBytes(t, b.Snapshot())) {
				t.Fatal("the two went apart")
			}
			if b = restored(t, snapshot); b.Size() != a.Size() || b.Size() < 0 {
				t.Fatalf("size %d, restored %d", a.Size(), b.Size())
			}
		}
	})
}

// checkBatches: an entry that was applied has only batches that a leader lets pass.
func checkBatches(t *testing.T, data []byte, applied error) {
	fields := fields{rest: data}
	for fields.next() {
		if fields.tag == 3<<3|length {
			if err := CheckBatch(fields.bytes); err != nil && applied == nil {
				t.Fatalf("Apply took a batch that CheckBatch refuses: %v", err)
			}
		}
	}
}

// FuzzCheckBatch: what passes can be applied, and protobuf reads it in the same way.
func FuzzCheckBatch(f *testing.F) {
	for _, e := range goldenEntries() {
		for _, b := range e.Batches {
			data, err := b.MarshalVT()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		refused := CheckBatch(data)
		var b statepb.Batch
		if err := b.UnmarshalVT(data); refused == nil && err != nil {
			t.Fatalf("protobuf cannot read what passed: %v", err)
		}
		m := New()
		out, err := m.Apply(1, 1, AppendBatch(AppendEntryHeader(nil, 1, 1, nil), data))
		if (err == nil) != (refused == nil) {
			t.Fatalf("CheckBatch says %v, Apply %v", refused, err)
		}
		if answers := len(b.Commands) + boolInt(b.Registration != nil); err == nil && len(out.Answers) != answers {
			t.Fatalf("%d answers to %d", len(out.Answers), answers)
		}
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// FuzzRestore: no stream makes Restore panic, and one that it takes is one that a
// machine writes, up to the encoding.
func FuzzRestore(f *testing.F) {
	f.Add(everything(f).bytes())
	f.Add(snapshotBytes(f, New().Snapshot()))
	f.Fuzz(func(t *testing.T, stream []byte) {
		m, err := Restore(bytes.NewReader(stream))
		if err != nil {
			_, corrupt := errors.AsType[*CorruptError](err)
			_, unintelligible := errors.AsType[*UnintelligibleError](err)
			if !corrupt && !unintelligible || errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			return
		}
		again := snapshotBytes(t, m.Snapshot())
		if !bytes.Equal(again, snapshotBytes(t, restored(t, again).Snapshot())) {
			t.Fatal("it is not stable")
		}
		// It goes on without a panic, whatever its state.
		term := m.Term()
		for i, e := range goldenEntries() {
			e.Term, e.Time = term, 1<<63
			data, err := e.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Apply(m.Index()+1, term, data); err != nil && m.Index() != 1<<64-1 {
				t.Fatalf("entry %d: %v", i, err)
			}
		}
		snapshotBytes(t, m.Snapshot())
	})
}
