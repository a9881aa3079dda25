package state

import (
	"strings"

	"github.com/kith-go/kith/internal/state/statepb"
)

// fire sets an event's revision. Nobody deletes events, so their number is bounded by
// forgetting the one that was fired longest ago.
func (m *Machine) fire(f *statepb.Fire) *statepb.Result {
	if refused := m.checkName("event", f.Name); refused != nil {
		return refused
	}
	previous, ok := m.events.Get(f.Name)
	if f.IfRevision != 0 && f.IfRevision != previous {
		return m.refuse(statepb.Result_CONDITION_FAILED, "the event is at revision %d", previous)
	}
	name := f.Name
	if ok {
		name, _ = m.firings.Delete(previous)
	} else {
		if refused := m.noRoom(eventSize(name)); refused != nil {
			return refused
		}
		name = strings.Clone(name)
		m.size += eventSize(name)
	}
	revision := m.advance()
	m.setEvent(name, revision)
	for uint64(m.events.Len()) > m.limits.Events {
		_, oldest, _ := m.firings.PopMin()
		m.events.Delete(oldest)
		m.size -= eventSize(oldest)
	}
	m.note(Change{Revision: revision, Kind: statepb.Change_FIRE, Name: name, Previous: previous})
	return m.done()
}

func (m *Machine) setEvent(name string, revision uint64) {
	m.events.Set(name, revision)
	m.firings.Set(revision, name)
}

func eventSize(name string) int64 { return int64(len(name)) + eventCharge }
