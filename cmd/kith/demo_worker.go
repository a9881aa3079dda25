package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/kv"
)

const (
	// demoGroup is the group that workers are in, demoMaster the key that its leaders write.
	demoGroup  = "demo/workers"
	demoMaster = "demo/master"
)

// account is what a worker tells: lines of JSON, each with one of these.
type account struct {
	// Order is who is in the group now, the leader first.
	Order []string `json:"order,omitempty"`
	// Leads is the token with which it leads from now on.
	Leads uint64 `json:"leads,omitempty"`
	// Late is what became of a write that it sent when it had lost the lead.
	Late *lateWrite `json:"late,omitempty"`
}

// lateWrite is the end of a write by one who leads no more.
type lateWrite struct {
	// Refused is what the guard said, empty if it let the write pass.
	Refused string `json:"refused,omitempty"`
	// Master is whose name the key has afterwards.
	Master string `json:"master"`
}

// demoWorkerCommand is the program that the demo runs three replicas of. It is what a
// user's own would be, with a node inside, instead of an agent beside it; it is a command
// of kith so that the demo needs no other program. Nobody else has a use for it.
func (a *app) demoWorkerCommand() *cobra.Command {
	config := kith.Config{SessionTTL: kith.MinSessionTTL}
	cmd := &cobra.Command{
		Use:    "demo-worker",
		Hidden: true,
		Short:  "one of the replicas that the demo runs",
		Long: `Runs a node that joins a group and writes its name whenever it leads, and once more
when it leads no longer. It tells what happens on standard output, in JSON, until
SIGINT, SIGTERM or SIGHUP. The demo starts three of them.`,
		Example: `  kith demo`,
		Args:    exactArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runDemoWorker(cmd.Context(), config) },
	}
	f := cmd.Flags()
	f.StringVar(&config.Name, "name", "", "which peer of the list this node is, by `name`")
	f.StringVar(&config.PeersPath, "peers", "", "the peers `file`")
	f.StringVar(&config.Dir, "dir", "", "state `directory`")
	return exits(cmd, exitFailed)
}

// runDemoWorker is in the group until ctx ends.
func (a *app) runDemoWorker(ctx context.Context, config kith.Config) (err error) {
	if config.Logger, err = a.newLogger("info", "text"); err != nil {
		return err
	}
	node, err := kith.Start(ctx, config)
	if err != nil {
		return err
	}
	defer node.Close()

	working, cancel := context.WithCancelCause(ctx)
	d := &duty{node: node, process: working, log: config.Logger, out: json.NewEncoder(a.stdout)}
	workers := node.Group(demoGroup)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() { cancel(d.watch(workers)) })
	err = workers.Lead(working, 1, d.lead)
	switch {
	case ctx.Err() != nil: // told to end
		return nil
	case err == nil:
		err = context.Cause(working)
	}
	return err
}

// duty is what a worker does.
type duty struct {
	node    *kith.Node
	process context.Context // ends with the process
	log     *slog.Logger

	mu  sync.Mutex // guards out
	out *json.Encoder
}

func (d *duty) tell(said account) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Encode(said) // nobody is there to be told that nobody listens
}

// watch tells the order of the group, until the process ends or nothing can be seen.
func (d *duty) watch(workers *group.Group) error {
	for view, err := range workers.Watch(d.process) {
		if err != nil {
			return err
		}
		order := make([]string, len(view.Members))
		for i, m := range view.Members {
			order[i] = m.Name
		}
		d.tell(account{Order: order})
	}
	return nil
}

// lead runs while the worker leads. When that is over it does what it must not do, and
// what a program that was stopped between looking at its context and writing does without
// knowing: it writes all the same. The guard makes that harmless.
func (d *duty) lead(ctx context.Context) error {
	seat := group.SeatOf(ctx)
	if err := d.write(seat); err == nil {
		d.tell(account{Leads: seat.Token()})
	} else {
		d.log.Warn("the leader's write failed", "error", err)
	}
	<-ctx.Done()
	if d.process.Err() != nil {
		return nil
	}
	var late lateWrite
	if err := d.write(seat); errors.Is(err, kv.ErrNotHeld) {
		late.Refused = err.Error()
	} else if err != nil {
		d.log.Warn("the late write failed", "error", err)
	}
	entry, err := d.node.KV().Get(d.process, demoMaster)
	if err != nil {
		d.log.Warn("reading after the late write failed", "error", err)
		return nil
	}
	late.Master = string(entry.Value)
	d.tell(account{Late: &late})
	return nil
}

// write writes the worker's name, if the seat leads when the write takes its place in the
// log.
func (d *duty) write(seat *group.Seat) error {
	_, err := d.node.KV().Set(d.process, demoMaster, []byte(d.node.Name()), kv.IfHeld(seat))
	return err
}
