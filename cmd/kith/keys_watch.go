package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
)

func (a *app) watchCommand() *cobra.Command {
	var af agentFlags
	var rev, after revision
	var timeout timespan
	var prefix string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "watch [KEY]",
		GroupID: groupKeys,
		Short:   "wait for a change of a key, or follow all changes",
		Long: `With KEY: waits until the key, or the lock, group or event of that name, changes, and
prints the revision of that. With --rev it waits only while the name is still at that
revision, so that nothing is missed between two waits. It may end once too often, never
too seldom. When --timeout is over first, the code is 124.

With --prefix: prints the keys that begin with it as they are, and then every change,
one line each, until interrupted, which is code 0, or until the agent ends (code 4).
With --json a line is an object; "last" marks the last one of a revision, and
--after goes on behind a revision.`,
		Example: `  kith watch motd && kith get motd
  rev=0; while rev=$(kith watch motd --rev $rev); do kith get motd; done
  kith watch --prefix app/ --json`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			f := cmd.Flags()
			stream := f.Changed("prefix")
			switch {
			case stream == (len(args) == 1):
				return usageError(errors.New("give either a KEY, to wait for one change, or --prefix, to follow all"))
			case stream && (f.Changed("rev") || f.Changed("timeout")):
				return usageError(errors.New("--rev and --timeout are for one KEY; with --prefix there is --after"))
			case !stream && f.Changed("after"):
				return usageError(errors.New("--after is for --prefix; with a KEY there is --rev"))
			}
			return a.ask(af, func(c *httpapi.Client) error {
				if stream {
					return a.watchPrefix(cmd.Context(), c, prefix, kv.Revision(after), asJSON)
				}
				return a.watchOne(cmd.Context(), c, args[0], kv.Revision(rev), time.Duration(timeout), asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.Var(&rev, "rev", "wait only while the name is at revision `N`; 0: for the next change, whatever it is at")
	f.Var(&timeout, "timeout", "wait at most this `time`, milliseconds or such as 30s; 0: for ever")
	f.StringVar(&prefix, "prefix", "", "follow all keys that begin with this `text`; \"\" is all keys")
	f.Var(&after, "after", "begin with the first change after revision `N` instead of with the keys as they are")
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, append(keyCodes, exitTimeout)...)
}

// watchOne waits for one change.
func (a *app) watchOne(ctx context.Context, c *httpapi.Client, name string, at kv.Revision, timeout time.Duration, asJSON bool) error {
	if timeout > 0 {
		// The agent is to say that the time is up, so it must have the time to.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout+100*time.Millisecond)
		defer cancel()
	}
	revision, err := c.WaitChange(ctx, name, at)
	if err != nil {
		return err
	}
	return a.sayRevision(name, revision, asJSON)
}

// watchPrefix shows every change until ctx is done.
func (a *app) watchPrefix(ctx context.Context, c *httpapi.Client, prefix string, after kv.Revision, asJSON bool) error {
	for change, err := range c.Watch(ctx, prefix, after) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if asJSON {
			err = a.printJSONLine(httpapi.NewKeyChange(change))
		} else {
			_, err = io.WriteString(a.stdout, clean(changedKey(change))+"\n")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changedKey tells one change on one line.
func changedKey(c kv.Change) string {
	switch c.Kind {
	case kv.Written:
		return fmt.Sprintf("%d  %s %s  %s", c.Revision, c.Key, either(c.Existing, "is", "written"), glimpse(c.Value))
	case kv.Resync:
		return fmt.Sprintf("%d  (changes after %d are forgotten; the keys as they are now follow)", c.Revision, c.Previous)
	case kv.Synced:
		return fmt.Sprintf("%d  (that is all; changes follow)", c.Revision)
	}
	return fmt.Sprintf("%d  %s %s", c.Revision, c.Key, c.Kind)
}

// glimpse shows the beginning of a value.
func glimpse(value []byte) string {
	const most = 60
	if len(value) > most {
		return fmt.Sprintf("%q… (%s)", value[:most], size(int64(len(value))))
	}
	return fmt.Sprintf("%q", value)
}

func (a *app) fireCommand() *cobra.Command {
	var af agentFlags
	var only condition
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "fire NAME",
		GroupID: groupKeys,
		Short:   "wake all who watch a name",
		Long: `Fires the event of that name, which wakes all who watch it, and prints the revision of
that. There is nothing behind an event but its name and when it was fired last.`,
		Example: `  kith fire reload
  kith watch reload && systemctl reload app     elsewhere`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := only.options()
			if err != nil {
				return err
			}
			if options.IfAbsent {
				return usageError(errors.New("--rev 1 would be an event that was never fired; there is no condition for that"))
			}
			return a.ask(af, func(c *httpapi.Client) error {
				revision, err := c.Fire(cmd.Context(), args[0], options.IfRevision)
				if err != nil {
					return err
				}
				return a.sayRevision(args[0], revision, asJSON)
			})
		},
	}
	only.add(cmd.Flags())
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, append(keyCodes, exitConflict, exitUnknown)...)
}
