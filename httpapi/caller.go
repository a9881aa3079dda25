package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kv"
)

// Headers by which requests about locks, groups and sessions say who asks, and answers
// which place was taken.
const (
	clientHeader   = "X-Client-Id"
	sessionHeader  = "X-Session"
	tokenHeader    = "X-Token"
	positionHeader = "X-Position"
)

// maxClientID is the most bytes that a client's ID may have.
const maxClientID = 256

// identity is whose a session is. The cluster knows it as the session's client.
type identity struct {
	// name is the client's ID, or the address of the connection that is the client.
	name string
	// node is the agent that renews the session, while the client's connections and
	// requests last; "" if the client renews it by itself. So each agent keeps a session of
	// its own for a client without one, and the late end of a request that went to one
	// agent has no part in what the client has through another.
	node string
	// connection tells one from the next that has the same address; "" of those with an ID.
	connection string
}

// separator is in no ID: it is no character of a header's value.
const separator = "\x1f"

func (i identity) encode() string {
	switch {
	case i.node == "":
		return i.name
	case i.connection == "":
		return i.name + separator + i.node
	}
	return i.name + separator + i.node + separator + i.connection
}

func decodeIdentity(client string) (i identity) {
	i.name, client, _ = strings.Cut(client, separator)
	i.node, i.connection, _ = strings.Cut(client, separator)
	return i
}

// asker is who makes a request.
type asker struct {
	id      string // X-Client-Id
	session uint64 // X-Session
	conn    *connection
}

// askerOf reads the headers.
func askerOf(r *http.Request) (a asker, err error) {
	a.conn, _ = r.Context().Value(connectionKey{}).(*connection)
	if a.id = r.Header.Get(clientHeader); a.id != "" {
		if err := checkClientID(a.id); err != nil {
			return a, notDone(err)
		}
	}
	if text := r.Header.Get(sessionHeader); text != "" {
		if a.session, err = strconv.ParseUint(text, 10, 64); err != nil || a.session == 0 {
			return a, notDone(fmt.Errorf("%w: the header %s is %q: want the number of a session", kv.ErrInvalid, sessionHeader, text))
		}
		if a.id == "" {
			return a, notDone(fmt.Errorf("%w: the header %s comes with %s only", kv.ErrInvalid, sessionHeader, clientHeader))
		}
	}
	return a, nil
}

func checkClientID(id string) error {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if len(id) > maxClientID || !utf8.ValidString(id) || strings.ContainsFunc(id, control) {
		return fmt.Errorf("%w: the client's ID must be UTF-8 of at most %d bytes without control characters", kv.ErrInvalid, maxClientID)
	}
	return nil
}

// owns reports whether a place is the asker's own.
func (a asker) owns(p kith.QueuePlace) bool {
	switch {
	case a.session != 0:
		return p.Session == a.session
	case p.Client == "":
		return false
	}
	of := decodeIdentity(p.Client)
	if a.id != "" {
		return of.connection == "" && of.name == a.id
	}
	return a.conn != nil && of.connection == a.conn.id
}

// name is what the asker's places are called unless it says otherwise.
func (a asker) name(r *http.Request) string {
	if a.id != "" {
		return a.id
	}
	return r.RemoteAddr
}

// errUnattended is the refusal to hold anything for a client whose connections nobody
// follows.
var errUnattended = errors.New("this server holds nothing for its clients: it does not follow their connections; use httpapi.Serve")

// holder returns the caller on whose behalf something is to be held. done ends its
// part in the request.
func (h *Handler) holder(ctx context.Context, a asker) (c *caller, done func(), err error) {
	if a.conn == nil {
		return nil, nil, notDone(errUnattended)
	}
	desk := a.conn.desk
	if a.id == "" {
		return desk.attend(identity{name: a.conn.RemoteAddr().String(), node: desk.name(), connection: a.conn.id}, a.conn)
	}
	c, done, err = desk.attend(identity{name: a.id}, a.conn)
	if err != nil {
		return nil, nil, err
	}
	id, _, err := c.acts.Session(ctx)
	switch {
	case a.session != 0 && err == nil && id != a.session:
		err = notDone(fmt.Errorf("%w: the client has opened another", kith.ErrSessionEnded))
		fallthrough
	case a.session != 0 && err != nil:
		done()
		return nil, nil, err
	case err == nil:
		return c, done, nil
	}
	done()
	if !errors.Is(err, kith.ErrSessionEnded) {
		return nil, nil, err
	}
	return desk.attend(identity{name: a.id, node: desk.name()}, a.conn) // it has none of its own: we keep one
}
