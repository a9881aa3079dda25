package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// What can be wrong between two nodes that do reach one another. They come
// wrapped in a *PeerError.
var (
	// ErrWrongKey: both use a key, and not the same.
	ErrWrongKey = errors.New("its cluster key differs from ours: give both nodes the same key file")
	// ErrOnlyTheyEncrypt: the other side uses a key, this one does not.
	ErrOnlyTheyEncrypt = errors.New("it uses a cluster key and this node does not: give this node the same key file")
	// ErrOnlyWeEncrypt: this side uses a key, the other one does not.
	ErrOnlyWeEncrypt = errors.New("it uses no cluster key and this node does: give it the same key file")
	// ErrNotKith: whatever listens or calls there, it does not speak our protocol.
	ErrNotKith = errors.New("it does not speak kith's protocol")
	// ErrForeignTLS: TLS is spoken there, but not with this cluster's key.
	ErrForeignTLS = errors.New("it speaks TLS but not with this cluster's key: another key, or another program")
	// ErrClosed: this link was closed.
	ErrClosed = errors.New("link: closed")
)

// Code names the reason of a refusal for programs.
type Code string

const (
	// CodeCluster: the caller belongs to another cluster.
	CodeCluster Code = "cluster"
	// CodeVersion: the two releases have no handshake version in common.
	CodeVersion Code = "version"
	// CodeWrongName: the node called is not the one the caller asked for.
	CodeWrongName Code = "wrong-name"
	// CodeNameTaken: another live node has the caller's name; Name, Addr and
	// Incarnation are the holder's.
	CodeNameTaken Code = "name-taken"
	// CodeNamePending: the caller's name belongs to a node that does not answer
	// and is not yet declared failed. Trying again soon helps.
	CodeNamePending Code = "name-pending"
	// CodeLeaving: the node called is saying goodbye.
	CodeLeaving Code = "leaving"
	// CodeKey: one side uses a cluster key and the other does not.
	CodeKey Code = "key"
	// CodeHello: the hello lacks something that every hello has.
	CodeHello Code = "hello"
	// CodePurpose: the node called does not serve the purpose (yet).
	CodePurpose Code = "purpose"
	// CodeUnborn: the node called belongs to no cluster yet.
	CodeUnborn Code = "unborn"
	// CodeForeign: the node called belongs to another cluster than the caller,
	// or the caller to none.
	CodeForeign Code = "foreign"
	// CodeStaleID: the node called has another Raft ID than the one asked for, or
	// the caller's is not one that it could have.
	CodeStaleID Code = "stale-id"
)

// Refusal is an answer of "no" to a handshake, by a node that understood it. It
// is an error; the texts are written by the side that refuses.
type Refusal struct {
	Code        Code           `json:"code"`
	Text        string         `json:"text"`
	Name        string         `json:"name,omitempty"`
	Incarnation uint64         `json:"incarnation,omitempty,string"`
	Addr        netip.AddrPort `json:"addr,omitzero"`
}

// Error returns the text of the refusal, made short and printable.
func (r *Refusal) Error() string { return clipAt(r.Text, 256) }

// printable is r as far as people may see it.
func (r *Refusal) printable() *Refusal {
	ip := r.Addr.Addr()
	return &Refusal{
		Code:        Code(clip(string(r.Code))),
		Text:        clipAt(r.Text, 256),
		Name:        clipAt(r.Name, maxName),
		Incarnation: r.Incarnation,
		Addr:        netip.AddrPortFrom(ip.WithZone(clip(ip.Zone())), r.Addr.Port()),
	}
}

// PeerError says with whom something went wrong.
type PeerError struct {
	Name string // "" if unknown
	Addr string
	Err  error
}

// Error names the peer, its address and the cause.
func (e *PeerError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("link: %s: %s", e.Addr, e.Cause())
	}
	return fmt.Sprintf("link: %s at %s: %s", clip(e.Name), e.Addr, e.Cause())
}

// Cause returns the text of the cause, without an address where that would
// only repeat Addr.
func (e *PeerError) Cause() string {
	if op, ok := e.Err.(*net.OpError); ok && op.Op == "dial" && op.Addr != nil && op.Addr.String() == e.Addr {
		return op.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *PeerError) Unwrap() error { return e.Err }

// Refused reports whether err says that a TCP dial was refused: the host is there,
// and no process listens at that port. It sees through all wrapping. A dial of a name that
// has several addresses tells about the first only.
//
// It is false on systems whose error for this differs from Unix's.
func Refused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && (op.Net == "tcp" || op.Net == "tcp4" || op.Net == "tcp6") && errors.Is(op.Err, syscall.ECONNREFUSED)
}
