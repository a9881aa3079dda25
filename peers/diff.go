package peers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff is the difference between two lists of peers, by name: a peer that was
// renamed is one removed and one added. Each slice is sorted by PID, then by
// name, and belongs to whoever holds the Diff. The zero Diff is no difference.
type Diff struct {
	Added   []*Peer `json:"added,omitempty"`
	Removed []*Peer `json:"removed,omitempty"`
	Changed []Edit  `json:"changed,omitempty"` // sorted by the new PID
}

// Edit is the change of one peer.
type Edit struct {
	Name   string   `json:"name"`
	Fields []string `json:"fields"` // JSON keys of what changed, in the order of [Peer], then unknown keys by name
	Old    *Peer    `json:"old"`
	New    *Peer    `json:"new"`
}

// Diff returns how to get from p to next, in copies. Either list may be nil,
// which is the empty list. Of peers with the same name the first counts. Info,
// the keys beside it and the order of the list are not looked at.
func (p *Peers) Diff(next *Peers) Diff {
	var d Diff
	before, after := p.byName(), next.byName()
	for name, peer := range before {
		if after[name] == nil {
			d.Removed = append(d.Removed, peer.Clone())
		}
	}
	for name, peer := range after {
		old := before[name]
		if old == nil {
			d.Added = append(d.Added, peer.Clone())
		} else if fields := changedFields(old, peer); len(fields) > 0 {
			d.Changed = append(d.Changed, Edit{Name: name, Fields: fields, Old: old.Clone(), New: peer.Clone()})
		}
	}
	slices.SortFunc(d.Added, byPID)
	slices.SortFunc(d.Removed, byPID)
	slices.SortFunc(d.Changed, func(a, b Edit) int { return byPID(a.New, b.New) })
	return d
}

func (p *Peers) byName() map[string]*Peer {
	named := make(map[string]*Peer, len(p.entries()))
	for _, peer := range p.entries() {
		if peer != nil && named[peer.Name] == nil {
			named[peer.Name] = peer
		}
	}
	return named
}

// changedFields returns the JSON keys in which two peers differ.
func changedFields(a, b *Peer) []string {
	var fields []string
	for _, f := range []struct {
		key  string
		same bool
	}{
		{"pid", a.PID == b.PID},
		{"name", a.Name == b.Name},
		{"description", a.Description == b.Description},
		{"hostname", a.Hostname == b.Hostname},
		{"ip_address", a.IPAddr == b.IPAddr},
		{"domain", a.Domain == b.Domain},
		{"port", a.Port == b.Port},
		{"aws_instance", maps.Equal(a.AWSInstance, b.AWSInstance)},
		{"control_port", a.ControlPort == b.ControlPort},
	} {
		if !f.same {
			fields = append(fields, f.key)
		}
	}
	return append(fields, changedMembers(a.extra, b.extra)...)
}

func changedMembers(a, b []member) []string {
	if len(a) == 0 && len(b) == 0 {
		return nil
	}
	before := make(map[string]json.RawMessage, len(a))
	for _, m := range a {
		before[m.key] = m.value
	}
	var keys []string
	for _, m := range b {
		old, had := before[m.key]
		if !had || !sameJSON(old, m.value) {
			keys = append(keys, m.key)
		}
		delete(before, m.key)
	}
	keys = slices.AppendSeq(keys, maps.Keys(before))
	slices.Sort(keys)
	return keys
}

// sameJSON reports whether two values differ in blanks at most.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// Empty reports whether there is no difference.
func (d Diff) Empty() bool { return len(d.Added)+len(d.Removed)+len(d.Changed) == 0 }

// String returns the difference for people, one peer a line: + added, - removed,
// ~ changed with the old and the new values. It is empty if there is none.
func (d Diff) String() string {
	var lines []string
	for _, p := range d.Added {
		lines = append(lines, fmt.Sprintf("+ %s (pid %d) %s", p.Name, p.PID, p.Endpoint(false)))
	}
	for _, p := range d.Removed {
		lines = append(lines, fmt.Sprintf("- %s (pid %d) %s", p.Name, p.PID, p.Endpoint(false)))
	}
	for _, e := range d.Changed {
		var values []string
		for _, key := range e.Fields {
			values = append(values, fmt.Sprintf("%s %s → %s", key, e.Old.show(key), e.New.show(key)))
		}
		lines = append(lines, fmt.Sprintf("~ %s (pid %d) %s", e.Name, cmp.Or(e.New, e.Old).pid(), strings.Join(values, ", ")))
	}
	return strings.Join(lines, "\n")
}

func (p *Peer) pid() uint32 {
	if p == nil {
		return 0
	}
	return p.PID
}

// show returns the value of a JSON key, "-" if the peer has none.
func (p *Peer) show(key string) string {
	if p == nil {
		return "-"
	}
	var value any = json.RawMessage("null")
	if field := p.field(key); field != nil {
		value = field
	} else if i := slices.IndexFunc(p.extra, func(m member) bool { return m.key == key }); i >= 0 {
		value = p.extra[i].value
	}
	text, err := marshal(value)
	if err != nil || string(text) == `""` || string(text) == "null" {
		return "-"
	}
	return strings.Trim(string(text), `"`)
}
