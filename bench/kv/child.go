package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
)

// The benchmark runs itself again for every server and every load generator.
// Such a child reads its spec and then requests from standard input, a line of
// JSON each, and answers on file descriptor 3, one reply per request, in order;
// what it and its libraries print goes to its log. It ends with its standard
// input.
const (
	childArg     = "child"
	childReplies = 3
)

// spec is what a child is to be.
type spec struct {
	Kind    string   // a key of kinds
	Node    int      // which of Members a server is
	Members []member // the whole cluster
	Conns   int      // connections of a load generator to one node
	Profile string   // where profiles of its loads are written; "": nowhere
}

// member is one server of a cluster: its name, its state directory, and its
// ports on loopback, as far as the system has a use for them.
type member struct {
	Name   string
	Dir    string
	Client int // what clients connect to; kith's message port
	Peer   int // what the other members connect to; TCP and UDP
	HTTP   int // kith's HTTP API
}

func (m member) clientAddr() string { return loopback(m.Client) }
func (m member) peerAddr() string   { return loopback(m.Peer) }
func (m member) httpAddr() string   { return loopback(m.HTTP) }

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// kinds are the children there are. Each returns when it serves; a client if
// load can be put on the system from within this child, nil otherwise; and how
// to stop.
var kinds = map[string]func(context.Context, spec) (client, func(), error){
	"kith":      kithServer,
	"kith-load": kithLoad,
	"etcd":      etcdServer,
	"etcd-load": etcdLoad,
	"nats":      natsServer,
	"nats-load": natsLoad,
}

// client is a system as the process sees it that puts load on it.
type client interface {
	// conns returns one conn to a node for each of n callers; they may share
	// connections.
	conns(ctx context.Context, node, n int) ([]conn, error)
}

// observer is a client that can say how a cluster is.
type observer interface {
	// leader returns the index of the node that leads, as node knows it.
	leader(ctx context.Context, node int) (int, error)
	// applied returns how far node's state has come, in a unit that can be
	// compared between the nodes of a cluster.
	applied(ctx context.Context, node int) (uint64, error)
}

// conn is one caller's way to one node. A value read is fetched and thrown away.
type conn interface {
	put(ctx context.Context, key string, value []byte) error
	read(ctx context.Context, key string) error      // linearizable
	readLocal(ctx context.Context, key string) error // may be stale
}

// request is what the parent asks: one of the pointers is set, or Ask.
type request struct {
	Ask  string `json:",omitempty"` // "put", "leader", "applied", "fill", "collect"
	Node int
	Keys int           `json:",omitempty"` // for fill
	Load *load         `json:",omitempty"`
	Kill *killing      `json:",omitempty"`
	Snap *snapshotting `json:",omitempty"`
}

// reply is the answer; Error is empty if all went well.
type reply struct {
	Error  string       `json:",omitempty"`
	Number uint64       `json:",omitempty"` // of leader and applied
	Sample *sample      `json:",omitempty"` // of Load
	Outage *outage      `json:",omitempty"` // of Kill
	Made   *snapshotted `json:",omitempty"` // of Snap
}

// beChild is the main function of a child.
func beChild(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	var s spec
	if err := lines.Decode(&s); err != nil {
		return fmt.Errorf("reading the spec: %w", err)
	}
	start, ok := kinds[s.Kind]
	if !ok {
		return fmt.Errorf("no kind of child is called %q", s.Kind)
	}
	c, stop, err := start(ctx, s)
	if err != nil {
		return errors.Join(err, answers.Encode(reply{Error: err.Error()}))
	}
	defer stop()
	for err = answers.Encode(reply{}); err == nil; {
		var q request
		if err = lines.Decode(&q); err != nil {
			break
		}
		a, failed := s.profiled(ctx, q, c)
		if failed != nil {
			fmt.Fprintf(os.Stderr, "%+v: %v\n", q, failed)
			a.Error = failed.Error()
		}
		err = answers.Encode(a)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// profiled is answer, with a CPU profile of this process if the spec asks for one
// and q is a load.
func (s spec) profiled(ctx context.Context, q request, c client) (reply, error) {
	if s.Profile == "" || q.Load == nil {
		return q.answer(ctx, c)
	}
	name := fmt.Sprintf("%s-%s-%d.pprof", s.Kind, q.Load.Op, q.Load.Callers)
	f, err := os.Create(filepath.Join(s.Profile, name))
	if err != nil {
		return reply{}, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return reply{}, errors.Join(err, f.Close())
	}
	a, err := q.answer(ctx, c)
	pprof.StopCPUProfile()
	return a, errors.Join(err, f.Close())
}

// answer does what q asks. A parent that stops waiting kills the child, so ctx
// needs no deadline.
func (q request) answer(ctx context.Context, c client) (a reply, err error) {
	if q.Ask == "collect" {
		debug.FreeOSMemory()
		return a, nil
	}
	if c == nil {
		return a, errors.New("this child is no client")
	}
	switch {
	case q.Load != nil:
		a.Sample, err = q.Load.run(ctx, c)
	case q.Kill != nil:
		a.Outage, err = q.Kill.run(ctx, c)
	case q.Snap != nil:
		a.Made, err = q.Snap.run(ctx, c)
	case q.Ask == "fill":
		err = fill(ctx, c, q.Node, q.Keys)
	default:
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		a.Number, err = q.observe(ctx, c)
	}
	return a, err
}

// observe answers the small questions.
func (q request) observe(ctx context.Context, c client) (uint64, error) {
	if q.Ask == "put" {
		conns, err := c.conns(ctx, q.Node, 1)
		if err != nil {
			return 0, err
		}
		return 0, conns[0].put(ctx, "probe", make([]byte, valueSize))
	}
	o, ok := c.(observer)
	if !ok {
		return 0, errors.New("this child is no observer")
	}
	switch q.Ask {
	case "leader":
		i, err := o.leader(ctx, q.Node)
		return uint64(i), err
	case "applied":
		return o.applied(ctx, q.Node)
	}
	return 0, fmt.Errorf("no request is called %q", q.Ask)
}
