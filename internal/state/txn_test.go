package state

import (
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/state/statepb"
)

type (
	ops   = []*statepb.Op
	conds = []*statepb.Condition
)

// TestOneRevisionPerChange: a transaction is one revision whatever it does, and
// what changes nothing does not raise it.
func TestOneRevisionPerChange(t *testing.T) {
	f := newFeed(t)
	for _, step := range []struct {
		name   string
		do     *statepb.Command
		code   statepb.Result_Code
		raises bool
	}{
		{"a put", txn(opPut("a", "1")), 0, true},
		{"the same put", txn(opPut("a", "1")), 0, true},
		{"many operations", txn(opPut("a", "2"), opPut("b", "1"), opDelete("a"), opGet("b")), 0, true},
		{"nothing", txn(), 0, false},
		{"a get", txn(opGet("b")), 0, false},
		{"deleting what is absent", txn(opDelete("a"), opDeletePrefix("x")), 0, false},
		{"a failed condition", iff(conds{keyIs("b", 77)}, ops{opPut("b", "no")}, nil), 1, false},
		{"a failed condition, doing otherwise", iff(conds{keyIs("b", 77)}, nil, ops{opPut("c", "1")}), 1, true},
		{"a put that is taken back", txn(opPut("z", "1"), opGet("z"), opDelete("z")), 0, true},
		{"a refused put", txn(opPut("d", "1"), opPut("", "2")), statepb.Result_INVALID, false},
		{"an event", fireIf("e", 0), 0, true},
		{"a failed event", fireIf("e", 1), 1, false},
		{"a session", openSession(2, "", 5000), 0, true},
		{"a directory", admit(2, "d"), 0, true},
		{"the same directory", admit(2, "d"), 0, false},
		{"limits", setLimits(&statepb.Limits{TxnOps: 7}), 0, true},
		{"the same limits", setLimits(&statepb.Limits{TxnOps: 7}), 0, false},
		{"a lower feature level", raiseFeature(0), 0, false},
	} {
		before := f.m.Revision()
		f.want(step.code, step.do)
		if got := f.m.Revision() - before; got > 1 || (got == 1) != step.raises {
			t.Errorf("%s: the revision grew by %d", step.name, got)
		}
	}
	if got := f.keys(); got != "b=1 c=1" {
		t.Errorf("keys: %s", got)
	}
}

// TestTxnSeesItsOwnEffects: operations see those before them, and the result of each says
// what it met.
func TestTxnSeesItsOwnEffects(t *testing.T) {
	f := newFeed(t)
	old := f.ok(txn(opPut("a", "old"))).Revision
	r := f.ok(txn(opGet("a"), opPut("a", "new"), opGet("a"), opPut("a", "newer"), opPut("a2", "x"),
		opDeletePrefix("a"), opGet("a"), opDelete("a"), opPut("a", "last")))
	want := []*statepb.OpResult{
		{Found: true, Value: []byte("old"), Revision: old, Created: old},
		{Previous: old},
		{Found: true, Value: []byte("new"), Revision: r.Revision, Created: old},
		{Previous: r.Revision},
		{},
		{Deleted: 2},
		{},
		{},
		{},
	}
	for i, op := range r.Ops {
		if op.String() != want[i].String() {
			t.Errorf("operation %d: %v, want %v", i, op, want[i])
		}
	}
	item, _ := f.m.Get("a")
	if item.Created != r.Revision || string(item.Value) != "last" {
		t.Errorf("a is %+v: it came to be anew in this transaction", item)
	}
	if len(f.last.Changes) != 1 {
		t.Fatalf("changes: %v", f.last.Changes)
	}
	if c := f.last.Changes[0]; c.Previous != old || c.Name != "a" || string(c.Item.Value) != "last" || c.Revision != r.Revision {
		t.Errorf("change: %+v: want one for the name, from before the transaction to its end", c)
	}
}

// TestConditions: each kind, true and false.
func TestConditions(t *testing.T) {
	f := newFeed(t)
	a := f.ok(txn(opPut("a", "1"))).Revision
	s := f.session(1, "")
	lock, group := lockNamed("l"), groupNamed("g")
	var tokens []uint64
	for _, member := range []string{"x", "y", "z"} {
		tokens = append(tokens, f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: member, Limit: 2})).Token)
		f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: member}))
	}
	g, _ := f.m.Queue(statepb.QueueName_GROUP, "g")
	for i, c := range []struct {
		condition *statepb.Condition
		holds     bool
	}{
		{keyIs("a", a), true},
		{keyIs("a", a+1), false},
		{keyIs("a", 0), false},
		{keyIs("b", 0), true},
		{keyIs("b", a), false},
		{keyExists("a"), true},
		{keyExists("b"), false},
		{valueEquals("a", "1"), true},
		{valueEquals("a", "2"), false},
		{valueEquals("b", ""), false},
		{isHeld(lock, tokens[0], 0), true},
		{isHeld(lock, tokens[1], 0), true},
		{isHeld(lock, tokens[1], 1), false},
		{isHeld(lock, tokens[2], 0), false},
		{isHeld(lock, tokens[2], 3), true},
		{isHeld(lock, 0, 0), false},
		{isHeld(lock, tokens[2]+1000, 3), false},
		{isHeld(group, tokens[0], 0), false}, // a token of the lock
		{isHeld(group, g.Slots[2].Token, 0), true},
		{isHeld(group, g.Slots[2].Token, 2), false},
		{isHeld(lockNamed("g"), g.Slots[0].Token, 0), false},
	} {
		code := statepb.Result_CONDITION_FAILED
		if c.holds {
			code = statepb.Result_OK
		}
		if got := f.do(iff(conds{c.condition}, nil, nil)).Code; got != code {
			t.Errorf("condition %d, %v: %v", i, c.condition, got)
		}
	}
	f.want(statepb.Result_CONDITION_FAILED, iff(conds{keyIs("a", a), keyIs("b", 1)}, nil, nil))
}

// TestTxnRefusals: whatever is wrong with one operation, nothing of the transaction is done.
func TestTxnRefusals(t *testing.T) {
	f := newFeed(t)
	f.ok(txn(opPut("a", "1")))
	f.ok(setLimits(&statepb.Limits{KeyBytes: 64, ValueBytes: 1024, TxnOps: 3}))
	first := opPut("first", "1")
	for name, c := range map[string]struct {
		do   *statepb.Command
		code statepb.Result_Code
	}{
		"empty key":            {txn(first, opPut("", "")), statepb.Result_INVALID},
		"key of no UTF-8":      {txn(first, opPut("a\xff", "")), statepb.Result_INVALID},
		"prefix of no UTF-8":   {txn(first, opDeletePrefix("\xc0")), statepb.Result_INVALID},
		"condition on no key":  {iff(conds{keyIs("", 0)}, ops{first}, nil), statepb.Result_INVALID},
		"condition, no queue":  {iff(conds{isHeld(nil, 1, 0)}, ops{first}, nil), statepb.Result_INVALID},
		"in the other branch":  {iff(nil, ops{first}, ops{opGet("")}), statepb.Result_INVALID},
		"TTL without an end":   {txn(first, opPutFor("b", "", 1<<64-1, 0)), statepb.Result_OK}, // at time 0 it ends with time itself
		"large key":            {txn(first, opPut(strings.Repeat("k", 65), "")), statepb.Result_TOO_LARGE},
		"large prefix":         {txn(first, opDeletePrefix(strings.Repeat("k", 65))), statepb.Result_TOO_LARGE},
		"large value":          {txn(first, opPut("b", strings.Repeat("v", 1025))), statepb.Result_TOO_LARGE},
		"many operations":      {txn(first, first, first, first), statepb.Result_TOO_LARGE},
		"many conditions":      {iff(conds{keyExists("a"), keyExists("a"), keyExists("a"), keyExists("a")}, ops{first}, nil), statepb.Result_TOO_LARGE},
		"no session":           {txn(first, opPutFor("b", "", 0, 12345)), statepb.Result_NO_SESSION},
		"no session, not done": {iff(conds{keyExists("a")}, nil, ops{opPutFor("b", "", 0, 12345)}), statepb.Result_OK},
	} {
		t.Run(name, func(t *testing.T) {
			f := &feed{t: t, m: restored(t, f.bytes()), term: f.term, proposer: f.proposer, seq: f.seq}
			r := f.want(c.code, c.do)
			if _, ok := f.m.Get("first"); ok && c.code != statepb.Result_OK {
				t.Error("a part of it was done")
			}
			if c.code != statepb.Result_OK && r.Detail == "" {
				t.Error("the answer does not say what is wrong")
			}
		})
	}
	f.at(1)
	f.want(statepb.Result_INVALID, txn(opPutFor("b", "", 1<<64-1, 0)))
}

// TestGetsAreBounded: one transaction returns a megabyte, and the answers that wait for
// one proposer 32, so that windows and snapshots stay small.
func TestGetsAreBounded(t *testing.T) {
	f := newFeed(t)
	half := strings.Repeat("v", 1<<19)
	f.ok(txn(opPut("a", half)))
	f.ok(txn(opGet("a"), opGet("a")))
	f.want(statepb.Result_TOO_LARGE, txn(opPut("b", "not done"), opGet("a"), opGet("a"), opGet("b")))
	if _, ok := f.m.Get("b"); ok {
		t.Error("a part of it was done")
	}

	batch := &statepb.Batch{Proposer: f.proposer, Low: f.seq + 1}
	for i := range uint64(70) {
		c := txn(opGet("a"))
		c.Seq = f.seq + 1 + i
		batch.Commands = append(batch.Commands, c)
	}
	f.seq += 70
	for i, a := range f.apply(&statepb.Entry{Term: f.term, Batches: []*statepb.Batch{batch}}).Answers {
		if (a.Result.Code == statepb.Result_OK) != (i < 64) {
			t.Errorf("get %d: %v %s", i, a.Result.Code, a.Result.Detail)
		}
	}
	f.reborn()
	f.ok(txn(opGet("a"))) // the others are acknowledged now
	if kept := f.m.proposers[f.proposer].kept; kept != len(half) {
		t.Errorf("%d bytes are counted for answers", kept)
	}
}

// TestQuota refuses only what grows the state.
func TestQuota(t *testing.T) {
	f := newFeed(t)
	big := strings.Repeat("v", 4000)
	f.ok(txn(opPut("a", big), opPut("b", big)))
	s := f.session(1, "")
	token := f.ok(enter(&statepb.Enter{Queue: groupNamed("g"), Session: s, Member: "m", Data: []byte(big)})).Token
	f.ok(fireIf("e", 0))
	f.ok(setLimits(&statepb.Limits{StateBytes: uint64(f.m.Size())}))
	before := f.bytes()
	for _, c := range []*statepb.Command{
		txn(opPut("c", "")),
		txn(opPut("a", big+"+")),
		txn(opDelete("a"), opPut("a", big), opPut("c", "")),
		openSession(1, "", 5000),
		fireIf("e2", 0),
		enter(&statepb.Enter{Queue: groupNamed("g"), Session: s, Member: "m2"}),
		enter(&statepb.Enter{Queue: groupNamed("g2"), Session: s, Member: "m"}),
		updateSlot(groupNamed("g"), token, big+"+"),
	} {
		f.want(statepb.Result_QUOTA, c)
	}
	if f.m.Size() != restored(t, before).Size() || f.keys() != "a="+big+" b="+big {
		t.Error("something of it was done")
	}
	f.ok(setLimits(&statepb.Limits{StateBytes: 1024})) // far below what is there
	for _, c := range []*statepb.Command{
		txn(opPut("a", big)),
		txn(opPut("a", big[1:])),
		txn(opDelete("b"), opPut("c", "smaller")),
		fireIf("e", 0),
		updateSlot(groupNamed("g"), token, big[1:]),
		leave(&statepb.Leave{Queue: groupNamed("g"), Token: token}),
		endSession(s),
		txn(opDeletePrefix("")),
	} {
		f.ok(c)
	}
	f.ok(txn(opPut("c", "there is room again")))
	if f.m.Len() != 1 {
		t.Errorf("keys: %s", f.keys())
	}
}

// TestUndo: a transaction that comes to nothing leaves all as it was, indexes too.
func TestUndo(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")
	f.ok(fireIf(strings.Repeat("e", 1000), 0)) // state_bytes is at least 1024
	f.ok(txn(opPutFor("eph", "1", 0, s), opPutFor("ttl", "1", 50, 0), opPut("x", "1")))
	f.ok(setLimits(&statepb.Limits{StateBytes: uint64(f.m.Size())}))
	size, history := f.m.Size(), f.m.history.events
	f.want(statepb.Result_QUOTA, txn(opDeletePrefix(""), opPut("eph", "2"), opPut("ttl", "2"), opPutFor("x", "2", 70, s),
		opPut("new", ""), opDelete("new"), opPut("new2", strings.Repeat("v", 4000))))
	if f.m.Size() != size || f.m.history.events != history || len(f.last.Changes) != 0 {
		t.Errorf("size %d, was %d; changes: %v", f.m.Size(), size, f.last.Changes)
	}
	if due, ok := f.m.NextExpiry(); !ok || due != 50 {
		t.Errorf("the next expiry is at %d, %v", due, ok)
	}
	if got := f.keys(); got != "eph=1 ttl=1 x=1" {
		t.Errorf("keys: %s", got)
	}
	f.ok(endSession(s))
	f.at(1000)
	if got := f.keys(); got != "x=1" {
		t.Errorf("after all ends: %s", got)
	}
}

// TestRange pages, in order.
func TestRange(t *testing.T) {
	f := newFeed(t)
	f.ok(txn(opPut("a", ""), opPut("b", ""), opPut("b/", ""), opPut("b/1", ""), opPut("b/2", ""), opPut("b0", ""), opPut("c", "")))
	for _, c := range []struct{ prefix, after, want string }{
		{"", "", "a b b/ b/1 b/2 b0 c"},
		{"b/", "", "b/ b/1 b/2"},
		{"b/", "b/", "b/1 b/2"},
		{"b/", "b/1", "b/2"},
		{"b/", "b/1x", "b/2"},
		{"b/", "a", "b/ b/1 b/2"},
		{"b/", "b/2", ""},
		{"b/", "z", ""},
		{"", "b0", "c"},
		{"d", "", ""},
	} {
		var got []string
		for item := range f.m.Range(c.prefix, c.after) {
			got = append(got, item.Key)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("Range(%q, %q) = %q, want %s", c.prefix, c.after, got, c.want)
		}
	}
	for item := range f.m.Range("b", "") {
		if item.Key != "b" {
			t.Error("did not stop")
		}
		break
	}
}
