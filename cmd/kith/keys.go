package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
)

// keyCodes are the exit codes of every command that reads keys; changes add theirs.
var keyCodes = []int{exitFailed, exitUnreachable, exitNoMajority, exitInterrupted}

// changed is what a command that changes something prints with --json.
type changed struct {
	Key      string      `json:"key,omitempty"`
	Revision kv.Revision `json:"revision"`
}

// ask runs a command against the agent that its flags name.
func (a *app) ask(af agentFlags, do func(*httpapi.Client) error) error {
	c, err := a.client(af)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// sayRevision prints the revision of a change.
func (a *app) sayRevision(key string, r kv.Revision, asJSON bool) error {
	if asJSON {
		return a.printJSON(changed{key, r})
	}
	a.say("%d", r)
	return nil
}

func staleFlag(f *pflag.FlagSet, stale *bool) {
	f.BoolVar(stale, "stale", false, "read the agent's own copy, without asking the others; it may be old")
}

// reading returns the client for reads.
func reading(c *httpapi.Client, stale bool) *httpapi.Client {
	if stale {
		return c.Stale()
	}
	return c
}

func (a *app) getCommand() *cobra.Command {
	var af agentFlags
	var stale, asJSON bool
	cmd := &cobra.Command{
		Use:     "get KEY",
		GroupID: groupKeys,
		Short:   "print the value of a key",
		Long: `Prints the value of a key, exactly as it is: nothing is added, no line end either.
With --json it is an object, which tells the revision, too; a value that is not UTF-8
is {"base64": "…"} there.

A key that is not there prints nothing and is code 8.`,
		Example: `  kith get motd
  kith get app/config > config.yaml
  kith get app/config --json | jq .revision`,
		Args: exactArgs("KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(af, func(c *httpapi.Client) error {
				entry, err := reading(c, stale).Get(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(entryJSON(entry))
				}
				_, err = a.stdout.Write(entry.Value)
				return err
			})
		},
	}
	staleFlag(cmd.Flags(), &stale)
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, append(keyCodes, exitAbsent)...)
}

func entryJSON(e kv.Entry) httpapi.Entry {
	return httpapi.Entry{
		Key: e.Key, Value: e.Value, Revision: e.Revision, Created: e.Created, TTL: httpapi.Millis(e.TTL), Ephemeral: e.Ephemeral,
	}
}

// condition is what a change may depend on.
type condition struct {
	rev, ifRev revision
	absent     bool
}

func (c *condition) add(f *pflag.FlagSet) {
	f.Var(&c.rev, "rev", "only if the key is at `N`-1, as hibera has it: N is the revision after the one it is at")
	f.Var(&c.ifRev, "if-rev", "only if the key is at revision `N`")
}

// options returns c for the API.
func (c *condition) options() (o httpapi.WriteOptions, err error) {
	switch {
	case c.rev != 0 && c.ifRev != 0, c.absent && (c.rev != 0 || c.ifRev != 0):
		return o, usageError(errors.New("--rev, --if-rev and --if-absent exclude each other"))
	case c.rev != 0:
		o.IfRevision, o.IfAbsent = kv.Revision(c.rev-1), c.rev == 1
	default:
		o.IfRevision, o.IfAbsent = kv.Revision(c.ifRev), c.absent
	}
	return o, nil
}

func (a *app) setCommand() *cobra.Command {
	var af agentFlags
	var only condition
	var ttl timespan
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "set KEY [VALUE]",
		GroupID: groupKeys,
		Short:   "write a key",
		Long: `Writes a key, and prints the revision of that. Without VALUE the value is read from
standard input, exactly as it comes, at most 1 MiB.

--if-rev writes only if the key is still at the revision that it was read at, so that
no change by others is lost: with code 7 nothing was done; read it again. After
code 9 it is not known whether the value was written, or will be. A VALUE that begins
with a dash stands behind "--".`,
		Example: `  kith set motd "good morning"
  kith set app/config < config.yaml
  kith set app/config --if-rev 17 < config.yaml
  kith set duty $HOSTNAME --if-absent --ttl 30s
  kith set offset -- -5`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usageError(errors.New("KEY is missing"))
			case 1, 2:
				return nil
			}
			return tooMany(args[2])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := only.options()
			if err != nil {
				return err
			}
			options.TTL = time.Duration(ttl)
			if cmd.Flags().Changed("ttl") && ttl == 0 {
				return usageError(errors.New("--ttl 0 would end before it begins; leave it out for a key that stays"))
			}
			return a.ask(af, func(c *httpapi.Client) error {
				var value []byte
				if len(args) == 2 {
					value = []byte(args[1])
				} else if value, err = a.input(cmd.Context(), "the value", httpapi.MaxValue); err != nil {
					return err
				}
				revision, err := c.Set(cmd.Context(), args[0], value, options)
				if err != nil {
					return err
				}
				return a.sayRevision(args[0], revision, asJSON)
			})
		},
	}
	f := cmd.Flags()
	only.add(f)
	f.BoolVar(&only.absent, "if-absent", false, "only if there is no such key")
	f.Var(&ttl, "ttl", "delete the key after this `time`, milliseconds or such as 30s, unless it is written again")
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, append(keyCodes, exitConflict, exitUnknown)...)
}

// input reads standard input to its end, at most limit bytes.
func (a *app) input(ctx context.Context, what string, limit int64) ([]byte, error) {
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.note("type %s; Ctrl-D ends it", what)
	}
	text, err := a.readInput(ctx, limit)
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s on %s has more than %d bytes", what, stdinName, limit)
	}
	return text, err
}

func (a *app) rmCommand() *cobra.Command {
	var af agentFlags
	var only condition
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "rm KEY",
		GroupID: groupKeys,
		Short:   "delete a key",
		Long: `Deletes a key, and prints the revision of that. A key that is not there is no error:
the cluster's current revision is printed.`,
		Example: `  kith rm motd
  kith rm app/config --if-rev 17`,
		Args: exactArgs("KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := only.options()
			if err != nil {
				return err
			}
			return a.ask(af, func(c *httpapi.Client) error {
				revision, err := c.Delete(cmd.Context(), args[0], options)
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

func (a *app) clearCommand() *cobra.Command {
	var af agentFlags
	var prefix string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:     "clear",
		GroupID: groupKeys,
		Short:   "delete all keys",
		Long: `Deletes all keys of the cluster, or those with a prefix, in one step, and says how
many there were. Nothing brings them back, so --yes is needed.`,
		Example: `  kith clear --yes
  kith clear --prefix tmp/ --yes`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return usageError(fmt.Errorf("this deletes %s for good: say --yes if that is meant",
					either(prefix == "", "all keys", "all keys that begin with "+prefix)))
			}
			return a.ask(af, func(c *httpapi.Client) error {
				deleted, revision, err := c.DeletePrefix(cmd.Context(), prefix)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(struct {
						Deleted  int         `json:"deleted"`
						Revision kv.Revision `json:"revision"`
					}{deleted, revision})
				}
				a.say("deleted %s", count(deleted, "key"))
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&prefix, "prefix", "", "only keys that begin with this `text`")
	f.BoolVar(&yes, "yes", false, "do it")
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, append(keyCodes, exitUnknown)...)
}
