package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/kith-go/kith/bench/stage"
)

func main() { stage.Main("lock", cast.Main, run) }

// options are the flags.
type options struct {
	*stage.Options
	callers    []int // each with a lock of its own
	contenders []int // for one lock
	groups     int
}

func parse(args []string) (*options, error) {
	o := options{callers: []int{1, 16, 64}, contenders: []int{2, 16}}
	flags := flag.NewFlagSet("lock", flag.ContinueOnError)
	flags.IntVar(&o.groups, "groups", 1000, "how many groups are joined by ten members each")
	var err error
	if o.Options, err = stage.Parse(flags, stage.Defaults{
		Systems: allSystems,
		Kills:   20,
		Killed:  "a holder, and then a leader with a holder,",
		Quick:   map[string]string{"time": "400ms", "rounds": "1", "kills": "1", "groups": "20"},
		Says:    "1 and 64 callers, and unless they are given -time 400ms, -rounds 1, -kills 1, -groups 20",
	}, args); err != nil {
		return nil, err
	}
	if o.groups < 1 {
		return nil, errors.New("-groups must be above zero")
	}
	if o.Quick {
		o.callers = []int{1, 64}
	}
	return &o, nil
}

// run measures everything that args ask for and prints it.
func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return o.Play(ctx, "lock", func(dir string, f *stage.Family) error {
		b := &bench{options: o, report: stage.NewReport(rateName), family: f, dir: dir,
			chosen: stage.Chosen{Only: o.Only, Name: rateName, Paths: []string{""}}}
		return b.run(os.Stdout)
	})
}
