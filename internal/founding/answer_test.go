package founding

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

// founderWith returns a founder named bravo whose directory holds id, and its disk.
func founderWith(t testing.TB, id Identity) (*Founder, *memdisk.Disk) {
	t.Helper()
	d := freshDisk()
	id.Directory, id.Name = directoryOf("bravo"), "bravo"
	if id.Record != nil {
		id = install(id, id.Record)
	}
	store := InDirectory(d.Mount(), stateDir)
	if err := store.Save(id); err != nil {
		t.Fatal(err)
	}
	f, err := New(Config{
		Name: "bravo", Peers: peersOf(phonetic[:4]...), Store: store,
		Ask: func(context.Context, string, []byte) ([]byte, error) { return nil, errRefused },
		Admit: func(_ context.Context, id uint64, directory string) error {
			switch directory {
			case directoryOf("known"):
				return ErrOtherDirectory
			case directoryOf("later"):
				return errors.New("no leader")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, d
}

func TestAnswers(t *testing.T) {
	rec := recordOf(nil, phonetic[:4]...)
	other := recordOf(nil, phonetic[:3]...)
	without := recordOf([]string{"alpha", "charlie"}, phonetic[:4]...)
	foreign := recordOf(nil, "bravo", "xray", "zulu")
	for name, tc := range map[string]struct {
		id   Identity
		edit func(*question)
		ask  verb
		rec  *Record
		from string // who asks; alpha if empty
		want verdict
		text string
		now  Identity // afterwards, but for directory and name
	}{
		"hello":                    {ask: hello, want: granted},
		"promise":                  {ask: promise, rec: rec, want: granted, now: Identity{Promise: rec}},
		"promise again":            {id: Identity{Promise: rec}, ask: promise, rec: rec, want: granted, now: Identity{Promise: rec}},
		"promise, born in it":      {id: Identity{Record: rec}, ask: promise, rec: rec, want: granted, now: Identity{RaftID: 2, Record: rec}},
		"promise two":              {id: Identity{Promise: rec}, ask: promise, rec: other, want: refused, text: "it has promised", now: Identity{Promise: rec}},
		"promise, born elsewhere":  {id: Identity{Record: rec}, ask: promise, rec: other, want: refused, text: "it belongs to", now: Identity{RaftID: 2, Record: rec}},
		"promise, not a founder":   {ask: promise, rec: without, want: refused, text: "no founder"},
		"promise, asker unlisted":  {ask: promise, rec: foreign, from: "xray", want: refused, text: "xray does not vote"},
		"promise, asker a learner": {ask: promise, rec: rec, from: "delta", want: refused, text: "delta is no founder"},
		"promise, nothing":         {ask: promise, want: refused, text: "lacks a record"},
		"commit":                   {id: Identity{Promise: rec}, ask: commit, rec: rec, want: granted, now: Identity{RaftID: 2, Record: rec}},
		"commit again":             {id: Identity{Record: rec}, ask: commit, rec: rec, want: granted, now: Identity{RaftID: 2, Record: rec}},
		"commit, not promised":     {ask: commit, rec: rec, want: refused, text: "not promised"},
		"commit another":           {id: Identity{Promise: rec}, ask: commit, rec: other, want: refused, text: "not promised", now: Identity{Promise: rec}},
		"join, unborn":             {id: Identity{Promise: rec}, ask: join, rec: rec, from: "delta", want: refused, text: "does not belong", now: Identity{Promise: rec}},
		"join":                     {id: Identity{Record: rec}, ask: join, rec: rec, from: "delta", want: granted, now: Identity{RaftID: 2, Record: rec}},
		"join another":             {id: Identity{Record: rec}, ask: join, rec: other, from: "delta", want: refused, text: "does not belong", now: Identity{RaftID: 2, Record: rec}},
		"join, a founder":          {id: Identity{Record: rec}, ask: join, rec: rec, want: lost, text: "alpha founded cluster", now: Identity{RaftID: 2, Record: rec}},
		"join, a stranger":         {id: Identity{Record: rec}, ask: join, rec: rec, from: "echo", want: stranger, text: "founded without echo", now: Identity{RaftID: 2, Record: rec}},
		"join, known otherwise": {id: Identity{Record: rec}, ask: join, rec: rec, from: "delta", want: lost, text: "another state directory", now: Identity{RaftID: 2, Record: rec},
			edit: func(q *question) { q.From.Directory = directoryOf("known") }},
		"join, no majority": {id: Identity{Record: rec}, ask: join, rec: rec, from: "delta", want: later, text: "no leader", now: Identity{RaftID: 2, Record: rec},
			edit: func(q *question) { q.From.Directory = directoryOf("later") }},
		"to a lost directory": {ask: promise, rec: rec, want: refused, text: "for another node",
			edit: func(q *question) { q.ToDirectory = directoryOf("old") }},
		"to another name": {ask: promise, rec: rec, want: refused, text: "for another node", edit: func(q *question) { q.To = "charlie" }},
		"a forged record": {ask: promise, rec: rec, want: refused, text: "its hash does not fit", edit: func(q *question) {
			forged := *rec
			forged.ClusterID = newID()
			q.Record = &forged
		}},
		"signed by another": {ask: hello, want: refused, text: "is signed", edit: func(q *question) { q.From.Name = "charlie" }},
		"a future version":  {ask: hello, want: refused, text: "version 2", edit: func(q *question) { q.Version = 2 }},
		"a future question": {ask: "dance", rec: rec, want: refused, text: `"dance"`},
		"no directory":      {ask: hello, want: refused, text: "no directory", edit: func(q *question) { q.From.Directory = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := founderWith(t, tc.id)
			from := tc.from
			if from == "" {
				from = "alpha"
			}
			q := question{
				Version: version, Verb: tc.ask, To: "bravo", ToDirectory: directoryOf("bravo"), Record: tc.rec,
				From: report{Name: from, Directory: directoryOf(from), Plan: f.plan, Promise: tc.rec},
			}
			if tc.edit != nil {
				tc.edit(&q)
			}
			a, err := decodeAnswer(f.Answer(t.Context(), from, q.encode()))
			if err != nil || a.Verdict != tc.want || !strings.Contains(a.Text, tc.text) || tc.text == "" && a.Text != "" {
				t.Errorf("%s %q, %v; want %s %q", a.Verdict, a.Text, err, tc.want, tc.text)
			}
			tc.now.Directory, tc.now.Name = directoryOf("bravo"), "bravo"
			kept, _, err := InDirectory(d.Mount(), stateDir).Load()
			for what, id := range map[string]Identity{"the disk": kept, "the founder": f.Identity()} {
				if err != nil || string(encode(id)) != string(encode(tc.now)) {
					t.Errorf("%s has %s, %v; want %s", what, encode(id), err, encode(tc.now))
				}
			}
			if a.Verdict == granted && (!a.From.Promise.Same(tc.now.Promise) && tc.now.Promise != nil || !a.From.Record.Same(tc.now.Record) && tc.now.Record != nil) {
				t.Errorf("it reports %s", encode(a.From))
			}
		})
	}
}

// TestAnswerWaitsNoLongerThanItsContext: while a save hangs, others are told so.
func TestAnswerWaitsNoLongerThanItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		rec := recordOf(nil, phonetic[:4]...)
		f, d := founderWith(t, Identity{})
		release := make(chan struct{})
		d.OnOp(func(op memdisk.Op) error { <-release; return nil })
		q := question{Version: version, Verb: promise, To: "bravo", ToDirectory: directoryOf("bravo"), Record: rec,
			From: report{Name: "alpha", Directory: directoryOf("alpha"), Plan: f.plan, Promise: rec}}
		first := make(chan []byte)
		go func() { first <- f.Answer(context.Background(), "alpha", q.encode()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a, err := decodeAnswer(f.Answer(ctx, "alpha", q.encode())); err != nil || a.Verdict != later || a.From.Promise != nil {
			t.Errorf("the second: %+v, %v", a, err)
		}
		q.Verb = hello
		if a, err := decodeAnswer(f.Answer(ctx, "alpha", q.encode())); err != nil || a.Verdict != granted || a.From.Promise != nil {
			t.Errorf("a hello, before the promise is durable: %+v, %v", a, err)
		}
		close(release)
		if a, err := decodeAnswer(<-first); err != nil || a.Verdict != granted || !a.From.Promise.Same(rec) {
			t.Errorf("the first: %+v, %v", a, err)
		}
	})
}

// fixed is a record that is the same in every process of a fuzzing run.
func fixed() *Record {
	rec := recordOf(nil, phonetic[:4]...)
	rec.ClusterID = directoryOf("fixed")
	rec.Hash = rec.hash()
	return rec
}

func FuzzAnswer(f *testing.F) {
	rec := fixed()
	for _, v := range []verb{hello, promise, commit, join} {
		f.Add(0, question{Version: version, Verb: v, To: "bravo", ToDirectory: directoryOf("bravo"), Record: rec,
			From: report{Name: "alpha", Directory: directoryOf("alpha"), Plan: newPlan(peersOf(phonetic[:4]...), nil), Promise: rec}}.encode())
	}
	f.Add(1, []byte(`{"v":1,"ask":"commit","from":{"name":"alpha"},"record":{"members":[{}]}}`))
	f.Add(2, []byte(`null`))
	f.Fuzz(func(t *testing.T, kind int, b []byte) {
		ids := []Identity{{}, {Promise: rec}, {Record: rec}}
		founder, _ := founderWith(t, ids[(kind%3+3)%3])
		before := founder.Identity()
		a, err := decodeAnswer(founder.Answer(t.Context(), "alpha", b))
		if err != nil {
			t.Fatalf("an answer that nobody understands: %v", err)
		}
		now := founder.Identity()
		if a.Verdict != granted && string(encode(now)) != string(encode(before)) {
			t.Errorf("it %s, and changed %s to %s", a.Verdict, encode(before), encode(now))
		}
		if err := now.check(); err != nil {
			t.Errorf("an identity that would not load: %v", err)
		}
		if before.Record != nil && !before.Record.Same(now.Record) || before.Promise != nil && !before.Promise.Same(now.Promise) && !before.Promise.Same(now.Record) {
			t.Errorf("a broken promise: %s became %s", encode(before), encode(now))
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	rec := fixed()
	f.Add(answer{Version: version, Verdict: granted, From: report{Name: "alpha", Directory: directoryOf("alpha"),
		Plan: newPlan(peersOf(phonetic[:4]...), []string{"alpha", "bravo"}), Record: rec}}.encode())
	f.Add([]byte(`{"v":1,"from":{"name":"alpha","directory":"00000000000000000000000000000000","plan":{"peers":null}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		if err != nil {
			return
		}
		// Whatever it is, deciding on it does not fail.
		for _, me := range phonetic[:4] {
			for _, promise := range []*Record{nil, rec} {
				r := told{me: me, promise: promise}.round()
				for name := range r.reports {
					r.reports[name] = a.From
				}
				r.decide()
			}
		}
		if _, err := json.Marshal(a); err != nil {
			t.Error(err)
		}
	})
}
