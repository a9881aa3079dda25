package stage

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
	"slices"
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

// Spec is what a child is to be.
type Spec struct {
	Kind    string   // a key of Cast.Kinds
	Node    int      // which of Members a server is
	Members []Member // the whole cluster
	Conns   int      // connections of a load generator to one node
	Profile string   // where profiles of its loads are written; "": nowhere
}

// Member is one server of a cluster: its name, its state directory, and its
// ports on loopback, as far as the system has a use for them.
type Member struct {
	Name   string
	Dir    string
	Client int // what clients connect to; kith's message port
	Peer   int // what the other members connect to; TCP and UDP
	Third  int // kith's HTTP API, ZooKeeper's elections
}

// ClientAddr is where clients connect to.
func (m Member) ClientAddr() string { return loopback(m.Client) }

// PeerAddr is where the other members connect to.
func (m Member) PeerAddr() string { return loopback(m.Peer) }

// ThirdAddr is what a system has beside these two.
func (m Member) ThirdAddr() string { return loopback(m.Third) }

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// IndexOf finds a member by its name.
func IndexOf(members []Member, name string) (int, error) {
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("no member is called %q", name)
	}
	return i, nil
}

// Cast is all that children of a benchmark can be and do. C is a system as the
// process sees it that puts load on it.
type Cast[C Observer] struct {
	// Kinds are the children there are. Each returns when it serves; a client if
	// load can be put on the system from within this child, nil otherwise; and how
	// to stop.
	Kinds map[string]func(context.Context, Spec) (C, func(), error)
	// Jobs are what children that are clients can be asked to do. Each call returns
	// a new one, which the request is decoded into.
	Jobs map[string]func() Job[C]
}

// Job is a piece of work for a client. Its fields and its result travel as JSON. A
// parent that stops waiting kills the child, so ctx has no deadline.
type Job[C any] interface {
	Run(ctx context.Context, client C) (any, error)
}

// Profiled is a job of which a CPU profile can be written.
type Profiled interface {
	// ProfileName tells the loads of one process from one another.
	ProfileName() string
}

// Observer can say how a cluster is. A method whose question the client has no
// means to answer returns ErrNotAsked.
type Observer interface {
	// Serves does a small piece of work through node.
	Serves(ctx context.Context, node int) error
	// Leader returns the index of the node that leads, as node knows it.
	Leader(ctx context.Context, node int) (int, error)
	// Applied returns how far node's state has come, in a unit that can be
	// compared between the nodes of a cluster.
	Applied(ctx context.Context, node int) (uint64, error)
}

// ErrNotAsked is the answer of a client that others should be asked instead of.
var ErrNotAsked = errors.New("this child is no observer")

// The requests that every child knows. The others are jobs.
const (
	askServes  = "serves"
	askLeader  = "leader"
	askApplied = "applied"
	askCollect = "collect" // collect garbage
)

// question is the body of these, but for the last.
type question struct{ Node int }

// request is what the parent asks.
type request struct {
	Ask  string
	Body json.RawMessage `json:",omitempty"`
}

// reply is the answer; Error is empty if all went well.
type reply struct {
	Error string          `json:",omitempty"`
	Body  json.RawMessage `json:",omitempty"`
}

// IsChild tells whether this process was started as a child.
func IsChild() bool { return len(os.Args) == 2 && os.Args[1] == childArg }

// Main is the main function of a child. It returns when the parent has closed the
// child's standard input.
func (k Cast[C]) Main() error { return k.play(os.Stdin, os.NewFile(childReplies, "replies")) }

func (k Cast[C]) play(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	var s Spec
	if err := lines.Decode(&s); err != nil {
		return fmt.Errorf("reading the spec: %w", err)
	}
	start, ok := k.Kinds[s.Kind]
	if !ok {
		return fmt.Errorf("no kind of child is called %q", s.Kind)
	}
	client, stop, err := start(ctx, s)
	if err != nil {
		return errors.Join(err, answers.Encode(reply{Error: err.Error()}))
	}
	defer stop()
	for err = answers.Encode(reply{}); err == nil; {
		var q request
		if err = lines.Decode(&q); err != nil {
			break
		}
		var a reply
		result, failed := k.answer(ctx, s, q, client)
		if failed == nil && result != nil {
			a.Body, failed = json.Marshal(result)
		}
		if failed != nil {
			fmt.Fprintf(os.Stderr, "%s %s: %v\n", q.Ask, q.Body, failed)
			a.Error = failed.Error()
		}
		err = answers.Encode(a)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// answer does what q asks.
func (k Cast[C]) answer(ctx context.Context, s Spec, q request, client C) (any, error) {
	if q.Ask == askCollect {
		debug.FreeOSMemory()
		return nil, nil
	}
	if any(client) == nil {
		return nil, errors.New("this child is no client")
	}
	switch q.Ask {
	case askServes, askLeader, askApplied:
		return observe(ctx, q, client)
	}
	made, ok := k.Jobs[q.Ask]
	if !ok {
		return nil, fmt.Errorf("no request is called %q", q.Ask)
	}
	job := made()
	if err := json.Unmarshal(q.Body, job); err != nil {
		return nil, fmt.Errorf("%s: %w", q.Ask, err)
	}
	named, ok := job.(Profiled)
	if s.Profile == "" || !ok {
		return job.Run(ctx, client)
	}
	var result any
	err := profiled(filepath.Join(s.Profile, fmt.Sprintf("%s-%d-%s.pprof", s.Kind, s.Node, named.ProfileName())), func() (err error) {
		result, err = job.Run(ctx, client)
		return err
	})
	return result, err
}

// profiled writes a CPU profile of this process while it does something.
func profiled(path string, do func() error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// observe answers the small questions.
func observe(ctx context.Context, q request, client Observer) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	var about question
	if err := json.Unmarshal(q.Body, &about); err != nil {
		return nil, fmt.Errorf("%s: %w", q.Ask, err)
	}
	switch q.Ask {
	case askLeader:
		return client.Leader(ctx, about.Node)
	case askApplied:
		return client.Applied(ctx, about.Node)
	}
	return nil, client.Serves(ctx, about.Node)
}
