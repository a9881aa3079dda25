package founding

import (
	"cmp"
	"fmt"
	"slices"
)

// round is what a node knows when it decides: how it stands itself, and what the
// others answered when they were asked. Deciding is pure; what is decided is checked
// once more against the identity before it is done.
type round struct {
	number  int
	plan    plan
	id      Identity
	reports map[string]report // who answered; not this node
	faults  map[string]error  // who did not, and why
	// known are the directories that nodes had before anybody was asked in this round.
	known map[string]string
}

// action is what a node does next.
type action int

const (
	// wait and ask again.
	wait action = iota
	// mint a record and promise it.
	found
	// adopt a record that others are bound to.
	adopt
	// complete the record: ask those in missing for their promises, then commit.
	complete
	// installRecord, which others have committed.
	installRecord
	// enter a cluster that has a place for this node.
	enter
	// giveUp: the place is there, and its state is lost.
	giveUp
)

// decision is what to do, and how things stand if that is to wait.
type decision struct {
	do      action
	record  *Record  // of adopt, complete, installRecord, enter
	missing []Member // whose promises to ask for, with their present directories
	state   State
}

func (r round) decide() decision {
	if r.id.Promise != nil {
		return r.decideBound(r.id.Promise)
	}
	met := r.clusters()
	switch {
	case len(met) > 1:
		return r.twoClusters(met)
	case len(met) == 1:
		return r.decideLate(met[0])
	}
	promises := r.promises()
	switch {
	case len(promises) > 1:
		return decision{state: State{Phase: Waiting, Waiting: r.bindings(), Err: ErrConflict}}
	case len(promises) == 1:
		return r.decideAdoption(promises[0])
	}
	return r.decideFresh()
}

// decideBound is for a node with a promise: only that record can be its own.
func (r round) decideBound(rec *Record) decision {
	for _, name := range r.answered() {
		if r.reports[name].Record.Same(rec) {
			return decision{do: installRecord, record: rec}
		}
	}
	d := r.completion(rec)
	d.state.Phase, d.state.ClusterID = Promised, rec.ClusterID
	return d
}

// met is a cluster, and a member that told of it.
type met struct {
	record *Record
	by     string
}

// clusters returns the clusters that those who answered belong to.
func (r round) clusters() []met {
	var all []met
	for _, name := range r.answered() {
		rec := r.reports[name].Record
		if rec != nil && !slices.ContainsFunc(all, func(m met) bool { return m.record.Same(rec) }) {
			all = append(all, met{rec, name})
		}
	}
	return all
}

func (r round) twoClusters(all []met) decision {
	d := decision{state: State{Phase: Waiting, Err: ErrConflict}}
	for _, m := range all {
		d.state.Waiting = append(d.state.Waiting, Wait{m.by, fmt.Sprintf("belongs to cluster %s", m.record.ClusterID), "two clusters"})
	}
	return d
}

// decideLate is for a fresh node that comes when a cluster is there.
func (r round) decideLate(m met) decision {
	d := decision{record: m.record, state: State{ClusterID: m.record.ClusterID}}
	me, listed := m.record.Member(r.id.Name)
	switch {
	case !listed:
		d.state.Phase = NotMember
		d.state.Err = fmt.Errorf("%w %s, which was founded without it: %s says so", ErrNotMember, m.record.ClusterID, m.by)
	case me.Directory != "":
		d.do = giveUp
		d.state.Phase = Lost
		d.state.Err = lostError(m.record, m.by)
	default:
		d.do = enter
		d.state.Phase = Joining
	}
	return d
}

func lostError(rec *Record, by string) error {
	return fmt.Errorf("%w: %s says that this node was a founder or member of cluster %s with another state directory; "+
		"put that one back, or this node stays out", ErrStateLost, by, rec.ClusterID)
}

// promises returns the records that voters of this node's plan are bound to and
// that have this node as a founder. As long as such a voter is bound, no other record
// can have the promises of all voters of the plan.
func (r round) promises() []*Record {
	var all []*Record
	for _, p := range r.plan.voters() {
		rec := r.reports[p.Name].Promise
		if rec == nil || slices.ContainsFunc(all, rec.Same) {
			continue
		}
		if me, _ := rec.Member(r.id.Name); me.Directory != "" {
			all = append(all, rec)
		}
	}
	return all
}

func (r round) decideAdoption(rec *Record) decision {
	d := r.completion(rec)
	if d.do == complete || d.do == adopt {
		d.do = adopt
	}
	d.state.Phase, d.state.ClusterID = Waiting, rec.ClusterID
	return d
}

// completion works out what is to be done for rec, which this node is bound to or
// can be.
func (r round) completion(rec *Record) decision {
	needed := r.needed(rec)
	d := decision{record: rec}
	wiped := false
	for _, m := range needed {
		if m.Name == r.id.Name {
			wiped = wiped || r.id.Promise == nil && m.Directory != r.id.Directory
			continue
		}
		rep, w := r.stand(m.Name, rec)
		switch {
		case w != nil:
			d.state.Waiting = append(d.state.Waiting, *w)
		case rep.Promise == nil:
			wiped = wiped || rep.Directory != m.Directory
			m.Directory = rep.Directory
			d.missing = append(d.missing, m)
		}
	}
	if completer := needed[0].Name; completer != r.id.Name {
		if len(d.state.Waiting) == 0 {
			d.state.Waiting = []Wait{{completer, "is about to complete the founding", "completes"}}
		}
		d.missing = nil
		return d
	}
	if wiped {
		d.state.Waiting = append(d.state.Waiting, r.lived(rec)...)
	}
	if len(d.state.Waiting) > 0 {
		d.missing = nil
		return d
	}
	d.do = complete
	return d
}

// needed returns those whose promises make rec complete, by Raft ID; the first one
// completes it. An override counts for a record that was minted before it too, if it
// names founders of that: the other voters come in by being admitted, which is what
// keeps them from coming twice.
func (r round) needed(rec *Record) []Member {
	founders := rec.founders()
	chosen := slices.DeleteFunc(slices.Clone(founders), func(m Member) bool { return !slices.Contains(r.plan.Override, m.Name) })
	if len(chosen) == len(r.plan.Override) && len(chosen) > len(rec.Voters())/2 {
		return chosen
	}
	return founders
}

// stand returns how a node stands towards rec, or why it is to be waited for.
func (r round) stand(name string, rec *Record) (report, *Wait) {
	rep, ok := r.reports[name]
	switch {
	case !ok:
		return rep, r.silent(name)
	case rep.Out:
		return rep, &Wait{name, "its disk failed or its state is lost", "out"}
	case rep.Record != nil && !rep.Record.Same(rec):
		return rep, &Wait{name, fmt.Sprintf("belongs to cluster %s already, with state", rep.Record.ClusterID), "born " + rep.Record.ClusterID}
	case rep.Promise != nil && !rep.Promise.Same(rec):
		return rep, bound(name, rep.Promise)
	}
	return rep, nil
}

func bound(name string, to *Record) *Wait {
	return &Wait{name, fmt.Sprintf("has promised to found cluster %s with %s; nothing is stored there yet: "+
		"if those do not come, stop it and remove its state directory", to.ClusterID, memberNames(to.founders())), "bound " + to.ClusterID}
}

func (r round) silent(name string) *Wait {
	if err := r.faults[name]; err != nil {
		return &Wait{name, "not answering: " + printable(err.Error()), "silent"}
	}
	return &Wait{name, "not asked yet", "silent"}
}

// lived returns whom to wait for, or nothing if it is certain that rec has never
// lived: that no vote and no acknowledgement of a member that has lost its state
// was ever counted. The package's text has the argument.
func (r round) lived(rec *Record) []Wait {
	var waits []Wait
	wiped, voters := 0, rec.Voters()
	for _, m := range voters {
		directory := r.id.Directory
		if m.Name != r.id.Name {
			rep, w := r.stand(m.Name, rec)
			if w == nil && r.known[m.Name] != rep.Directory {
				w = &Wait{m.Name, "came back with another state directory; it is asked again", "new directory"}
			}
			if w != nil {
				waits = append(waits, *w)
				continue
			}
			directory = rep.Directory
		}
		if m.Directory != "" && m.Directory != directory {
			wiped++
		}
	}
	if wiped > len(voters)/2 && len(waits) == 0 {
		for _, m := range voters {
			if r.reports[m.Name].Promise != nil || m.Name == r.id.Name && r.id.Promise != nil {
				waits = append(waits, Wait{m.Name, fmt.Sprintf("has promised to found cluster %s, and most of its founders have lost "+
					"what they knew of it; nothing is stored there: stop it and remove its state directory", rec.ClusterID), "forgotten"})
			}
		}
	}
	return waits
}

// decideFresh is for a node that nothing binds, among others that nothing binds.
func (r round) decideFresh() decision {
	d := decision{state: State{Phase: Waiting}}
	founders := r.plan.founders()
	for _, p := range founders {
		if p.Name == r.id.Name {
			continue
		}
		if w := r.unready(p.Name); w != nil {
			d.state.Waiting = append(d.state.Waiting, *w)
		}
	}
	coordinator := r.plan.coordinator()
	switch {
	case len(d.state.Waiting) > 0:
	case coordinator == r.id.Name:
		d.do = found
	default:
		d.state.Waiting = []Wait{{coordinator, "is to found the cluster", "coordinates"}}
	}
	return d
}

// unready tells why a founder is not ready to found with this node.
func (r round) unready(name string) *Wait {
	rep, ok := r.reports[name]
	switch {
	case !ok:
		return r.silent(name)
	case rep.Out:
		return &Wait{name, "its disk failed or its state is lost", "out"}
	case rep.Promise != nil:
		return bound(name, rep.Promise)
	case !rep.Plan.same(r.plan):
		return &Wait{name, "lists other peers: " + printable(differences(r.plan, rep.Plan)), "differs"}
	}
	return nil
}

// bindings tells who is bound to what.
func (r round) bindings() []Wait {
	var waits []Wait
	for _, name := range r.answered() {
		if rec := r.reports[name].Promise; rec != nil {
			waits = append(waits, *bound(name, rec))
		}
	}
	return waits
}

// answered returns the names of those who answered, sorted.
func (r round) answered() []string {
	all := make([]string, 0, len(r.reports))
	for name := range r.reports {
		all = append(all, name)
	}
	slices.SortFunc(all, cmp.Compare[string])
	return all
}

func memberNames(list []Member) string {
	words := make([]string, len(list))
	for i, m := range list {
		words[i] = m.Name
	}
	return listing(words)
}
