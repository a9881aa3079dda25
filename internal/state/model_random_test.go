package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/state/statepb"
)

// pair drives a machine and the model, and a second machine that is now and then
// replaced by its own restored snapshot.
type pair struct {
	*rapid.T
	f     *feed // the first machine
	other *Machine
	model *model
	low   map[uint64]uint64
	sent  []*statepb.Batch // to be repeated
}

// TestModel: whatever comes, in whatever order, repeated, restored anywhere: results,
// changes and everything that can be read are what the model says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := Found(cluster(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{T: t, model: newModel(), low: map[uint64]uint64{}}
		p.f = &feed{t: t, m: m, term: 1}
		p.other = restored(p.f.t, p.f.bytes())
		p.model.index = 1
		for _, member := range []uint64{1, 2} {
			p.apply(&statepb.Entry{Batches: []*statepb.Batch{{Registration: &statepb.Registration{Member: member, Incarnation: 1}}}})
		}
		for range rapid.IntRange(1, 25).Draw(t, "entries") {
			if rapid.IntRange(0, 9).Draw(t, "event") == 0 {
				p.f.term++
			}
			p.apply(p.entry())
			p.compare()
			if rapid.IntRange(0, 5).Draw(t, "restore") == 0 {
				p.other = restored(p.f.t, snapshotBytes(p.f.t, p.other.Snapshot()))
			}
		}
	})
}

func (p *pair) apply(e *statepb.Entry) {
	want := p.model.changes
	results := p.model.entry(e, p.f.term)
	out := p.f.apply(e)
	if len(out.Answers) != len(results) {
		p.Fatalf("%v\n%d answers, the model has %d", e, len(out.Answers), len(results))
	}
	for i, a := range out.Answers {
		if !sameResult(a.Result, results[i]) {
			p.Fatalf("%v\nanswer %d: %v\nthe model: %v", e, i, a.Result, results[i])
		}
	}
	var changes []string
	for _, c := range out.Changes {
		changes = append(changes, changeText(c))
	}
	if !slices.Equal(changes, p.model.changes[len(want):]) {
		p.Fatalf("%v\nchanges: %q\nthe model: %q", e, changes, p.model.changes[len(want):])
	}
	data, err := e.MarshalVT()
	if err != nil {
		p.Fatal(err)
	}
	if _, err := p.other.Apply(p.other.Index()+1, p.f.term, data); err != nil {
		p.Fatal(err)
	}
}

// compare reads everything.
func (p *pair) compare() {
	m, model := p.f.m, p.model
	if m.Revision() != model.revision || m.Time() != model.time || m.Size() != model.size() || m.Len() != len(model.items) {
		p.Fatalf("revision %d, time %d, size %d, %d keys; the model: %d, %d, %d, %d", m.Revision(), m.Time(), m.Size(), m.Len(),
			model.revision, model.time, model.size(), len(model.items))
	}
	keys := slices.Sorted(maps.Keys(model.items))
	at := 0
	for item := range m.Range("", "") {
		if at >= len(keys) || fmt.Sprint(item) != fmt.Sprint(model.items[keys[at]]) {
			p.Fatalf("key %d is %+v", at, item)
		}
		at++
	}
	queues := 0
	for _, kind := range []statepb.QueueName_Kind{0, 1} {
		for q := range m.Queues(kind, "") {
			queues++
			want := model.queues[place{kind, q.Name, ""}]
			if want == nil || want.limit != q.Limit || want.revision != q.Revision || len(want.slots) != len(q.Slots) {
				p.Fatalf("queue %+v, the model: %+v", q, want)
			}
			for i, s := range q.Slots {
				if fmt.Sprintf("%+v", *s) != fmt.Sprintf("%+v", want.slots[i]) {
					p.Fatalf("slot %+v, the model: %+v", *s, want.slots[i])
				}
			}
		}
	}
	sessions := map[uint64]Session{}
	for s := range m.Sessions() {
		sessions[s.ID] = s
	}
	if queues != len(model.queues) || !maps.Equal(sessions, model.sessions) {
		p.Fatalf("%d queues, sessions %v; the model: %d, %v", queues, sessions, len(model.queues), model.sessions)
	}
	p.compareSessions(sessions)
	for name, revision := range model.events {
		if m.Event(name) != revision {
			p.Fatalf("event %s is at %d, in the model at %d", name, m.Event(name), revision)
		}
	}
	p.compareHistory()
	if a, b := p.f.bytes(), snapshotBytes(p.f.t, p.other.Snapshot()); !bytes.Equal(a, b) {
		p.Fatal("a machine that was restored has gone apart from one that was not")
	}
}

// compareSessions: the indexes say of all sessions what the list of all says.
func (p *pair) compareSessions(all map[uint64]Session) {
	m := p.f.m
	found := 0
	for member := range uint64(5) {
		for s := range m.SessionsOf(member) {
			if found++; all[s.ID] != s || s.Member != member || s.Client != "" {
				p.Fatalf("session %+v among those of member %d", s, member)
			}
		}
	}
	for id, s := range all {
		if s.Client == "" {
			continue
		}
		if of, ok := m.ClientSession(s.Client); !ok || of != s {
			p.Fatalf("the session of client %s is %d, not %+v", s.Client, id, of)
		}
		found++
	}
	if found != len(all) || len(m.clients)+sum(m.own) != found {
		p.Fatalf("the indexes have %d of %d sessions: %v, %v", found, len(all), m.own, m.clients)
	}
}

func sum(of map[uint64][]uint64) (n int) {
	for _, ids := range of {
		n += len(ids)
	}
	return n
}

// compareHistory: what is remembered is a whole end of all that happened.
func (p *pair) compareHistory() {
	m := p.f.m
	got, next, err := m.Changes("", m.history.floor, 1<<20)
	if err != nil || next != m.Revision() {
		p.Fatalf("history: %d, %v", next, err)
	}
	var want []string
	last := map[string]uint64{}
	for _, text := range p.model.changes {
		var revision, previous uint64
		var kind, name string
		if _, err := fmt.Sscan(text, &revision, &kind, &name, &previous); err != nil {
			p.Fatal(err)
		}
		if revision > m.history.floor {
			last[name] = revision
			if kind != "QUEUE" && kind != "FIRE" {
				want = append(want, text)
			}
		}
	}
	var texts []string
	for _, c := range got {
		texts = append(texts, changeText(c))
	}
	if !slices.Equal(texts, want) {
		p.Fatalf("history: %q\nthe model: %q", texts, want)
	}
	for name, revision := range last {
		if m.LastChange(name) != revision || p.other.LastChange(name) != revision {
			p.Fatalf("the last change of %s is %d and %d, in the model %d", name, m.LastChange(name), p.other.LastChange(name), revision)
		}
	}
	if n := uint64(m.history.events); n > m.Limits().HistoryEvents {
		p.Fatalf("%d changes are remembered, more than %d", n, m.Limits().HistoryEvents)
	}
}

// entry draws one.
func (p *pair) entry() *statepb.Entry {
	e := &statepb.Entry{
		Term: p.f.term - rapid.SampledFrom([]uint64{0, 0, 0, 1}).Draw(p.T, "former term"),
		Time: rapid.SampledFrom([]uint64{0, p.model.time + 1, p.model.time + 10, p.model.time / 2}).Draw(p.T, "time"),
	}
	if rapid.IntRange(0, 7).Draw(p.T, "end") == 0 {
		e.Ended = append(e.Ended, p.session("ended"))
	}
	for range rapid.IntRange(0, 3).Draw(p.T, "batches") {
		e.Batches = append(e.Batches, p.batch())
	}
	return e
}

func (p *pair) batch() *statepb.Batch {
	switch n := rapid.IntRange(0, 19).Draw(p.T, "batch"); {
	case n == 0:
		return &statepb.Batch{Registration: &statepb.Registration{
			Member:      rapid.Uint64Range(0, 4).Draw(p.T, "member"),
			Incarnation: rapid.Uint64Range(0, 4).Draw(p.T, "incarnation"),
		}}
	case n < 4 && len(p.sent) > 0:
		return rapid.SampledFrom(p.sent).Draw(p.T, "again")
	}
	id := rapid.Uint64Range(2, 5).Draw(p.T, "proposer")
	b := &statepb.Batch{Proposer: id, Low: p.low[id] + rapid.SampledFrom([]uint64{0, 0, 0, 0, 1, 3}).Draw(p.T, "low")}
	b.Low -= min(b.Low, rapid.Uint64Range(0, 9).Draw(p.T, "behind"))
	for range rapid.IntRange(1, 4).Draw(p.T, "commands") {
		p.low[id]++
		b.Commands = append(b.Commands, numbered(p.low[id]+rapid.SampledFrom([]uint64{0, 0, 0, 2, 16384}).Draw(p.T, "ahead"), p.command()))
	}
	p.sent = append(p.sent, b)
	return b
}

func (p *pair) name(label string) string {
	return rapid.SampledFrom([]string{"a", "b", "a/1", "a/2", "é"}).Draw(p.T, label)
}

func (p *pair) revision(label string) uint64 {
	return p.model.revision - min(p.model.revision, rapid.Uint64Range(0, 30).Draw(p.T, label))
}

// session draws one that is open, mostly.
func (p *pair) session(label string) uint64 {
	open := slices.Sorted(maps.Keys(p.model.sessions))
	return rapid.SampledFrom(append(slices.Repeat(open, 3), 12345)).Draw(p.T, label)
}

func (p *pair) queueName() *statepb.QueueName {
	return &statepb.QueueName{
		Kind: statepb.QueueName_Kind(rapid.IntRange(0, 1).Draw(p.T, "kind")),
		Name: rapid.SampledFrom([]string{"a", "q"}).Draw(p.T, "queue"),
	}
}

// token draws that of a place in the queue, if there is one.
func (p *pair) token(name *statepb.QueueName) uint64 {
	if q := p.model.queues[place{name.Kind, name.Name, ""}]; q != nil {
		return rapid.SampledFrom(q.slots).Draw(p.T, "slot").Token
	}
	return 1 + p.revision("token")
}

func (p *pair) op() *statepb.Op {
	switch key := p.name("key"); rapid.IntRange(0, 6).Draw(p.T, "operation") {
	case 0:
		return opDelete(key)
	case 1:
		return opDeletePrefix(rapid.SampledFrom([]string{"a/", "b", ""}).Draw(p.T, "prefix"))
	case 2:
		return opGet(key)
	case 3:
		return opPutFor(key, "ttl", rapid.Uint64Range(1, 12).Draw(p.T, "ttl"), 0)
	case 4:
		return opPutFor(key, "ephemeral", 0, p.session("session"))
	default:
		return opPut(key, strings.Repeat("v", rapid.IntRange(0, 60).Draw(p.T, "value")))
	}
}

func (p *pair) condition() *statepb.Condition {
	switch key := p.name("key"); rapid.IntRange(0, 4).Draw(p.T, "condition") {
	case 0:
		return keyIs(key, p.model.items[key].Revision)
	case 1:
		return keyIs(key, p.revision("at"))
	case 2:
		return keyExists(key)
	case 3:
		return valueEquals(key, string(p.model.items[key].Value))
	default:
		queue := p.queueName()
		return isHeld(queue, p.token(queue), rapid.Uint64Range(0, 2).Draw(p.T, "first"))
	}
}

func (p *pair) command() *statepb.Command {
	queue := p.queueName()
	usual := uint64(1)
	if queue.Kind == statepb.QueueName_GROUP {
		usual = map[string]uint64{"a": 0, "q": 2}[queue.Name]
	}
	switch n := rapid.IntRange(0, 19).Draw(p.T, "command"); n {
	case 0:
		return fireIf(p.name("event"), rapid.SampledFrom([]uint64{0, p.model.events["a"]}).Draw(p.T, "if"))
	case 1, 2:
		return openSession(rapid.Uint64Range(1, 3).Draw(p.T, "member"), p.name("client"), rapid.SampledFrom([]uint64{10_000, 1}).Draw(p.T, "ttl"))
	case 3:
		return endSession(p.session("session"))
	case 4:
		return setLimits(&statepb.Limits{
			StateBytes:    rapid.SampledFrom([]uint64{1 << 30, 1500, 2500}).Draw(p.T, "state_bytes"),
			HistoryEvents: rapid.SampledFrom([]uint64{16384, 3, 8}).Draw(p.T, "history_events"),
		})
	case 5, 6:
		return revoke(queue, p.token(queue))
	case 7:
		return updateSlot(queue, p.token(queue), "data")
	case 8:
		return leave(&statepb.Leave{Queue: queue, Token: p.token(queue)})
	case 9:
		return leave(&statepb.Leave{Queue: queue, Session: p.session("session"), Member: p.name("who")})
	case 10, 11, 12, 13:
		return enter(&statepb.Enter{
			Queue: queue, Session: p.session("session"), Member: p.name("who"), Data: []byte("d"),
			Limit:      rapid.SampledFrom([]uint64{usual, usual, usual, 3}).Draw(p.T, "limit"),
			OnlyIfHeld: rapid.IntRange(0, 3).Draw(p.T, "only if held") == 0,
			Precedence: rapid.Uint64Range(0, 3).Draw(p.T, "precedence"),
		})
	}
	t := &statepb.Txn{}
	for range rapid.IntRange(0, 2).Draw(p.T, "conditions") {
		t.Conditions = append(t.Conditions, p.condition())
	}
	for range rapid.IntRange(1, 4).Draw(p.T, "then") {
		t.Then = append(t.Then, p.op())
	}
	for range rapid.IntRange(0, 2).Draw(p.T, "otherwise") {
		t.Otherwise = append(t.Otherwise, p.op())
	}
	return &statepb.Command{Op: &statepb.Command_Txn{Txn: t}}
}
