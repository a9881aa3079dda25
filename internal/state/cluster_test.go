package state

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/state/statepb"
)

// TestFound: what it is given is copied and put in order, and nonsense is refused.
func TestFound(t *testing.T) {
	given := cluster()
	given.Members[0], given.Members[2] = given.Members[2], given.Members[0]
	given.Retired = []uint64{12, 9}
	m, err := Found(given, 7, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := cluster()
	want.Retired = []uint64{9, 12}
	if !proto.Equal(m.Cluster(), want) || m.Index() != 7 || m.Term() != 3 || m.Revision() != 0 || m.Time() != 0 {
		t.Errorf("founded: %v, index %d, term %d", m.Cluster(), m.Index(), m.Term())
	}
	if given.Members[0].Name != "charlie" || given.Retired[0] != 12 {
		t.Error("what was given was changed")
	}
	for name, spoil := range map[string]func(c *statepb.Cluster){
		"no ID":             func(c *statepb.Cluster) { c.Id = "" },
		"future feature":    func(c *statepb.Cluster) { c.Feature = Feature + 1 },
		"member 0":          func(c *statepb.Cluster) { c.Members[0].RaftId = 0 },
		"member twice":      func(c *statepb.Cluster) { c.Members[0].RaftId = 2 },
		"name twice":        func(c *statepb.Cluster) { c.Members[0].Name = "bravo" },
		"no name":           func(c *statepb.Cluster) { c.Members[0].Name = "" },
		"name of no UTF-8":  func(c *statepb.Cluster) { c.Members[0].Name = "\xff" },
		"retired 0":         func(c *statepb.Cluster) { c.Retired = []uint64{0} },
		"retired twice":     func(c *statepb.Cluster) { c.Retired = []uint64{5, 5} },
		"retired member":    func(c *statepb.Cluster) { c.Retired = []uint64{2} },
		"silly limits":      func(c *statepb.Cluster) { c.Limits = &statepb.Limits{KeyBytes: 1 << 40} },
		"a huge peers list": func(c *statepb.Cluster) { c.Peers = make([]byte, maxPart/2) },
		"too many members": func(c *statepb.Cluster) {
			c.Members = nil
			for i := range uint64(maxMembers + 1) {
				c.Members = append(c.Members, &statepb.Member{RaftId: i + 1, Name: strings.Repeat("x", int(i)+1)})
			}
		},
	} {
		c := cluster()
		spoil(c)
		if _, err := Found(c, 1, 1); err == nil {
			t.Errorf("%s: founded", name)
		}
	}
	if _, err := Found(nil, 1, 1); err == nil {
		t.Error("nothing was founded")
	}
}

// TestAdmit binds a Raft ID to the first directory that it was seen with (S3).
func TestAdmit(t *testing.T) {
	f := newFeed(t)
	before := f.m.Cluster()
	f.ok(admit(1, "d1"))
	f.ok(admit(2, "d2"))
	f.ok(admit(2, "d2"))
	f.reborn()
	f.want(statepb.Result_OTHER_DIRECTORY, admit(2, "d3"))
	f.want(statepb.Result_OTHER_DIRECTORY, admit(1, "d2"))
	f.want(statepb.Result_NO_MEMBER, admit(9, "d"))
	f.want(statepb.Result_INVALID, admit(3, ""))
	if before.Members[1].Directory != "" || f.m.Cluster().Members[1].Directory != "d2" {
		t.Errorf("before %v, now %v", before.Members[1], f.m.Cluster().Members[1])
	}
}

// TestLimits: zeros are the defaults, nonsense is refused, and what is set is in force
// everywhere at once (S9).
func TestLimits(t *testing.T) {
	f := newFeed(t)
	for _, limit := range limits {
		if got := *limit.field(f.m.Limits()); got != limit.normal {
			t.Errorf("%s is %d by default, want %d", limit.name, got, limit.normal)
		}
	}
	for _, limit := range limits {
		for _, ok := range []uint64{limit.least, limit.most} {
			l := &statepb.Limits{MinTtlMs: 1, MaxTtlMs: maxTTL}
			*limit.field(l) = ok
			f.ok(setLimits(l))
			if got := *limit.field(f.m.Limits()); got != ok {
				t.Errorf("%s was set to %d and is %d", limit.name, ok, got)
			}
			f.reborn()
			if got := *limit.field(f.m.Limits()); got != ok {
				t.Errorf("%s was set to %d and is restored as %d", limit.name, ok, got)
			}
		}
		l := &statepb.Limits{}
		*limit.field(l) = limit.most + 1
		if r := f.want(statepb.Result_INVALID, setLimits(l)); !strings.Contains(r.Detail, limit.name) {
			t.Errorf("the answer does not name %s: %s", limit.name, r.Detail)
		}
		if limit.least > 1 {
			*limit.field(l) = limit.least - 1
			f.want(statepb.Result_INVALID, setLimits(l))
		}
	}
	f.want(statepb.Result_INVALID, setLimits(&statepb.Limits{MinTtlMs: 10, MaxTtlMs: 9}))
	f.ok(setLimits(nil))
	if f.m.Limits().KeyBytes != 1024 {
		t.Errorf("back to the defaults: %v", f.m.Limits())
	}
	if fields := (&statepb.Limits{}).ProtoReflect().Descriptor().Fields().Len(); fields != len(limits) {
		t.Errorf("there are %d limits, %d of them have a range", fields, len(limits))
	}
}

// TestRaiseFeature: only up, and never beyond what this release knows (see TestUnintelligible).
func TestRaiseFeature(t *testing.T) {
	c := cluster()
	c.Feature = 0
	m, err := Found(c, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{t: t, m: m, term: 1}
	f.proposer = f.register(1, 1).Revision
	f.ok(raiseFeature(Feature))
	f.ok(raiseFeature(0))
	if f.m.Cluster().Feature != Feature || f.m.Revision() != 1 {
		t.Errorf("feature %d, revision %d", f.m.Cluster().Feature, f.m.Revision())
	}
}

// TestEvents: each firing is a revision; the number of names is bounded.
func TestEvents(t *testing.T) {
	f := newFeed(t)
	f.ok(setLimits(&statepb.Limits{Events: 3, KeyBytes: 64}))
	first := f.ok(fireIf("a", 0)).Revision
	f.want(statepb.Result_CONDITION_FAILED, fireIf("a", first+1))
	f.want(statepb.Result_CONDITION_FAILED, fireIf("never", 1))
	second := f.ok(fireIf("a", first)).Revision
	if c := f.last.Changes; len(c) != 1 || c[0].Kind != statepb.Change_FIRE || c[0].Previous != first || c[0].Revision != second || c[0].Name != "a" {
		t.Errorf("changes: %+v", c)
	}
	f.want(statepb.Result_INVALID, fireIf("", 0))
	f.want(statepb.Result_TOO_LARGE, fireIf(strings.Repeat("x", 65), 0))
	f.ok(fireIf("b", 0))
	f.ok(fireIf("c", 0))
	f.reborn()
	f.ok(fireIf("a", 0))
	f.ok(fireIf("d", 0)) // b was fired longest ago
	size := f.m.Size()
	f.ok(fireIf("e", 0)) // c
	if f.m.Event("b") != 0 || f.m.Event("c") != 0 || f.m.Event("a") == 0 || f.m.Event("e") != f.m.Revision() || f.m.Size() != size {
		t.Errorf("a %d, b %d, c %d, e %d; size %d, was %d", f.m.Event("a"), f.m.Event("b"), f.m.Event("c"), f.m.Event("e"), f.m.Size(), size)
	}
}
