package founding

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// walk is a random walk through the rules alone, with neither time nor disks: nodes
// hear how others stand, later decide on it, and do so, or die half-way. It comes to
// corners that whole nodes seldom reach.
type walk struct {
	rng      *rand.Rand
	nodes    []*walker
	admitted map[string]string // by record and name
	counted  map[seat]string
	records  map[string]bool
	adopted  int
	trace    []string
}

type walker struct {
	plan  plan
	id    Identity
	out   bool
	known map[string]string
	heard *round // gathered, not decided on yet
}

func (n *walker) report() report {
	return report{Name: n.id.Name, Directory: n.id.Directory, Plan: n.plan, Promise: n.id.Promise, Record: n.id.Record, Out: n.out}
}

func newWalk(seed uint64, n int) *walk {
	w := &walk{
		rng: rand.New(rand.NewPCG(seed, 11)), admitted: map[string]string{}, counted: map[seat]string{}, records: map[string]bool{},
	}
	list := peersOf(phonetic[:n]...)
	for _, p := range list {
		node := &walker{plan: newPlan(list, nil)}
		node.id.Name = p.Name
		w.nodes = append(w.nodes, node)
		w.wipe(node)
	}
	return w
}

func (w *walk) wipe(n *walker) {
	n.id = Identity{Directory: fmt.Sprintf("%032x", w.rng.Uint64()), Name: n.id.Name}
	w.restart(n)
}

func (w *walk) restart(n *walker) { n.out, n.heard, n.known = false, nil, map[string]string{} }

func (w *walk) node(name string) *walker {
	return w.nodes[slices.IndexFunc(w.nodes, func(n *walker) bool { return n.id.Name == name })]
}

func (w *walk) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// hear gathers the reports of some of the others.
func (w *walk) hear(n *walker) {
	r := &round{plan: n.plan, reports: map[string]report{}, faults: map[string]error{}, known: map[string]string{}}
	for name, directory := range n.known {
		r.known[name] = directory
	}
	all := w.rng.IntN(2) == 0
	for _, o := range w.nodes {
		if o != n && (all || w.rng.IntN(3) > 0) {
			r.reports[o.id.Name] = o.report()
			n.known[o.id.Name] = o.id.Directory
		}
	}
	n.heard = r
}

// decide decides on what was heard, perhaps long ago.
func (w *walk) decide(n *walker) (fault string) {
	r := *n.heard
	n.heard = nil
	r.id, r.plan = n.id, n.plan
	d := r.decide()
	switch d.do {
	case found:
		directories := map[string]string{n.id.Name: n.id.Directory}
		for _, p := range r.plan.founders() {
			if p.Name != n.id.Name {
				directories[p.Name] = r.reports[p.Name].Directory
			}
		}
		n.id.Promise = mint(r.plan, directories)
		w.say("%s mints %.4s for %s", n.id.Name, n.id.Promise.ClusterID, names(r.plan.founders()))
	case adopt:
		n.id.Promise = d.record
		w.adopted++
		w.say("%s adopts %.4s", n.id.Name, d.record.ClusterID)
	case giveUp:
		n.out = true
		w.say("%s is lost", n.id.Name)
	case installRecord:
		return w.born(n, d.record)
	case enter:
		key := d.record.Hash + n.id.Name
		if at := w.admitted[key]; w.alive(d.record) && (at == "" || at == n.id.Directory) {
			w.admitted[key] = n.id.Directory
			return w.born(n, d.record)
		}
	}
	if d.do == found || d.do == adopt || d.do == complete {
		r.id = n.id
		if d = r.decide(); d.do == complete && w.complete(n, d) {
			return w.born(n, d.record)
		}
	}
	return ""
}

// complete asks for the promises that are missing, and gets some.
func (w *walk) complete(n *walker, d decision) bool {
	for _, m := range d.missing {
		o := w.node(m.Name)
		q := question{From: n.report(), To: m.Name, ToDirectory: m.Directory, Record: d.record}
		if w.rng.IntN(6) == 0 || o.out || o.id.Directory != m.Directory || objection(o.id, o.plan, nil, q) != "" {
			return false
		}
		if o.id.fresh() {
			o.id.Promise = d.record
			w.say("%s promises %.4s to %s", o.id.Name, d.record.ClusterID, n.id.Name)
		}
	}
	return w.rng.IntN(4) > 0
}

// born makes n a member, and returns what is wrong with that.
func (w *walk) born(n *walker, rec *Record) string {
	n.id = install(n.id, rec)
	w.records[rec.Hash] = true
	w.say("%s is born in %.4s", n.id.Name, rec.ClusterID)
	if d := w.counted[seat{rec.Hash, n.id.Name}]; d != "" && d != n.id.Directory {
		return n.id.Name + " came back after its word was counted and lost"
	}
	if w.alive(rec) {
		for _, o := range w.members(rec) {
			w.counted[seat{rec.Hash, o.id.Name}] = o.id.Directory
		}
	}
	return ""
}

// members returns the voters that were born in rec.
func (w *walk) members(rec *Record) []*walker {
	return slices.DeleteFunc(slices.Clone(w.nodes), func(o *walker) bool {
		m, _ := rec.Member(o.id.Name)
		return !m.Voter || !o.id.Record.Same(rec)
	})
}

// alive reports whether the members of rec can agree on anything.
func (w *walk) alive(rec *Record) bool { return len(w.members(rec)) > len(rec.Voters())/2 }

func (w *walk) override(n *walker) {
	n.plan.Override = nil
	if w.rng.IntN(2) == 0 {
		return
	}
	voters := n.plan.voters()
	var chosen []string
	for _, i := range w.rng.Perm(len(voters))[:len(voters)/2+1] {
		chosen = append(chosen, voters[i].Name)
	}
	for _, o := range w.nodes {
		if slices.Contains(chosen, o.id.Name) {
			o.plan = newPlan(o.plan.Peers, chosen)
		}
	}
}

// TestRules walks at random, with lost disks, and with overrides in half of the walks.
func TestRules(t *testing.T) {
	several, adopted := 0, 0
	for seed := range seeds(4000) {
		n := 3 + 2*int(seed%2)
		overrides := seed%4 < 2
		w := newWalk(seed, n)
		wipes := w.rng.IntN(n + 1)
		wiped := map[*walker]bool{}
		for range 40 + w.rng.IntN(80) {
			node, fault := w.nodes[w.rng.IntN(n)], ""
			switch what := w.rng.IntN(24); {
			case what == 0 && (wiped[node] || len(wiped) < wipes):
				wiped[node] = true
				w.say("%s is wiped", node.id.Name)
				w.wipe(node)
			case what == 1:
				w.restart(node)
			case what == 2 && overrides:
				w.override(node)
			case node.out || node.id.born():
			case node.heard == nil:
				w.hear(node)
			default:
				fault = w.decide(node)
			}
			if fault == "" && len(w.records) > 1 && len(wiped) <= (n-1)/2 && !(overrides && len(wiped) > 0) {
				fault = "two records were committed"
			}
			if fault != "" {
				t.Fatalf("seed %d, %d of %d wiped, overrides %v: %s\n%q", seed, len(wiped), n, overrides, fault, w.trace)
			}
		}
		if len(w.records) > 1 {
			several++
		}
		adopted += w.adopted
	}
	t.Logf("%d adoptions, %d walks with more than one record", adopted, several)
	if adopted == 0 {
		t.Error("no record was ever adopted: the walk is too tame")
	}
}
