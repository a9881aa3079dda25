package link

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Version is the version of the handshake that this release speaks, and oldest
// the oldest one it understands.
const (
	Version = 1
	oldest  = 1
)

const (
	magic        = "KITH"
	headerSize   = len(magic) + 2
	maxFrameSize = 4 << 10
	maxName      = 256 // bytes
)

// Purpose says what a connection is for.
type Purpose string

const (
	// Probe asks who is there: the connection ends after the welcome.
	Probe Purpose = "probe"
	// Gossip carries one memberlist stream.
	Gossip Purpose = "gossip"
	// Found carries one question about the cluster's birth and its answer; see
	// [Link.Ask]. With Probe and Gossip it is all that a node serves before it
	// belongs to a cluster (SAFETY.md, S1).
	Found Purpose = "found"
	// Raft carries frames from the dialler to the listener, for as long as both
	// live.
	Raft Purpose = "raft"
	// Snapshot carries one snapshot in frames from the dialler to the listener,
	// which answers at the end.
	Snapshot Purpose = "snapshot"
)

// agreed reports whether a connection belongs to the agreement: both sides then
// must be members of the same cluster, and mean one another (SAFETY.md, S2).
func (p Purpose) agreed() bool { return p == Raft || p == Snapshot }

func (p Purpose) known() bool {
	return p == Probe || p == Gossip || p == Found || p.agreed()
}

// Identity is what a node says of itself in a handshake.
type Identity struct {
	Cluster     string
	Name        string
	Incarnation uint64
	// Addr is the control address it advertises.
	Addr netip.AddrPort
	// ClusterID and RaftID are what the agreement knows it by: 32 hexadecimal
	// digits and a number above 0. Until it belongs to a cluster, "" and 0.
	ClusterID string
	RaftID    uint64
}

// Hello is the dialler's half of a handshake.
type Hello struct {
	Identity
	// To is the name the dialler expects to meet, "" for anybody. With the name
	// and cluster of the Identity it is what lets both sides drop what is not
	// meant for them (SAFETY.md, S2).
	To string
	// ToID is the Raft ID that the dialler expects to meet, 0 for any or none.
	ToID    uint64
	Purpose Purpose
}

// Route returns what each frame that the dialler sends carries.
func (h Hello) Route() Route { return Route{Tag: TagOf(h.ClusterID), From: h.RaftID, To: h.ToID} }

// frame is the JSON of a hello, a welcome or a refusal. Absent fields mean
// their zero value; unknown ones are ignored, for later releases to use.
type frame struct {
	Version     int            `json:"v"`
	Oldest      int            `json:"oldest,omitempty"`
	Cluster     string         `json:"cluster"`
	Name        string         `json:"name"`
	Incarnation string         `json:"incarnation,omitempty"`
	Addr        netip.AddrPort `json:"addr,omitzero"`
	ClusterID   string         `json:"cluster_id,omitempty"`
	RaftID      uint64         `json:"raft_id,omitempty"`
	To          string         `json:"to,omitempty"`
	ToID        uint64         `json:"to_raft_id,omitempty"`
	Purpose     Purpose        `json:"for,omitempty"`
	Refused     *Refusal       `json:"refused,omitempty"`
}

func (id Identity) frame() frame {
	return frame{
		Version:     Version,
		Oldest:      oldest,
		Cluster:     id.Cluster,
		Name:        id.Name,
		Incarnation: strconv.FormatUint(id.Incarnation, 16),
		Addr:        id.Addr,
		ClusterID:   id.ClusterID,
		RaftID:      id.RaftID,
	}
}

func (f frame) identity() (Identity, error) {
	for _, text := range []string{f.Name, f.Addr.Addr().Zone()} {
		if clipAt(text, maxName) != text { // it will show in errors, logs and tables
			return Identity{}, fmt.Errorf("%w: its name or zone %q is too long or not printable", ErrNotKith, clip(text))
		}
	}
	if f.ClusterID != "" && !validClusterID(f.ClusterID) {
		return Identity{}, fmt.Errorf("%w: its cluster ID %q is not 32 hexadecimal digits", ErrNotKith, clip(f.ClusterID))
	}
	id := Identity{Cluster: f.Cluster, Name: f.Name, Addr: f.Addr, ClusterID: f.ClusterID, RaftID: f.RaftID}
	if f.Incarnation != "" {
		n, err := strconv.ParseUint(f.Incarnation, 16, 64)
		if err != nil {
			return Identity{}, fmt.Errorf("%w: its incarnation %q is not hexadecimal", ErrNotKith, clip(f.Incarnation))
		}
		id.Incarnation = n
	}
	return id, nil
}

func validClusterID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}

// clip keeps a stranger's text short and printable in our errors and logs:
// neither line breaks nor a terminal's escape codes get there.
func clip(s string) string { return clipAt(s, 64) }

func clipAt(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func writeFrame(w io.Writer, f frame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("link: encoding a handshake: %w", err)
	}
	if len(body) > maxFrameSize {
		return fmt.Errorf("link: handshake of %d bytes is over the limit of %d", len(body), maxFrameSize)
	}
	buf := make([]byte, 0, headerSize+len(body))
	buf = append(buf, magic...)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(body)))
	_, err = w.Write(append(buf, body...))
	return err
}

// readFrame reads exactly one frame, not a byte more: what follows belongs to
// the connection's purpose.
func readFrame(r io.Reader) (frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	if string(header[:len(magic)]) != magic {
		return frame{}, classify(header[:])
	}
	n := int(binary.BigEndian.Uint16(header[len(magic):]))
	if n > maxFrameSize {
		return frame{}, fmt.Errorf("%w: a handshake of %d bytes (limit %d)", ErrNotKith, n, maxFrameSize)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return frame{}, noEOF(err)
	}
	return decodeFrame(body)
}

func decodeFrame(body []byte) (frame, error) {
	if !utf8.Valid(body) {
		return frame{}, fmt.Errorf("%w: its handshake is not UTF-8", ErrNotKith)
	}
	var f frame
	if err := json.Unmarshal(body, &f); err != nil {
		return frame{}, fmt.Errorf("%w: its handshake is not the JSON we know: %s", ErrNotKith, clip(err.Error()))
	}
	return f, nil
}

// classify tells what somebody speaks who does not begin with our magic.
func classify(start []byte) error {
	if len(start) >= 2 && start[0] >= 0x14 && start[0] <= 0x18 && start[1] == 0x03 { // a TLS record
		return ErrOnlyTheyEncrypt
	}
	return fmt.Errorf("%w: it begins with %q", ErrNotKith, clip(string(start)))
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
