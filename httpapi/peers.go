package httpapi

import (
	"encoding/json"
	"maps"
	"net/url"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/peers"
)

// Peers is the answer to GET /peers: the list of peers in force, as peers.json
// has it, and where it came from. In JSON the fields of the list stand beside
// the others: {"path": …, "info": {…}, "replicas": […]}.
type Peers struct {
	// Path is the file the list was read from; "" when there is none. Loaded
	// is when, Error why the newest content of the file is not in force.
	Path   string
	Loaded time.Time
	Error  string
	// Sync tells of the server that the list comes from; nil when there is none.
	Sync *Sync
	// List is the list itself.
	List *peers.Peers
}

// Sync tells of the server that the list of peers is fetched from. The meaning
// of its fields is that of [peers.SyncState].
type Sync struct {
	// URL is its address, without anything that may be secret.
	URL string `json:"url"`
	// Path is where the last good list is kept, Peers how long the list is.
	Path  string `json:"path,omitempty"`
	Peers int    `json:"peers"`
	// AgeS is the age of the list in seconds.
	AgeS        float64   `json:"age_s"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	// Failures counts the attempts since the last success.
	Failures  int    `json:"failures"`
	LastError string `json:"last_error,omitempty"`
	SaveError string `json:"save_error,omitempty"`
}

// peersHead is the part of [Peers] that is not the list.
type peersHead struct {
	Path   string    `json:"path"`
	Loaded time.Time `json:"loaded,omitzero"`
	Error  string    `json:"error,omitempty"`
	Sync   *Sync     `json:"sync,omitempty"`
}

// headNames are the names of peersHead in JSON.
var headNames = []string{"path", "loaded", "error", "sync"}

// MarshalJSON encodes p as one flat object. What the list says under a name of
// p's own is left out.
func (p Peers) MarshalJSON() ([]byte, error) {
	all := map[string]json.RawMessage{"info": []byte("{}"), "replicas": []byte("[]")}
	list, head := make(map[string]json.RawMessage), make(map[string]json.RawMessage)
	if err := remarshal(p.List, &list); err != nil {
		return nil, err
	}
	for _, name := range headNames {
		delete(list, name)
	}
	maps.DeleteFunc(list, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	if err := remarshal(peersHead{p.Path, p.Loaded, p.Error, p.Sync}, &head); err != nil {
		return nil, err
	}
	maps.Copy(all, list)
	maps.Copy(all, head)
	return json.Marshal(all)
}

// UnmarshalJSON decodes what [Peers.MarshalJSON] wrote.
func (p *Peers) UnmarshalJSON(data []byte) error {
	var head peersHead
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	for _, name := range headNames {
		delete(all, name)
	}
	list := new(peers.Peers)
	if err := remarshal(all, list); err != nil {
		return err
	}
	*p = Peers{head.Path, head.Loaded, head.Error, head.Sync, list}
	return nil
}

// remarshal stores in dst what JSON makes of src.
func remarshal(src, dst any) error {
	data, err := json.Marshal(src)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, dst)
}

func newPeers(s kith.Status, list *peers.Peers) Peers {
	return Peers{Path: s.PeersPath, Loaded: s.PeersLoaded, Error: s.PeersError, Sync: newSync(s.Sync), List: list}
}

func newSync(s *peers.SyncState) *Sync {
	if s == nil {
		return nil
	}
	return &Sync{
		URL: s.URL, Path: s.Path, Peers: s.Peers,
		AgeS:        seconds(s.Age),
		LastAttempt: s.LastAttempt, LastSuccess: s.LastSuccess,
		Failures: s.Failures, LastError: s.LastError, SaveError: s.SaveError,
	}
}

// redact returns address without the parts in which keys are handed around: the
// user and the values of the query.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(an address that cannot be read)"
	}
	u.User = nil
	if query := u.Query(); len(query) > 0 {
		for name := range query {
			query[name] = []string{"redacted"}
		}
		u.RawQuery = query.Encode()
	}
	return u.String()
}
