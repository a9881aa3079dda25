package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kith-go/kith/httpapi"
)

// The commands that look at locks and groups ask as $KITH_CLIENT_ID, so that a script
// that kith run has started sees itself.

// askAs runs a command against the agent as whoever $KITH_CLIENT_ID is.
func (a *app) askAs(af agentFlags, do func(*httpapi.Client) error) error {
	return a.ask(af, func(c *httpapi.Client) error { return do(c.As(a.getenv("KITH_CLIENT_ID"))) })
}

// sayAll prints names, one on a line.
func (a *app) sayAll(names []string, asJSON bool) error {
	if asJSON {
		return a.printJSONLine(append([]string{}, names...))
	}
	a.sayNames(names)
	return nil
}

func (a *app) ownersCommand() *cobra.Command {
	var af agentFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "owners NAME",
		GroupID: groupOrder,
		Short:   "list who holds a lock",
		Long: `Lists who holds the lock, one on a line, in the order in which they got it; nothing if
nobody does. What $KITH_CLIENT_ID holds, which kith sets for the commands that it runs,
is listed as *.`,
		Example: `  kith owners backup`,
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.askAs(af, func(c *httpapi.Client) error {
				names, _, err := c.Owners(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.sayAll(names, asJSON)
			})
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, keyCodes...)
}

func (a *app) membersCommand() *cobra.Command {
	var af agentFlags
	var limit decimal32
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "members GROUP",
		GroupID: groupOrder,
		Short:   "list the members of a group, the leader first",
		Long: `Lists the members of the group, one on a line, in strict order, that of arrival: the
first one leads. The member that is $KITH_CLIENT_ID, which kith run sets for what it
runs, is listed as *.`,
		Example: `  kith members db
  [ "$(kith members db --limit 1)" = "*" ] && echo leading       in a script of kith run`,
		Args: exactArgs("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.askAs(af, func(c *httpapi.Client) error {
				names, _, err := c.Members(cmd.Context(), args[0], int(limit))
				if err != nil {
					return err
				}
				return a.sayAll(names, asJSON)
			})
		},
	}
	cmd.Flags().Var(&limit, "limit", "list at most this `number`, the first ones; 0: all")
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, keyCodes...)
}

// kindArgs wants "lock NAME" or "group NAME".
func kindArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 || args[0] != "lock" && args[0] != "group":
		return usageError(errors.New(`say what: "lock NAME" or "group NAME"`))
	case len(args) == 1:
		return usageError(errors.New("NAME is missing"))
	case len(args) > 2:
		return tooMany(args[2])
	}
	return nil
}

// explained asks for the lock or group that kindArgs has let through.
func explained(ctx context.Context, c *httpapi.Client, args []string) (httpapi.Queue, error) {
	if args[0] == "lock" {
		return c.ExplainLock(ctx, args[1])
	}
	return c.ExplainGroup(ctx, args[1])
}

func (a *app) explainCommand() *cobra.Command {
	var af agentFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "explain lock|group NAME",
		GroupID: groupOrder,
		Short:   "tell who holds a lock and who waits, or all about a group",
		Long: `Tells who holds the lock, since when and by which token, and who waits for it in which
order; or the members of the group. A holder that was asked to go ("kith break") and
has not gone yet is marked so.`,
		Example: `  kith explain lock backup
  kith explain group db --json`,
		Args: kindArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.askAs(af, func(c *httpapi.Client) error {
				q, err := explained(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(q)
				}
				a.explain(q, args[0] == "lock")
				return nil
			})
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, keyCodes...)
}

// explain prints a queue for people.
func (a *app) explain(q httpapi.Queue, lock bool) {
	switch {
	case len(q.Places) == 0 && lock:
		a.say("nobody holds %s", q.Name)
		return
	case len(q.Places) == 0:
		a.say("nobody is in %s", q.Name)
		return
	case lock:
		a.say("%s may be held by %s at a time", q.Name, count(max(q.Limit, 1), "holder"))
	}
	t := newTable("POSITION", "NAME", "STATE", "TOKEN", "SINCE", "NODE", "DATA")
	for _, p := range q.Places {
		name := p.Name
		if p.Self {
			name += " (*)"
		}
		data := ""
		if len(p.Data) > 0 {
			data = glimpse(p.Data)
		}
		t.add(p.Position, name, placeState(p, lock), p.Token, span(time.Duration(p.Age)), orDash(p.Node), data)
	}
	a.print(t)
	if q.Omitted > 0 {
		a.say("and %d more", q.Omitted)
	}
}

// placeState tells what a place is.
func placeState(p httpapi.Place, lock bool) cell {
	state := cell{"member", plain}
	switch {
	case lock && p.Holds:
		state = cell{"holds", good}
	case lock:
		state = cell{"waits", plain}
	case p.Position == 0:
		state = cell{"leads", good}
	}
	if p.Revoked {
		state = cell{state.text + ", asked to go", doubt}
	}
	return state
}

func tokenFlag(f *pflag.FlagSet, token *revision) {
	f.Var(token, "token", "the fencing token of the one to go, as explain tells it, `N`")
}

func (a *app) breakCommand() *cobra.Command {
	var af agentFlags
	var token revision
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "break lock|group NAME",
		GroupID: groupOrder,
		Short:   "ask a holder or a member to go",
		Long: `Asks the holder of the lock, or the leader of the group, or with --token anybody in line,
to go, and prints the token of the one that was asked. Nobody takes its place before it
has gone, or its session has ended: a holder is never doubled. One who waits is
removed at once.

Without --token whoever holds the lock now is asked, if it is only one.`,
		Example: `  kith break lock backup
  kith break group db --token 4711`,
		Args: kindArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.askAs(af, func(c *httpapi.Client) error {
				token, err := toBreak(cmd.Context(), c, args, uint64(token))
				if err != nil {
					return err
				}
				revoke := c.BreakLock
				if args[0] == "group" {
					revoke = c.BreakGroup
				}
				if err := revoke(cmd.Context(), args[1], token); err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(struct {
						Name  string `json:"name"`
						Token uint64 `json:"token"`
					}{args[1], token})
				}
				a.say("%d", token)
				return nil
			})
		},
	}
	tokenFlag(cmd.Flags(), &token)
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, append(keyCodes, exitAbsent, exitUnknown)...)
}

// toBreak returns the token of the one to be asked.
func toBreak(ctx context.Context, c *httpapi.Client, args []string, token uint64) (uint64, error) {
	if token != 0 {
		return token, nil
	}
	q, err := explained(ctx, c, args)
	if err != nil {
		return 0, err
	}
	var holders []string
	for _, p := range q.Places {
		if args[0] == "lock" && p.Holds || args[0] == "group" && p.Position == 0 {
			holders = append(holders, fmt.Sprintf("%d (%s)", p.Token, p.Name))
			token = p.Token
		}
	}
	switch len(holders) {
	case 0:
		return 0, &exitError{exitAbsent, fmt.Errorf("nobody holds %s", args[1])}
	case 1:
		return token, nil
	}
	return 0, usageError(fmt.Errorf("%s has several holders; say which with --token: %s", args[1], strings.Join(holders, ", ")))
}
