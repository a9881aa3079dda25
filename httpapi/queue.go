package httpapi

import (
	"slices"

	"github.com/kith-go/kith/kv"
)

// Queue is a lock or a group with all who are in it: the answer to GET /locks/{key} and
// /groups/{group} with explain=true, and what their event streams tell.
type Queue struct {
	Name string `json:"name"`
	// Limit is how many hold, 0 for all, as in groups without a limit; and while nobody
	// is in the queue.
	Limit int `json:"limit"`
	// Revision is that of the last change of the name.
	Revision kv.Revision `json:"revision"`
	// Places stand in strict order: the first of a group leads.
	Places []Place `json:"places"`
	// Omitted is how many more there are than were asked for.
	Omitted int `json:"omitted,omitempty"`
}

// Place is one place in a [Queue].
type Place struct {
	// Position is 0 at the head.
	Position int `json:"position"`
	// Name is the holder's or member's. Node is the kith node, and Client the remote
	// client, "" if the node itself is it.
	Name   string `json:"name"`
	Node   string `json:"node,omitempty"`
	Client string `json:"client,omitempty"`
	// Token is the fencing token, which names the place.
	Token uint64 `json:"token"`
	// Session is the ID of the session whose end ends the place.
	Session uint64 `json:"session"`
	Data    Value  `json:"data,omitempty"`
	// Age is how long ago the place was taken, by the cluster's agreed time.
	Age Millis `json:"age_ms"`
	// Holds tells a holder of a lock from those who wait.
	Holds bool `json:"holds,omitempty"`
	// Revoked tells that it was asked to go.
	Revoked bool `json:"revoked,omitempty"`
	// Self tells that the place is the caller's.
	Self bool `json:"self,omitempty"`
}

// Find returns the place with the token, false if it is not there.
func (q Queue) Find(token uint64) (Place, bool) {
	i := slices.IndexFunc(q.Places, func(p Place) bool { return p.Token == token })
	if i < 0 {
		return Place{}, false
	}
	return q.Places[i], true
}

// equal reports whether q and other tell the same of the places that were asked for, but
// for their ages.
func (q Queue) equal(other Queue) bool {
	return q.Limit == other.Limit &&
		slices.EqualFunc(q.Places, other.Places, func(a, b Place) bool {
			a.Age, b.Age = 0, 0
			same := string(a.Data) == string(b.Data)
			a.Data, b.Data = nil, nil
			return same && a.sameAs(b)
		})
}

func (p Place) sameAs(other Place) bool {
	return p.Position == other.Position && p.Name == other.Name && p.Node == other.Node && p.Client == other.Client &&
		p.Token == other.Token && p.Session == other.Session && p.Holds == other.Holds && p.Revoked == other.Revoked && p.Self == other.Self
}

// SessionInfo is a session of a remote client: the answer to POST /sessions/{client}, and
// an element of GET /sessions.
type SessionInfo struct {
	// Session is its ID, the revision at which it was opened.
	Session uint64 `json:"session"`
	Client  string `json:"client"`
	// TTL is how long it lasts without a renewal.
	TTL Millis `json:"ttl_ms"`
	// Node is the agent that keeps it for as long as the client's connections to it last,
	// "" for a session that the client renews by itself.
	Node string `json:"node,omitempty"`
}
