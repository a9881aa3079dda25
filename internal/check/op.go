package check

import (
	"fmt"
	"strings"

	"github.com/kith-go/kith/internal/outcome"
)

// Kind is what an Op does.
type Kind uint8

// The kinds of operations.
const (
	Get          Kind = iota // reads Key
	List                     // reads the keys with the prefix Key, in order
	Set                      // writes Value to Key
	Delete                   // removes Key
	DeletePrefix             // removes the keys with the prefix Key
	Txn                      // does Then if If holds, otherwise Else, at one moment
)

// String returns the kind's name as it is written in histories.
func (k Kind) String() string {
	switch k {
	case Get:
		return "get"
	case List:
		return "list"
	case Set:
		return "set"
	case Delete:
		return "delete"
	case DeletePrefix:
		return "delete-prefix"
	case Txn:
		return "txn"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Op is what a client asks.
type Op struct {
	Kind  Kind
	Key   string
	Value string
	// If must hold for a Set, Delete or DeletePrefix to be done, and decides between
	// the branches of a Txn.
	If []Condition
	// Then and Else hold Get, Set, Delete and DeletePrefix without If, and no key is
	// written twice in one branch.
	Then, Else []Op
	// After and Limit are of List: only keys greater than After, and at most Limit of
	// them (0: all).
	After string
	Limit int
}

// Test is what a Condition asks about its key.
type Test uint8

// The tests.
const (
	AtRevision Test = iota // the key's version is Revision; 0: the key is absent
	Exists                 // the key is there
	HasValue               // the key is there with Value
)

// Condition is one test of one key.
type Condition struct {
	Key      string
	Test     Test
	Revision uint64
	Value    string
}

// Entry is one version of a key.
type Entry struct {
	Key, Value string
	Revision   uint64
}

// Result is what a client was told. Its zero value says that the operation was not
// done.
type Result struct {
	Outcome outcome.Outcome
	// Revision is, of a Get, that of the version found; of a write or Txn that of the
	// change; of a List, and of what changed nothing, that of the store. 0: not told.
	Revision uint64
	// Conflict: If did not hold. Nothing was changed but by the Else of a Txn. Found and
	// Revision then tell, except of a Txn, about the key of the first condition.
	Conflict bool
	// Found: the key was there, of Get and Delete.
	Found bool
	// Value is what Get found.
	Value string
	// Count is how many keys DeletePrefix removed.
	Count int
	// NotHeld: it was not done because it was guarded by a place that is not held.
	NotHeld bool
	// Untold: the answer to a removal tells neither Found nor Count.
	Untold bool
	// Entries is what List found, in order.
	Entries []Entry
	// Ops holds the results of the Txn's branch that was taken.
	Ops []Result
	// Err is why it was not, or perhaps not, done; only for the reader of a report.
	Err error
}

// Failed returns the Result of a call that returned err, which is not nil. An error
// that says "done" counts as unknown: that demands less, since what was answered
// (which branch, which revision) is lost.
func Failed(err error) Result {
	r := Result{Outcome: outcome.Unknown, Err: err}
	if outcome.Of(err) == outcome.NotDone {
		r.Outcome = outcome.NotDone
	}
	return r
}

// writes reports whether the operation can change anything.
func (o Op) writes() bool {
	switch o.Kind {
	case Get, List:
		return false
	case Txn:
		for _, branch := range [][]Op{o.Then, o.Else} {
			for _, sub := range branch {
				if sub.writes() {
					return true
				}
			}
		}
		return false
	}
	return true
}

// String returns the operation on one line, as in `set "a"="1" if "a"@7`.
func (o Op) String() string {
	var b strings.Builder
	b.WriteString(o.Kind.String())
	if o.Kind != Txn {
		fmt.Fprintf(&b, " %q", o.Key)
	}
	if o.Kind == Set {
		fmt.Fprintf(&b, "=%q", o.Value)
	}
	if o.After != "" {
		fmt.Fprintf(&b, " after %q", o.After)
	}
	if o.Limit > 0 {
		fmt.Fprintf(&b, " limit %d", o.Limit)
	}
	for i, c := range o.If {
		b.WriteString([]string{" if ", " and "}[min(i, 1)])
		b.WriteString(c.String())
	}
	if o.Kind == Txn {
		fmt.Fprintf(&b, " then %v", o.Then)
		if len(o.Else) > 0 {
			fmt.Fprintf(&b, " else %v", o.Else)
		}
	}
	return b.String()
}

// String returns the condition as in `"a"@7`.
func (c Condition) String() string {
	switch c.Test {
	case Exists:
		return fmt.Sprintf("%q exists", c.Key)
	case HasValue:
		return fmt.Sprintf("%q=%q", c.Key, c.Value)
	}
	return fmt.Sprintf("%q@%d", c.Key, c.Revision)
}

// String returns the version as in `"a"="1"@7`.
func (e Entry) String() string { return fmt.Sprintf("%q=%q@%d", e.Key, e.Value, e.Revision) }

// String returns the result on one line, without what it does not tell.
func (r Result) String() string {
	if r.Outcome != outcome.Done {
		if r.Err != nil {
			return fmt.Sprintf("%v: %v", r.Outcome, r.Err)
		}
		return r.Outcome.String()
	}
	var b strings.Builder
	b.WriteString("ok")
	if r.Conflict {
		b.WriteString(" conflict")
	}
	if r.Found {
		b.WriteString(" found")
	}
	if r.Untold {
		b.WriteString(" found or not")
	}
	if r.Value != "" {
		fmt.Fprintf(&b, " %q", r.Value)
	}
	if r.Revision != 0 {
		fmt.Fprintf(&b, " @%d", r.Revision)
	}
	if r.Count != 0 {
		fmt.Fprintf(&b, " count %d", r.Count)
	}
	if len(r.Entries) > 0 {
		fmt.Fprintf(&b, " %v", r.Entries)
	}
	if len(r.Ops) > 0 {
		fmt.Fprintf(&b, " %v", r.Ops)
	}
	return b.String()
}
