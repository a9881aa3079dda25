package queue

import (
	"cmp"
	"slices"

	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Home tells whose a session is: the name of the node, and of the remote client that
// the node speaks for, "" for the node itself. Both are "" for a session that is over.
func Home(m *state.Machine, session uint64) (node, client string) {
	s, ok := m.Session(session)
	if !ok {
		return "", ""
	}
	members := m.Cluster().GetMembers() // by Raft ID
	i, ok := slices.BinarySearchFunc(members, s.Member, func(m *statepb.Member, id uint64) int {
		return cmp.Compare(m.GetRaftId(), id)
	})
	if ok {
		node = members[i].GetName()
	}
	return node, s.Client
}
