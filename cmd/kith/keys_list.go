package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
)

// nameChunk is how many names of keys are asked for at once.
const nameChunk = 10_000

func (a *app) lsCommand() *cobra.Command {
	var af agentFlags
	var l listing
	cmd := &cobra.Command{
		Use:     "ls [PREFIX]",
		GroupID: groupKeys,
		Short:   "list the keys",
		Long: `Lists the names of the keys, one on a line, sorted; with PREFIX those that begin with
it. With --long it tells about each. Many keys are listed in several steps, each of
them a read of its own: what changes meanwhile is listed or not.`,
		Example: `  kith ls
  kith ls app/ --long
  kith ls --json | jq length`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(af, func(c *httpapi.Client) error {
				return a.list(cmd.Context(), reading(c, l.stale), strings.Join(args, ""), l)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&l.long, "long", "l", false, "tell the revision, the size and more of each key")
	f.Var((*decimal32)(&l.limit), "limit", "list at most this `number` of keys")
	staleFlag(f, &l.stale)
	jsonFlag(f, &l.asJSON)
	af.add(f)
	return exits(cmd, keyCodes...)
}

// listing is how keys are listed.
type listing struct {
	long, stale, asJSON bool
	limit               uint32 // 0: all
}

// list lists the keys with the prefix.
func (a *app) list(ctx context.Context, c *httpapi.Client, prefix string, l listing) error {
	if l.long {
		return a.listLong(ctx, c, prefix, l)
	}
	all := []string{}
	after, left := "", int(l.limit)
	for {
		chunk := nameChunk
		if l.limit > 0 {
			chunk = min(chunk, left)
		}
		names, err := c.Names(ctx, prefix, after, chunk)
		if err != nil {
			return err
		}
		if l.asJSON {
			all = append(all, names...)
		} else {
			a.sayNames(names)
		}
		left -= len(names)
		if len(names) < chunk || l.limit > 0 && left == 0 {
			break
		}
		after = names[len(names)-1]
	}
	if l.asJSON {
		text, _ := json.Marshal(all) // strings always encode
		a.stdout.Write(append(text, '\n'))
	}
	return nil
}

// sayNames prints names as they are, unless a terminal would take parts of them for
// commands.
func (a *app) sayNames(names []string) {
	for _, name := range names {
		if a.terminal {
			name = clean(name)
		}
		io.WriteString(a.stdout, name+"\n")
	}
}

// listLong lists the keys with what is known about each.
func (a *app) listLong(ctx context.Context, c *httpapi.Client, prefix string, l listing) error {
	t := newTable("KEY", "REVISION", "CREATED", "SIZE", "NOTE")
	entries := []httpapi.Entry{}
	after, left := "", int(l.limit)
	for {
		page, err := c.List(ctx, prefix, after, left)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if l.asJSON {
				entries = append(entries, entryJSON(e))
			}
			t.add(e.Key, e.Revision, e.Created, size(int64(len(e.Value))), entryNote(e))
		}
		left -= len(page.Entries)
		if after = page.Next; after == "" || l.limit > 0 && left <= 0 {
			break
		}
	}
	if l.asJSON {
		return a.printJSON(entries)
	}
	a.print(t)
	return nil
}

// entryNote tells what ends a key.
func entryNote(e kv.Entry) string {
	var notes []string
	if e.TTL != 0 {
		notes = append(notes, "expires in "+span(e.TTL))
	}
	if e.Ephemeral {
		notes = append(notes, "ephemeral")
	}
	return strings.Join(notes, ", ")
}
