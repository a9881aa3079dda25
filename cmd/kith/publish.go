package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/transport"
)

func (a *app) publishCommand() *cobra.Command {
	var af agentFlags
	var header headers
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "publish TOPIC [BODY]",
		GroupID: groupMessages,
		Short:   "tell all who subscribe to a topic",
		Long: `Publishes a message to all, on whichever node, who subscribe to a prefix of TOPIC now, and
prints to how many connections it was handed. Nothing is kept for those who come later.
Without BODY, or with "-", the body is read from standard input; from a terminal only
with "-".`,
		Example: `  kith publish deploy/started v1.4.2
  kith publish config/new < config.yaml`,
		Args: withBody("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := a.message(cmd.Context(), args, 1)
			if err != nil {
				return err
			}
			return a.ask(af, func(c *httpapi.Client) error {
				reached, err := c.Publish(cmd.Context(), args[0], body, transport.Header(header))
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(map[string]int{"reached": reached})
				}
				a.say("%d", reached)
				return nil
			})
		},
	}
	headerFlag(cmd.Flags(), &header)
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, exitFailed, exitUnreachable, exitUnknown, exitInterrupted)
}

func (a *app) subscribeCommand() *cobra.Command {
	var af agentFlags
	var count uint32
	var raw, asJSON bool
	cmd := &cobra.Command{
		Use:     "subscribe PREFIX",
		GroupID: groupMessages,
		Short:   "print what is published",
		Long: `Prints what any node publishes under topics that begin with PREFIX, "" being all: one
line for each, with the peer, the topic and the beginning of the body. It goes on until
interrupted, which is code 0, until --count messages have come, or until the agent
ends (code 4). When some are missing, because a reader or a connection was too slow, a
line says how many, where they are missing. A line on standard error says when all peers
that are there know of the subscription: before that, messages may pass unheard.`,
		Example: `  kith subscribe deploy/
  kith subscribe "" --json | jq .body
  kith subscribe config/new --count 1 --raw > config.yaml`,
		Args: exactArgs("PREFIX"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(af, func(c *httpapi.Client) error {
				return a.listen(cmd.Context(), c, args[0], int(count), raw, asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.Var((*decimal32)(&count), "count", "end after this `number` of messages")
	f.BoolVar(&raw, "raw", false, "print the bodies alone, as they are")
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, exitFailed, exitUnreachable)
}

// listen prints publications until ctx is done or count have come; 0 is no limit.
func (a *app) listen(ctx context.Context, c *httpapi.Client, prefix string, count int, raw, asJSON bool) error {
	heard := 0
	for event, err := range c.Subscribe(ctx, prefix) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.sayPublication(event, raw, asJSON); err != nil {
			return err
		}
		if event.Kind == httpapi.PublicationMessage {
			if heard++; heard == count {
				return nil
			}
		}
	}
	return nil
}

func (a *app) sayPublication(p httpapi.Publication, raw, asJSON bool) error {
	switch {
	case asJSON:
		return a.printJSONLine(p)
	case p.Kind == httpapi.PublicationReady:
		a.note("listening")
	case p.Kind == httpapi.PublicationLag && raw:
		a.note("%s", lagWords(p))
	case p.Kind == httpapi.PublicationLag:
		_, err := fmt.Fprintf(a.stdout, "%s\n", clean(lagWords(p)))
		return err
	case p.Body == nil:
		return fmt.Errorf("the agent tells of a message of %s without one", p.Peer)
	case raw:
		_, err := a.stdout.Write(*p.Body)
		return err
	default:
		words := ""
		if h := headerWords(p.Header); h != "" {
			words = "  (" + h + ")"
		}
		_, err := fmt.Fprintf(a.stdout, "%s\n", clean(fmt.Sprintf("%s  %s  %s%s", orDash(p.Peer), p.Topic, glimpse(*p.Body), words)))
		return err
	}
	return nil
}

// lagWords tells what is missing.
func lagWords(p httpapi.Publication) string {
	lag := transport.LagError{Peer: p.Peer, Lost: p.Lost}
	return "(" + errorWords(&lag) + ")"
}
