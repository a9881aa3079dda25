package founding

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Record says who a cluster was founded by, and under which ID. It is minted once
// and never changes. Two records are the same if their hashes are.
type Record struct {
	// ClusterID is 32 hexadecimal digits, drawn at random.
	ClusterID string `json:"cluster_id"`
	// Members are by Raft ID.
	Members []Member `json:"members"`
	// Hash is the SHA-256 of the rest, in hexadecimal digits.
	Hash string `json:"hash"`
}

// Member is one of the replicas that a cluster was founded with.
type Member struct {
	RaftID uint64 `json:"raft_id"`
	Name   string `json:"name"`
	PID    uint32 `json:"pid"`
	Voter  bool   `json:"voter,omitempty"`
	// Directory is the ID of a founder's state directory; "" for a learner, and for
	// a voter that an override did without.
	Directory string `json:"directory,omitempty"`
}

// newID returns 16 random bytes as hexadecimal digits.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// mint makes the record that p asks for. directories are those of the founders.
func mint(p plan, directories map[string]string) *Record {
	r := &Record{ClusterID: newID()}
	voters := p.voters()
	for i, peer := range p.Peers {
		r.Members = append(r.Members, Member{
			RaftID: uint64(i + 1), Name: peer.Name, PID: peer.PID,
			Voter: i < len(voters), Directory: directories[peer.Name],
		})
	}
	r.Hash = r.hash()
	return r
}

func (r *Record) hash() string {
	bare := Record{ClusterID: r.ClusterID, Members: r.Members}
	b, err := json.Marshal(bare)
	if err != nil {
		return "" // cannot be: strings and numbers only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Same reports whether r and o are one record. No record is the same as none.
func (r *Record) Same(o *Record) bool { return r != nil && o != nil && r.Hash == o.Hash }

// Member returns the member of a name.
func (r *Record) Member(name string) (Member, bool) {
	for _, m := range r.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// Voters returns the members that vote, by Raft ID.
func (r *Record) Voters() []Member {
	return slices.DeleteFunc(slices.Clone(r.Members), func(m Member) bool { return !m.Voter })
}

// founders returns the voters that had to be there when r was minted.
func (r *Record) founders() []Member {
	return slices.DeleteFunc(r.Voters(), func(m Member) bool { return m.Directory == "" })
}

var errRecord = errors.New("not a record")

// check reports what is wrong with a record from elsewhere.
func (r *Record) check() error {
	if r == nil {
		return nil
	}
	if !validID(r.ClusterID) {
		return fmt.Errorf("%w: its cluster ID is not 32 hexadecimal digits", errRecord)
	}
	if r.Hash != r.hash() {
		return fmt.Errorf("%w: its hash does not fit", errRecord)
	}
	seen := make(map[string]bool, len(r.Members))
	for i, m := range r.Members {
		if m.RaftID != uint64(i+1) || m.Name == "" || seen[m.Name] || m.Directory != "" && !validID(m.Directory) {
			return fmt.Errorf("%w: member %d is not in order", errRecord, i+1)
		}
		seen[m.Name] = true
	}
	if voters := len(r.Voters()); voters%2 == 0 || len(r.founders()) <= voters/2 {
		return fmt.Errorf("%w: %d founders of %d voters", errRecord, len(r.founders()), voters)
	}
	return nil
}

func validID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}
