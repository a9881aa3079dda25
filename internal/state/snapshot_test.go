package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/kith-go/kith/internal/state/statepb"
)

// everything leads a machine to a state with something of every kind in it.
func everything(t tb) *feed {
	f := newFeed(t)
	f.at(1000)
	s, client := f.session(1, ""), f.session(2, "client")
	f.ok(txn(opPut("a", "1"), opPutFor("ttl", "2", 5000, 0), opPutFor("eph", "3", 0, s), opPutFor("both", "", 70, client)))
	f.ok(txn(opPut("a", "2"), opDelete("eph"), opPutFor("eph", "4", 0, client)))
	for i, name := range []string{"x", "y", "z"} {
		f.ok(enter(&statepb.Enter{Queue: lockNamed("l"), Session: s, Member: name, Limit: 1, Data: []byte(name)}))
		f.ok(enter(&statepb.Enter{Queue: groupNamed("g"), Session: client, Member: name, Precedence: uint64(3 - i), Limit: 1}))
	}
	token := f.ok(enter(&statepb.Enter{Queue: lockNamed("m"), Session: s, Member: "x", Limit: 3})).Token
	f.ok(updateSlot(lockNamed("m"), token, "new"))
	f.ok(revoke(lockNamed("m"), token))
	f.ok(fireIf("e2", 0))
	f.ok(fireIf("e1", 0))
	f.ok(admit(2, "d2"))
	f.ok(setLimits(&statepb.Limits{TxnOps: 100}))
	f.register(3, 17)
	f.batch(f.seq+1, numbered(f.seq+1, txn(opGet("a"), opGet("none"))), numbered(f.seq+9, txn(opPut("", ""))),
		numbered(f.seq+4, enter(&statepb.Enter{Queue: lockNamed("l"), Session: s, Member: "w", Limit: 1, OnlyIfHeld: true})))
	f.seq += 9
	f.at(2000)
	return f
}

// TestRestoreIsTheSame: the restored machine shows what the first one shows, writes the same bytes, and
// goes on in the same way.
func TestRestoreIsTheSame(t *testing.T) {
	f := everything(t)
	before := f.bytes()
	m := restored(t, before)
	if !bytes.Equal(snapshotBytes(t, m.Snapshot()), before) {
		t.Error("the restored machine writes another snapshot")
	}
	if m.Index() != f.m.Index() || m.Term() != f.m.Term() || m.Revision() != f.m.Revision() || m.Time() != f.m.Time() ||
		m.Size() != f.m.Size() || m.Len() != f.m.Len() || m.history.bytes != f.m.history.bytes {
		t.Errorf("restored: %d %d %d %d %d %d", m.Index(), m.Term(), m.Revision(), m.Time(), m.Size(), m.Len())
	}
	if s := m.Snapshot(); s.Index() != f.m.Index() || s.Term() != f.m.Term() {
		t.Errorf("snapshot of index %d, term %d", s.Index(), s.Term())
	}
	g := &feed{t: t, m: m, term: f.term, proposer: f.proposer, seq: f.seq}
	for _, f := range []*feed{f, g} {
		f.at(1_000_000)
		for s := range f.m.SessionsOf(1) {
			f.at(0, s.ID)
		}
		f.ok(txn(opPut("a", "3")))
	}
	if !bytes.Equal(f.bytes(), g.bytes()) {
		t.Error("the two went apart")
	}
}

// TestSnapshotIsApart: a snapshot shows its moment, however the machine goes on, also while it is being read.
func TestSnapshotIsApart(t *testing.T) {
	f := everything(t)
	s := f.m.Snapshot()
	before := snapshotBytes(t, s)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for range 20 {
				if !bytes.Equal(snapshotBytes(t, s), before) {
					t.Error("a snapshot has changed")
					return
				}
			}
		})
	}
	own := f.session(1, "")
	for i := range 300 {
		key := fmt.Sprint("k", i%20)
		f.ok(txn(opPut(key, "x"), opDelete(fmt.Sprint("k", (i+7)%20)), opPut("a", key)))
		f.ok(fireIf(key, 0))
		token := f.ok(enter(&statepb.Enter{Queue: groupNamed("g"), Session: own, Member: key, Limit: 1})).Token
		f.ok(updateSlot(groupNamed("g"), token, key))
		f.ok(enter(&statepb.Enter{Queue: lockNamed("l"), Session: own, Member: key, Limit: 1}))
		f.ok(leave(&statepb.Leave{Queue: groupNamed("g"), Token: token}))
		if i == 150 {
			for open := range f.m.SessionsOf(1) {
				if open.ID != own {
					f.ok(endSession(open.ID))
					break
				}
			}
		}
		if i%50 == 0 {
			f.m.Snapshot()
		}
	}
	readers.Wait()
	if !bytes.Equal(snapshotBytes(t, s), before) {
		t.Error("the snapshot has changed")
	}
	if bytes.Equal(f.bytes(), before) {
		t.Error("the machine has not")
	}
}

// split takes a snapshot stream apart.
func split(t tb, stream []byte) (parts []*statepb.Snapshot) {
	t.Helper()
	for len(stream) > 0 {
		size, n := binary.Uvarint(stream)
		part := &statepb.Snapshot{}
		if err := part.UnmarshalVT(stream[n : n+int(size)]); err != nil {
			t.Fatal(err)
		}
		parts, stream = append(parts, part), stream[n+int(size):]
	}
	return parts
}

// join is its reverse, with the right number in the trailer.
func join(t tb, parts []*statepb.Snapshot) []byte {
	t.Helper()
	var stream []byte
	for i, part := range parts {
		if trailer := part.GetTrailer(); trailer != nil {
			trailer.Parts += uint64(i) - trailer.Parts
		}
		data, err := part.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		stream = append(binary.AppendUvarint(stream, uint64(len(data))), data...)
	}
	return stream
}

// at returns the index of the nth part of a kind.
func at[P any](t tb, parts []*statepb.Snapshot, nth int) int {
	t.Helper()
	for i, part := range parts {
		if _, ok := any(part.Part).(P); ok {
			if nth--; nth < 0 {
				return i
			}
		}
	}
	t.Fatalf("there is no such part")
	return 0
}

// TestRestoreRefuses every stream that no machine has written, and says where.
func TestRestoreRefuses(t *testing.T) {
	whole := everything(t).bytes()
	if !bytes.Equal(join(t, split(t, whole)), whole) {
		t.Fatal("taking a snapshot apart and putting it together changes it")
	}
	type parts = []*statepb.Snapshot
	item := func(p parts, n int) *statepb.Item { return p[at[*statepb.Snapshot_Item](t, p, n)].GetItem() }
	slot := func(p parts, n int) *statepb.Slot { return p[at[*statepb.Snapshot_Slot](t, p, n)].GetSlot() }
	queue := func(p parts, n int) *statepb.Queue { return p[at[*statepb.Snapshot_Queue](t, p, n)].GetQueue() }
	session := func(p parts, n int) *statepb.Session { return p[at[*statepb.Snapshot_Session](t, p, n)].GetSession() }
	event := func(p parts, n int) *statepb.Event { return p[at[*statepb.Snapshot_Event](t, p, n)].GetEvent() }
	proposer := func(p parts, n int) *statepb.Proposer {
		return p[at[*statepb.Snapshot_Proposer](t, p, n)].GetProposer()
	}
	answer := func(p parts, n int) *statepb.Answer { return p[at[*statepb.Snapshot_Answer](t, p, n)].GetAnswer() }
	change := func(p parts, n int) *statepb.Change { return p[at[*statepb.Snapshot_Change](t, p, n)].GetChange() }
	swap := func(p parts, i int) parts { p[i], p[i+1] = p[i+1], p[i]; return p }
	drop := func(p parts, i int) parts { return append(p[:i:i], p[i+1:]...) }
	twice := func(p parts, i int) parts { return append(p[:i+1:i+1], p[i:]...) }
	for name, spoil := range map[string]func(p parts) parts{
		"no header":             func(p parts) parts { return drop(p, 0) },
		"no cluster":            func(p parts) parts { return drop(p, 1) },
		"two headers":           func(p parts) parts { return twice(p, 0) },
		"two clusters":          func(p parts) parts { return twice(p, 1) },
		"cluster first":         func(p parts) parts { return swap(p, 0) },
		"no trailer":            func(p parts) parts { return p[:len(p)-1] },
		"two trailers":          func(p parts) parts { return twice(p, len(p)-1) },
		"an empty part":         func(p parts) parts { p[2].Part = nil; return p },
		"floor above revision":  func(p parts) parts { p[0].GetHeader().Floor = 1 << 40; return p },
		"a bad cluster":         func(p parts) parts { p[1].GetCluster().Members[0].Name = "bravo"; return p },
		"session out of order":  func(p parts) parts { return swap(p, at[*statepb.Snapshot_Session](t, p, 0)) },
		"session of the future": func(p parts) parts { session(p, 1).Id = 1 << 40; return p },
		"session of no UTF-8":   func(p parts) parts { session(p, 1).Client = "\xff"; return p },
		"item out of order":     func(p parts) parts { return swap(p, at[*statepb.Snapshot_Item](t, p, 0)) },
		"item twice":            func(p parts) parts { return twice(p, at[*statepb.Snapshot_Item](t, p, 0)) },
		"item without a key":    func(p parts) parts { item(p, 0).Key = ""; return p },
		"item of no UTF-8":      func(p parts) parts { item(p, 0).Key = "\xff"; return p },
		"item of the future":    func(p parts) parts { item(p, 0).Revision = 1 << 40; return p },
		"item never created":    func(p parts) parts { item(p, 0).Created = 0; return p },
		"item created later":    func(p parts) parts { item(p, 0).Created = item(p, 0).Revision + 1; return p },
		"item of no session":    func(p parts) parts { item(p, 0).Session = 77; return p },
		"items after queues":    func(p parts) parts { return swap(p, at[*statepb.Snapshot_Queue](t, p, 0)-1) },
		"an empty queue":        func(p parts) parts { return drop(p, at[*statepb.Snapshot_Slot](t, p, 3)) },
		"a last empty queue": func(p parts) parts {
			return slices.Delete(p, at[*statepb.Snapshot_Slot](t, p, 4), at[*statepb.Snapshot_Event](t, p, 0))
		},
		"queue without a name":    func(p parts) parts { queue(p, 0).Name = nil; return p },
		"queue twice":             func(p parts) parts { queue(p, 1).Name = queue(p, 0).Name; return p },
		"queue of the future":     func(p parts) parts { queue(p, 1).Revision = 1 << 40; return p },
		"slot without a queue":    func(p parts) parts { return drop(p, at[*statepb.Snapshot_Queue](t, p, 0)) },
		"slot twice":              func(p parts) parts { return twice(p, at[*statepb.Snapshot_Slot](t, p, 0)) },
		"token twice":             func(p parts) parts { slot(p, 1).Token = slot(p, 0).Token; return p },
		"slot of no session":      func(p parts) parts { slot(p, 1).Session = 77; return p },
		"slot of nobody":          func(p parts) parts { slot(p, 1).Member = ""; return p },
		"slot without a token":    func(p parts) parts { slot(p, 1).Token = 0; return p },
		"slot of the future":      func(p parts) parts { slot(p, 1).Revision = 1 << 40; return p },
		"slot in the wrong place": func(p parts) parts { return swap(p, at[*statepb.Snapshot_Queue](t, p, 2)+2) },
		"event out of order":      func(p parts) parts { return swap(p, at[*statepb.Snapshot_Event](t, p, 0)) },
		"event without a name":    func(p parts) parts { event(p, 0).Name = ""; return p },
		"event of the future":     func(p parts) parts { event(p, 0).Revision = 1 << 40; return p },
		"events at once":          func(p parts) parts { event(p, 0).Revision = event(p, 1).Revision; return p },
		"proposer of nobody":      func(p parts) parts { proposer(p, 0).Member = 9; return p },
		"proposers of one member": func(p parts) parts { proposer(p, 1).Member = proposer(p, 0).Member; return p },
		"proposer of the future":  func(p parts) parts { proposer(p, 1).Id = 1 << 40; return p },
		"proposers out of order":  func(p parts) parts { proposer(p, 0).Id = proposer(p, 1).Id; return p },
		"answer without proposer": func(p parts) parts { return drop(p, at[*statepb.Snapshot_Proposer](t, p, 0)) },
		"answer without result":   func(p parts) parts { answer(p, 0).Result = nil; return p },
		"answer that is spent":    func(p parts) parts { answer(p, 0).Seq = proposer(p, 0).Low - 1; return p },
		"answer beyond":           func(p parts) parts { answer(p, 2).Seq = 1 << 40; return p },
		"answers out of order":    func(p parts) parts { return swap(p, at[*statepb.Snapshot_Answer](t, p, 0)) },
		"answer twice":            func(p parts) parts { return twice(p, at[*statepb.Snapshot_Answer](t, p, 0)) },
		"change of nothing":       func(p parts) parts { change(p, 0).Name = ""; return p },
		"change of the future":    func(p parts) parts { change(p, 0).Revision = 1 << 40; return p },
		"changes out of order":    func(p parts) parts { change(p, 1).Revision = p[0].GetHeader().Revision; return p },
		"change that is forgotten": func(p parts) parts {
			p[0].GetHeader().Floor = change(p, 0).Revision
			return p
		},
	} {
		_, err := Restore(bytes.NewReader(join(t, spoil(split(t, whole)))))
		if _, ok := errors.AsType[*CorruptError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(p parts) parts{
		"format":        func(p parts) parts { p[0].GetHeader().Format = format + 1; return p },
		"feature level": func(p parts) parts { p[1].GetCluster().Feature = Feature + 1; return p },
		"kind of queue": func(p parts) parts { queue(p, 0).Name.Kind = kinds; return p },
		"result code":   func(p parts) parts { answer(p, 0).Result.Code = 1000; return p },
		"change kind":   func(p parts) parts { change(p, 0).Kind = 1000; return p },
		"change, queue": func(p parts) parts { change(p, 0).Queue = kinds; return p },
	} {
		_, err := Restore(bytes.NewReader(join(t, spoil(split(t, whole)))))
		if _, ok := errors.AsType[*UnintelligibleError](err); !ok {
			t.Errorf("unknown %s: %v", name, err)
		}
	}
	// A whole part and a field of a part that are not known.
	for _, unknown := range [][]byte{{2, 12<<3 | 2, 0}, {5, 3<<3 | 2, 3, 0x98, 0x06, 1}} {
		cluster := len(join(t, split(t, whole)[:2]))
		stream := append(append(whole[:cluster:cluster], unknown...), whole[cluster:]...)
		_, err := Restore(bytes.NewReader(stream))
		if _, ok := errors.AsType[*UnintelligibleError](err); !ok {
			t.Errorf("unknown part %x: %v", unknown, err)
		}
	}
}

// TestRestoreCutOff: every prefix of a snapshot is refused, and what follows one too; bytes
// may come one by one; a failing reader is not taken for damage of something else.
func TestRestoreCutOff(t *testing.T) {
	whole := everything(t).bytes()
	for n := range whole {
		_, err := Restore(bytes.NewReader(whole[:n]))
		if corrupt, ok := errors.AsType[*CorruptError](err); !ok || !errors.Is(err, io.ErrUnexpectedEOF) || corrupt.Offset > int64(n) {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
	if _, err := Restore(bytes.NewReader(append(bytes.Clone(whole), 0))); err == nil {
		t.Error("something follows and was not noticed")
	}
	if _, err := Restore(iotest.OneByteReader(bytes.NewReader(whole))); err != nil {
		t.Error(err)
	}
	failed := errors.New("read failed")
	if _, err := Restore(io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(failed))); !errors.Is(err, failed) {
		t.Errorf("a reader that fails at the end: %v", err)
	}
	if _, err := Restore(io.MultiReader(bytes.NewReader(whole[:100]), iotest.ErrReader(failed))); !errors.Is(err, failed) {
		t.Errorf("a reader that fails: %v", err)
	}
	var big [binary.MaxVarintLen64]byte
	for _, size := range []uint64{maxPart + 1, 1 << 62} {
		stream := append(bytes.Clone(whole[:1+whole[0]]), big[:binary.PutUvarint(big[:], size)]...)
		if _, err := Restore(bytes.NewReader(stream)); err == nil || !strings.Contains(err.Error(), "at most") {
			t.Errorf("a part of %d bytes: %v", size, err)
		}
	}
}

// TestRestoreTrustsNoLength: a length alone takes no memory.
func TestRestoreTrustsNoLength(t *testing.T) {
	stream := binary.AppendUvarint(nil, maxPart)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Restore(bytes.NewReader(stream)); err == nil {
		t.Fatal("restored")
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
		t.Errorf("%d bytes were set aside for a length", allocated)
	}
}

// TestWriteFails: a snapshot says that it could not be written, and how much was.
func TestWriteFails(t *testing.T) {
	s := everything(t).m.Snapshot()
	whole := len(snapshotBytes(t, s))
	for _, room := range []int{0, 10, whole - 1} {
		w := &narrow{room: room}
		n, err := s.WriteTo(w)
		if !errors.Is(err, errNarrow) || n != int64(w.written) {
			t.Errorf("with room for %d: %d, %v; %d were written", room, n, err, w.written)
		}
	}
}

var errNarrow = errors.New("no room")

type narrow struct{ room, written int }

func (w *narrow) Write(p []byte) (int, error) {
	n := min(len(p), w.room-w.written)
	w.written += n
	if n < len(p) {
		return n, errNarrow
	}
	return n, nil
}
