package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kith-go/kith/bench/stage"
)

// allSystems in the order in which they take turns.
var allSystems = []string{"kith", "libzmq", "nats", "grpc", "tcp"}

// The processes of each system that serve requests, in the order of their start; and
// those that subscribe, of the systems that publish.
var (
	requestKinds = map[string][]string{
		"kith": {"kith"}, "libzmq": {"libzmq"}, "nats": {"nats", "nats-echo"}, "grpc": {"grpc"}, "tcp": {"tcp"},
	}
	publishKinds = map[string][]string{"kith": {"kith-subscribers"}, "nats": {"nats", "nats-subscribers"}}
)

// bench is one run of the benchmark.
type bench struct {
	*options
	family     *stage.Family
	report     *stage.Report
	secrets    string // directory
	contenders []*stage.Contender
	acks       map[*stage.Cluster]int // ports, of clusters that publish
}

func (b *bench) run(w io.Writer) error {
	software := []string{"libzmq " + libzmqVersion(), "nats-server " + stage.ModuleVersion("github.com/nats-io/nats-server/v2"),
		"grpc " + stage.ModuleVersion("google.golang.org/grpc")}
	what := fmt.Sprintf(`every system: a process that asks and one that answers, on loopback, and a third one between them for NATS;
bodies of 128 bytes if no other size is told, %d connection(s) for all callers of NATS and gRPC, one for each of tcp;
%v measured after %v of warm-up, median of %d rounds; systems that are not measured are stopped`,
		b.Conns, b.Window, b.Warm, b.Rounds)
	if err := stage.Describe(w, b.Dir, software, what); err != nil {
		return err
	}
	// A quarter of an hour of figures is not thrown away because of the last one.
	return errors.Join(b.measure(), b.report.Print(w))
}

func (b *bench) measure() error {
	for _, system := range b.Systems {
		b.contenders = append(b.contenders, &stage.Contender{Name: system})
	}
	for _, r := range grid(b.options) {
		if err := b.measureRow(r); err != nil {
			return err
		}
	}
	if err := b.measureEnds(); err != nil {
		return err
	}
	return b.measureCrowd()
}

func (b *bench) contender(system string) *stage.Contender {
	i := slices.IndexFunc(b.contenders, func(c *stage.Contender) bool { return c.Name == system })
	if i < 0 {
		return nil
	}
	return b.contenders[i]
}

// measureRow starts what the row needs. The systems take turns, so that whatever else
// happens on the machine happens to all of them.
func (b *bench) measureRow(r row) error {
	cells := make(map[*stage.Contender][]stage.Cell)
	for _, who := range b.contenders {
		for _, n := range r.callers {
			m := stage.Cell{Who: who, Op: r.op, At: r.at, Callers: n}
			if b.wanted(m) && kindsFor(m) != nil {
				cells[who] = append(cells[who], m)
			}
		}
	}
	for _, who := range b.contenders {
		if len(cells[who]) == 0 {
			continue
		}
		secrets := ""
		if r.at == encrypted {
			secrets = b.secrets
		}
		c, err := b.start(who.Name, kindsFor(cells[who][0]), secrets)
		if err != nil {
			return err
		}
		defer b.dismiss(c)
		who.Cluster = c
		if err := c.Pause(); err != nil {
			return err
		}
	}
	for round := range b.Rounds {
		for _, who := range b.contenders {
			if len(cells[who]) == 0 {
				continue
			}
			stage.Progress("%s %s, round %d of %d: %s", r.at, r.op, round+1, b.Rounds, who.Name)
			if err := who.Turn(b.report, cells[who], b.sample); err != nil {
				return err
			}
		}
	}
	return nil
}

func kindsFor(m stage.Cell) []string {
	if m.Op == publications {
		return publishKinds[m.Who.Name]
	}
	return requestKinds[m.Who.Name]
}

// start starts one system's processes, and returns when it serves. The first member
// of all of them tells where secrets are, or that there are none.
func (b *bench) start(system string, kinds []string, secrets string) (*stage.Cluster, error) {
	c := &stage.Cluster{System: system}
	s := stage.Spec{Members: []stage.Member{{Dir: secrets}}, Conns: b.Conns, Profile: b.Profile}
	var answering []place
	for _, kind := range kinds {
		child, there, err := b.child(kind, s)
		if child != nil {
			c.Servers = append(c.Servers, child)
		}
		if err != nil {
			b.dismiss(c)
			return nil, err
		}
		answering = append(answering, there...)
		for _, p := range there {
			s.Members = append(s.Members, stage.Member{Name: p.Name, Client: p.Port})
			if p.Name == acksName {
				b.acks[c] = p.Port
			}
		}
	}
	var (
		asking []place
		err    error
	)
	if c.Load, asking, err = b.child(system+"-load", s); err == nil {
		err = b.introduce(c, asking, answering)
	}
	if err == nil {
		err = c.Resume()
	}
	if err != nil {
		b.dismiss(c)
		return nil, err
	}
	return c, nil
}

// child starts one process and asks it where it listens.
func (b *bench) child(kind string, s stage.Spec) (child *stage.Child, there []place, err error) {
	s.Kind = kind
	if child, err = b.family.Start(kind, s); err != nil {
		return nil, nil, err
	}
	if err = child.Ready(stage.StartLimit); err == nil {
		err = child.Ask(stage.AskTimeout, "places", finding{}, &there)
	}
	return child, there, err
}

// introduce has both sides meet. Each waits for the other.
func (b *bench) introduce(c *stage.Cluster, asking, answering []place) error {
	var (
		wg   sync.WaitGroup
		errs = make([]error, len(c.Servers)+1)
	)
	for i, server := range c.Servers {
		wg.Go(func() { errs[i] = server.Ask(2*stage.StartLimit, "meet", meeting{asking}, nil) })
	}
	errs[len(c.Servers)] = c.Load.Ask(2*stage.StartLimit, "meet", meeting{answering}, nil)
	wg.Wait()
	return errors.Join(errs...)
}

// dismiss ends the processes.
func (b *bench) dismiss(c *stage.Cluster) {
	delete(b.acks, c)
	for _, each := range append(slices.Clone(c.Servers), c.Load) {
		if each != nil {
			b.family.Kill(each)
		}
	}
}

// sample runs one load, and profiles the servers meanwhile if profiles are wanted.
func (b *bench) sample(m stage.Cell) (*stage.Sample, error) {
	loop := stage.Loop{Callers: m.Callers, Warm: b.Warm, Window: b.Window, PIDs: m.Who.PIDs()}
	limit := b.Warm + b.Window + 2*stage.Drain
	var (
		s    stage.Sample
		wg   sync.WaitGroup
		errs = make([]error, len(m.Who.Cluster.Servers)+1)
	)
	if b.Profile != "" {
		for i, server := range m.Who.Cluster.Servers {
			wg.Go(func() { errs[i] = server.Ask(limit, "serve", &serving{loop, profileName(m)}, nil) })
		}
	}
	ask, job := "load", any(&load{loop, sizes[m.Op], profileName(m)})
	if m.Op == publications {
		ask, job = "publish", &publishing{loop, sizes[m.Op], b.acks[m.Who.Cluster], profileName(m)}
	}
	errs[len(errs)-1] = m.Who.Cluster.Load.Ask(limit, ask, job, &s)
	wg.Wait()
	return &s, errors.Join(errs...)
}

// run measures everything that args ask for and prints it.
func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return o.Play(ctx, "msg", func(dir string, f *stage.Family) error {
		b := &bench{options: o, family: f, report: stage.NewReport(rateName), secrets: filepath.Join(dir, "secrets"),
			acks: make(map[*stage.Cluster]int)}
		b.report.Versus = true
		if err := os.Mkdir(b.secrets, 0o700); err != nil {
			return err
		}
		if err := makeSecrets(b.secrets); err != nil {
			return err
		}
		return b.run(os.Stdout)
	})
}
