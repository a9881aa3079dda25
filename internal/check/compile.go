package check

import (
	"slices"
	"strings"
)

// The search steps through operations millions of times, so everything is brought
// into a form without strings first: keys are positions in the part, values are
// numbers.

// value stands for a string; absent is no value, anyValue one that was not told.
type value int32

const (
	absent   value = 0
	anyValue value = -1
)

// program is an operation made ready for the search.
type program struct {
	op         *Operation
	known      bool // its result is
	conditions []condition
	// A known program took the one branch or the other: took.
	then, otherwise []action
	conflict        bool
	revision        uint64 // told by a known result; 0: not told
}

type condition struct {
	test     Test
	cell     int
	revision uint64
	value    value
}

// action is one Op without conditions, together with what it returned.
type action struct {
	kind  Kind
	cells []int // of Get, Set, Delete the one, of List and DeletePrefix those covered
	value value // of Set
	limit int

	told     bool // the fields below are
	found    bool
	seen     value
	revision uint64
	count    int
	entries  []seen
}

// seen is a version that a List returned.
type seen struct {
	cell     int
	value    value
	revision uint64
}

// compiler turns the operations of one part into programs.
type compiler struct {
	keys   []string
	values map[string]value
	names  []string // of values, by number; 0 is absent
}

func newCompiler(keys []string) *compiler {
	return &compiler{keys: keys, values: make(map[string]value), names: []string{"(absent)"}}
}

func (c *compiler) value(s string) value {
	v, ok := c.values[s]
	if !ok {
		v = value(len(c.names))
		c.values[s] = v
		c.names = append(c.names, s)
	}
	return v
}

func (c *compiler) cell(key string) int {
	i, _ := slices.BinarySearch(c.keys, key) // a part has all keys of its operations
	return i
}

func (c *compiler) program(o *Operation) *program {
	p := &program{op: o, known: o.done(), conflict: o.Result.Conflict, revision: o.Result.Revision}
	for _, cond := range o.Op.If {
		p.conditions = append(p.conditions, condition{cond.Test, c.cell(cond.Key), cond.Revision, c.value(cond.Value)})
	}
	if o.Op.Kind == Txn {
		var then, otherwise []Result
		if p.conflict {
			otherwise = o.Result.Ops
		} else {
			then = o.Result.Ops
		}
		p.then, p.otherwise = c.branch(o.Op.Then, then), c.branch(o.Op.Else, otherwise)
		return p
	}
	p.then = []action{c.action(o.Op, o.Result, p.known)}
	switch {
	case o.Op.Kind == Get: // its revision is the version's, not the store's
		p.revision = 0
	case p.conflict && len(o.Op.If) > 0:
		// What a conflict tells of the first condition's key is as good as a Get.
		p.revision = 0
		p.otherwise = []action{{kind: Get, cells: []int{p.conditions[0].cell}, told: true,
			found: o.Result.Found, seen: anyValue, revision: o.Result.Revision}}
	}
	return p
}

func (c *compiler) branch(ops []Op, results []Result) []action {
	var actions []action
	for i, op := range ops {
		var r Result
		if i < len(results) {
			r = results[i]
		}
		actions = append(actions, c.action(op, r, i < len(results)))
	}
	return actions
}

func (c *compiler) action(op Op, r Result, told bool) action {
	a := action{kind: op.Kind, limit: op.Limit, told: told && !r.Untold, found: r.Found, revision: r.Revision, count: r.Count}
	switch op.Kind {
	case Get:
		a.seen = c.value(r.Value)
	case Set:
		a.value = c.value(op.Value)
	}
	for _, e := range r.Entries {
		a.entries = append(a.entries, seen{c.cell(e.Key), c.value(e.Value), e.Revision})
	}
	if op.Kind != List && op.Kind != DeletePrefix {
		a.cells = []int{c.cell(op.Key)}
		return a
	}
	for i, k := range c.keys {
		if strings.HasPrefix(k, op.Key) && (op.After == "" || k > op.After) {
			a.cells = append(a.cells, i)
		}
	}
	return a
}
