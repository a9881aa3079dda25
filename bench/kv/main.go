package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	if len(os.Args) == 2 && os.Args[1] == childArg {
		err = beChild(os.Stdin, os.NewFile(childReplies, "replies"))
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench/kv:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	only    *regexp.Regexp
	systems []string
	callers []int
	warm    time.Duration
	window  time.Duration
	rounds  int
	kills   int
	extra   bool
	million int
	conns   int
	dir     string
	keep    bool
	profile string
}

func parse(args []string) (*options, error) {
	var o options
	var only, systems string
	var quick bool
	flags := flag.NewFlagSet("kv", flag.ContinueOnError)
	flags.StringVar(&only, "only", "", "measure only the figures whose names match this `regexp`")
	flags.StringVar(&systems, "systems", strings.Join(allSystems, ","), "measure these, separated by commas")
	flags.DurationVar(&o.window, "time", 5*time.Second, "how long each load is measured, after a warm-up of a fifth of it")
	flags.IntVar(&o.rounds, "rounds", 3, "how often the systems take turns; the medians are reported")
	flags.IntVar(&o.kills, "kills", 10, "how often each system's leader is killed")
	flags.BoolVar(&o.extra, "extra", false, "then measure idle CPU, memory, snapshots and restarts with a million keys")
	flags.IntVar(&o.million, "million", 1_000_000, "how many keys -extra takes for a million")
	flags.IntVar(&o.conns, "conns", 4, "connections that the callers share, to one server, of a rival")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where the temporary directory is made that holds all state")
	flags.BoolVar(&o.keep, "keep", false, "keep that directory")
	flags.StringVar(&o.profile, "profile", "", "write a CPU profile of each process that runs a load into this `directory`, which is there")
	flags.BoolVar(&quick, "quick", false, "a smoke test: 1 and 64 callers, and unless they are given -time 500ms, -rounds 1, -kills 1, -million 20000")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.callers = []int{1, 16, 64, 256}
	if quick {
		o.callers = []int{1, 64}
		smaller(flags, map[string]string{"time": "500ms", "rounds": "1", "kills": "1", "million": "20000"})
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.window <= 0 || o.rounds < 1 || o.kills < 0 || o.conns < 1 || o.million < 1 {
		return nil, errors.New("-time, -rounds, -conns and -million must be above zero, -kills must not be below")
	}
	o.warm = o.window / 5
	for system := range strings.SplitSeq(systems, ",") {
		if !slices.Contains(allSystems, system) {
			return nil, fmt.Errorf("-systems: %q is none of %s", system, strings.Join(allSystems, ", "))
		}
		o.systems = append(o.systems, system)
	}
	if only != "" {
		var err error
		if o.only, err = regexp.Compile(only); err != nil {
			return nil, fmt.Errorf("-only: %w", err)
		}
	}
	return &o, nil
}

// smaller sets the flags that were not given.
func smaller(flags *flag.FlagSet, values map[string]string) {
	flags.Visit(func(f *flag.Flag) { delete(values, f.Name) })
	for name, value := range values {
		flags.Set(name, value)
	}
}

// run measures everything that args ask for and prints it.
func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "kith-bench-kv-")
	if err != nil {
		return err
	}
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		return err
	}
	b := &bench{options: o, family: newFamily(logs), report: newReport(), dir: dir}
	defer func() {
		b.family.killAll()
		if o.keep || err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "state and logs are kept in", dir)
			return
		}
		os.RemoveAll(dir)
	}()
	// The children die at once, whatever the benchmark is waiting for: that
	// fails then.
	defer context.AfterFunc(ctx, b.family.killAll)()
	if err := b.run(os.Stdout); ctx.Err() != nil {
		return errors.New("interrupted")
	} else {
		return err
	}
}
