package stage

import (
	"cmp"
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

// Options are the flags that all benchmarks have.
type Options struct {
	Only    *regexp.Regexp
	Systems []string
	Warm    time.Duration
	Window  time.Duration
	Rounds  int
	Kills   int
	Conns   int
	Dir     string
	Keep    bool
	Profile string
	Quick   bool
}

// Defaults are what differs between the benchmarks.
type Defaults struct {
	Systems []string // all there are
	Conns   int      // of a rival; 0 means 4
	Kills   int
	Killed  string            // what is killed: "each system's leader"
	Quick   map[string]string // flags that -quick sets unless they are given
	Says    string            // what else -quick does
}

// Parse reads the flags from args; flags has the benchmark's own.
func Parse(flags *flag.FlagSet, d Defaults, args []string) (*Options, error) {
	var o Options
	var only, systems string
	flags.StringVar(&only, "only", "", "measure only the figures whose names match this `regexp`")
	flags.StringVar(&systems, "systems", strings.Join(d.Systems, ","), "measure these, separated by commas")
	flags.DurationVar(&o.Window, "time", 5*time.Second, "how long each load is measured, after a warm-up of a fifth of it")
	flags.IntVar(&o.Rounds, "rounds", 3, "how often the systems take turns; the medians are reported")
	flags.IntVar(&o.Kills, "kills", d.Kills, "how often "+d.Killed+" is killed")
	flags.IntVar(&o.Conns, "conns", cmp.Or(d.Conns, 4), "connections that the callers share, to one server, of a rival")
	flags.StringVar(&o.Dir, "dir", os.TempDir(), "where the temporary directory is made that holds all state")
	flags.BoolVar(&o.Keep, "keep", false, "keep that directory")
	flags.StringVar(&o.Profile, "profile", "", "write a CPU profile of each process that runs a load into this `directory`, which is there")
	flags.BoolVar(&o.Quick, "quick", false, "a smoke test: "+d.Says)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.Quick {
		smaller(flags, d.Quick)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.Window <= 0 || o.Rounds < 1 || o.Kills < 0 || o.Conns < 1 {
		return nil, errors.New("-time, -rounds and -conns must be above zero, -kills must not be below")
	}
	o.Warm = o.Window / 5
	for system := range strings.SplitSeq(systems, ",") {
		if !slices.Contains(d.Systems, system) {
			return nil, fmt.Errorf("-systems: %q is none of %s", system, strings.Join(d.Systems, ", "))
		}
		o.Systems = append(o.Systems, system)
	}
	if only != "" {
		var err error
		if o.Only, err = regexp.Compile(only); err != nil {
			return nil, fmt.Errorf("-only: %w", err)
		}
	}
	return &o, nil
}

// smaller sets the flags that were not given.
func smaller(flags *flag.FlagSet, values map[string]string) {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range values {
		if !given[name] {
			flags.Set(name, value)
		}
	}
}

// Main is the main function of a benchmark that is called name: beChild in a child,
// measure with the arguments otherwise, until a signal ends it.
func Main(name string, beChild func() error, measure func(ctx context.Context, args []string) error) {
	var err error
	if IsChild() {
		err = beChild()
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = measure(ctx, os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench/%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Play calls measure with a directory for all state, below o.Dir, and a family. Both
// are gone when it returns, but the directory stays after a failure or with o.Keep.
func (o *Options) Play(ctx context.Context, name string, measure func(dir string, f *Family) error) (err error) {
	dir, err := os.MkdirTemp(o.Dir, "kith-bench-"+name+"-")
	if err != nil {
		return err
	}
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		return err
	}
	family := NewFamily(logs)
	defer func() {
		family.KillAll()
		if o.Keep || err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "state and logs are kept in", dir)
			return
		}
		os.RemoveAll(dir)
	}()
	// The children die at once, whatever the benchmark is waiting for: that
	// fails then.
	defer context.AfterFunc(ctx, family.KillAll)()
	if err := measure(dir, family); ctx.Err() != nil {
		return errors.New("interrupted")
	} else {
		return err
	}
}

// Progress goes to standard error; standard output is for the report.
func Progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
