package founding

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// Phase is how far a node has come.
type Phase string

const (
	// Waiting: for the other founders, bound to nothing.
	Waiting Phase = "waiting"
	// Promised: bound to a record that is not known to be committed.
	Promised Phase = "promised"
	// Joining: the cluster is there and has a place for this node, which is about to
	// enter.
	Joining Phase = "joining"
	// Born: member of a cluster.
	Born Phase = "born"
	// NotMember: the cluster is there and does not count this node in; see ErrNotMember.
	NotMember Phase = "not a member"
	// Lost: see ErrStateLost.
	Lost Phase = "lost"
	// Failed: the state directory's disk failed.
	Failed Phase = "failed"
)

// State is how things stand with this node's birth.
type State struct {
	Phase Phase
	// ClusterID is that of the cluster, promised, joined or only met; "" if there is
	// none.
	ClusterID string
	// Waiting tells for whom this node waits and why. After its birth it names the
	// listed peers that belong to another cluster.
	Waiting []Wait
	// Err is nil, or wraps ErrNotMember, ErrStateLost, ErrConflict, or the disk's error.
	Err error
}

// Wait is a peer and what is outstanding with it.
type Wait struct {
	Name, Why string
	cause     string // Why, without what changes all the time
}

// String is one line for people.
func (s State) String() string {
	var words []string
	for _, w := range s.Waiting {
		words = append(words, w.Name+": "+w.Why)
	}
	text := string(s.Phase)
	if s.ClusterID != "" {
		text += " (cluster " + s.ClusterID + ")"
	}
	if s.Err != nil {
		text += ": " + s.Err.Error()
	}
	if len(words) > 0 {
		text += ": " + strings.Join(words, "; ")
	}
	return text
}

// State returns how things stand. The caller owns it.
func (f *Founder) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Waiting = slices.Clone(s.Waiting)
	switch {
	case f.id.Record != nil:
		s = State{Phase: Born, ClusterID: f.id.Record.ClusterID, Waiting: f.foreignLocked()}
		if len(s.Waiting) > 0 {
			s.Err = ErrConflict
		}
	case f.ended != nil && f.state.Phase != Lost:
		s = State{Phase: Failed, Err: f.ended}
	case f.id.Promise != nil && s.Phase != Promised:
		s = State{Phase: Promised, ClusterID: f.id.Promise.ClusterID}
	case s.Phase == "":
		s.Phase = Waiting
	}
	return s
}

func (f *Founder) foreignLocked() []Wait {
	var waits []Wait
	for _, name := range slices.Sorted(maps.Keys(f.foreign)) {
		waits = append(waits, Wait{Name: name, Why: fmt.Sprintf("belongs to cluster %s", f.foreign[name])})
	}
	return waits
}

// Met notes which cluster a peer belongs to, "" for none, as a handshake said. With
// another one than this node's, the log tells so once, and State as long as that
// lasts.
func (f *Founder) Met(name, clusterID string) {
	f.mu.Lock()
	own := f.id.Record
	strange := own != nil && clusterID != "" && clusterID != own.ClusterID && named(f.plan.Peers, name)
	news := strange && f.foreign[name] != clusterID
	if strange {
		f.foreign[name] = clusterID
	} else {
		delete(f.foreign, name)
	}
	f.mu.Unlock()
	if news {
		f.log.Error("a peer in the list belongs to another cluster, and each has state of its own; correct the list, "+
			"or stop those whose state is not wanted and remove their state directories",
			"name", name, "its_cluster_id", printable(clusterID), "cluster_id", own.ClusterID)
	}
}

// repeatAfter is when the log says again what it has said before.
const repeatAfter = time.Minute

// note keeps how things stand and logs it, at once when it changed and again from
// time to time.
func (f *Founder) note(s State) {
	now := time.Now()
	f.mu.Lock()
	f.state = s
	told := s.key() != f.told || now.Sub(f.toldAt) >= repeatAfter
	if told {
		f.told, f.toldAt = s.key(), now
	}
	f.mu.Unlock()
	if !told {
		return
	}
	attrs := []any{}
	for _, w := range s.Waiting {
		attrs = append(attrs, slog.String(w.Name, w.Why))
	}
	if s.ClusterID != "" {
		attrs = append(attrs, slog.String("cluster_id", s.ClusterID))
	}
	switch {
	case s.Phase == Lost:
		f.log.Error(s.Err.Error(), attrs...)
	case s.Err != nil:
		f.log.Warn(s.Err.Error(), attrs...)
	case s.Phase == Joining:
		f.log.Info("waiting to be let into the cluster", attrs...)
	case len(s.Waiting) > 0:
		f.log.Info("waiting for "+waitNames(s.Waiting)+" to found the cluster", attrs...)
	}
}

// key is what is worth another line when it changes.
func (s State) key() string {
	words := []string{string(s.Phase), s.ClusterID}
	for _, w := range s.Waiting {
		words = append(words, w.Name, w.cause)
	}
	return strings.Join(words, "\x00")
}

func waitNames(waits []Wait) string {
	words := make([]string, len(waits))
	for i, w := range waits {
		words[i] = w.Name
	}
	return listing(words)
}
