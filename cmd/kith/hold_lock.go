package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
)

// holdLock is kith lock.
type holdLock struct {
	app     *app
	hold    holdFlags
	lock    string
	command []string // nil: hold the lock until interrupted
	limit   decimal32
	timeout timespan
	try     bool
}

func (a *app) lockCommand() *cobra.Command {
	l := holdLock{app: a, limit: 1}
	cmd := &cobra.Command{
		Use:     "lock NAME [COMMAND [ARGUMENT…]]",
		GroupID: groupOrder,
		Short:   "hold a lock, while a command runs",
		Long: `Waits for the lock, first come, first served, runs COMMAND, and releases the lock when
that has ended, with all that it has left running. Its exit code becomes kith's, 128+n
if signal n ended it. Without COMMAND the fencing token is printed and the lock is
held until interrupted, which is code 0.

COMMAND finds the token in $KITH_TOKEN; "kith help environment" has the rest. Signals
are handed on to it. If the lock can no longer be relied on, since no agent answers
or somebody has broken it, COMMAND's process group gets SIGTERM, and SIGKILL in time,
before anybody else gets the lock; the code is 12 then. That holds also when kith itself
is killed or stopped: a second process, the watchdog, sees to it. Only when all of the
machine stands still can COMMAND wake late, and a store that refuses smaller tokens
than it has seen is safe even then.

Out of its reach is a process that leaves its group, and, outside Linux, a command
whose kith and watchdog are killed at the same time.

--try does not wait: when others hold the lock the code is 11. When --timeout is over
first it is 124. A lock that --limit lets several hold is one for all who name the
same limit.`,
		Example: `  kith lock backup ./backup.sh --full
  kith lock --try nightly /usr/local/bin/report          in every replica's crontab
  kith lock --limit 3 builders -- make -j4
  kith lock deploy                                       hold it until Ctrl-C`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(errors.New("NAME is missing"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			l.lock, l.command = args[0], args[1:]
			if l.limit == 0 {
				return usageError(errors.New("--limit 0 would let nobody hold it"))
			}
			if l.try && l.timeout != 0 {
				return usageError(errors.New("--try does not wait, so it takes no --timeout"))
			}
			return l.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.Var(&l.limit, "limit", "how many may hold the lock at a time, a `number`")
	f.Var(&l.timeout, "timeout", "wait at most this `time`, milliseconds or such as 30s; 0: for ever")
	f.BoolVar(&l.try, "try", false, "do not wait")
	l.hold.add(a, f)
	return startsProgram(exits(cmd, append(keyCodes, exitHeld, exitLost, exitTimeout, exitCannotRun, exitNotFound)...))
}

func (l *holdLock) run(ctx context.Context) error {
	if len(l.command) > 0 {
		if err := checkProgram(l.command[0]); err != nil {
			return err
		}
	}
	lease, err := l.app.lease(ctx, l.hold)
	if err != nil {
		return err
	}
	defer lease.close(ctx, l.app)
	var g *guard // before the wait, so that the command starts at once
	if len(l.command) > 0 {
		if g, err = l.app.startWatchdog(); err != nil {
			return err
		}
	}
	held, err := l.acquire(ctx, lease)
	if err != nil {
		if g != nil {
			g.close()
		}
		return err
	}
	if g == nil {
		return l.wait(ctx, held)
	}
	t := &tenure{
		app: l.app, guard: g, lease: lease, place: held.Context(),
		command: &job{Argv: l.command, Stdin: true},
		env: func(standing) []string {
			return lease.env(l.app, l.hold, "KITH_LOCK="+l.lock, "KITH_TOKEN="+strconv.FormatUint(held.Token(), 10))
		},
	}
	switch v := t.run(ctx); {
	case v.lost != nil:
		return lostLock(l.lock, v.lost)
	case v.err != nil || v.code != 0:
		return &exitError{v.code, v.err}
	case v.told && !t.begun:
		return errInterrupted
	}
	return nil
}

// acquire waits for the lock.
func (l *holdLock) acquire(ctx context.Context, lease *lease) (httpapi.Held, error) {
	o := httpapi.LockOptions{Name: lease.name, Limit: int(l.limit)}
	if l.try {
		return lease.session.TryLock(ctx, l.lock, o)
	}
	if l.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(l.timeout))
		defer cancel()
	}
	return lease.session.Lock(ctx, l.lock, o)
}

// wait holds the lock until ctx ends.
func (l *holdLock) wait(ctx context.Context, held httpapi.Held) error {
	l.app.say("%d", held.Token())
	select {
	case <-ctx.Done():
		return nil
	case <-held.Context().Done():
		if ctx.Err() != nil || errors.Is(context.Cause(held.Context()), kith.ErrClosed) {
			return nil
		}
		return lostLock(l.lock, context.Cause(held.Context()))
	}
}

// lostLock says that a lock was lost while it was needed.
func lostLock(name string, why error) error {
	if errors.Is(why, httpapi.ErrRevoked) {
		return &exitError{exitLost, fmt.Errorf("somebody has broken the lock %q", name)}
	}
	return &exitError{exitLost, fmt.Errorf("the lock %q is lost: %w", name, why)}
}
