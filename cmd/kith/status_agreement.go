package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/kith-go/kith/httpapi"
)

// agreementRows adds what there is to say about agreement to a status.
func agreementRows(t *table, g *httpapi.Agreement) {
	if g == nil {
		return
	}
	t.add("cluster ID", orDash(g.ClusterID))
	t.add("agreement", roleWords(g))
	for _, w := range g.Waiting {
		t.add("", "waits for "+w)
	}
	if g.Term == 0 {
		return
	}
	t.add("keys", fmt.Sprintf("%d, revision %d, %s", g.Keys, g.Revision, size(g.StateBytes)))
	t.add("log", fmt.Sprintf("%s, applied %d of %d", size(g.LogBytes), g.Applied, g.Committed))
	if g.SnapshotIndex > 0 {
		t.add("snapshot", fmt.Sprintf("%s, up to %d", size(g.SnapshotBytes), g.SnapshotIndex))
	}
	if g.SyncP99 > 0 {
		t.add("disk", fmt.Sprintf("%s to make a write durable, 1 in 100 takes %s or more",
			span(time.Duration(g.SyncP50)), span(time.Duration(g.SyncP99))))
	}
}

// roleWords tells what the node is in agreement.
func roleWords(g *httpapi.Agreement) string {
	words := g.State
	switch {
	case g.Term == 0:
		return words
	case g.Leader == "":
		words += ", there is no leader"
	case g.State != "leader":
		words += " of " + g.Leader
	}
	return fmt.Sprintf("%s, term %d", words, g.Term)
}

// tellMembers prints the members that the cluster counts.
func (a *app) tellMembers(g *httpapi.Agreement) {
	if g == nil || len(g.Members) == 0 {
		return
	}
	t := newTable("MEMBER", "ROLE", "BEHIND", "NOTE")
	for _, m := range g.Members {
		t.add(named(m.Name, m.PID), either(m.Voter, "voter", "learner"), behind(m), memberNote(m, g))
	}
	a.say("")
	a.print(t)
}

// behind tells how many entries of the log a member lacks.
func behind(m httpapi.AgreementMember) string {
	if m.Lag == nil {
		return "-"
	}
	return fmt.Sprint(*m.Lag)
}

func memberNote(m httpapi.AgreementMember, g *httpapi.Agreement) cell {
	var notes []string
	self := m.RaftID == g.RaftID
	if m.Name == g.Leader {
		notes = append(notes, "leader")
	}
	if self {
		notes = append(notes, "this agent")
	}
	if m.SnapshotTotal > 0 {
		notes = append(notes, fmt.Sprintf("gets a snapshot, %s of %s", size(m.SnapshotSent), size(m.SnapshotTotal)))
	}
	silent := !self && (!m.Connected || m.Active != nil && !*m.Active)
	if silent {
		notes = append(notes, either(m.Connected, "does not answer", "not connected"))
	}
	return cell{strings.Join(notes, ", "), either(silent, doubt, faint)}
}
