package consensus

import (
	"errors"
	"testing"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

func encoded(t *testing.T, key string) []byte {
	t.Helper()
	b, err := (&statepb.Command{Op: &statepb.Command_Fire{Fire: &statepb.Fire{Name: key}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decoded(t *testing.T, batch []byte) *statepb.Batch {
	t.Helper()
	b := &statepb.Batch{}
	if err := b.UnmarshalVT(batch); err != nil {
		t.Fatal(err)
	}
	return b
}

func registered() *proposals {
	p := &proposals{incarnation: 7}
	p.registered(&statepb.Registration{Member: 1, Incarnation: 7}, &statepb.Result{Revision: 42})
	return p
}

func answers(p *proposals, seqs ...uint64) []state.Answer {
	var all []state.Answer
	for _, s := range seqs {
		all = append(all, state.Answer{Proposer: p.proposer, Seq: s, Result: &statepb.Result{Revision: 100 + s}})
	}
	return all
}

func TestBatchesAreWhatTheMachineReads(t *testing.T) {
	p := registered()
	for _, k := range []string{"a", "b", "c"} {
		if _, err := p.add(encoded(t, k)); err != nil {
			t.Fatal(err)
		}
	}
	b := decoded(t, p.next(1))
	if b.GetProposer() != 42 || b.GetLow() != 0 || len(b.GetCommands()) != 3 {
		t.Fatalf("%v", b)
	}
	for i, c := range b.GetCommands() {
		if c.GetSeq() != uint64(i) || c.GetFire().GetName() != string(rune('a'+i)) {
			t.Errorf("command %d is %v", i, c)
		}
	}
	if p.next(1) != nil {
		t.Error("there is nothing more to send")
	}
}

// The mark moves over answered calls only, in order (S8).
func TestLowWaterMark(t *testing.T) {
	p := registered()
	var calls []*call
	for range 5 {
		c, _ := p.add(encoded(t, "x"))
		calls = append(calls, c)
	}
	p.next(1)
	p.answer(answers(p, 1, 2))
	if p.low != 0 {
		t.Errorf("low is %d although 0 has no answer", p.low)
	}
	p.answer(answers(p, 0))
	if p.low != 3 {
		t.Errorf("low is %d, want 3", p.low)
	}
	if got := (<-calls[2].done).GetRevision(); got != 102 {
		t.Errorf("call 2 got %d", got)
	}
	p.answer(answers(p, 0, 1, 2)) // once more: nobody listens
	p.abandon(calls[3])
	p.abandon(calls[4])
	if p.low != 5 || p.bytes != 0 {
		t.Errorf("low is %d with %d bytes, want 5 with none", p.low, p.bytes)
	}
	c, _ := p.add(encoded(t, "y"))
	if c.seq != 5 {
		t.Errorf("the next number is %d", c.seq)
	}
	if b := decoded(t, p.next(2)); b.GetLow() != 5 || len(b.GetCommands()) != 1 {
		t.Errorf("%v", b)
	}
}

// What has no answer is sent again, in order, under the same numbers.
func TestSentAgain(t *testing.T) {
	p := registered()
	for range 3 {
		p.add(encoded(t, "x"))
	}
	p.next(5)
	p.add(encoded(t, "late"))
	p.answer(answers(p, 1))
	p.again(4)
	if b := decoded(t, p.next(6)); len(b.GetCommands()) != 1 || b.GetCommands()[0].GetSeq() != 3 {
		t.Errorf("only the late one waits: %v", b)
	}
	p.again(6)
	var seqs []uint64
	for _, c := range decoded(t, p.next(7)).GetCommands() {
		seqs = append(seqs, c.GetSeq())
	}
	if len(seqs) != 3 || seqs[0] != 0 || seqs[1] != 2 || seqs[2] != 3 {
		t.Errorf("sent again: %v", seqs)
	}
}

// Whether a call that was given up may have been done is known.
func TestAbandon(t *testing.T) {
	p := registered()
	before, _ := p.add(encoded(t, "x"))
	if p.abandon(before) {
		t.Error("it was never sent")
	}
	if p.next(1) != nil && len(decoded(t, p.next(1)).GetCommands()) > 0 {
		t.Error("a call that was given up is sent")
	}
	after, _ := p.add(encoded(t, "y"))
	p.next(1)
	if !p.abandon(after) {
		t.Error("it was sent")
	}
}

func TestBounds(t *testing.T) {
	p := registered()
	for range maxCalls {
		if _, err := p.add(encoded(t, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.add(encoded(t, "x")); !errors.Is(err, outcome.ErrOverloaded) {
		t.Errorf("one too many: %v", err)
	}
	big := registered()
	for range maxCallBytes >> 20 {
		big.add(make([]byte, 1<<20, 1<<20+20))
	}
	if _, err := big.add(make([]byte, 1<<20)); !errors.Is(err, outcome.ErrOverloaded) {
		t.Errorf("too many bytes: %v", err)
	}
	n := 0
	for batch := big.next(1); batch != nil; batch = big.next(1) {
		n++
		if len(batch) > 1<<20+64 {
			t.Fatalf("a batch of %d bytes", len(batch))
		}
	}
	if n < maxCallBytes>>20-1 {
		t.Errorf("%d batches", n)
	}
}

// An incarnation that the cluster finds too old is replaced by a newer one, and an
// answer to an earlier registration is not taken for this one's.
func TestRegistration(t *testing.T) {
	p := &proposals{incarnation: 7}
	if decoded(t, p.registration(3)).GetRegistration().GetIncarnation() != 7 {
		t.Error("registers with another incarnation")
	}
	if p.add(encoded(t, "x")); p.next(1) != nil {
		t.Error("sends without a number")
	}
	p.registered(&statepb.Registration{Member: 3, Incarnation: 7}, &statepb.Result{Code: statepb.Result_STALE, Revision: 90})
	r := decoded(t, p.registration(3)).GetRegistration()
	if r.GetIncarnation() != 91 {
		t.Errorf("after STALE 90 it registers as %d", r.GetIncarnation())
	}
	p.registered(&statepb.Registration{Member: 3, Incarnation: 7}, &statepb.Result{Revision: 5})
	if p.proposer != 0 {
		t.Error("took an older registration's answer")
	}
	p.registered(r, &statepb.Result{Revision: 6})
	if p.proposer != 6 || p.registration(3) != nil {
		t.Error("is not registered")
	}
}

// After the end of a registration nobody waits for ever, and the numbers go on.
func TestUnregister(t *testing.T) {
	p := registered()
	sentCall, _ := p.add(encoded(t, "x"))
	p.next(1)
	queued, _ := p.add(encoded(t, "y"))
	p.unregister()
	if _, ok := <-sentCall.done; ok || !errors.Is(sentCall.err, outcome.ErrUnknown) {
		t.Errorf("%v", sentCall.err)
	}
	p.registered(&statepb.Registration{Member: 1, Incarnation: 8}, &statepb.Result{Revision: 50})
	if b := decoded(t, p.next(2)); b.GetProposer() != 50 || b.GetLow() != 1 || b.GetCommands()[0].GetSeq() != queued.seq {
		t.Errorf("%v", b)
	}
	p.close(outcome.ErrClosed)
	if _, ok := <-queued.done; ok || !errors.Is(queued.err, outcome.ErrClosed) {
		t.Errorf("%v", queued.err)
	}
	if _, err := p.add(nil); !errors.Is(err, outcome.ErrClosed) {
		t.Error(err)
	}
}
