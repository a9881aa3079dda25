package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/state/statepb"
)

// line shows who stands in a queue, from the head, holders in capitals, revoked ones with !.
func (f *feed) line(name *statepb.QueueName) string {
	f.t.Helper()
	q, ok := f.m.Queue(name.Kind, name.Name)
	if !ok {
		return ""
	}
	var all []string
	for i, s := range q.Slots {
		member := s.Member
		if i < q.Holding() {
			member = strings.ToUpper(member)
		}
		if s.Revoked {
			member += "!"
		}
		all = append(all, member)
	}
	return strings.Join(all, " ")
}

func (f *feed) expect(name *statepb.QueueName, line string) {
	f.t.Helper()
	if got := f.line(name); got != line {
		f.t.Errorf("the queue is %q, want %q", got, line)
	}
}

// TestQueueIsFair: strict order of arrival; the token is the revision of entering;
// leaving moves the others up and is a change.
func TestQueueIsFair(t *testing.T) {
	f := newFeed(t)
	s, lock := f.session(1, ""), lockNamed("l")
	tokens := map[string]uint64{}
	f.at(500)
	for i, member := range []string{"a", "b", "c", "d"} {
		r := f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: member, Limit: 2, Data: []byte("of " + member)}))
		if r.Token != f.m.Revision() || r.Position != uint64(i) || r.Limit != 2 {
			t.Errorf("%s entered: %v", member, r)
		}
		tokens[member] = r.Token
	}
	f.expect(lock, "A B c d")
	f.reborn()
	f.ok(leave(&statepb.Leave{Queue: lock, Token: tokens["a"]}))
	c := f.last.Changes
	if len(c) != 1 || c[0].Kind != statepb.Change_QUEUE || c[0].Name != "l" || c[0].Queue != statepb.QueueName_LOCK ||
		c[0].Previous != tokens["d"] || c[0].Revision != f.m.Revision() {
		t.Errorf("changes: %+v", c)
	}
	f.expect(lock, "B C d")
	f.ok(leave(&statepb.Leave{Queue: lock, Session: s, Member: "c"}))
	f.expect(lock, "B D")
	q, _ := f.m.Queue(statepb.QueueName_LOCK, "l")
	b := q.Slots[0]
	if b.Token != tokens["b"] || b.Revision != b.Token || b.Since != 500 || string(b.Data) != "of b" || b.Session != s {
		t.Errorf("b's slot: %+v", b)
	}
	if q.Revision != f.m.Revision() {
		t.Errorf("the queue has revision %d, the machine %d", q.Revision, f.m.Revision())
	}
}

// TestEnterAgain keeps the place, changes nothing and answers with it.
func TestEnterAgain(t *testing.T) {
	f := newFeed(t)
	s, other, lock := f.session(1, ""), f.session(1, "client"), lockNamed("l")
	e := &statepb.Enter{Queue: lock, Session: s, Member: "b", Limit: 1, Data: []byte("1")}
	f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: "a", Limit: 1}))
	token := f.ok(enter(e)).Token
	f.ok(enter(&statepb.Enter{Queue: lock, Session: other, Member: "b", Limit: 1})) // another session's b is another
	f.reborn()
	e.Data, e.Precedence = []byte("2"), 7
	before := f.m.Revision()
	if r := f.ok(enter(e)); r.Token != token || r.Position != 1 || r.Limit != 1 || f.m.Revision() != before {
		t.Errorf("entered again: %v", r)
	}
	e.OnlyIfHeld = true
	if r := f.want(statepb.Result_NOT_HELD, enter(e)); r.Owner.GetMember() != "a" {
		t.Errorf("entered again, not to wait: %v", r)
	}
	f.expect(lock, "A b b")
	f.ok(leave(&statepb.Leave{Queue: lock, Session: s, Member: "a"}))
	if r := f.ok(enter(e)); r.Token != token || r.Position != 0 {
		t.Errorf("entered again, holding: %v", r)
	}
	if q, _ := f.m.Queue(statepb.QueueName_LOCK, "l"); string(q.Slots[0].Data) != "1" {
		t.Errorf("the data has become %q", q.Slots[0].Data)
	}
}

// TestEnterRefusals: what does not let one in.
func TestEnterRefusals(t *testing.T) {
	f := newFeed(t)
	s, lock, group := f.session(1, ""), lockNamed("l"), groupNamed("g")
	f.ok(setLimits(&statepb.Limits{QueueSlots: 3, KeyBytes: 64, ValueBytes: 1024}))
	for _, member := range []string{"a", "b", "c"} {
		f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: member, Limit: 1, Data: []byte("secret")}))
	}
	f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: "a", Limit: 0}))
	long := strings.Repeat("x", 65)
	for _, c := range []struct {
		code statepb.Result_Code
		do   *statepb.Enter
	}{
		{statepb.Result_QUEUE_FULL, &statepb.Enter{Queue: lock, Session: s, Member: "d", Limit: 1}},
		{statepb.Result_LIMIT_MISMATCH, &statepb.Enter{Queue: lock, Session: s, Member: "d", Limit: 2}},
		{statepb.Result_LIMIT_MISMATCH, &statepb.Enter{Queue: lock, Session: s, Member: "a", Limit: 2}},
		{statepb.Result_LIMIT_MISMATCH, &statepb.Enter{Queue: group, Session: s, Member: "b", Limit: 1}},
		{statepb.Result_NO_SESSION, &statepb.Enter{Queue: lock, Session: s + 1000, Member: "d", Limit: 1}},
		{statepb.Result_NO_SESSION, &statepb.Enter{Queue: lockNamed("new"), Member: "d", Limit: 1}},
		{statepb.Result_INVALID, &statepb.Enter{Queue: lockNamed("new"), Session: s, Member: "d"}},
		{statepb.Result_INVALID, &statepb.Enter{Queue: lockNamed(""), Session: s, Member: "d", Limit: 1}},
		{statepb.Result_INVALID, &statepb.Enter{Session: s, Member: "d", Limit: 1}},
		{statepb.Result_INVALID, &statepb.Enter{Queue: lockNamed("new"), Session: s, Limit: 1}},
		{statepb.Result_INVALID, &statepb.Enter{Queue: lockNamed("new"), Session: s, Member: "\xff", Limit: 1}},
		{statepb.Result_TOO_LARGE, &statepb.Enter{Queue: lockNamed(long), Session: s, Member: "d", Limit: 1}},
		{statepb.Result_TOO_LARGE, &statepb.Enter{Queue: lockNamed("new"), Session: s, Member: long, Limit: 1}},
		{statepb.Result_TOO_LARGE, &statepb.Enter{Queue: lockNamed("new"), Session: s, Member: "d", Limit: 1, Data: make([]byte, 1025)}},
	} {
		r := f.want(c.code, enter(c.do))
		if c.code == statepb.Result_LIMIT_MISMATCH && c.do.Queue == lock && r.Limit != 1 {
			t.Errorf("the answer does not tell the limit: %v", r)
		}
	}
	r := f.want(statepb.Result_NOT_HELD, enter(&statepb.Enter{Queue: lock, Session: s, Member: "d", Limit: 1, OnlyIfHeld: true}))
	if r.Owner.GetMember() != "a" || r.Owner.Token == 0 || r.Owner.Session != s || len(r.Owner.Data) > 0 || r.Limit != 1 {
		t.Errorf("not held: %v", r)
	}
	f.expect(lock, "A b c")
	if _, ok := f.m.Queue(statepb.QueueName_LOCK, "new"); ok {
		t.Error("a refusal left a queue")
	}
}

// TestOnlyIfHeld enters as long as there is room among the holders.
func TestOnlyIfHeld(t *testing.T) {
	f := newFeed(t)
	s, lock, group := f.session(1, ""), lockNamed("l"), groupNamed("g")
	for _, member := range []string{"a", "b"} {
		f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: member, Limit: 2, OnlyIfHeld: true, Precedence: 9}))
		f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: member, OnlyIfHeld: true}))
	}
	f.want(statepb.Result_NOT_HELD, enter(&statepb.Enter{Queue: lock, Session: s, Member: "c", Limit: 2, OnlyIfHeld: true}))
	f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: "c", OnlyIfHeld: true}))
	f.expect(lock, "A B")
	f.expect(group, "A B C")
}

// TestPrecedence orders only those who wait: nobody who holds is displaced, and equal
// ones stand in order of arrival.
func TestPrecedence(t *testing.T) {
	f := newFeed(t)
	s, group, open := f.session(1, ""), groupNamed("g"), groupNamed("open")
	for _, m := range []struct {
		member     string
		precedence uint64
		line       string
	}{
		{"i", 9, "I"},
		{"h", 8, "I H"},
		{"e", 5, "I H e"},
		{"c", 3, "I H c e"},
		{"f", 5, "I H c e f"},
		{"a", 0, "I H a c e f"},
		{"d", 3, "I H a c d e f"},
		{"b", 0, "I H a b c d e f"},
	} {
		r := f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: m.member, Limit: 2, Precedence: m.precedence}))
		f.expect(group, m.line)
		q, _ := f.m.Queue(statepb.QueueName_GROUP, "g")
		if at, ok := q.Find(r.Token); !ok || uint64(at) != r.Position {
			t.Errorf("%s was told position %d, and stands at %d", m.member, r.Position, at)
		}
		f.ok(enter(&statepb.Enter{Queue: open, Session: s, Member: m.member, Precedence: m.precedence}))
		f.reborn()
	}
	f.expect(open, "I H E C F A D B") // all hold: order of arrival
	f.ok(leave(&statepb.Leave{Queue: group, Session: s, Member: "i"}))
	f.expect(group, "H A b c d e f")
	f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: "i", Limit: 2, Precedence: 1}))
	f.expect(group, "H A b i c d e f")
}

// TestLeave: by token, by member; what is another's is not given up.
func TestLeave(t *testing.T) {
	f := newFeed(t)
	s, other, lock := f.session(1, ""), f.session(2, ""), lockNamed("l")
	tokens := map[string]uint64{}
	for _, member := range []string{"a", "b", "c"} {
		tokens[member] = f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: member, Limit: 1})).Token
	}
	for _, l := range []*statepb.Leave{
		{Queue: lock, Token: tokens["a"] + 1000},
		{Queue: lock, Token: tokens["a"], Session: other},
		{Queue: lock, Token: tokens["a"], Member: "b"},
		{Queue: lockNamed("other"), Token: tokens["a"]},
		{Queue: groupNamed("l"), Token: tokens["a"]},
		{Queue: lock, Session: other, Member: "a"},
		{Queue: lock, Session: s, Member: "d"},
	} {
		f.want(statepb.Result_NO_SLOT, leave(l))
	}
	f.want(statepb.Result_NO_SESSION, leave(&statepb.Leave{Queue: lock, Session: 12345, Member: "a"}))
	f.want(statepb.Result_INVALID, leave(&statepb.Leave{Queue: lock}))
	f.want(statepb.Result_INVALID, leave(&statepb.Leave{Token: 1}))
	f.expect(lock, "A b c")
	f.ok(leave(&statepb.Leave{Queue: lock, Token: tokens["b"], Session: s, Member: "b"}))
	f.ok(leave(&statepb.Leave{Queue: lock, Token: tokens["a"]}))
	f.want(statepb.Result_NO_SLOT, leave(&statepb.Leave{Queue: lock, Token: tokens["a"]}))
	gone := f.ok(leave(&statepb.Leave{Queue: lock, Session: s, Member: "c"})).Revision
	if _, ok := f.m.Queue(statepb.QueueName_LOCK, "l"); ok {
		t.Error("an empty queue stayed")
	}
	if last := f.m.LastChange("l"); last != gone {
		t.Errorf("the last change of a queue that is gone: %d, want %d", last, gone)
	}
	f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: "a", Limit: 5})) // another limit, now that nobody uses it
	if f.last.Changes[0].Previous != 0 {
		t.Errorf("a new queue had a previous revision: %+v", f.last.Changes[0])
	}
}

// TestRevoke: a holder stands, marked, until it leaves (S13); who waits is removed.
func TestRevoke(t *testing.T) {
	f := newFeed(t)
	s, lock := f.session(1, ""), lockNamed("l")
	tokens := map[string]uint64{}
	for _, member := range []string{"a", "b", "c"} {
		tokens[member] = f.ok(enter(&statepb.Enter{Queue: lock, Session: s, Member: member, Limit: 1})).Token
	}
	revoked := f.ok(revoke(lock, tokens["a"])).Revision
	f.expect(lock, "A! b c")
	f.reborn()
	if q, _ := f.m.Queue(statepb.QueueName_LOCK, "l"); q.Slots[0].Revision != revoked || q.Slots[0].Token != tokens["a"] {
		t.Errorf("the revoked slot: %+v", q.Slots[0])
	}
	f.ok(iff(conds{isHeld(lock, tokens["a"], 0)}, nil, nil)) // it still holds
	before := f.m.Revision()
	if f.ok(revoke(lock, tokens["a"])); f.m.Revision() != before {
		t.Error("revoking again is a change")
	}
	f.ok(revoke(lock, tokens["b"]))
	f.expect(lock, "A! c")
	f.want(statepb.Result_NO_SLOT, revoke(lock, tokens["b"]))
	f.want(statepb.Result_INVALID, revoke(nil, tokens["b"]))
	f.ok(leave(&statepb.Leave{Queue: lock, Token: tokens["a"]}))
	f.expect(lock, "C")
}

// TestUpdateSlot changes the data of a place and nothing else.
func TestUpdateSlot(t *testing.T) {
	f := newFeed(t)
	s, group := f.session(1, ""), groupNamed("g")
	token := f.ok(enter(&statepb.Enter{Queue: group, Session: s, Member: "a", Data: []byte("1")})).Token
	size := f.m.Size()
	r := f.ok(updateSlot(group, token, "22"))
	q, _ := f.m.Queue(statepb.QueueName_GROUP, "g")
	if slot := q.Slots[0]; string(slot.Data) != "22" || slot.Revision != r.Revision || slot.Token != token || f.m.Size() != size+1 {
		t.Errorf("slot: %+v, size %d, was %d", slot, f.m.Size(), size)
	}
	f.want(statepb.Result_NO_SLOT, updateSlot(group, token+1, "3"))
	f.want(statepb.Result_NO_SLOT, updateSlot(lockNamed("g"), token, "3"))
	f.want(statepb.Result_INVALID, updateSlot(groupNamed(""), token, "3"))
	f.ok(setLimits(&statepb.Limits{ValueBytes: 1024}))
	f.want(statepb.Result_TOO_LARGE, updateSlot(group, token, strings.Repeat("x", 1025)))
}

// TestQueues lists those of a kind by name.
func TestQueues(t *testing.T) {
	f := newFeed(t)
	s := f.session(1, "")
	for _, name := range []string{"b", "a/2", "a/1"} {
		f.ok(enter(&statepb.Enter{Queue: lockNamed(name), Session: s, Member: "m", Limit: 1}))
	}
	f.ok(enter(&statepb.Enter{Queue: groupNamed("a/3"), Session: s, Member: "m"}))
	for _, c := range []struct {
		kind         statepb.QueueName_Kind
		prefix, want string
	}{
		{statepb.QueueName_LOCK, "", "a/1 a/2 b"},
		{statepb.QueueName_LOCK, "a/", "a/1 a/2"},
		{statepb.QueueName_GROUP, "", "a/3"},
		{statepb.QueueName_Kind(5), "", ""},
	} {
		var got []string
		for q := range f.m.Queues(c.kind, c.prefix) {
			got = append(got, q.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v %q: %v, want %s", c.kind, c.prefix, got, c.want)
		}
	}
	if _, ok := f.m.Queue(-1, "b"); ok {
		t.Error("a queue of no kind")
	}
}

// TestSessionEnd takes slots and ephemeral keys along, in one revision, with one change
// for each name.
func TestSessionEnd(t *testing.T) {
	f := newFeed(t)
	s, other := f.session(1, ""), f.session(2, "")
	f.ok(txn(opPutFor("z", "", 0, s), opPutFor("a", "", 0, s), opPutFor("others", "", 0, other), opPutFor("kept", "", 0, s)))
	f.ok(txn(opPut("kept", "not ephemeral any more"), opPutFor("moved", "", 0, s)))
	f.ok(txn(opPutFor("moved", "", 0, other)))
	for _, e := range []*statepb.Enter{
		{Queue: lockNamed("l"), Session: s, Member: "a", Limit: 1},
		{Queue: lockNamed("l"), Session: other, Member: "a", Limit: 1},
		{Queue: lockNamed("l"), Session: s, Member: "b", Limit: 1},
		{Queue: groupNamed("g"), Session: s, Member: "a"},
		{Queue: lockNamed("m"), Session: s, Member: "a", Limit: 1},
	} {
		f.ok(enter(e))
	}
	f.reborn()
	before := f.m.Revision()
	f.ok(endSession(s))
	var got []string
	for _, c := range f.last.Changes {
		got = append(got, fmt.Sprintf("%v %s", c.Kind, c.Name))
		if c.Revision != before+1 || c.Previous == 0 {
			t.Errorf("change: %+v", c)
		}
	}
	if fmt.Sprint(got) != "[DELETE a DELETE z QUEUE l QUEUE m QUEUE g]" {
		t.Errorf("changes: %v", got)
	}
	if f.keys() != "kept=not ephemeral any more moved= others=" {
		t.Errorf("keys: %s", f.keys())
	}
	f.expect(lockNamed("l"), "A")
	f.expect(groupNamed("g"), "")
	f.want(statepb.Result_NO_SESSION, endSession(s))
	f.ok(endSession(other))
	if f.keys() != "kept=not ephemeral any more" || f.m.sessions.Len() != 0 {
		t.Errorf("keys: %s", f.keys())
	}
	f.ok(txn(opDelete("kept")))
	if f.m.Size() != 0 {
		t.Errorf("an empty state amounts to %d bytes", f.m.Size())
	}
}

// TestOpenSession: who may open how many, and for how long.
func TestOpenSession(t *testing.T) {
	f := newFeed(t)
	first := f.ok(openSession(1, "", 500)).Revision
	if got, ok := f.m.Session(first); !ok || got != (Session{ID: first, Member: 1, TTL: 500}) {
		t.Errorf("session: %+v, %v", got, ok)
	}
	f.want(statepb.Result_INVALID, openSession(1, "", 499))
	f.want(statepb.Result_INVALID, openSession(1, "", 0))
	f.want(statepb.Result_INVALID, openSession(1, "", 24*3600*1000+1))
	f.want(statepb.Result_INVALID, openSession(1, "\xff", 500))
	f.want(statepb.Result_NO_MEMBER, openSession(9, "", 500))
	client := f.ok(openSession(1, "client", 24*3600*1000)).Revision
	second := f.ok(openSession(1, "", 500)).Revision
	f.ok(openSession(2, "", 500))
	f.ok(setLimits(&statepb.Limits{Sessions: 4}))
	f.want(statepb.Result_TOO_MANY_SESSIONS, openSession(3, "", 500))
	f.reborn()
	var own, all []uint64
	for s := range f.m.SessionsOf(1) {
		own = append(own, s.ID)
	}
	for s := range f.m.Sessions() {
		all = append(all, s.ID)
	}
	if fmt.Sprint(own) != fmt.Sprint([]uint64{first, second}) || len(all) != 4 || all[1] != client {
		t.Errorf("sessions of 1: %v; all: %v", own, all)
	}
}

// TestClientHasOneSession: a client that comes by way of another node, or asks again,
// finds the session that it has; the next one is another.
func TestClientHasOneSession(t *testing.T) {
	f := newFeed(t)
	first := f.ok(openSession(1, "client", 5000)).Revision
	if again := f.ok(openSession(2, "client", 9000)).Revision; again != first {
		t.Errorf("by way of another node it gets session %d, not %d", again, first)
	}
	other := f.ok(openSession(2, "other", 5000)).Revision
	f.reborn()
	if got, ok := f.m.ClientSession("client"); !ok || got != (Session{ID: first, Member: 1, Client: "client", TTL: 5000}) {
		t.Errorf("session: %+v, %v", got, ok)
	}
	if got, ok := f.m.ClientSession(""); ok {
		t.Errorf("nobody has %+v", got)
	}
	var after []uint64
	for s := range f.m.SessionsAfter(first) {
		after = append(after, s.ID)
	}
	if fmt.Sprint(after) != fmt.Sprint([]uint64{other}) {
		t.Errorf("opened after %d: %v", first, after)
	}
	f.ok(endSession(first))
	if _, ok := f.m.ClientSession("client"); ok {
		t.Error("the session has ended, and is found")
	}
	if second := f.ok(openSession(3, "client", 5000)).Revision; second <= other {
		t.Errorf("the next session is %d", second)
	}
}

// TestNewIncarnationOutlivesSessions: when a node registers anew, what its former
// process held goes, and what belongs to its clients stays (S11).
func TestNewIncarnationOutlivesSessions(t *testing.T) {
	f := newFeed(t)
	if got := f.m.Incarnation(2); got != 0 {
		t.Errorf("before it registers it has incarnation %d", got)
	}
	f.register(2, 7)
	first, second := f.ok(openSession(2, "", 5000)).Revision, f.ok(openSession(2, "", 5000)).Revision
	client := f.ok(openSession(2, "client", 5000)).Revision
	theirs := f.ok(openSession(3, "", 5000)).Revision
	f.ok(txn(opPutFor("key", "of the second", 0, second)))
	for _, stale := range []uint64{7, 6} {
		f.register(2, stale)
		if _, ok := f.m.Session(first); !ok {
			t.Fatalf("registering as %d again ended the session", stale)
		}
	}
	out := f.apply(&statepb.Entry{Term: f.term, Batches: []*statepb.Batch{{Registration: &statepb.Registration{Member: 2, Incarnation: 8}}}})
	if fmt.Sprint(out.Ended) != fmt.Sprint([]uint64{first, second}) {
		t.Errorf("ended: %v, want %d and %d", out.Ended, first, second)
	}
	if f.keys() != "" {
		t.Errorf("keys: %s", f.keys())
	}
	for _, id := range []uint64{client, theirs} {
		if _, ok := f.m.Session(id); !ok {
			t.Errorf("session %d has ended, too", id)
		}
	}
	if got := f.m.Incarnation(2); got != 8 {
		t.Errorf("incarnation %d", got)
	}
	for range f.m.SessionsOf(2) {
		t.Error("it still has a session")
	}
}
