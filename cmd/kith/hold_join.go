package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
)

// member is a membership that is taken up again whenever it is lost.
type member struct {
	app   *app
	hold  holdFlags
	group string
	data  string
}

// rejoinSlow is the longest pause before a lost group is joined again.
const rejoinSlow = 2 * time.Second

// keep joins the group and calls serve with the seat, again and again until that is over
// or ctx ends. What stands in the way is told once and waited for.
func (m *member) keep(ctx context.Context, serve func(context.Context, *lease, httpapi.Seat) (over bool, err error)) error {
	wait, told := syncRetryFirst, false
	for {
		over, err := m.once(ctx, func(ctx context.Context, l *lease, seat httpapi.Seat) (bool, error) {
			if told {
				m.app.note("back in %q", m.group)
			}
			wait, told = syncRetryFirst, false
			return serve(ctx, l, seat)
		})
		switch {
		case over:
			return err
		case ctx.Err() != nil:
			return nil
		case !told:
			m.app.note("kith: %s; joining again as soon as that works", errorWords(err))
			told = true
		}
		if !pause(ctx, wait/2+rand.N(wait/2)) {
			return nil
		}
		wait = min(2*wait, rejoinSlow)
	}
}

// once is one membership, which it leaves.
func (m *member) once(ctx context.Context, serve func(context.Context, *lease, httpapi.Seat) (bool, error)) (over bool, err error) {
	l, err := m.app.lease(ctx, m.hold)
	if err != nil {
		return !passing(err), err
	}
	defer l.close(ctx, m.app)
	seat, err := l.session.Join(ctx, m.group, httpapi.JoinOptions{Name: l.name, Data: []byte(m.data)})
	if err != nil {
		return !passing(err), err
	}
	return serve(ctx, l, seat)
}

// pause waits, and reports whether ctx has lasted that long.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// joined is what join prints with --json.
type joined struct {
	Group       string `json:"group"`
	Name        string `json:"name"`
	Rank        int    `json:"rank"`
	Token       uint64 `json:"token"`
	Leader      string `json:"leader"`
	LeaderToken uint64 `json:"leader_token"`
}

func (a *app) joinCommand() *cobra.Command {
	m := member{app: a}
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "join GROUP",
		GroupID: groupOrder,
		Short:   "be a member of a group, and tell the rank",
		Long: `Joins the group, whose order is that of arrival, and stays in it until interrupted, which
is code 0. It prints the rank, 0 for the leader, and the leader's name, on a line, at
first and after every change of them. A lost membership is taken up again, at the end of
the line.`,
		Example: `  kith join db
  kith join db --name $HOSTNAME --data 10.0.0.1:3306 --json`,
		Args: exactArgs("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			m.group = args[0]
			return m.keep(cmd.Context(), func(ctx context.Context, l *lease, seat httpapi.Seat) (bool, error) {
				places, stop := m.follow(l, seat)
				defer stop()
				for {
					select {
					case <-ctx.Done():
						return true, nil
					case <-seat.Context().Done():
						return false, lostSeat(m.group, context.Cause(seat.Context()))
					case now := <-places:
						if err := m.tell(now, seat, asJSON); err != nil {
							return true, err
						}
					}
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.data, "data", "", "what others see of this member beside its name")
	jsonFlag(f, &asJSON)
	m.hold.add(a, f)
	return exits(cmd, exitFailed)
}

// tell prints where the member stands.
func (m *member) tell(now standing, seat httpapi.Seat, asJSON bool) error {
	if asJSON {
		return m.app.printJSONLine(joined{
			Group: m.group, Name: seat.Name(), Rank: now.rank, Token: seat.Token(), Leader: now.leader, LeaderToken: now.leaderToken,
		})
	}
	m.app.say("%d %s", now.rank, now.leader)
	if out, ok := m.app.stdout.(*output); ok && out.err != nil {
		return &exitError{exitFailed, errors.New("standard output is gone")}
	}
	return nil
}
