package founding

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Peer is an entry of the list of peers, as far as founding needs it.
type Peer struct {
	PID  uint32 `json:"pid"`
	Name string `json:"name"`
}

func byPID(a, b Peer) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Name, b.Name)) }

// maxVoters bounds the voters of a cluster: more of them cost more messages per
// write and are no safer in practice.
const maxVoters = 5

// Voters returns those of the listed peers that vote, in the order of their PIDs:
// the largest odd number of at most five, lowest PIDs first (SAFETY.md, S6). The
// other ones are learners. The list is not changed.
func Voters(list []Peer) []Peer {
	sorted := slices.SortedFunc(slices.Values(list), byPID)
	n := min(len(sorted), maxVoters)
	if n > 0 && n%2 == 0 {
		n--
	}
	return sorted[:n]
}

// plan is what a node's list of peers asks for: who founds, who votes. Nodes found
// a cluster together only when their plans are the same. A plan does not change.
type plan struct {
	Peers    []Peer   `json:"peers"`              // by PID
	Override []string `json:"override,omitempty"` // sorted; see Config.Override
}

func newPlan(list []Peer, override []string) plan {
	override = slices.Sorted(slices.Values(override))
	return plan{slices.SortedFunc(slices.Values(list), byPID), slices.Compact(override)}
}

func (p plan) same(q plan) bool {
	return slices.Equal(p.Peers, q.Peers) && slices.Equal(p.Override, q.Override)
}

// What can be wrong with a list or an override.
var (
	// ErrNotListed: this node is not in the list of peers.
	ErrNotListed = errors.New("founding: this node is not in the list of peers")
	// ErrOverride: Config.Override does not name a majority of the listed voters.
	ErrOverride = errors.New("founding: the override must name a majority of the voters that the list of peers yields, and nobody else")
	// ErrNoDirectory: a node that keeps everything in memory is one of several.
	ErrNoDirectory = errors.New("founding: a node without a state directory can only be a cluster of its own")
)

func (p plan) check(self string) error {
	if !slices.ContainsFunc(p.Peers, func(q Peer) bool { return q.Name == self }) {
		return ErrNotListed
	}
	for i, q := range p.Peers {
		if slices.ContainsFunc(p.Peers[:i], func(o Peer) bool { return o.Name == q.Name }) {
			return fmt.Errorf("founding: the list of peers has %s twice", q.Name)
		}
	}
	if len(p.Override) == 0 {
		return nil
	}
	voters := p.voters()
	for _, name := range p.Override {
		if !named(voters, name) {
			return fmt.Errorf("%w: %s does not vote (voters: %s)", ErrOverride, name, names(voters))
		}
	}
	if len(p.Override) <= len(voters)/2 {
		return fmt.Errorf("%w (voters: %s)", ErrOverride, names(voters))
	}
	return nil
}

func (p plan) voters() []Peer { return Voters(p.Peers) }

// founders returns the voters that must be there for a cluster to be founded.
func (p plan) founders() []Peer {
	if len(p.Override) == 0 {
		return p.voters()
	}
	return slices.DeleteFunc(slices.Clone(p.voters()), func(q Peer) bool { return !slices.Contains(p.Override, q.Name) })
}

// coordinator is the founder that mints the record.
func (p plan) coordinator() string { return p.founders()[0].Name }

func named(list []Peer, name string) bool {
	return slices.ContainsFunc(list, func(p Peer) bool { return p.Name == name })
}

func names(list []Peer) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.Name
	}
	return listing(words)
}

// differences tells in words how theirs, another node's plan, differs from ours.
func differences(ours, theirs plan) string {
	var words []string
	compare := func(what string, its, ours []string) {
		if !slices.Equal(its, ours) {
			words = append(words, fmt.Sprintf("its %s %s, ours %s", what, listing(its), listing(ours)))
		}
	}
	compare("voters are", describe(theirs.voters()), describe(ours.voters()))
	compare("learners are", describe(theirs.learners()), describe(ours.learners()))
	compare("override is", theirs.Override, ours.Override)
	return strings.Join(words, "; ")
}

func (p plan) learners() []Peer { return p.Peers[len(p.voters()):] }

func describe(list []Peer) []string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = fmt.Sprintf("%s (pid %d)", p.Name, p.PID)
	}
	return words
}

// listing joins words, the first few of many.
func listing(words []string) string {
	const most = 6
	switch {
	case len(words) == 0:
		return "none"
	case len(words) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}
