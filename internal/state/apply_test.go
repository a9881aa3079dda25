package state

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kith-go/kith/internal/state/statepb"
)

// TestTimeNamesItsTerm: what a leader says of time and of sessions counts only in its own
// term (S7), and time never goes back (S17).
func TestTimeNamesItsTerm(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")
	f.at(100)
	f.at(50)
	if f.m.Time() != 100 {
		t.Errorf("time is %d: it went back", f.m.Time())
	}
	f.apply(&statepb.Entry{Term: f.term - 1, Time: 200, Ended: []uint64{s}})
	if _, open := f.m.Session(s); f.m.Time() != 100 || !open {
		t.Errorf("an entry of another term moved time to %d; session open: %v", f.m.Time(), open)
	}
	f.term++
	f.at(300, s, s, 12345)
	if _, open := f.m.Session(s); f.m.Time() != 300 || open {
		t.Errorf("time is %d; session open: %v", f.m.Time(), open)
	}
}

// TestExpiry: keys go when agreed time reaches their end, all of them in one revision,
// before the entry's commands (S17).
func TestExpiry(t *testing.T) {
	f := newFeed(t)
	f.at(1000)
	f.ok(txn(opPutFor("a", "1", 100, 0), opPutFor("b", "1", 100, 0), opPutFor("c", "1", 101, 0),
		opPutFor("kept", "1", 100, 0), opPutFor("longer", "1", 100, 0)))
	put := f.ok(txn(opPut("kept", "2"), opPutFor("longer", "2", 500, 0))).Revision
	if due, ok := f.m.NextExpiry(); !ok || due != 1100 {
		t.Errorf("the next expiry is at %d, %v", due, ok)
	}
	f.reborn()
	f.at(1099)
	if f.m.Len() != 5 {
		t.Errorf("too early: %s", f.keys())
	}
	f.seq++
	c := txn(opGet("a"), opPut("b", "new"))
	c.Seq = f.seq
	out := f.apply(&statepb.Entry{Term: f.term, Time: 1100, Batches: []*statepb.Batch{{
		Proposer: f.proposer, Commands: []*statepb.Command{c},
	}}})
	want := "[{4 EXPIRE a} {4 EXPIRE b} {5 PUT b}]"
	var got []string
	for _, c := range out.Changes {
		got = append(got, fmt.Sprintf("{%d %v %s}", c.Revision-put+2, c.Kind, c.Name))
	}
	if f.m.Revision() != put+2 || len(out.Changes) != 3 || out.Changes[0].Revision != put+1 || out.Changes[2].Previous != 0 {
		t.Errorf("changes: %s, want as in %s", got, want)
	}
	if out.Answers[0].Result.Ops[0].Found {
		t.Error("a command saw a key that had expired in the same entry")
	}
	if got := f.keys(); got != "b=new c=1 kept=2 longer=2" {
		t.Errorf("keys: %s", got)
	}
	f.at(1600)
	if got := f.keys(); got != "b=new kept=2" {
		t.Errorf("keys: %s", got)
	}
	if _, ok := f.m.NextExpiry(); ok {
		t.Error("something is due")
	}
}

// TestExpiryIsBounded: at most 1000 keys go in one entry, the rest in the next ones.
func TestExpiryIsBounded(t *testing.T) {
	f := newFeed(t)
	f.ok(setLimits(&statepb.Limits{TxnOps: 4096}))
	var all []*statepb.Op
	for i := range 2300 {
		all = append(all, opPutFor(fmt.Sprintf("k%04d", i), "", 100, 0))
	}
	f.ok(txn(all...))
	for entry, left := range []int{1300, 300, 0, 0} {
		before := f.m.Revision()
		f.at(100)
		if f.m.Len() != left {
			t.Fatalf("entry %d left %d keys, want %d", entry, f.m.Len(), left)
		}
		if raised := f.m.Revision() - before; (raised == 1) != (entry < 3) {
			t.Errorf("entry %d: %d revisions", entry, raised)
		}
		f.reborn()
	}
}

// TestOrderInAnEntry: time, expiry, ended sessions, batches.
func TestOrderInAnEntry(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")
	f.ok(txn(opPutFor("ttl", "1", 10, 0), opPutFor("eph", "1", 0, s)))
	f.seq++
	c := txn(opPutFor("new", "1", 10, 0))
	c.Seq = f.seq
	f.apply(&statepb.Entry{Term: f.term, Time: 10, Ended: []uint64{s}, Batches: []*statepb.Batch{{
		Proposer: f.proposer, Commands: []*statepb.Command{c},
	}}})
	var got []string
	for _, c := range f.last.Changes {
		got = append(got, c.Kind.String()+" "+c.Name)
	}
	if fmt.Sprint(got) != "[EXPIRE ttl DELETE eph PUT new]" {
		t.Errorf("changes: %v", got)
	}
	if item, _ := f.m.Get("new"); item.Expires != 20 {
		t.Errorf("a TTL counts from the entry's own time: %d", item.Expires)
	}
}

// TestUnintelligible: content that is not known halts, and changes nothing (S9);
// CheckBatch finds it before.
func TestUnintelligible(t *testing.T) {
	unknownField := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	message := func(field protowire.Number, content ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), bytes.Join(content, nil))
	}
	encoded := func(c *statepb.Command) []byte {
		data, err := c.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	put := encoded(txn(opPut("a", "1")))
	registration := message(4)
	batches := map[string][]byte{
		"unknown field of a batch":        unknownField,
		"unknown field of a registration": message(4, unknownField),
		"two registrations":               append(registration, registration...),
		"registration and command":        append(registration, message(3, put)...),
		"command cut off":                 message(3, put)[:len(put)-1],
		"empty command":                   message(3),
		"command with only a number":      message(3, []byte{1 << 3, 5}),
		"unknown command":                 message(3, message(77)),
		"two things in a command":         message(3, put, put),
		"unknown field of a command":      message(3, put, unknownField),
		"unknown field of a transaction":  message(3, message(2, unknownField)),
		"operation without content":       message(3, message(2, message(2))),
		"otherwise without content":       message(3, message(2, message(3))),
		"unknown operation":               message(3, message(2, message(2, message(9)))),
		"unknown operation, otherwise":    message(3, message(2, message(3, message(9)))),
		"two things in an operation":      message(3, message(2, message(2, message(4), message(4)))),
		"unknown field of a put":          message(3, message(2, message(2, message(1, unknownField)))),
		"unknown field of a get":          message(3, message(2, message(2, message(4, unknownField)))),
		"condition without content":       message(3, message(2, message(1))),
		"unknown condition":               message(3, message(2, message(1, message(9)))),
		"unknown field of a condition":    message(3, message(2, message(1, message(1, unknownField)))),
		"unknown field of a queue name":   message(3, message(2, message(1, message(2, message(1, unknownField))))),
		"unknown kind in a condition":     message(3, encoded(iff(conds{isHeld(&statepb.QueueName{Kind: 2, Name: "q"}, 1, 0)}, nil, nil))),
		"unknown kind of queue":           message(3, encoded(enter(&statepb.Enter{Queue: &statepb.QueueName{Kind: 2}}))),
		"negative kind of queue":          message(3, encoded(revoke(&statepb.QueueName{Kind: -1}, 1))),
		"future feature level":            message(3, encoded(raiseFeature(Feature+1))),
		"unknown limit":                   message(3, message(11, message(1, unknownField))),
		"fixed-width field":               protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), 1),
		"field as another type":           message(1, nil),
		"garbage":                         []byte("garbage"),
	}
	f := newFeed(t)
	f.ok(txn(opPut("before", "1")))
	before := f.bytes()
	refused := func(name string, data []byte) {
		t.Helper()
		out, err := f.m.Apply(f.m.Index()+1, f.term, data)
		halt, ok := errors.AsType[*UnintelligibleError](err)
		if !ok || halt.Index != f.m.Index()+1 || len(out.Answers)+len(out.Changes) > 0 {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(f.bytes(), before) {
			t.Fatalf("%s: the machine changed", name)
		}
	}
	good := message(3, []byte{1 << 3, 1, 1 << 3, 1}, put)
	if err := CheckBatch(good); err != nil {
		t.Fatal(err)
	}
	for name, data := range batches {
		if CheckBatch(data) == nil {
			t.Errorf("CheckBatch passes a batch with %s", name)
		}
		entry := AppendEntryHeader(nil, f.term, 1000, nil)
		entry = AppendBatch(AppendBatch(entry, good), data)
		refused(name, entry)
	}
	refused("unknown field of an entry", unknownField)
	refused("cut off", AppendEntryHeader(nil, 1, 1, []uint64{1 << 40})[:5])
	refused("cut off number", message(4, []byte{0x80}))
	for _, c := range []struct{ index, term uint64 }{{f.m.Index(), f.term}, {f.m.Index() + 2, f.term}, {f.m.Index() + 1, f.term - 1}} {
		if _, err := f.m.Apply(c.index, c.term, nil); err == nil {
			t.Errorf("index %d, term %d followed index %d, term %d", c.index, c.term, f.m.Index(), f.m.Term())
		}
	}
}

// TestApplyKeepsNothing: an entry's bytes are free once it is applied, whatever of it stays.
func TestApplyKeepsNothing(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")
	f.seq++
	e := &statepb.Entry{Term: f.term, Batches: []*statepb.Batch{{Proposer: f.proposer, Commands: []*statepb.Command{
		numbered(f.seq, iff(conds{valueEquals("none", "x"), isHeld(lockNamed("l"), 1, 0), keyIs("k", 0)}, nil,
			ops{opPut("k", "v"), opGet("k"), opDelete("d"), opDeletePrefix("p")})),
		numbered(f.seq+1, enter(&statepb.Enter{Queue: lockNamed("l"), Session: s, Member: "m", Data: []byte("d"), Limit: 1})),
		numbered(f.seq+2, fireIf("e", 0)),
		numbered(f.seq+3, openSession(1, "client", 5000)),
		numbered(f.seq+4, admit(2, "d")),
	}}}}
	data, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	freed := make(chan struct{})
	runtime.SetFinalizer(&data[0], func(*byte) { close(freed) })
	out, err := f.m.Apply(f.m.Index()+1, f.term, data)
	if err != nil || f.keys() != "k=v" {
		t.Fatal(err, f.keys())
	}
	for range 100 {
		runtime.GC()
		select {
		case <-freed:
			runtime.KeepAlive(f)
			runtime.KeepAlive(out)
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("something refers to them")
	runtime.KeepAlive(f)
	runtime.KeepAlive(out)
}

// TestEmptyEntries: Raft's own entries only move the index and the term.
func TestEmptyEntries(t *testing.T) {
	f := newFeed(t)
	f.ok(txn(opPut("a", "1")))
	index, revision := f.m.Index(), f.m.Revision()
	out, err := f.m.Apply(index+1, f.term+5, nil)
	if err != nil || len(out.Answers)+len(out.Changes) > 0 {
		t.Fatalf("%v, %v", out, err)
	}
	if f.m.Index() != index+1 || f.m.Term() != f.term+5 || f.m.Revision() != revision {
		t.Errorf("index %d, term %d, revision %d", f.m.Index(), f.m.Term(), f.m.Revision())
	}
}

// TestEncodeEntry: what is spliced by hand is what protobuf would write.
func TestEncodeEntry(t *testing.T) {
	batch := &statepb.Batch{Proposer: 7, Low: 3, Commands: []*statepb.Command{txn(opPut("a", "1"))}}
	encoded, err := batch.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	got := AppendBatch(AppendBatch(AppendEntryHeader([]byte("x"), 5, 1<<40, []uint64{1, 300, 1 << 60}), encoded), encoded)
	var e statepb.Entry
	if err := e.UnmarshalVT(got[1:]); err != nil {
		t.Fatal(err)
	}
	want := &statepb.Entry{Term: 5, Time: 1 << 40, Ended: []uint64{1, 300, 1 << 60}, Batches: []*statepb.Batch{batch, batch}}
	if e.String() != want.String() {
		t.Errorf("got %v\nwant %v", &e, want)
	}
	if got := AppendEntryHeader(nil, 0, 0, nil); len(got) != 0 {
		t.Errorf("an empty header has %d bytes", len(got))
	}
}
