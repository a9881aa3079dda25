package check

import (
	"maps"
	"slices"
	"strings"
)

// part is a set of operations and all their keys, which no other operation touches:
// a history is linearizable if each of its parts is, and searching ten small parts
// is far cheaper than one large one.
type part struct {
	keys []string // ascending
	ops  []*Operation
}

// parts divides the operations by the keys that they tie together, in the order of
// their first keys. Operations that cannot have changed anything and told nothing
// are left out.
func parts(ops []Operation) []part {
	g := ties{parent: make(map[string]string)}
	var kept []*Operation
	for i := range ops {
		if o := &ops[i]; o.done() || o.perhaps() {
			kept = append(kept, o)
			for _, k := range touched(o) {
				g.find(k)
			}
		}
	}
	// Prefixes come second, when all the keys are known that they may cover.
	all := slices.Sorted(maps.Keys(g.parent))
	for _, o := range kept {
		g.join(append(touched(o), covered(o, all)...))
	}
	byRoot := make(map[string]*part)
	var found []*part
	for _, k := range all {
		p := byRoot[g.find(k)]
		if p == nil {
			p = new(part)
			byRoot[g.find(k)] = p
			found = append(found, p)
		}
		p.keys = append(p.keys, k)
	}
	for _, o := range kept {
		if keys := touched(o); len(keys) > 0 { // else an empty Txn
			p := byRoot[g.find(keys[0])]
			p.ops = append(p.ops, o)
		}
	}
	result := make([]part, len(found))
	for i, p := range found {
		result[i] = *p
	}
	return result
}

// touched returns the keys that the operation, or its result, names. A prefix counts
// as a key, if only as one that nobody writes: so every operation has its part.
func touched(o *Operation) []string {
	var keys []string
	collect := func(op Op) {
		if op.Kind != Txn {
			keys = append(keys, op.Key)
		}
		for _, c := range op.If {
			keys = append(keys, c.Key)
		}
	}
	collect(o.Op)
	for _, sub := range slices.Concat(o.Op.Then, o.Op.Else) {
		collect(sub)
	}
	for _, e := range o.Result.Entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// covered returns those of all keys, which ascend, that the operation's prefixes
// cover.
func covered(o *Operation, all []string) []string {
	var keys []string
	for _, op := range slices.Concat([]Op{o.Op}, o.Op.Then, o.Op.Else) {
		if op.Kind == List || op.Kind == DeletePrefix {
			from, _ := slices.BinarySearch(all, op.Key)
			for _, k := range all[from:] {
				if !strings.HasPrefix(k, op.Key) {
					break
				}
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// ties is a union-find over keys.
type ties struct{ parent map[string]string }

func (t ties) find(k string) string {
	p, ok := t.parent[k]
	if !ok {
		t.parent[k] = k
		return k
	}
	if p == k {
		return k
	}
	root := t.find(p)
	t.parent[k] = root
	return root
}

func (t ties) join(keys []string) {
	for i := 1; i < len(keys); i++ {
		t.parent[t.find(keys[i])] = t.find(keys[0])
	}
}
