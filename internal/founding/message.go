package founding

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// version is that of the questions and answers.
const version = 1

// verb is what a question asks for.
type verb string

const (
	hello   verb = "hello"   // how do you stand?
	promise verb = "promise" // bind yourself to this record
	commit  verb = "commit"  // this record, which you are bound to, is in force
	join    verb = "join"    // let me in, I have a place in your record
)

// question is addressed to a node and, but for hello, to a directory: what was
// asked of a node before it lost its state is not asked of it afterwards.
type question struct {
	Version     int     `json:"v"`
	Verb        verb    `json:"ask"`
	From        report  `json:"from"`
	To          string  `json:"to"`
	ToDirectory string  `json:"to_directory,omitempty"`
	Record      *Record `json:"record,omitempty"`
}

// verdict is what an answer says beside its report.
type verdict string

const (
	granted  verdict = "granted"
	refused  verdict = "refused"  // as things stand
	later    verdict = "later"    // something passing is in the way
	stranger verdict = "stranger" // join: you have no place
	lost     verdict = "lost"     // join: your place is another directory's
)

type answer struct {
	Version int     `json:"v"`
	From    report  `json:"from"`
	Verdict verdict `json:"verdict"`
	Text    string  `json:"text,omitempty"`
}

// report is how a node stands, in its own words.
type report struct {
	Name      string  `json:"name"`
	Directory string  `json:"directory"`
	Plan      plan    `json:"plan"`
	Promise   *Record `json:"promise,omitempty"`
	Record    *Record `json:"record,omitempty"`
	// Out: its disk failed or its state is lost; it takes part in nothing.
	Out bool `json:"out,omitempty"`
}

// same reports whether nothing that matters changed between two reports.
func (r report) same(o report) bool {
	sameRecord := func(a, b *Record) bool { return a == nil && b == nil || a.Same(b) }
	return r.Directory == o.Directory && r.Out == o.Out && r.Plan.same(o.Plan) &&
		sameRecord(r.Promise, o.Promise) && sameRecord(r.Record, o.Record)
}

func (r report) check() error {
	if r.Name == "" || !validID(r.Directory) {
		return errors.New("its sender has no name or no directory")
	}
	return errors.Join(r.Promise.check(), r.Record.check())
}

func (q question) encode() []byte { return encode(q) }
func (a answer) encode() []byte   { return encode(a) }

func encode(message any) []byte {
	b, err := json.Marshal(message)
	if err != nil {
		return nil // cannot be: strings, numbers and flags only
	}
	return b
}

func decodeQuestion(b []byte) (question, error) {
	var q question
	if err := json.Unmarshal(b, &q); err != nil {
		return q, fmt.Errorf("not a question: %w", err)
	}
	if q.Version != version {
		return q, fmt.Errorf("a question of version %d, this release knows %d", q.Version, version)
	}
	if err := errors.Join(q.From.check(), q.Record.check()); err != nil {
		return q, fmt.Errorf("not a question: %w", err)
	}
	return q, nil
}

func decodeAnswer(b []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("not an answer: %s", printable(err.Error()))
	}
	if a.Version != version {
		return a, fmt.Errorf("an answer of version %d, this release knows %d", a.Version, version)
	}
	if err := a.From.check(); err != nil {
		return a, fmt.Errorf("not an answer: %w", err)
	}
	return a, nil
}

// printable makes another node's text fit for logs and tables.
func printable(s string) string {
	const most = 512
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
