package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/kith-go/kith/bench/stage"
)

func main() { stage.Main("kv", cast.Main, run) }

// options are the flags.
type options struct {
	*stage.Options
	callers []int
	extra   bool
	million int
}

func parse(args []string) (*options, error) {
	var o options
	flags := flag.NewFlagSet("kv", flag.ContinueOnError)
	flags.BoolVar(&o.extra, "extra", false, "then measure idle CPU, memory, snapshots and restarts with a million keys")
	flags.IntVar(&o.million, "million", 1_000_000, "how many keys -extra takes for a million")
	var err error
	if o.Options, err = stage.Parse(flags, stage.Defaults{
		Systems: allSystems,
		Kills:   10,
		Killed:  "each system's leader",
		Quick:   map[string]string{"time": "500ms", "rounds": "1", "kills": "1", "million": "20000"},
		Says:    "1 and 64 callers, and unless they are given -time 500ms, -rounds 1, -kills 1, -million 20000",
	}, args); err != nil {
		return nil, err
	}
	if o.million < 1 {
		return nil, errors.New("-million must be above zero")
	}
	o.callers = []int{1, 16, 64, 256}
	if o.Quick {
		o.callers = []int{1, 64}
	}
	return &o, nil
}

// run measures everything that args ask for and prints it.
func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return o.Play(ctx, "kv", func(dir string, f *stage.Family) error {
		b := &bench{options: o, family: f, report: stage.NewReport(stage.RateName), dir: dir}
		return b.run(os.Stdout)
	})
}
