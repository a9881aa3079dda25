package main

import (
	"errors"
	"flag"
	"slices"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/transport/zmq"
)

func main() { stage.Main("msg", cast.Main, run) }

// options are the flags.
type options struct {
	*stage.Options
	peers int
}

func parse(args []string) (*options, error) {
	var o options
	flags := flag.NewFlagSet("msg", flag.ContinueOnError)
	flags.IntVar(&o.peers, "peers", 100, "how many peers a node is connected to whose cost is measured")
	var err error
	if o.Options, err = stage.Parse(flags, stage.Defaults{
		Systems: allSystems,
		Conns:   1, // as kith has
		Kills:   20,
		Killed:  "a peer",
		Quick:   map[string]string{"time": "300ms", "rounds": "1", "kills": "1", "peers": "5"},
		Says:    "1 and 64 callers, and unless they are given -time 300ms, -rounds 1, -kills 1, -peers 5",
	}, args); err != nil {
		return nil, err
	}
	if o.peers < 1 {
		return nil, errors.New("-peers must be above zero")
	}
	if len(libzmqKinds) == 0 && (slices.Contains(o.Systems, "libzmq") || slices.Contains(o.Systems, "kith")) {
		return nil, zmq.ErrUnavailable
	}
	return &o, nil
}
