package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/transport"
)

// messageCodes are the exit codes of every command that sends messages.
var messageCodes = []int{exitFailed, exitUnreachable, exitAbsent, exitUnknown, exitPeerDown, exitTimeout, exitInterrupted}

// headers are the values of --header.
type headers map[string]string

// Set implements [pflag.Value].
func (h *headers) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("give name=value")
	}
	if *h == nil {
		*h = make(headers)
	}
	(*h)[strings.ToLower(name)] = value
	return nil
}

// String implements [pflag.Value]; help shows no default.
func (h *headers) String() string { return "" }

// Type implements [pflag.Value].
func (h *headers) Type() string { return "name=value" }

func headerFlag(f *pflag.FlagSet, h *headers) {
	f.Var(h, "header", "send a header along, `name=value`; may be repeated")
}

// message returns the body of a message: the argument after the n-th, if there is one and
// it is not "-", else standard input. Nothing is read from a terminal that nobody asked to.
func (a *app) message(ctx context.Context, args []string, n int) ([]byte, error) {
	if len(args) > n && args[n] != "-" {
		return []byte(args[n]), nil
	}
	if f, ok := a.stdin.(*os.File); ok && len(args) == n && term.IsTerminal(int(f.Fd())) {
		return nil, nil
	}
	return a.input(ctx, "the message", httpapi.MaxMessage)
}

// withBody accepts the named arguments and one more.
func withBody(names ...string) cobra.PositionalArgs {
	exact := exactArgs(names...)
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names)+1 {
			return nil
		}
		if len(args) > len(names)+1 {
			return tooMany(args[len(names)+1])
		}
		return exact(cmd, args)
	}
}

// answer is a reply, as --json prints it.
type answer struct {
	Peer        string           `json:"peer"`
	Subject     string           `json:"subject"`
	Header      transport.Header `json:"header,omitempty"`
	Body        httpapi.Value    `json:"body"`
	RoundTripMS httpapi.Millis   `json:"round_trip_ms"`
}

// agentPatience is how much longer than asked for an agent is waited for: it is the agent
// that says what is wrong when the time is up, and it may be busy.
const agentPatience = 5 * time.Second

func (a *app) callCommand() *cobra.Command {
	var af agentFlags
	var o httpapi.CallOptions
	var timeout timespan
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "call PEER SUBJECT [BODY]",
		GroupID: groupMessages,
		Short:   "ask a peer's handler, and print its reply",
		Long: `Asks the handler that PEER has for SUBJECT, and prints its reply exactly as it is. Without
BODY, or with "-", the body is read from standard input; from a terminal only with "-".

A call runs at most once. The handler's own error is code 1. Nothing has run after code 8
(no such peer, or it has no handler for the subject) and 13 (the peer cannot be reached);
after 9 it may have run: the time was up, the connection broke, or the peer was
restarted. Without --timeout a call waits eight seconds for the peer and its reply.

Every peer answers kith.ping (what it was asked with) and kith.info (see "kith info").`,
		Example: `  kith call bravo sum "1 2 3"
  kith call bravo render < page.md > page.html
  kith call bravo flush --one-way
  kith call bravo sum --timeout 500ms --fail-fast "1 2 3"`,
		Args: withBody("PEER", "SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			body, err := a.message(ctx, args, 2)
			if err != nil {
				return err
			}
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(timeout)+agentPatience)
				defer cancel()
				o.Timeout = time.Duration(timeout)
			}
			return a.ask(af, func(c *httpapi.Client) error {
				reply, err := c.Call(ctx, args[0], args[1], body, o)
				if err != nil || o.OneWay {
					return err
				}
				if asJSON {
					return a.printJSON(answer{args[0], args[1], reply.Header, reply.Body, httpapi.Millis(reply.RoundTrip)})
				}
				_, err = a.stdout.Write(reply.Body)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.FailFast, "fail-fast", false, "fail at once when the peer is not connected")
	f.BoolVar(&o.OneWay, "one-way", false, "expect no reply: done is that a live connection has taken the message")
	f.Var(&timeout, "timeout", "wait at most this `time`, milliseconds or such as 30s; 0: eight seconds")
	headerFlag(f, (*headers)(&o.Header))
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, messageCodes...)
}

func (a *app) infoCommand() *cobra.Command {
	var af agentFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "info PEER",
		GroupID: groupMessages,
		Short:   "show what a peer handles, how often and how fast",
		Long: `Asks a peer for its version, for how long it has run, and which subjects it handles,
with counts and latencies since then.`,
		Example: `  kith info bravo
  kith info bravo --json | jq '.subjects[].subject'`,
		Args: exactArgs("PEER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(af, func(c *httpapi.Client) error {
				reply, err := c.Call(cmd.Context(), args[0], transport.SubjectInfo, nil, httpapi.CallOptions{})
				if err != nil {
					return err
				}
				var info transport.Info
				if err := json.Unmarshal(reply.Body, &info); err != nil {
					return fmt.Errorf("what %s tells of itself cannot be read: %w", args[0], err)
				}
				if asJSON {
					return a.printJSON(info)
				}
				a.showInfo(info)
				return nil
			})
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, messageCodes...)
}

func (a *app) showInfo(info transport.Info) {
	a.say("%s  kith %s, incarnation %x, up for %s", info.Name, info.Version, info.Incarnation, span(info.Uptime))
	t := newTable("SUBJECT", "HANDLED", "FAILED", "REFUSED", "RUNNING", "WAITING", "P50", "P99", "MAX")
	for _, s := range info.Subjects {
		failed := cell{fmt.Sprint(s.Failed), either(s.Failed > 0, doubt, plain)}
		refused := cell{fmt.Sprint(s.Refused), either(s.Refused > 0, doubt, plain)}
		took := []string{"-", "-", "-"}
		if s.Handled > 0 {
			took = []string{span(s.Latency.P50), span(s.Latency.P99), span(s.Latency.Max)}
		}
		t.add(s.Subject+either(s.Stream, " (stream)", ""), s.Handled, failed, refused, s.Running, s.Waiting, took[0], took[1], took[2])
	}
	a.print(t)
}

// headerWords tells headers on one line, "" if there are none.
func headerWords(h transport.Header) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		words = append(words, name+"="+h[name])
	}
	return strings.Join(words, " ")
}
