package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
)

// groupRun is kith run.
type groupRun struct {
	member
	count       decimal32
	start, stop string
	command     *job // nil: only the scripts
}

func (a *app) runCommand() *cobra.Command {
	r := groupRun{member: member{app: a}, count: 1}
	var line string
	cmd := &cobra.Command{
		Use:     "run GROUP [COMMAND [ARGUMENT…]]",
		GroupID: groupOrder,
		Short:   "be in a group, and run things while among its first",
		Long: `Joins the group, whose order is that of arrival, and runs things whenever this member is
among the first --count, until interrupted. So of all replicas that do the same, that
many are at work, and the next one in line follows when one fails.

--start is a line for the shell, run when this member comes among the first, and again
whenever its rank or the leader has changed meanwhile, one run at a time. --stop is run
when it is so no more, and on every way on which kith ends: a signal, a lost session, a
failed command, kith killed. Both may be run once too often, so they must be idempotent.
A service that is to outlive the start script must leave its process group, as daemons do;
what stays in the group is ended before --stop is run.

COMMAND, or --exec's line for the shell, is started behind the first --start, and kept
running. When it ends, or --start fails, kith runs --stop, leaves the group, and ends
with that code, 128+n for signal n: let the service manager start kith again. Signals are
handed on to COMMAND. Without one, an interrupt is code 0.

A session that was lost, since no agent answers or the network is cut, ends all that runs
(SIGTERM, then SIGKILL, then --stop) before the next in line begins, and kith joins again
as soon as it can. That holds also when kith is killed or stopped: a second process, the
watchdog, sees to it. --stop should take no longer than an eighth of --ttl then.

The scripts see themselves as * in "kith members GROUP"; $KITH_RANK, $KITH_LEADER
and more are in "kith help environment".`,
		Example: `  kith run mysql -count 3 -start start-mysql.sh -stop stop-mysql.sh
  kith run api --count 3 --name $HOSTNAME -- /usr/sbin/apid --foreground
  kith run cron --exec 'crond -f >> /var/log/cron.log'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(errors.New("GROUP is missing"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r.group = args[0]
			switch {
			case len(args) > 1 && line != "":
				return usageError(errors.New("give either a COMMAND or --exec"))
			case len(args) > 1:
				r.command = &job{Argv: args[1:], Stdin: true}
				if err := checkProgram(args[1]); err != nil {
					return err
				}
			case line != "":
				r.command = &job{Line: line, Stdin: true}
			case r.start == "" && r.stop == "":
				return usageError(errors.New("there is nothing to run: give a COMMAND, --exec or --start; or use kith join"))
			}
			if r.count == 0 {
				return usageError(errors.New("--count 0 would run nothing"))
			}
			return r.keep(cmd.Context(), r.serve)
		},
	}
	f := cmd.Flags()
	f.Var(&r.count, "count", "run things on this `number` of members")
	f.Var(&r.count, "limit", "the same as --count, a `number`")
	f.StringVar(&r.start, "start", "", "the start script, a `line` for the shell")
	f.StringVar(&r.stop, "stop", "", "the stop script, a `line` for the shell")
	f.StringVar(&line, "exec", "", "run this `command`, a line for the shell")
	f.StringVar(&r.data, "data", "", "what others see of this member beside its name")
	r.hold.add(a, f)
	return startsProgram(exits(cmd, exitFailed, exitLost, exitCannotRun, exitNotFound))
}

// serve runs things whenever the seat is among the first, until it is lost or all is over.
func (r *groupRun) serve(ctx context.Context, l *lease, seat httpapi.Seat) (over bool, err error) {
	places, stop := r.follow(l, seat)
	defer stop()
	var now standing
	for {
		g, err := r.app.startWatchdog() // before the wait, so that things start at once
		if err != nil {
			return true, err
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				g.close()
				return true, nil
			case <-seat.Context().Done():
				g.close()
				return false, lostSeat(r.group, context.Cause(seat.Context()))
			case now = <-places:
				waiting = !r.within(now)
			}
		}
		t := &tenure{
			app: r.app, guard: g, lease: l, place: seat.Context(),
			start: r.start, stop: r.stop, command: r.command,
			env:       func(s standing) []string { return r.env(l, seat, s) },
			standings: places, within: r.within, now: now,
		}
		v := t.run(ctx)
		now = t.now
		switch {
		case v.lost != nil && !v.told:
			return false, lostSeat(r.group, v.lost)
		case v.lost != nil && t.begun:
			return true, &exitError{exitLost, lostSeat(r.group, v.lost)}
		case v.err != nil || v.code != 0:
			return true, &exitError{v.code, v.err}
		case v.told || t.concluded:
			return true, nil
		} // not among the first any more
	}
}

// within reports whether things run at this standing.
func (r *groupRun) within(s standing) bool { return s.rank < int(r.count) }

func (r *groupRun) env(l *lease, seat httpapi.Seat, s standing) []string {
	return l.env(r.app, r.hold, "KITH_GROUP="+r.group, "KITH_TOKEN="+strconv.FormatUint(seat.Token(), 10),
		"KITH_RANK="+strconv.Itoa(s.rank), "KITH_LEADER="+s.leader, "KITH_LEADER_TOKEN="+strconv.FormatUint(s.leaderToken, 10))
}

// follow tells where the seat stands, the last state of things at least, until stop.
func (m *member) follow(l *lease, seat httpapi.Seat) (places <-chan standing, stop func()) {
	last := make(chan standing, 1)
	ctx, cancel := context.WithCancel(seat.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		var before *standing
		for ctx.Err() == nil {
			for view, err := range l.session.Client().WatchGroup(ctx, m.group, 1) {
				if err != nil {
					break
				}
				own, there := view.Find(seat.Token())
				if !there {
					continue // the seat's own context tells
				}
				now := standing{rank: own.Position, leader: view.Places[0].Name, leaderToken: view.Places[0].Token}
				if before != nil && *before == now {
					continue
				}
				before = &now
				select { // only the last state counts
				case <-last:
				default:
				}
				last <- now
			}
			pause(ctx, syncRetryFirst)
		}
	})
	return last, func() {
		cancel()
		wg.Wait()
	}
}

// lostSeat says that a membership was lost.
func lostSeat(group string, why error) error {
	if errors.Is(why, httpapi.ErrRevoked) {
		return fmt.Errorf("somebody has broken the place in %q", group)
	}
	return fmt.Errorf("the place in %q is lost: %w", group, why)
}
