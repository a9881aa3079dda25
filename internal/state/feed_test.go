package state

import (
	"bytes"
	"strings"

	"github.com/kith-go/kith/internal/state/statepb"
)

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// feed gives entries to a machine, as the log would.
type feed struct {
	t        tb
	m        *Machine
	term     uint64
	proposer uint64
	seq      uint64
	last     Outcome // of the last entry
}

// cluster is a founding cluster with members 1, 2 and 3.
func cluster() *statepb.Cluster {
	return &statepb.Cluster{Id: "c", Feature: 1, Members: []*statepb.Member{
		{RaftId: 1, Name: "alpha", Pid: 1, Voter: true, Directory: "d1"},
		{RaftId: 2, Name: "bravo", Pid: 2, Voter: true},
		{RaftId: 3, Name: "charlie", Pid: 3},
	}, Retired: []uint64{9}, Peers: []byte(`{"replicas":[]}`)}
}

// newFeed founds a cluster and registers member 1.
func newFeed(t tb) *feed {
	m, err := Found(cluster(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{t: t, m: m, term: 2}
	result := f.register(1, 1)
	if result.GetCode() != statepb.Result_OK || result.Revision != f.m.Index() {
		t.Fatalf("registration: %v at %d", result, f.m.Index())
	}
	f.proposer = result.Revision
	return f
}

// apply applies an entry, whose bytes it spoils afterwards: nothing may be kept of them.
func (f *feed) apply(e *statepb.Entry) Outcome {
	f.t.Helper()
	data, err := e.MarshalVT()
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := f.m.Apply(f.m.Index()+1, f.term, data)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range data {
		data[i] = 0xff
	}
	f.last = out
	return out
}

func (f *feed) register(member, incarnation uint64) *statepb.Result {
	f.t.Helper()
	out := f.apply(&statepb.Entry{Term: f.term, Batches: []*statepb.Batch{{
		Registration: &statepb.Registration{Member: member, Incarnation: incarnation},
	}}})
	if len(out.Answers) != 1 || out.Answers[0].Registration.GetMember() != member {
		f.t.Fatalf("answers to a registration: %v", out.Answers)
	}
	return out.Answers[0].Result
}

// at applies an entry that carries nothing but the agreed time and ended sessions.
func (f *feed) at(time uint64, ended ...uint64) Outcome {
	f.t.Helper()
	return f.apply(&statepb.Entry{Term: f.term, Time: time, Ended: ended})
}

// do applies a command in an entry of its own, and acknowledges all before.
func (f *feed) do(c *statepb.Command) *statepb.Result {
	f.t.Helper()
	f.seq++
	c.Seq = f.seq
	out := f.apply(&statepb.Entry{Term: f.term, Batches: []*statepb.Batch{{
		Proposer: f.proposer, Low: f.seq, Commands: []*statepb.Command{c},
	}}})
	if len(out.Answers) != 1 || out.Answers[0].Seq != c.Seq || out.Answers[0].Proposer != f.proposer {
		f.t.Fatalf("answers to command %d: %v", c.Seq, out.Answers)
	}
	return out.Answers[0].Result
}

// want does a command that must lead to the code.
func (f *feed) want(code statepb.Result_Code, c *statepb.Command) *statepb.Result {
	f.t.Helper()
	before := f.m.Revision()
	result := f.do(c)
	if result.Code != code {
		f.t.Fatalf("%v\nled to %v, want %v", c, result, code)
	}
	if result.Revision != f.m.Revision() {
		f.t.Fatalf("%v: the result has revision %d, the machine %d", c, result.Revision, f.m.Revision())
	}
	if code != statepb.Result_OK && code != statepb.Result_CONDITION_FAILED && f.m.Revision() != before {
		f.t.Fatalf("%v\nwas refused with %v and raised the revision", c, code)
	}
	return result
}

// ok does a command that must succeed.
func (f *feed) ok(c *statepb.Command) *statepb.Result {
	f.t.Helper()
	return f.want(statepb.Result_OK, c)
}

// session opens one.
func (f *feed) session(member uint64, client string) uint64 {
	f.t.Helper()
	return f.ok(openSession(member, client, 10_000)).Revision
}

// bytes is the machine's snapshot.
func (f *feed) bytes() []byte {
	f.t.Helper()
	return snapshotBytes(f.t, f.m.Snapshot())
}

func snapshotBytes(t tb, s *Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := s.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo: %d, %v; %d were written", n, err, b.Len())
	}
	return b.Bytes()
}

// reborn replaces the machine by its restored snapshot.
func (f *feed) reborn() {
	f.t.Helper()
	f.m = restored(f.t, f.bytes())
}

func restored(t tb, snapshot []byte) *Machine {
	t.Helper()
	m, err := Restore(bytes.NewReader(snapshot))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// keys lists the machine's keys, as k=v k=v.
func (f *feed) keys() string {
	var all []string
	for item := range f.m.Range("", "") {
		all = append(all, item.Key+"="+string(item.Value))
	}
	return strings.Join(all, " ")
}

func txn(then ...*statepb.Op) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Txn{Txn: &statepb.Txn{Then: then}}}
}

// iff is a transaction with conditions.
func iff(conditions []*statepb.Condition, then, otherwise []*statepb.Op) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Txn{Txn: &statepb.Txn{
		Conditions: conditions, Then: then, Otherwise: otherwise,
	}}}
}

func opPut(key, value string) *statepb.Op {
	return &statepb.Op{Do: &statepb.Op_Put{Put: &statepb.Put{Key: key, Value: []byte(value)}}}
}

func opPutFor(key, value string, ttl, session uint64) *statepb.Op {
	return &statepb.Op{Do: &statepb.Op_Put{Put: &statepb.Put{
		Key: key, Value: []byte(value), TtlMs: ttl, Session: session,
	}}}
}

func opDelete(key string) *statepb.Op {
	return &statepb.Op{Do: &statepb.Op_Delete{Delete: &statepb.Delete{Key: key}}}
}

func opDeletePrefix(prefix string) *statepb.Op {
	return &statepb.Op{Do: &statepb.Op_DeletePrefix{DeletePrefix: &statepb.DeletePrefix{Prefix: prefix}}}
}

func opGet(key string) *statepb.Op {
	return &statepb.Op{Do: &statepb.Op_Get{Get: &statepb.Get{Key: key}}}
}

func keyIs(key string, revision uint64) *statepb.Condition {
	return &statepb.Condition{Test: &statepb.Condition_KeyAt{KeyAt: &statepb.KeyAt{Key: key, Revision: revision}}}
}

func keyExists(key string) *statepb.Condition {
	return &statepb.Condition{Test: &statepb.Condition_KeyAt{KeyAt: &statepb.KeyAt{Key: key, Exists: true}}}
}

func valueEquals(key, value string) *statepb.Condition {
	return &statepb.Condition{Test: &statepb.Condition_ValueIs{ValueIs: &statepb.ValueIs{Key: key, Value: []byte(value)}}}
}

func isHeld(queue *statepb.QueueName, token, first uint64) *statepb.Condition {
	return &statepb.Condition{Test: &statepb.Condition_Held{Held: &statepb.Held{Queue: queue, Token: token, First: first}}}
}

func fireIf(name string, revision uint64) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Fire{Fire: &statepb.Fire{Name: name, IfRevision: revision}}}
}

func openSession(member uint64, client string, ttl uint64) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{
		Member: member, Client: client, TtlMs: ttl,
	}}}
}

func endSession(id uint64) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_EndSession{EndSession: &statepb.EndSession{Session: id}}}
}

func lockNamed(name string) *statepb.QueueName {
	return &statepb.QueueName{Kind: statepb.QueueName_LOCK, Name: name}
}

func groupNamed(name string) *statepb.QueueName {
	return &statepb.QueueName{Kind: statepb.QueueName_GROUP, Name: name}
}

func enter(e *statepb.Enter) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Enter{Enter: e}}
}

func leave(l *statepb.Leave) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Leave{Leave: l}}
}

func updateSlot(queue *statepb.QueueName, token uint64, data string) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_UpdateSlot{UpdateSlot: &statepb.UpdateSlot{
		Queue: queue, Token: token, Data: []byte(data),
	}}}
}

func revoke(queue *statepb.QueueName, token uint64) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Revoke{Revoke: &statepb.Revoke{Queue: queue, Token: token}}}
}

func admit(member uint64, directory string) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_Admit{Admit: &statepb.Admit{Member: member, Directory: directory}}}
}

func setLimits(l *statepb.Limits) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_SetLimits{SetLimits: &statepb.SetLimits{Limits: l}}}
}

func raiseFeature(level uint64) *statepb.Command {
	return &statepb.Command{Op: &statepb.Command_RaiseFeature{RaiseFeature: &statepb.RaiseFeature{Level: level}}}
}
