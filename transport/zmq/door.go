//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	libzmq "github.com/pebbe/zmq4"

	"github.com/kith-go/kith/internal/secret"
)

const (
	// zapEndpoint is where libzmq asks, in every context for itself (RFC 27). If
	// nobody listens there, it admits everybody.
	zapEndpoint = "inproc://zeromq.zap.01"
	zapVersion  = "1.0"
	zapDomain   = "kith"
	// What the door calls those whom it admits; libzmq attaches it to their messages.
	nodeUser   = "node/"
	clientUser = "client/"
)

// door answers libzmq's question whether to let a key in.
type door struct {
	socket *socket
	log    *slog.Logger
	users  atomic.Pointer[map[string]string] // by public key: whose it is
	keys   map[string]string                 // by user: the key, once derived; admit's
	// quietUntil keeps a stranger who knocks all the time from filling the log. It
	// belongs to the receiver.
	quietUntil time.Time
}

func newDoor(ctx *libzmq.Context, log *slog.Logger) (*door, error) {
	s, err := newSocket(ctx, libzmq.REP, func(z *libzmq.Socket) error { return z.Bind(zapEndpoint) })
	if err != nil {
		return nil, fmt.Errorf("zmq: the handler of keys: %w", err)
	}
	d := &door{socket: s, log: log, keys: map[string]string{}}
	d.users.Store(&map[string]string{})
	return d, nil
}

// admit lets in exactly these nodes and clients from now on. Connections that are
// there stay. One call at a time.
func (d *door) admit(key secret.Key, nodes, clients []string) {
	users := make(map[string]string, len(nodes)+len(clients))
	add := func(user string, derive func() secret.CurvePair) {
		public, derived := d.keys[user]
		if !derived {
			if b, err := secret.CurveBytes(derive().Public); err == nil {
				public = string(b)
				d.keys[user] = public
			}
		}
		users[public] = user
	}
	for _, name := range nodes {
		add(nodeUser+name, func() secret.CurvePair { return key.CurveNode(name) })
	}
	for _, name := range clients {
		add(clientUser+name, func() secret.CurvePair { return key.CurveClient(name) })
	}
	d.users.Store(&users)
}

// turn answers what libzmq asked. A REP takes one question at a time.
func (d *door) turn() (more bool) {
	_, more = d.socket.gather(func() bool {
		for range turnMessages {
			question, err := d.socket.z.RecvMessageBytes(libzmq.DONTWAIT)
			if err != nil {
				return false
			}
			if _, err = d.socket.z.SendMessageDontwait(d.answer(question)...); err != nil {
				return false
			}
		}
		return true
	})
	return more
}

// answer decides. A question is version, request, domain, address, identity,
// mechanism and credentials, which for CURVE are the public key.
func (d *door) answer(question [][]byte) (parts []any) {
	var request []byte
	if len(question) > 1 {
		request = question[1]
	}
	if len(question) == 7 && string(question[0]) == zapVersion && string(question[2]) == zapDomain && string(question[5]) == "CURVE" {
		if user, known := (*d.users.Load())[string(question[6])]; known {
			return verdict(request, "200", "OK", user)
		}
		if now := time.Now(); now.After(d.quietUntil) {
			d.quietUntil = now.Add(time.Minute)
			d.log.Warn("refused a stranger's key on the message port; more of these in the next minute are not told", "from", string(question[3]))
		}
	}
	return verdict(request, "400", "not admitted", "")
}

func verdict(request []byte, code, text, user string) []any {
	return []any{zapVersion, request, code, text, user, ""}
}
