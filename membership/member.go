package membership

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Status is what gossip says of a member. The zero Status is invalid; it
// stands for "never seen" where a Member is absent.
type Status uint8

const (
	// StatusAlive: the member answers probes, its own or somebody's indirect ones.
	StatusAlive Status = iota + 1
	// StatusLeaving: the member said that it is about to leave, and still answers.
	StatusLeaving
	// StatusLeft: the member left on purpose.
	StatusLeft
	// StatusFailed: the member stopped answering and did not refute the
	// suspicion in time. It may be dead, paused or cut off.
	StatusFailed
)

var statusNames = [...]string{"none", "alive", "leaving", "left", "failed"}

// String returns the lower-case word for s, such as "alive".
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "status(" + strconv.Itoa(int(s)) + ")"
}

// MarshalText encodes s as its word.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText decodes a word that [Status.MarshalText] wrote.
func (s *Status) UnmarshalText(text []byte) error {
	i := slices.Index(statusNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("membership: unknown status %q", text)
	}
	*s = Status(i)
	return nil
}

// Incarnation tells one start of a node from the next one of the same name. It
// is drawn at start from the wall clock (microseconds since 1970) and twelve
// random bits, so that two starts differ even in the same microsecond. Later
// starts have larger values as long as the node's clock is not set back;
// nothing safe may rest on that, only on equality.
//
// Zero means unknown.
type Incarnation uint64

// NewIncarnation draws the incarnation of a start at time now; random supplies
// the low twelve bits.
func NewIncarnation(now time.Time, random uint64) Incarnation {
	return Incarnation(uint64(now.UnixMicro())<<12 | random&0xfff)
}

// Started returns the wall-clock time, on the starting node's clock, at which
// the incarnation was drawn, or the zero time for the zero Incarnation.
func (i Incarnation) Started() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(i >> 12))
}

// String returns sixteen hexadecimal digits.
func (i Incarnation) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// MarshalText encodes i as [Incarnation.String] does.
func (i Incarnation) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText decodes up to sixteen hexadecimal digits.
func (i *Incarnation) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("membership: incarnation %q is not a hexadecimal number", text)
	}
	*i = Incarnation(v)
	return nil
}

// Member is what this node knows of one node by gossip, itself included. It is
// a value: nothing in it is shared with the engine, and the receiver owns Tags.
type Member struct {
	// Name is unique among live members. PID is the precedence that the
	// member claims, as in its peers file; 0 when it claims none.
	Name string
	PID  uint32
	// Addr is the control address that the member advertises.
	Addr netip.AddrPort
	// Status is the cluster's word, Since the moment this node learnt it, on
	// this node's clock.
	Status Status
	Since  time.Time
	// Incarnation changes with every start of the member.
	Incarnation Incarnation
	// Version is the release of kith that the member runs, "" if unknown.
	Version string
	// Tags are the member's own labels; nil when it has none.
	Tags map[string]string
	// RTT estimates the round trip from here, from network coordinates
	// (Vivaldi, as in serf); 0 while there is no estimate.
	RTT time.Duration
	// Unreachable is this node's own experience, apart from Status: its latest
	// attempt to reach the member failed, whatever others say. Reason tells
	// how. A member that is alive and unreachable is cut off from here alone,
	// or not yet noticed to be dead.
	Unreachable bool
	Reason      string
	// Local marks this node itself.
	Local bool
}

// clone returns a copy of m that shares nothing with it.
func (m Member) clone() Member {
	m.Tags = maps.Clone(m.Tags)
	return m
}

// Compare orders members by PID, then by name; members without a PID come
// last. It suits slices.SortFunc.
func Compare(a, b Member) int {
	// PID-1 wraps 0 to the largest value, which puts "no PID" last.
	return cmp.Or(cmp.Compare(a.PID-1, b.PID-1), cmp.Compare(a.Name, b.Name))
}

// ChangeKind says what happened to a member.
type ChangeKind uint8

const (
	// Joined: a name not known before is alive.
	Joined ChangeKind = iota + 1
	// Returned: a member that had left or failed is alive again.
	Returned
	// Restarted: a member that was alive is alive in another incarnation; its
	// end was never noticed.
	Restarted
	// Updated: its tags, precedence, version or address changed.
	Updated
	// Leaving: it announced that it is about to leave.
	Leaving
	// Left: it left on purpose.
	Left
	// Failed: it stopped answering.
	Failed
	// Unreachable: this node's own attempt to reach it failed; see Member.Unreachable.
	Unreachable
	// Reachable: this node reaches it again.
	Reachable
	// Forgotten: a member that left or failed hours ago was dropped from the
	// view. Also all others when this node moves to another address or name and
	// begins to observe anew; those that are there are then told as Joined.
	Forgotten
)

var changeNames = [...]string{"none", "joined", "returned", "restarted", "updated",
	"leaving", "left", "failed", "unreachable", "reachable", "forgotten"}

// String returns the lower-case word for k, such as "joined".
func (k ChangeKind) String() string {
	if int(k) < len(changeNames) {
		return changeNames[k]
	}
	return "change(" + strconv.Itoa(int(k)) + ")"
}

// MarshalText encodes k as its word.
func (k ChangeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText decodes a word that [ChangeKind.MarshalText] wrote.
func (k *ChangeKind) UnmarshalText(text []byte) error {
	i := slices.Index(changeNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("membership: unknown change %q", text)
	}
	*k = ChangeKind(i)
	return nil
}

// Change is one event in the life of a member.
type Change struct {
	Kind ChangeKind
	// Member is the member after the change, Previous before it; Previous is
	// zero for one not known before.
	Member, Previous Member
}

// View is the whole membership at one moment and how it came about.
type View struct {
	// Members are all known members, this node included, sorted by [Compare].
	Members []Member
	// Changes lead from the view before to this one, in the order in which
	// this node saw them. The first view of a stream has none: who is in it
	// already is not told as Joined.
	Changes []Change
	// Skipped counts changes older than Changes that a slow reader missed.
	// Members is whole all the same.
	Skipped int
}

// String tells the members and their status on one line, such as
// "alpha alive, bravo alive (unreachable), charlie failed".
func (v View) String() string {
	var b strings.Builder
	for i, m := range v.Members {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(m.Name + " " + m.Status.String())
		if m.Unreachable {
			b.WriteString(" (unreachable)")
		}
	}
	return b.String()
}

// Find returns the member called name.
func (v View) Find(name string) (Member, bool) { return find(v.Members, name) }

func find(members []Member, name string) (Member, bool) {
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return members[i], true
}
