package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/transport"
)

func (a *app) pingCommand() *cobra.Command {
	var af agentFlags
	var count uint32
	interval, timeout := timespan(time.Second), timespan(2*time.Second)
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ping [PEER]",
		GroupID: groupMessages,
		Short:   "measure how long messages to a peer take, or to all",
		Long: `Has the agent ask PEER, or every peer of the list, once a second for kith.ping, and
prints how long the round trip between the two nodes took. It goes on until interrupted
or until --count rounds are over, and then sums up. Code 3 says that some peer
has not answered at all.`,
		Example: `  kith ping
  kith ping bravo --count 3
  kith ping --interval 200ms --json`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval <= 0 || timeout <= 0 {
				return usageError(errors.New("--interval and --timeout must be longer than 0"))
			}
			return a.ask(af, func(c *httpapi.Client) error {
				ctx := cmd.Context()
				names := args
				if len(names) == 0 {
					list, err := c.Peers(ctx)
					if err != nil {
						return err
					}
					for _, p := range list.List.Sorted() {
						names = append(names, p.Name)
					}
				}
				p := pinger{app: a, c: c, timeout: time.Duration(timeout), asJSON: asJSON}
				for _, name := range names {
					p.trips = append(p.trips, &trips{peer: name})
				}
				return p.run(ctx, int(count), time.Duration(interval))
			})
		},
	}
	f := cmd.Flags()
	f.Var((*decimal32)(&count), "count", "end after this `number` of rounds")
	f.Var(&interval, "interval", "begin a round every so much `time`, milliseconds or such as 1s")
	f.Var(&timeout, "timeout", "wait at most this `time` for an answer, milliseconds or such as 30s")
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, exitFailed, exitUnhealthy, exitUnreachable, exitAbsent)
}

// pinger asks some peers round after round.
type pinger struct {
	*app
	c       *httpapi.Client
	timeout time.Duration
	asJSON  bool
	trips   []*trips
}

// trips is what came of asking one peer.
type trips struct {
	peer            string
	asked, answered int
	least, most     time.Duration
	sum             time.Duration
}

// trip is how one question went, as --json prints it.
type trip struct {
	Peer  string         `json:"peer"`
	Round int            `json:"round"`
	OK    bool           `json:"ok"`
	Took  httpapi.Millis `json:"ms,omitzero"`
	Error string         `json:"error,omitempty"`

	err error
}

func (p *pinger) run(ctx context.Context, count int, interval time.Duration) error {
	every := time.NewTicker(interval)
	defer every.Stop()
	for round := 1; ctx.Err() == nil; round++ {
		went := p.round(ctx, round)
		if ctx.Err() != nil {
			break // the user's doing, and no peer's
		}
		for i, t := range went {
			if hopeless(t.err) {
				return t.err
			}
			p.trips[i].add(t)
			if err := p.tell(t); err != nil {
				return err
			}
		}
		if round == count {
			break
		}
		select {
		case <-every.C:
		case <-ctx.Done():
		}
	}
	return p.sumUp()
}

// round asks all at the same time.
func (p *pinger) round(ctx context.Context, round int) []trip {
	went := make([]trip, len(p.trips))
	var asking sync.WaitGroup
	for i, t := range p.trips {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, p.timeout+agentPatience)
			defer cancel()
			went[i] = trip{Peer: t.peer, Round: round}
			reply, err := p.c.Call(ctx, t.peer, transport.SubjectPing, nil, httpapi.CallOptions{Timeout: p.timeout})
			if err != nil {
				went[i].Error, went[i].err = errorWords(err), err
				return
			}
			went[i].OK, went[i].Took = true, httpapi.Millis(reply.RoundTrip)
		})
	}
	asking.Wait()
	return went
}

// hopeless reports whether asking again is of no use.
func hopeless(err error) bool {
	_, unreachable := errors.AsType[*httpapi.UnreachableError](err) // the agent
	return errors.Is(err, transport.ErrNoPeer) || errors.Is(err, kith.ErrNoMessages) || unreachable && !errors.Is(err, context.DeadlineExceeded)
}

func (t *trips) add(one trip) {
	t.asked++
	if !one.OK {
		return
	}
	took := time.Duration(one.Took)
	if t.answered == 0 || took < t.least {
		t.least = took
	}
	t.answered++
	t.most = max(t.most, took)
	t.sum += took
}

func (p *pinger) tell(t trip) error {
	if p.asJSON {
		return p.printJSONLine(t)
	}
	line := fmt.Sprintf("%s: round=%d time=%.3f ms", t.Peer, t.Round, float64(time.Duration(t.Took).Microseconds())/1000)
	if !t.OK {
		line = fmt.Sprintf("%s: round=%d no answer: %s", t.Peer, t.Round, t.Error)
	}
	_, err := fmt.Fprintln(p.stdout, clean(line))
	return err
}

// sumUp ends with code 3 if a peer has not answered at all.
func (p *pinger) sumUp() error {
	t := newTable("PEER", "ASKED", "ANSWERED", "MIN", "AVG", "MAX")
	silent := false
	for _, one := range p.trips {
		if one.asked == 0 {
			continue
		}
		took := []string{"-", "-", "-"}
		if one.answered > 0 {
			took = []string{millis(one.least), millis(one.sum / time.Duration(one.answered)), millis(one.most)}
		}
		style := good
		if one.answered < one.asked {
			style = either(one.answered == 0, bad, doubt)
		}
		silent = silent || one.answered == 0
		t.add(one.peer, one.asked, cell{fmt.Sprint(one.answered), style}, took[0], took[1], took[2])
	}
	if !p.asJSON {
		p.say("")
		p.print(t)
	}
	if silent {
		return &exitError{code: exitUnhealthy}
	}
	return nil
}

func millis(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d.Microseconds())/1000) }
