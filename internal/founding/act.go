package founding

import (
	"context"
	"slices"
)

// act does what was decided, as far as the identity still allows it, and reports
// whether the node has come any further.
func (f *Founder) act(ctx context.Context, r round, d decision) bool {
	switch d.do {
	case found:
		return f.found(ctx, r)
	case adopt:
		return f.adopt(ctx, r, d)
	case complete:
		return f.complete(ctx, r, d)
	case installRecord:
		return f.install(ctx, d.record)
	case enter:
		return f.enter(ctx, r, d)
	case giveUp:
		return f.giveUp(ctx, d.state)
	}
	return false
}

// found mints a record. First everybody else in the list is asked too: where a
// member of a cluster answers, there is one already.
func (f *Founder) found(ctx context.Context, r round) bool {
	var rest []string
	for _, p := range r.plan.Peers {
		if _, asked := r.reports[p.Name]; !asked && p.Name != r.id.Name {
			rest = append(rest, p.Name)
		}
	}
	f.greet(ctx, &r, rest)
	if len(r.clusters()) > 0 {
		d := r.decide()
		return d.do != found && f.act(ctx, r, d)
	}
	directories := map[string]string{r.id.Name: r.id.Directory}
	for _, p := range r.plan.founders() {
		if p.Name != r.id.Name {
			directories[p.Name] = r.reports[p.Name].Directory
		}
	}
	rec := mint(r.plan, directories)
	alone := len(r.plan.founders()) == 1
	ok, _ := f.change(ctx, func(id Identity, p plan) (Identity, bool) {
		ok := id.fresh() && p.same(r.plan)
		if alone { // nobody else is to be bound
			return install(id, rec), ok
		}
		id.Promise = rec
		return id, ok
	})
	if !ok || alone {
		return ok
	}
	r.id.Promise = rec
	f.complete(ctx, r, r.decide())
	return true
}

// adopt binds this node to a record that others are bound to.
func (f *Founder) adopt(ctx context.Context, r round, d decision) bool {
	ok, _ := f.change(ctx, func(id Identity, _ plan) (Identity, bool) {
		ok := id.fresh()
		id.Promise = d.record
		return id, ok
	})
	if !ok {
		return false
	}
	f.log.Warn("taking up the founding of a cluster that others are bound to", "cluster_id", d.record.ClusterID)
	r.id.Promise, d.state.Phase = d.record, Promised
	f.complete(ctx, r, d)
	return true
}

// complete asks for the promises that are missing and, when all are there, commits.
func (f *Founder) complete(ctx context.Context, r round, d decision) bool {
	if d.do != complete && d.do != adopt {
		return false
	}
	questions := make(map[string]question, len(d.missing))
	for _, m := range d.missing {
		questions[m.Name] = f.question(promise, m.Name, m.Directory, d.record)
	}
	answers, faults := f.askAll(ctx, questions, promiseTimeout, nil)
	for _, m := range d.missing {
		switch a, ok := answers[m.Name]; {
		case !ok:
			d.state.Waiting = append(d.state.Waiting, Wait{m.Name, "not answering: " + printable(faults[m.Name].Error()), "silent"})
		case a.Verdict == granted && (a.From.Promise.Same(d.record) || a.From.Record.Same(d.record)):
			r.reports[m.Name] = a.From
		default:
			d.state.Waiting = append(d.state.Waiting, Wait{m.Name, "does not promise to found the cluster: " + printable(a.Text), "no promise"})
		}
	}
	if len(d.state.Waiting) > 0 {
		f.note(d.state)
		return false
	}
	if !f.install(ctx, d.record) {
		return false
	}
	f.tell(ctx, r, d.record)
	return true
}

// install makes rec, which this node is bound to, its own.
func (f *Founder) install(ctx context.Context, rec *Record) bool {
	ok, _ := f.change(ctx, func(id Identity, _ plan) (Identity, bool) {
		return install(id, rec), id.Promise.Same(rec)
	})
	if ok {
		f.log.Info("the cluster is founded", "cluster_id", rec.ClusterID, "voters", memberNames(rec.Voters()))
	}
	return ok
}

// tell lets the others know that rec is committed; who does not hear it asks.
func (f *Founder) tell(ctx context.Context, r round, rec *Record) {
	questions := make(map[string]question)
	for _, m := range r.needed(rec) {
		if m.Name != r.id.Name {
			questions[m.Name] = f.question(commit, m.Name, r.reports[m.Name].Directory, rec)
		}
	}
	f.askAll(ctx, questions, tellTimeout, nil)
}

// enter asks a member to be let into the cluster.
func (f *Founder) enter(ctx context.Context, r round, d decision) bool {
	members := slices.DeleteFunc(r.answered(), func(name string) bool { return !r.reports[name].Record.Same(d.record) })
	via := members[r.number%len(members)]
	questions := map[string]question{via: f.question(join, via, r.reports[via].Directory, d.record)}
	answers, faults := f.askAll(ctx, questions, joinTimeout, nil)
	a, ok := answers[via]
	switch {
	case !ok:
		d.state.Waiting = []Wait{{via, "did not let this node in: " + printable(faults[via].Error()), "join"}}
	case a.Verdict == granted && a.From.Record.Same(d.record):
		ok, _ := f.change(ctx, func(id Identity, _ plan) (Identity, bool) {
			return install(id, d.record), id.fresh()
		})
		if ok {
			f.log.Info("joined the cluster", "cluster_id", d.record.ClusterID, "via", via)
		}
		return ok
	case a.Verdict == lost:
		d.state.Phase, d.state.Err = Lost, lostError(d.record, via)
		return f.giveUp(ctx, d.state)
	default:
		d.state.Waiting = []Wait{{via, "did not let this node in: " + printable(a.Text), "join"}}
	}
	f.note(d.state)
	return false
}

// giveUp ends this node's founding, unless it was bound to a record meanwhile.
func (f *Founder) giveUp(ctx context.Context, s State) bool {
	select {
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
	case <-ctx.Done():
		return false
	}
	f.mu.Lock()
	if !f.id.fresh() {
		f.mu.Unlock()
		return true
	}
	f.ended = s.Err
	f.mu.Unlock()
	f.note(s)
	return true
}
