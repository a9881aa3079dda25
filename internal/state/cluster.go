package state

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Found returns the first state of a cluster, as of the founding snapshot at index and
// term (S1). c is copied. An error says what is wrong with c.
func Found(c *statepb.Cluster, index, term uint64) (*Machine, error) {
	if c.GetId() == "" {
		return nil, errors.New("state: a cluster without an ID")
	}
	founded := proto.CloneOf(c)
	slices.SortFunc(founded.Members, func(a, b *statepb.Member) int { return cmp.Compare(a.GetRaftId(), b.GetRaftId()) })
	slices.Sort(founded.Retired)
	m := New()
	m.index, m.term = index, term
	if err := m.setCluster(founded); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return m, nil
}

// setCluster checks c, which must be in order, and puts it in force.
func (m *Machine) setCluster(c *statepb.Cluster) error {
	if c.Feature > Feature {
		return fmt.Errorf("feature level %d: this release knows %d", c.Feature, Feature)
	}
	if size := c.SizeVT(); size > maxPart/2 {
		return fmt.Errorf("its facts have %d bytes: at most %d", size, maxPart/2)
	}
	limits, err := effective(c.Limits)
	if err != nil {
		return err
	}
	if err := checkMembers(c); err != nil {
		return err
	}
	m.cluster, m.limits = c, limits
	return nil
}

func checkMembers(c *statepb.Cluster) error {
	if len(c.Members) > maxMembers {
		return fmt.Errorf("%d members: at most %d", len(c.Members), maxMembers)
	}
	names := make(map[string]bool, len(c.Members))
	var before uint64
	for _, member := range c.Members {
		switch {
		case member.RaftId <= before:
			return fmt.Errorf("members: %d is there twice, or is 0 or out of order", member.RaftId)
		case nameError(member.Name) != nil:
			return fmt.Errorf("member %d: name: %w", member.RaftId, nameError(member.Name))
		case names[member.Name]:
			return fmt.Errorf("two members are named %q", member.Name)
		}
		before, names[member.Name] = member.RaftId, true
	}
	before = 0
	for _, id := range c.Retired {
		if id <= before {
			return fmt.Errorf("retired: %d is there twice, or is 0 or out of order", id)
		}
		if find(c, id) >= 0 {
			return fmt.Errorf("member %d is retired", id)
		}
		before = id
	}
	return nil
}

// find returns the index of the member in c, -1 if it is not one.
func find(c *statepb.Cluster, raftID uint64) int {
	i, ok := slices.BinarySearchFunc(c.Members, raftID, func(m *statepb.Member, id uint64) int {
		return cmp.Compare(m.RaftId, id)
	})
	if !ok {
		return -1
	}
	return i
}

// member returns the member with the Raft ID, nil if there is none.
func (m *Machine) member(raftID uint64) *statepb.Member {
	if i := find(m.cluster, raftID); i >= 0 {
		return m.cluster.Members[i]
	}
	return nil
}

// admit binds a member to the directory that it was first seen with (S3).
func (m *Machine) admit(a *statepb.Admit) *statepb.Result {
	if refused := m.checkName("directory", a.Directory); refused != nil {
		return refused
	}
	i := find(m.cluster, a.Member)
	if i < 0 {
		return m.refuse(statepb.Result_NO_MEMBER, "member %d", a.Member)
	}
	switch m.cluster.Members[i].Directory {
	case a.Directory:
		return m.unchanged()
	case "":
		m.amend(func(c *statepb.Cluster) { c.Members[i].Directory = strings.Clone(a.Directory) })
		m.advance()
		return m.done()
	}
	return m.refuse(statepb.Result_OTHER_DIRECTORY, "member %d was seen with another state directory first", a.Member)
}

// amend replaces the cluster's facts by a changed copy.
func (m *Machine) amend(change func(*statepb.Cluster)) {
	c := proto.CloneOf(m.cluster)
	change(c)
	m.cluster = c
}

func (m *Machine) setLimits(s *statepb.SetLimits) *statepb.Result {
	limits, err := effective(s.Limits)
	if err != nil {
		return m.refuse(statepb.Result_INVALID, "%v", err)
	}
	if proto.Equal(s.Limits, m.cluster.Limits) {
		return m.unchanged()
	}
	m.limits = limits
	m.amend(func(c *statepb.Cluster) { c.Limits = s.Limits })
	m.advance()
	return m.done() // which forgets what is beyond the new limits of history
}

// raiseFeature raises the feature level (S9). A level beyond this release's is not
// even decoded; one that is in force already is no change.
func (m *Machine) raiseFeature(r *statepb.RaiseFeature) *statepb.Result {
	if r.Level <= m.cluster.Feature {
		return m.unchanged()
	}
	m.amend(func(c *statepb.Cluster) { c.Feature = r.Level })
	m.advance()
	return m.done()
}
