package peers

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// ErrNotFound is matched by the errors of [Peers.Get], [Peers.Localhost],
// [Peers.Remove] and [Peers.Update] when the list has no such peer.
var ErrNotFound = errors.New("no peer of this name")

// Peers is a collection of network hosts or processes that can be communicated
// with, along with associated metadata. It is the primary interaction with
// files on disk and exposes methods that select relevant hosts and addresses.
//
// The zero Peers is an empty list, ready for use. The fields may be changed
// freely; the methods that only read accept a nil Peers and skip nil entries.
// JSON keys that are not listed here are kept from UnmarshalJSON to
// MarshalJSON.
type Peers struct {
	Info  map[string]interface{} `json:"info"`     // metadata associated with the collection
	Peers []*Peer                `json:"replicas"` // the network peers (also called replicas)

	path   string          // the path that was successfully loaded
	info   json.RawMessage // Info as it was read, for the numbers in it; never changed in place
	extra  []member        // unknown keys, in the order read; never changed in place
	origin *origin         // where the list was read; never changed
}

// Load is the primary entry point for the peers package. It loads the first
// peers.json file that can be loaded from the places in the package
// documentation, $PEERS_PATH first, and ignores the rest. If there is none it
// simply returns an empty collection rather than an error; nothing of a file
// that cannot be loaded is left in it. See [Find] for a look-up with errors.
func Load() *Peers {
	list := new(Peers)
	for _, path := range lookupPaths() {
		if list.Load(path) == nil {
			break
		}
	}
	return list
}

// LoadFrom loads the peers from the given file, as [Peers.Load] does. The
// collection is never nil; with an error it is empty.
func LoadFrom(path string) (*Peers, error) {
	list := new(Peers)
	err := list.Load(path)
	return list, err
}

// Load replaces the collection by the content of a JSON file on disk and
// remembers the path for [Peers.Dump] and [Peers.Source]. If it fails the
// collection stays as it was.
//
// A content that is no list of peers is an [*InvalidError] with the line and
// column of each fault; a file above [MaxFileSize] is [ErrTooLarge], and is not
// read. A file that cannot be read is the [*fs.PathError] of the system, as it is.
// Whether the list makes sense is not looked at; see [Peers.Validate].
func (p *Peers) Load(path string) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	list, err := decodePeers(data, path)
	if err != nil {
		return err
	}
	*p = *list
	return nil
}

// Source returns the path of the file that the list was loaded from, empty if
// it was not loaded from a file.
func (p *Peers) Source() string {
	if p == nil {
		return ""
	}
	return p.path
}

// Get a specific peer by name (which should be unique; the first wins). The
// name is matched exactly. The peer is the one in the list, not a copy. If the
// named peer is not found, then an error is returned that matches
// [ErrNotFound].
func (p *Peers) Get(hostname string) (*Peer, error) {
	if i := p.index(hostname); i >= 0 {
		return p.Peers[i], nil
	}
	return nil, &lookupError{fmt.Sprintf("could not find a peer named '%s'", hostname)}
}

// lookupError is a failed look-up. Programs match its exact text, so it can
// carry neither a prefix nor the text of the sentinel that it matches.
type lookupError struct{ text string }

func (e *lookupError) Error() string        { return e.text }
func (e *lookupError) Is(target error) bool { return target == ErrNotFound }

// index returns the position of the first peer of that name, -1 if none.
func (p *Peers) index(name string) int {
	return slices.IndexFunc(p.entries(), func(peer *Peer) bool { return peer != nil && peer.Name == name })
}

// entries returns the peers of a list that may be nil.
func (p *Peers) entries() []*Peer {
	if p == nil {
		return nil
	}
	return p.Peers
}

// Local returns the peers that are local to the specified host by comparing the
// peer's host name with hostname, in the way of [Peer.IsLocal]. If hostname is
// empty, then the host name of the system is used. The slice is the caller's,
// the peers are those in the list, in its order; the slice is empty, never nil,
// if there are none.
func (p *Peers) Local(hostname string) []*Peer {
	if hostname == "" {
		// Without a host name nothing is local, which is what the empty name finds.
		hostname, _ = os.Hostname()
	}
	local := make([]*Peer, 0)
	for _, peer := range p.entries() {
		if peer.isOn(hostname) {
			local = append(local, peer)
		}
	}
	return local
}

// Localhost returns the peer that is defined by the current localhost: the
// first of [Peers.Local], or the first of them with the precedence ID pid if
// that is not 0. The peer is the one in the list, not a copy. If no peer
// matches then an error is returned that matches [ErrNotFound].
func (p *Peers) Localhost(hostname string, pid uint32) (*Peer, error) {
	for _, peer := range p.Local(hostname) {
		if pid == 0 || peer.PID == pid {
			return peer, nil
		}
	}
	return nil, &lookupError{"could not find a matching localhost"}
}

// Sorted returns deep copies of the peers, sorted by PID, then by name.
func (p *Peers) Sorted() []*Peer {
	sorted := make([]*Peer, 0, len(p.entries()))
	for _, peer := range p.entries() {
		if peer != nil {
			sorted = append(sorted, peer.Clone())
		}
	}
	slices.SortStableFunc(sorted, byPID)
	return sorted
}

func byPID(a, b *Peer) int {
	return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Name, b.Name))
}

// Clone returns a deep copy of the list, nil for nil. Values in Info that do
// not come from JSON, such as pointers, are shared.
func (p *Peers) Clone() *Peers {
	if p == nil {
		return nil
	}
	clone := *p
	if p.Info != nil {
		clone.Info = cloneJSON(p.Info).(map[string]any)
	}
	if p.Peers != nil {
		clone.Peers = make([]*Peer, len(p.Peers))
		for i, peer := range p.Peers {
			clone.Peers[i] = peer.Clone()
		}
	}
	return &clone
}

// cloneJSON copies the containers that encoding/json makes.
func cloneJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		clone := make(map[string]any, len(v))
		for key, value := range v {
			clone[key] = cloneJSON(value)
		}
		return clone
	case []any:
		if v == nil {
			return v
		}
		clone := make([]any, len(v))
		for i, value := range v {
			clone[i] = cloneJSON(value)
		}
		return clone
	default:
		return v
	}
}
