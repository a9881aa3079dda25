package founding

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Answer answers a question of the node with the name from, before this one's birth
// and after. It blocks for the disk or for Config.Admit, no longer than ctx. It
// never fails: what is not a question gets an answer that says so.
func (f *Founder) Answer(ctx context.Context, from string, question []byte) []byte {
	v, text := f.judge(ctx, from, question)
	return answer{Version: version, From: f.report(), Verdict: v, Text: text}.encode()
}

func (f *Founder) judge(ctx context.Context, from string, b []byte) (verdict, string) {
	q, err := decodeQuestion(b)
	if err != nil {
		return refused, printable(err.Error())
	}
	if q.From.Name != from {
		return refused, fmt.Sprintf("the question is signed %q and came from %q", printable(q.From.Name), printable(from))
	}
	if f.remember(q.From) {
		token(f.kick)
	}
	if q.Verb == hello {
		return granted, ""
	}
	self := f.report()
	if q.To != self.Name || q.ToDirectory != self.Directory {
		return refused, "the question was for another node, or for one that this node's directory is not of"
	}
	if q.Record == nil {
		return refused, "the question lacks a record"
	}
	switch q.Verb {
	case promise:
		return f.promise(ctx, q)
	case commit:
		return f.commit(ctx, q)
	case join:
		return f.letIn(ctx, q)
	}
	return refused, fmt.Sprintf("this release does not know the question %q", printable(string(q.Verb)))
}

// promise binds this node to a record, if nothing binds it yet.
func (f *Founder) promise(ctx context.Context, q question) (verdict, string) {
	var text string
	f.mu.Lock()
	heard := maps.Clone(f.heard)
	f.mu.Unlock()
	_, err := f.change(ctx, func(id Identity, p plan) (Identity, bool) {
		text = objection(id, p, heard, q)
		ok := text == "" && id.fresh()
		id.Promise = q.Record
		return id, ok
	})
	return verdictOf(text, err)
}

func verdictOf(text string, err error) (verdict, string) {
	switch {
	case err != nil:
		return later, printable(err.Error())
	case text != "":
		return refused, text
	}
	return granted, ""
}

// objection tells why this node does not promise what it is asked to; "" if it does.
//
// As long as a voter of this node's plan is bound to the record, no other record can
// be completed that the plan asks for, so that this one is worth the promise even if
// the plan has changed since it was minted. The asker is bound.
func objection(id Identity, p plan, heard map[string]report, q question) string {
	me, _ := q.Record.Member(id.Name)
	asker, _ := q.Record.Member(q.From.Name)
	switch {
	case id.Record.Same(q.Record) || id.Promise.Same(q.Record):
		return ""
	case id.Record != nil:
		return fmt.Sprintf("it belongs to cluster %s", id.Record.ClusterID)
	case id.Promise != nil:
		return fmt.Sprintf("it has promised to found cluster %s", id.Promise.ClusterID)
	case me.Directory == "":
		return "it is no founder in that record"
	case asker.Directory == "":
		return fmt.Sprintf("%s is no founder in that record", printable(q.From.Name))
	case !slices.ContainsFunc(p.voters(), func(v Peer) bool { return v.Name == q.From.Name || heard[v.Name].Promise.Same(q.Record) }):
		return fmt.Sprintf("%s does not vote in its list of peers", printable(q.From.Name))
	}
	return ""
}

// commit makes the record, which this node is bound to, its own.
func (f *Founder) commit(ctx context.Context, q question) (verdict, string) {
	text := ""
	ok, err := f.change(ctx, func(id Identity, _ plan) (Identity, bool) {
		if !id.Promise.Same(q.Record) && !id.Record.Same(q.Record) {
			text = "it has not promised that"
		}
		return install(id, q.Record), id.Promise.Same(q.Record)
	})
	if ok {
		f.log.Info("the cluster is founded", "cluster_id", q.Record.ClusterID, "voters", memberNames(q.Record.Voters()))
	}
	return verdictOf(text, err)
}

// letIn gives a member that comes for the first time its place (SAFETY.md, S3).
func (f *Founder) letIn(ctx context.Context, q question) (verdict, string) {
	id := f.Identity()
	if !id.Record.Same(q.Record) {
		return refused, "it does not belong to that cluster"
	}
	m, listed := id.Record.Member(q.From.Name)
	switch {
	case !listed:
		return stranger, fmt.Sprintf("cluster %s was founded without %s", id.Record.ClusterID, printable(q.From.Name))
	case m.Directory != "":
		return lost, fmt.Sprintf("%s founded cluster %s", m.Name, id.Record.ClusterID)
	}
	switch err := f.cfg.Admit(ctx, m.RaftID, q.From.Directory); {
	case err == nil:
		return granted, ""
	case errors.Is(err, ErrOtherDirectory):
		return lost, fmt.Sprintf("%s is in cluster %s with another state directory", m.Name, id.Record.ClusterID)
	default:
		return later, printable(err.Error())
	}
}
