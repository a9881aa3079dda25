package state

import (
	"testing"

	"github.com/kith-go/kith/internal/state/statepb"
)

// batch applies commands of the feed's proposer as they are numbered, and returns their results.
func (f *feed) batch(low uint64, commands ...*statepb.Command) []*statepb.Result {
	f.t.Helper()
	out := f.apply(&statepb.Entry{Term: f.term, Batches: []*statepb.Batch{{
		Proposer: f.proposer, Low: low, Commands: commands,
	}}})
	if len(out.Answers) != len(commands) {
		f.t.Fatalf("%d answers to %d commands", len(out.Answers), len(commands))
	}
	var results []*statepb.Result
	for i, a := range out.Answers {
		if a.Seq != commands[i].Seq || a.Proposer != f.proposer || a.Registration != nil {
			f.t.Fatalf("answer %d: %v", i, a)
		}
		results = append(results, a.Result)
	}
	return results
}

func numbered(seq uint64, c *statepb.Command) *statepb.Command {
	c.Seq = seq
	return c
}

// TestExactlyOnce: a command that comes again, in the same entry, in a later one,
// or after a restart, is answered as the first time and not done again (S8).
func TestExactlyOnce(t *testing.T) {
	f := newFeed(t)
	again := func() *statepb.Command {
		return numbered(5, iff(conds{keyIs("a", 0)}, ops{opPut("a", "1")}, ops{opPut("b", "1")}))
	}
	results := f.batch(1, again(), again())
	first := results[0]
	if first.Code != statepb.Result_OK || results[1] != first {
		t.Fatalf("results: %v", results)
	}
	revision := f.m.Revision()
	for range 3 {
		f.reborn()
		if r := f.batch(2, again(), numbered(9, txn(opGet("a"))))[0]; r.String() != first.String() {
			t.Errorf("again: %v, was %v", r, first)
		}
	}
	if f.m.Revision() != revision || f.keys() != "a=1" {
		t.Errorf("revision %d, was %d; %s", f.m.Revision(), revision, f.keys())
	}
	// Refusals are answers too: what was refused once is not done by its repetition.
	refused := func() *statepb.Command { return numbered(10, txn(opPutFor("late", "", 0, f.m.Revision()+1))) }
	c := refused()
	if r := f.batch(2, c)[0]; r.Code != statepb.Result_NO_SESSION {
		t.Fatal(r)
	}
	if r := f.batch(2, numbered(11, openSession(1, "", 5000)))[0]; r.Code != statepb.Result_OK {
		t.Fatal(r)
	}
	if r := f.batch(2, c)[0]; r.Code != statepb.Result_NO_SESSION {
		t.Errorf("a repeated refusal: %v", r)
	}
}

// TestWindow: numbers below the low-water mark are spent, those beyond the window overrun
// it, and the mark never goes back.
func TestWindow(t *testing.T) {
	f := newFeed(t)
	window := f.m.Limits().Window
	for _, step := range []struct {
		low, seq uint64
		code     statepb.Result_Code
		done     bool
	}{
		{1, 1, statepb.Result_OK, true},
		{1, 0, statepb.Result_SPENT, false},
		{1, 40, statepb.Result_OK, true},
		{1, 3, statepb.Result_OK, true},
		{1, window, statepb.Result_OK, true},
		{1, window + 1, statepb.Result_OVERRUN, false},
		{1, 40, statepb.Result_OK, false},
		{3, 2, statepb.Result_SPENT, false},
		{1, 2, statepb.Result_SPENT, false},
		{1, 3, statepb.Result_OK, false},
		{1, window + 2, statepb.Result_OK, true},
		{41, 40, statepb.Result_SPENT, false},
		{41, window, statepb.Result_OK, false},
		{1 << 63, window, statepb.Result_SPENT, false},
		{5, 1<<63 - 1, statepb.Result_SPENT, false},
		{5, 1<<63 + 1, statepb.Result_OK, true},
		{5, 1<<63 + 1, statepb.Result_OK, false},
		{1<<64 - 2, 1<<64 - 1, statepb.Result_OK, true},
		{0, 1<<64 - 1, statepb.Result_OK, false},
		{0, 3, statepb.Result_SPENT, false},
	} {
		before := f.m.Revision()
		r := f.batch(step.low, numbered(step.seq, txn(opPut("a", "1"))))[0]
		if done := f.m.Revision() != before; r.Code != step.code || done != step.done {
			t.Errorf("low %d, number %d: %v, done: %v; want %v, %v", step.low, step.seq, r.Code, done, step.code, step.done)
		}
		f.reborn()
	}
	if kept := f.m.proposers[f.proposer]; kept.low != 1<<64-2 {
		t.Errorf("low is %d", kept.low)
	}
}

// TestAnswersOutOfOrder: commands may come in any order within the window.
func TestAnswersOutOfOrder(t *testing.T) {
	f := newFeed(t)
	first := map[uint64]string{}
	for _, seq := range []uint64{900, 1, 500, 8000, 7, 16384, 64, 65} {
		first[seq] = f.batch(1, numbered(seq, txn(opPut("a", "1"))))[0].String()
	}
	f.reborn()
	for seq, was := range first {
		if r := f.batch(1, numbered(seq, txn(opPut("a", "2"))))[0]; r.String() != was {
			t.Errorf("number %d: %v, was %v", seq, r, was)
		}
	}
}

// TestRegistration: a member has one proposer, which a later incarnation replaces.
func TestRegistration(t *testing.T) {
	f := newFeed(t)
	first := f.proposer
	for _, step := range []struct {
		member, incarnation uint64
		code                statepb.Result_Code
		revision            uint64 // 0: the entry's index
	}{
		{1, 1, statepb.Result_OK, first}, // a repetition
		{1, 0, statepb.Result_STALE, 1},
		{2, 77, statepb.Result_OK, 0},
		{2, 76, statepb.Result_STALE, 77},
		{4, 1, statepb.Result_NO_MEMBER, f.m.Revision()},
		{9, 1, statepb.Result_NO_MEMBER, f.m.Revision()}, // retired
		{0, 1, statepb.Result_NO_MEMBER, f.m.Revision()},
		{1, 5, statepb.Result_OK, 0},
		{1, 1, statepb.Result_STALE, 5},
	} {
		r := f.register(step.member, step.incarnation)
		want := step.revision
		if want == 0 && step.code == statepb.Result_OK {
			want = f.m.Index()
		}
		if r.Code != step.code || r.Revision != want {
			t.Errorf("member %d, incarnation %d: %v, want %v %d", step.member, step.incarnation, r, step.code, want)
		}
		f.reborn()
	}
	if f.m.Revision() != 0 {
		t.Error("registrations raised the revision")
	}
	r := f.batch(1, numbered(1, txn(opPut("a", "1"))), numbered(2, txn(opPut("a", "1"))))
	if r[0].Code != statepb.Result_UNKNOWN_PROPOSER || r[1].Code != statepb.Result_UNKNOWN_PROPOSER || f.m.Len() != 0 {
		t.Errorf("a replaced proposer: %v", r)
	}
}

// TestOneNewProposerPerEntry: the entry's index names one; the others are left without an answer.
func TestOneNewProposerPerEntry(t *testing.T) {
	f := newFeed(t)
	registrations := &statepb.Entry{Term: f.term}
	for _, r := range []*statepb.Registration{
		{Member: 1, Incarnation: 1}, {Member: 7}, {Member: 2, Incarnation: 3}, {Member: 3, Incarnation: 3},
		{Member: 2, Incarnation: 3}, {Member: 2, Incarnation: 4}, {Member: 1},
	} {
		registrations.Batches = append(registrations.Batches, &statepb.Batch{Registration: r})
	}
	type answer struct {
		member, incarnation uint64
		code                statepb.Result_Code
	}
	var got []answer
	for _, a := range f.apply(registrations).Answers {
		got = append(got, answer{a.Registration.Member, a.Registration.Incarnation, a.Result.Code})
	}
	want := []answer{
		{1, 1, statepb.Result_OK}, {7, 0, statepb.Result_NO_MEMBER}, {2, 3, statepb.Result_OK},
		{2, 3, statepb.Result_OK}, {1, 0, statepb.Result_STALE},
	}
	if len(got) != len(want) {
		t.Fatalf("answers: %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("answer %d: %v, want %v", i, got[i], want[i])
		}
	}
	if r := f.register(3, 3); r.Code != statepb.Result_OK || r.Revision != f.m.Index() {
		t.Errorf("the one that comes again: %v", r)
	}
}
