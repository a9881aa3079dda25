package httpapi

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// StatusAbsent is the [NodeInfo.Status] of a peer of the list that this node has
// never seen. The other statuses are the words of [membership.Status].
const StatusAbsent = "absent"

// What happens to the list of peers, as [NodeChange.Kind]. The other kinds are
// the words of [membership.ChangeKind].
const (
	ListAdded   = "added"
	ListRemoved = "removed"
	ListChanged = "changed"
)

// Millis is a duration that JSON knows as a number of milliseconds.
type Millis time.Duration

// MarshalJSON encodes m as milliseconds, with microseconds behind the point.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(m).Microseconds()) / 1000)
}

// UnmarshalJSON decodes a number of milliseconds.
func (m *Millis) UnmarshalJSON(data []byte) error {
	var ms float64
	if err := json.Unmarshal(data, &ms); err != nil {
		return err
	}
	*m = Millis(ms * float64(time.Millisecond))
	return nil
}

// seconds returns d in seconds, to the millisecond; [time.Duration.Seconds] would
// add to what is shown the error of a sum.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// Nodes is the answer to GET /nodes: the peers of the list merged with the
// members that gossip knows.
type Nodes struct {
	// Cluster is the label of the cluster, Self the name of the node that answers.
	Cluster string `json:"cluster"`
	Self    string `json:"self"`
	// PeersError is why the newest content of the peers file is not in force, ""
	// if it is; the last good list stays.
	PeersError string `json:"peers_error,omitempty"`
	// Nodes are sorted by PID, those without one last, then by name.
	Nodes []NodeInfo `json:"nodes"`
}

// NodeInfo is one node of the cluster: known by gossip, named in the list of peers,
// or both.
type NodeInfo struct {
	// PID is what the node itself claims once it was seen, else what the list says.
	PID  uint32 `json:"pid"`
	Name string `json:"name"`
	// Address is the control address, host:port.
	Address string `json:"address"`
	// Status is alive, leaving, left, failed or absent.
	Status string `json:"status"`
	Self   bool   `json:"self"`
	// InPeersFile tells whether the list of peers names the node. FilePID and
	// FileAddress are what it says there where the node says otherwise.
	InPeersFile bool   `json:"in_peers_file"`
	FilePID     uint32 `json:"file_pid,omitempty"`
	FileAddress string `json:"file_address,omitempty"`
	// Incarnation tells one start of the node from the next.
	Incarnation membership.Incarnation `json:"incarnation,omitzero"`
	// Version is the release of kith that the node runs.
	Version string `json:"version,omitempty"`
	// RTT estimates the round trip from the answering node; 0 and absent from
	// the JSON while there is no estimate.
	RTT Millis `json:"rtt_ms,omitzero"`
	// Unreachable is the answering node's own experience, whatever Status
	// says; Reason tells how its last attempt failed.
	Unreachable bool   `json:"unreachable"`
	Reason      string `json:"reason,omitempty"`
	// Since is when the answering node learnt Status.
	Since time.Time         `json:"since,omitzero"`
	Tags  map[string]string `json:"tags,omitempty"`
}

// Missing reports whether somebody should look after n: the list names it and it
// is not alive. What the list does not name may end as it likes.
func (n NodeInfo) Missing() bool {
	return n.InPeersFile && n.Status != membership.StatusAlive.String()
}

// NodesEvent is one event of the stream of /nodes.
type NodesEvent struct {
	// Nodes is the whole state after the changes.
	Nodes
	// Changes led here from the event before, oldest first; empty in the first
	// event, and in one that tells of another PeersError only. Skipped counts earlier ones that a slow reader missed.
	Changes []NodeChange `json:"changes"`
	Skipped int          `json:"skipped,omitempty"`
}

// NodeChange is one thing that happened to a node.
type NodeChange struct {
	// Kind is a word of [membership.ChangeKind], such as "joined" or "failed",
	// or one of [ListAdded], [ListRemoved] and [ListChanged].
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Time is when the stream saw the change, by the clock of the answering node.
	Time time.Time `json:"time"`
	// PID, Address, Status and Since are the node's after the change, Previous
	// its status before it.
	PID      uint32    `json:"pid,omitempty"`
	Address  string    `json:"address,omitempty"`
	Status   string    `json:"status,omitempty"`
	Previous string    `json:"previous,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	// Fields are the fields that a "changed" peer changed.
	Fields []string `json:"fields,omitempty"`
}

// Missing is a peer of the list that is not alive.
type Missing struct {
	Name      string    `json:"name"`
	PID       uint32    `json:"pid"`
	Address   string    `json:"address"`
	LastError string    `json:"last_error,omitempty"`
	Attempts  int       `json:"attempts"`
	LastTry   time.Time `json:"last_try,omitzero"`
	NextTry   time.Time `json:"next_try,omitzero"`
}

// Status is the answer to GET /status. The meaning of its fields is that of
// [kith.Status].
type Status struct {
	Healthy     bool                   `json:"healthy"`
	Problems    []string               `json:"problems"`
	Name        string                 `json:"name"`
	PID         uint32                 `json:"pid"`
	Cluster     string                 `json:"cluster"`
	Version     string                 `json:"version"`
	Incarnation membership.Incarnation `json:"incarnation"`
	Started     time.Time              `json:"started"`
	UptimeS     float64                `json:"uptime_s"`
	ControlAddr netip.AddrPort         `json:"control_address"`
	Dir         string                 `json:"dir"`
	Encrypted   bool                   `json:"encrypted"`
	PeersPath   string                 `json:"peers_path"`
	PeersLoaded time.Time              `json:"peers_loaded,omitzero"`
	PeersError  string                 `json:"peers_error,omitempty"`
	Sync        *Sync                  `json:"sync,omitempty"`
	Alive       int                    `json:"alive"`
	Leaving     int                    `json:"leaving"`
	Left        int                    `json:"left"`
	Failed      int                    `json:"failed"`
	Unreachable int                    `json:"unreachable"`
	Missing     []Missing              `json:"missing"`
	Agreement   *Agreement             `json:"agreement,omitempty"`
}

// orEmpty makes a nil slice an empty one, so that JSON says [] and not null.
func orEmpty[S ~[]E, E any](s S) S {
	if s == nil {
		return S{}
	}
	return s
}

func newStatus(s kith.Status, now time.Time) Status {
	missing := make([]Missing, 0, len(s.Missing))
	for _, m := range s.Missing {
		missing = append(missing, Missing{
			Name: m.Name, PID: m.PID, Address: m.Addr, LastError: m.LastError,
			Attempts: m.Attempts, LastTry: m.LastTry, NextTry: m.NextTry,
		})
	}
	return Status{
		Healthy: s.Healthy(), Problems: orEmpty(s.Problems),
		Name: s.Name, PID: s.PID, Cluster: s.Cluster, Version: s.Version,
		Incarnation: s.Incarnation, Started: s.Started,
		UptimeS:     seconds(now.Sub(s.Started)),
		ControlAddr: s.ControlAddr, Dir: s.Dir, Encrypted: s.Encrypted,
		PeersPath: s.PeersPath, PeersLoaded: s.PeersLoaded, PeersError: s.PeersError,
		Sync:  newSync(s.Sync),
		Alive: s.Alive, Leaving: s.Leaving, Left: s.Left, Failed: s.Failed,
		Unreachable: s.Unreachable, Missing: missing,
		Agreement: newAgreement(s.Agreement),
	}
}

// mergeNodes joins what should be (list) with what is (members).
func mergeNodes(s kith.Status, list *peers.Peers, members []membership.Member) Nodes {
	wanted := make(map[string]*peers.Peer)
	if list != nil {
		for _, p := range list.Peers {
			if p == nil {
				continue
			}
			if _, twice := wanted[p.Name]; !twice { // the first wins, as in peers.Get
				wanted[p.Name] = p
			}
		}
	}
	nodes := make([]NodeInfo, 0, len(wanted)+len(members))
	for _, m := range members {
		nodes = append(nodes, newNode(m, wanted[m.Name]))
		delete(wanted, m.Name)
	}
	for _, p := range wanted {
		nodes = append(nodes, NodeInfo{
			PID: p.PID, Name: p.Name, Address: p.ControlEndpoint(),
			Status: StatusAbsent, InPeersFile: true,
		})
	}
	slices.SortFunc(nodes, func(a, b NodeInfo) int {
		// PID-1 wraps 0 to the largest value, which puts "no PID" last.
		return cmp.Or(cmp.Compare(a.PID-1, b.PID-1), cmp.Compare(a.Name, b.Name))
	})
	return Nodes{Cluster: s.Cluster, Self: s.Name, PeersError: s.PeersError, Nodes: nodes}
}

// newNode describes member m, which the list names as p, or not if p is nil.
func newNode(m membership.Member, p *peers.Peer) NodeInfo {
	n := NodeInfo{
		PID: m.PID, Name: m.Name, Address: addressOf(m), Status: m.Status.String(),
		Self: m.Local, Incarnation: m.Incarnation, Version: m.Version, RTT: Millis(m.RTT),
		Unreachable: m.Unreachable, Reason: m.Reason, Since: m.Since, Tags: m.Tags,
	}
	if p == nil {
		return n
	}
	n.InPeersFile = true
	switch {
	case n.PID == 0:
		n.PID = p.PID
	case n.PID != p.PID:
		n.FilePID = p.PID
	}
	// Host names are left alone: only a resolver could tell whether they differ.
	if listed, err := netip.ParseAddrPort(p.ControlEndpoint()); err == nil && m.Addr.IsValid() && listed != m.Addr {
		n.FileAddress = listed.String()
	}
	return n
}

func addressOf(m membership.Member) string {
	if !m.Addr.IsValid() {
		return ""
	}
	return m.Addr.String()
}

func newChange(c membership.Change, now time.Time) NodeChange {
	n := NodeChange{
		Kind: c.Kind.String(), Name: c.Member.Name, Time: now, PID: c.Member.PID,
		Address: addressOf(c.Member), Status: c.Member.Status.String(),
		Since: c.Member.Since, Reason: c.Member.Reason,
	}
	if c.Previous.Status != 0 {
		n.Previous = c.Previous.Status.String()
	}
	return n
}

// problem is the body of every error reply. Reason and Outcome come with those
// about what is agreed, Holder with the refusal of a lock that others hold.
type problem struct {
	Error   string `json:"error"`
	Reason  string `json:"reason,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Code    string `json:"code,omitempty"` // of a handler's error
	Holder  *Place `json:"holder,omitempty"`
}

// ending is the data of the last event of a stream.
type ending struct {
	Reason string `json:"reason"`
}

// index is the answer to GET /.
type index struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Cluster string  `json:"cluster"`
	Routes  []route `json:"routes"`
}
